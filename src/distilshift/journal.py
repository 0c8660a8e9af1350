"""The journal of a run: whole or absent, checked against its own hash; and how a run directory is emptied."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from distilshift.errors import RunError
from distilshift.files import write_json

JOURNAL = "journal.json"
# The journal's name while the files that it listed are being removed: to begin anew, or because the run has finished.
CLEARED = ".journal.json.cleared"
FINISHED = ".journal.json.finished"
# Names in a run's identity of what its options do not say.
CODE, VERSION, DEVICE, PRECISION = "code of distilshift", "version of ", "device in use", "precision in use"


def fingerprint(content: Any) -> str:
    """sha256 (hex) of plain values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_journal(path: Path, journal: dict[str, Any], *, durable: bool = True) -> None:
    """Write the journal of the run in `path`, with its hash."""
    write_json(path / JOURNAL, journal | {"sha256": fingerprint(journal)}, durable=durable)


def read_journal(path: Path, name: str = JOURNAL) -> dict[str, Any]:
    """The journal, checked against its own hash: a step count that changed on the disk would change the result.

    Raises:
        RunError: it is damaged.
    """
    file = path / name
    try:
        journal = dict(json.loads(file.read_text(encoding="utf-8")))
        intact = journal.pop("sha256") == fingerprint(journal)
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise RunError(f"{file} is damaged", fix=f"pass --fresh, or remove {path}, to start this run again")
    return journal


def has_finished(path: Path, identity: dict[str, Any]) -> bool:
    """Whether the run of this identity had finished in `path`, and was killed while its files were removed."""
    name = FINISHED if (path / FINISHED).exists() else JOURNAL
    if not (path / name).exists():
        return False
    journal = read_journal(path, name)
    return journal["identity"] == identity and (name == FINISHED or bool(journal.get("finished")))


def refuse_foreign(path: Path) -> None:
    """What a run leaves before its journal is whole is its lock at the most; other files are the user's.

    Raises:
        RunError: there are others.
    """
    found = [entry.name for entry in path.iterdir() if entry.name != "lock" and f".{JOURNAL}.part" not in entry.name]
    if found and not {JOURNAL, CLEARED, FINISHED} & set(found):
        raise RunError(
            f"{path} is needed for unfinished work",
            expected="a free name, or a run directory",
            got=f"a folder with {sorted(found)[0]}",
            fix="move it away, or choose another output",
        )


def clear(path: Path) -> None:
    """Remove all but the lock; a kill in between leaves what the next start clears again.

    Needs no space, so that --fresh works on a full disk.
    """
    with suppress(FileNotFoundError):
        (path / JOURNAL).rename(path / CLEARED)
    remove_all_but(path, {"lock", CLEARED})
    (path / CLEARED).unlink(missing_ok=True)


def remove_finished(path: Path) -> None:
    """Remove the directory of a run that has finished; until the end, it says so.

    A disk that fails now must not fail the run: its result is in place.
    """
    with suppress(OSError):
        with suppress(FileNotFoundError):
            (path / JOURNAL).rename(path / FINISHED)
        remove_all_but(path, {FINISHED})
        (path / FINISHED).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def discard(path: Path) -> None:
    """Remove the directory of a run that failed with nothing saved."""
    with suppress(OSError):
        clear(path)
    shutil.rmtree(path, ignore_errors=True)


def remove_all_but(path: Path, kept: set[str]) -> None:
    """Remove the folder's entries but those of these names."""
    for entry in path.iterdir():
        if entry.name not in kept:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any], discard: str) -> tuple[str, str]:
    """What differs between two identities, and what to do about it.

    Args:
        found: of the work that is there.
        wanted: of the work that is asked for.
        discard: how to begin anew.
    """
    changed = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    shown = ", ".join(_change(key, found.get(key), wanted.get(key)) for key in changed)
    kinds = {_kind(key) for key in changed}
    if kinds == {"code"}:
        fix = f"{discard}; or go back to the code and versions that began it to continue it"
    elif kinds == {"place"}:
        fix = f"continue it on that device and in that precision, or {discard}"
    else:
        fix = f"repeat the first command to continue it, or {discard}"
    return f"a change in {shown}", fix


def _kind(key: str) -> str:
    if key == CODE or key.startswith(VERSION):
        return "code"
    return "place" if key in (DEVICE, PRECISION) else "options"


def _change(key: str, before: Any, after: Any) -> str:
    """An entry's name, with its values where they mean something to a reader."""
    plain = key != CODE and _kind(key) != "options" and before and after
    return f"{key} ({before}, now {after})" if plain else key
