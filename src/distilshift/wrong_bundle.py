"""What a path is that was given as a bundle and is none, or is one of the other kind, and what to do about it."""

from __future__ import annotations

import shlex
from pathlib import Path

from distilshift.errors import BundleError
from distilshift.files import MARK
from distilshift.journal import CLEARED, FINISHED, JOURNAL
from distilshift.model_folder import finding, is_bundle, is_checkpoint, models_inside, near_names

_MAKES = "distilshift import makes a bundle of a Hugging Face classifier, distilshift teach of labelled texts"


def no_bundle(path: Path) -> BundleError:
    """The error for a path without a manifest, which says what it is instead."""
    got, fix = _missing(path) if not path.exists() else _file(path) if path.is_file() else _folder(path)
    return BundleError(f"{path} is not a bundle", expected=f"a folder with {MARK}", got=got, fix=fix)


def other_kind(bundle: Path, wanted: str) -> str:
    """What to do about a bundle of the other kind than the wanted one."""
    quoted = shlex.quote(str(bundle))
    if wanted == "student":
        return f"distilshift adapt {quoted} TEXTS -o STUDENT makes a student of it; name that"
    return f"name the teacher that it was made from; distilshift import {quoted} -o TEACHER makes a teacher of it"


def _missing(path: Path) -> tuple[str, str]:
    near = near_names(path, is_bundle)
    return "no such folder", f"did you mean {' or '.join(near)}?" if near else f"check the path; {_MAKES}"


def _file(path: Path) -> tuple[str, str]:
    if is_bundle(path.parent):
        return "a file", f"name the folder that it is in: {path.parent}"
    return "a file", f"name a folder; {_MAKES}"


def _folder(path: Path) -> tuple[str, str]:
    if any((path / name).exists() for name in (JOURNAL, CLEARED, FINISHED)):
        return "an unfinished run", "repeat the command that began it, which continues it"
    if inside := models_inside(path, is_bundle):
        return "a folder with bundles in it", f"name {' or '.join(inside)}"
    found = finding(path, "classifier")
    if found and not found.lacks:
        return found.what, found.fix
    if not is_checkpoint(path):
        return "none", f"check the path; {_MAKES}"
    return "a Hugging Face checkpoint", (
        f"distilshift import {shlex.quote(str(path))} -o TEACHER makes a teacher of it, and distilshift adapt TEACHER "
        f"TEXTS -o STUDENT a student; if it was a bundle, copy it again with its {MARK}"
    )
