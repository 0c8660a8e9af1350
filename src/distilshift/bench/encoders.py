"""Encoders in folders of this machine, which options name by their path while what is in them may change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilshift.bench.data import file_sha256
from distilshift.journal import fingerprint
from distilshift.packages import PACKAGED_ENCODERS

# The options of `teach` and `adapt` that may name such a folder, and what else they may say.
OPTIONS = ("base_model", "student", "mlm_head")
NO_FOLDERS = {*PACKAGED_ENCODERS, "cut", "static"}


def folder_digests(options: Mapping[str, Any]) -> dict[str, str]:
    """What is in each folder that an option names, `<option>_sha256` (hex); nothing for packages and a hub's models."""
    named = {name: str(options.get(name) or "") for name in OPTIONS}
    return {
        f"{name}_sha256": _digest(Path(value))
        for name, value in named.items()
        if value and value not in NO_FOLDERS and Path(value).is_dir()
    }


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return fingerprint([[path.name, file_sha256(path)] for path in files])
