"""What a file in a bundle may be called, and whether it is what it is called."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from distilshift.scan.refusal import brief, unsafe

# One folder deep at the most; nothing hidden, absolute or leading upwards, on any system.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99})?")
SUFFIXES = frozenset({".json", ".safetensors", ".onnx", ".txt", ".md", ".html"})
SENTENCEPIECE = frozenset({"sentencepiece.bpe.model", "spiece.model", "spm.model"})
# What a loader might run rather than read.
EXECUTABLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".pyc", ".so", ".joblib"})
# What a version control system or a hub's client keeps beside files; nothing loads a model from there.
METADATA_FOLDERS = frozenset({".git", ".cache", ".huggingface"})
# Files that no loader reads. Any other file could be a part of a model: there are more formats than could be listed.
_HARMLESS_SUFFIXES = frozenset(
    {
        *(".md", ".rst", ".html", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".ico"),
        *(".csv", ".tsv", ".log", ".bib", ".cff"),
    }
)
_HARMLESS_NAMES = frozenset({"thumbs.db", "desktop.ini", "requirements.txt"})
_NOTICE = re.compile(
    r"(licen[cs]e|notice|copying|copyright|readme|authors|contributors|changelog|citation)([-_][a-z0-9_-]+)?(\.txt)?"
)
# A name that begins with a dot and has no suffix: .gitattributes, .DS_Store.
_DOTFILE = re.compile(r"\.[a-z0-9_-]+")
# Its presence lets transformers fetch and load another model.
REDIRECTING = frozenset({"adapter_config.json", "adapter_model.safetensors"})
MAX_FILES = 256

_ARCHIVES = {
    b"PK\x03\x04": "a zip archive, as PyTorch's pickles are",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x7fELF": "a program",
    **{bytes([0x80, version]): "a pickle" for version in range(2, 6)},
}
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22


def require_name(bundle: Path, name: str) -> None:
    """Check the name of a file that a bundle lists.

    Raises:
        UnsafeError: it leads out of the bundle, is of a kind that could run code, or of one that no bundle holds.
    """
    path = bundle / "distilshift.json"
    if not _NAME.fullmatch(name):
        raise unsafe(path, f"a file named {brief(name)}", "plain names within the bundle")
    file = PurePosixPath(name)
    if file.suffix.lower() in EXECUTABLE_SUFFIXES:
        raise unsafe(path, f"{name}, a file that could run code", "safetensors, ONNX, JSON and text")
    if file.name in REDIRECTING:
        raise unsafe(path, f"{name}, which makes loaders fetch another model", "a model of its own")
    if file.suffix not in SUFFIXES and file.name not in SENTENCEPIECE:
        raise unsafe(path, f"{name}, a kind of file that no bundle holds", ", ".join(sorted(SUFFIXES)))


def is_harmless(name: str) -> bool:
    """Return whether a file's name shows that no loader takes the file for a part of a model."""
    lower = name.lower()
    named = lower in _HARMLESS_NAMES or any(pattern.fullmatch(lower) for pattern in (_NOTICE, _DOTFILE))
    return named or PurePosixPath(lower).suffix in _HARMLESS_SUFFIXES


def require_no_archive(path: Path) -> None:
    """Check that a file neither begins as an archive, a pickle or a program nor ends as a zip archive.

    Raises:
        UnsafeError: it does.
    """
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(max(0, path.stat().st_size - 65_536 - _ZIP_END_BYTES))
        tail = file.read()
    found = next((what for mark, what in _ARCHIVES.items() if head.startswith(mark)), None)
    # A safetensors header's length may begin with any byte; its scanner knows what must follow.
    if found and path.suffix != ".safetensors":
        raise unsafe(path, found, f"what {path.suffix} says")
    if _ends_as_zip(tail):
        raise unsafe(path, "a zip archive at its end", "one kind of content")


def _ends_as_zip(tail: bytes) -> bool:
    """Whether the record that closes a zip archive, with its comment, ends where the file ends."""
    at = tail.find(_ZIP_END)
    while at >= 0:
        comment = int.from_bytes(tail[at + 20 : at + 22], "little")
        if at + _ZIP_END_BYTES + comment == len(tail):
            return True
        at = tail.find(_ZIP_END, at + 1)
    return False
