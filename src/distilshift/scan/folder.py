"""Which scanner looks at which file, and the files that transformers reads in a checkpoint's folder."""

from __future__ import annotations

from pathlib import Path

from distilshift.scan.drift_reference import REFERENCE, check_reference
from distilshift.scan.json_file import read_object
from distilshift.scan.model_config import MAX_CONFIG_BYTES, check_model_config, check_tokenizer_config
from distilshift.scan.names import REDIRECTING, SENTENCEPIECE, require_no_archive
from distilshift.scan.onnx import check_onnx
from distilshift.scan.refusal import brief, unsafe
from distilshift.scan.tensors import elements, tensor_shapes
from distilshift.scan.tokenizer import MAX_TOKENIZER_BYTES, check_tokenizer

# A limit for vocabularies, cards and reports.
MAX_TEXT_BYTES = 32 * 1024 * 1024
_INDEX = "model.safetensors.index.json"


def check_file(path: Path) -> None:
    """Look at one file of a bundle, by its name's end.

    Raises:
        UnsafeError: it is not what its name says, or could harm whoever loads it.
    """
    require_no_archive(path)
    if path.name == "config.json":
        check_model_config(path)
    elif path.name == "tokenizer.json":
        check_tokenizer(path)
    elif path.name == REFERENCE:
        check_reference(path)
    elif path.suffix == ".json":
        check_tokenizer_config(path)
    elif path.suffix == ".safetensors":
        tensor_shapes(path)
    elif path.suffix == ".onnx":
        check_onnx(path)
    elif path.name not in SENTENCEPIECE:
        _check_text(path)


def check_checkpoint(folder: Path) -> None:
    """Look at what transformers would read in a folder, and hold the sizes in its config against its weights.

    Files that are missing, and those that it does not read, are left to it.

    Raises:
        UnsafeError: a file could harm whoever loads it, or the config asks for more than the weights hold.
    """
    for name in REDIRECTING:
        if (folder / name).exists():
            raise unsafe(folder / name, "an adapter, for which loaders fetch another model", "a whole model")
    index = folder / _INDEX
    if index.is_file():
        _check_index(index)
    weights = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    held = sum(elements(tensor_shapes(path)) for path in weights)
    for path in sorted(folder.glob("*.json")):
        if path.name == "config.json":
            check_model_config(path, held if weights else None)
        elif path.name == "tokenizer.json":
            check_tokenizer(path)
        elif path.name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
            check_tokenizer_config(path)
    for name in ("vocab.txt", "merges.txt", "vocab.json"):
        if (folder / name).is_file() and (folder / name).stat().st_size > MAX_TOKENIZER_BYTES:
            raise unsafe(folder / name, f"over {MAX_TOKENIZER_BYTES} bytes", "a vocabulary")


def _check_index(index: Path) -> None:
    """The index of weights in several files names files beside it."""
    named = read_object(index, MAX_CONFIG_BYTES).get("weight_map")
    for name in set(named.values()) if isinstance(named, dict) and all(map(_is_text, named.values())) else {None}:
        if name is None or "/" in name or "\\" in name or not name.endswith(".safetensors"):
            raise unsafe(index, f"weights in {brief(name)}", "safetensors files beside it")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _check_text(path: Path) -> None:
    """A card, a report or a vocabulary: text, and no more of it than a person or a tokenizer would want."""
    with path.open("rb") as file:
        data = file.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise unsafe(path, f"over {MAX_TEXT_BYTES} bytes", "a text")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise unsafe(path, str(error), "UTF-8 text") from None
    if "\0" in text:
        raise unsafe(path, "a NUL character", "text")
