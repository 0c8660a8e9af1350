"""Encoders in folders of this machine, which options name by their path while what is in them may change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distilshift.files import sha256_of
from distilshift.journal import fingerprint
from distilshift.packages import PACKAGED_ENCODERS

# The options of `teach` and `adapt` that may name such a folder, and what else they may say.
OPTIONS = ("base_model", "student", "mlm_head")
NO_FOLDERS = {*PACKAGED_ENCODERS, "cut", "static"}


def encoder_folders(options: Mapping[str, Any]) -> dict[str, Path]:
    """The folders that options name, by option; packages and models of a hub are none."""
    named = {name: str(options.get(name) or "") for name in OPTIONS}
    given = {name: Path(value) for name, value in named.items() if value and value not in NO_FOLDERS}
    return {name: folder for name, folder in given.items() if folder.is_dir()}


def folder_sha256(folder: Path, digest: Callable[[Path], str] = sha256_of) -> str:
    """sha256 (hex) of the files of a checkpoint's folder; `digest` gives that of a file."""
    return fingerprint([(path.name, digest(path)) for path in sorted(folder.iterdir()) if path.is_file()])
