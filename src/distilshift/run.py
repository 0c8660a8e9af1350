"""The run directory: one owner, a journal of what is finished, and files that are whole or absent."""

from __future__ import annotations

import fcntl
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.errors import RunError
from distilshift.files import flush, made_parents, output_errors, sha256_of
from distilshift.journal import (
    JOURNAL,
    clear,
    difference,
    discard,
    has_finished,
    read_journal,
    refuse_foreign,
    remove_all_but,
    remove_finished,
    write_journal,
)
from distilshift.mapped import Arrays, map_arrays

_LOG = logging.getLogger("distilshift")


@dataclass(frozen=True)
class Crew:
    """The processes that work on one run together: the first one writes, all of them read.

    Attributes:
        rank: this process, from 0.
        size: how many there are.
        wait: returns once every process has called it.
        total: the sum over processes of an array that each one gives.
    """

    rank: int = 0
    size: int = 1
    wait: Callable[[], None] = lambda: None
    total: Callable[[NDArray[Any]], NDArray[Any]] = lambda array: array

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0


ALONE = Crew()


class RunDirectory:
    """Open run directory; use `open_run`. Every process of the crew makes the same calls in the same order.

    Attributes:
        path: the folder.
        crew: who works on it.
        finished: this run had ended, its result in place, and was killed while its files were removed.
        shared: a folder where this run and others look for outputs and leave theirs; None: it keeps to itself.
    """

    def __init__(self, path: Path, journal: dict[str, Any], crew: Crew = ALONE) -> None:
        self.path, self.crew, self._journal = path, crew, journal
        self.finished = bool(journal.get("finished"))
        self.shared: Path | None = None
        self._sound: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._journal["files"]

    def names(self) -> list[str]:
        """The names of all saved files, in alphabetical order."""
        return sorted(self._journal["files"])

    def is_empty(self) -> bool:
        """Whether nothing is saved that a later start could use."""
        return not self._journal["files"]

    def save(self, name: str, write: Callable[[Path], None], **facts: Any) -> None:
        """Write a file through `write(path)` and note it, with `facts` (plain values), in the journal.

        The journal moves to the new file only once it is on the disk; the old one goes last.
        """
        self._write(name, write, facts)

    def _write(self, name: str, write: Callable[[Path], None], facts: dict[str, Any], durable: bool = True) -> None:
        if self.crew.leads:
            self._lead_write(name, write, {"facts": facts, "durable": durable})
        self._follow()

    def _lead_write(self, name: str, write: Callable[[Path], None], entry: dict[str, Any]) -> None:
        count = self._journal["writes"] + 1
        path = self.path / f"{name}.{count}"
        with output_errors(path):
            write(path)
            if entry["durable"]:
                flush(path)
        old = self._journal["files"].get(name)
        self._journal["writes"] = count
        self._journal["files"][name] = {"file": path.name, "sha256": sha256_of(path), **entry}
        worth = any(file["durable"] for file in self._journal["files"].values())  # what a power cut could take
        write_journal(self.path, self._journal, durable=worth)
        if old:
            (self.path / old["file"]).unlink(missing_ok=True)

    def _follow(self) -> None:
        """Let the others see what the first process wrote."""
        self.crew.wait()
        if not self.crew.leads:
            self._journal = read_journal(self.path)
        self.crew.wait()  # before the first process writes again

    def file(self, name: str) -> Path:
        """The path of a saved file, its content checked.

        Raises:
            RunError: it is damaged.
        """
        entry = self._journal["files"][name]
        path = self.path / entry["file"]
        if path.name not in self._sound and (not path.is_file() or sha256_of(path) != entry["sha256"]):
            raise RunError(
                f"{path} is damaged",
                expected=f"sha256 {entry['sha256'][:12]}…",
                fix=f"pass --fresh, or remove {self.path}, to start this run again",
            )
        self._sound.add(path.name)
        return path

    def facts(self, name: str) -> dict[str, Any]:
        """What was noted beside a saved file."""
        return self._journal["files"][name]["facts"]

    def drop(self, name: str) -> None:
        """Forget a file that is no longer needed, and remove it."""
        entry = self._journal["files"].pop(name, None)
        self.crew.wait()  # no process reads it any more
        if entry and self.crew.leads:
            write_journal(self.path, self._journal)
            (self.path / entry["file"]).unlink(missing_ok=True)

    def arrays(self, name: str, compute: Callable[[], Arrays], *, lead_only: bool = False) -> Arrays:
        """Arrays computed once, and then memory-mapped, read-only, from the file that keeps them.

        They survive the process, but nothing waits for the disk: what a power cut damages is computed again.

        Args:
            name: of the file.
            compute: called by all processes, each of which gets the whole result.
            lead_only: only the first process computes.
        """
        from safetensors.numpy import save_file

        if name not in self:
            values = compute() if self.crew.leads or not lead_only else {}
            # safetensors writes an array's memory as it lies, whatever its strides.
            values = {key: np.ascontiguousarray(array) for key, array in values.items()}
            self._write(name, lambda path: save_file(values, path), {}, durable=False)
        return map_arrays(self.file(name))


def fingerprint_array(array: NDArray[Any]) -> str:
    """sha256 (hex) of an array's type, shape and bytes."""
    header = f"{array.dtype}{array.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


@contextmanager
def open_run(path: Path, identity: dict[str, Any], fresh: bool = False, crew: Crew = ALONE) -> Iterator[RunDirectory]:
    """Start or continue the run in `path`; it is removed when the block succeeds, or fails with nothing saved.

    Args:
        path: the run directory, made where missing.
        identity: what makes two runs the same: stage, options, hashes of the inputs, versions.
        fresh: discard what an earlier run left there.
        crew: the processes that work on it; all of them call this.

    Raises:
        RunError: another process holds it, it belongs to another run, or it is no run directory.
        OutputError: it cannot be written.
    """
    if not crew.leads:
        crew.wait()  # until the first process has opened it
        yield RunDirectory(path, _journal(path, identity), crew)
        crew.wait()
        return
    with made_parents(path), _claimed(path):
        if fresh:
            clear(path)
        run, finished = None, False
        try:
            run = RunDirectory(path, _owned_journal(path, identity), crew)
            crew.wait()
            yield run
            crew.wait()
            finished = True
        finally:
            if finished:
                remove_finished(path)
            elif run.is_empty() if run else not (path / JOURNAL).exists():
                discard(path)


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """The folder of a run, made where missing, held by this process alone."""
    with output_errors(path):
        path.mkdir(exist_ok=True)
        refuse_foreign(path)
        lock = (path / "lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{path} is in use by another process", fix="wait for it, or choose another output"
            ) from None
        yield


def _owned_journal(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The journal, for the process that holds the lock; begun anew where nothing is saved, whoever left it."""
    if not (path / JOURNAL).exists() or not read_journal(path)["files"]:
        finished = has_finished(path, identity)
        if not finished:
            clear(path)
        journal = {"identity": identity, "finished": finished, "writes": 0, "files": {}}
        write_journal(path, journal)
        remove_all_but(path, {"lock", JOURNAL})
        return journal
    journal = _journal(path, identity)
    if _forget_damaged_arrays(path, journal):
        write_journal(path, journal)  # the others read it there
    _drop_orphans(path, journal)
    return journal


def _forget_damaged_arrays(path: Path, journal: dict[str, Any]) -> bool:
    """Arrays that never reached the disk before a power cut are computed again; a damaged checkpoint is an error.

    Returns:
        whether there were any.
    """
    before = len(journal["files"])
    for name, entry in list(journal["files"].items()):
        file = path / entry["file"]
        if not entry["durable"] and (not file.is_file() or sha256_of(file) != entry["sha256"]):
            _LOG.warning("%s is damaged and is computed again", file)
            del journal["files"][name]
    return len(journal["files"]) < before


def _journal(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    journal = read_journal(path)
    found = journal["identity"]
    if found != identity:
        changed, fix = difference(found, identity, f"pass --fresh, or remove {path}, to start again")
        raise RunError(f"{path} holds an unfinished run that is not this one", got=changed, fix=fix)
    return journal


def _drop_orphans(path: Path, journal: dict[str, Any]) -> None:
    """Remove files that a killed process wrote but never noted."""
    remove_all_but(path, {entry["file"] for entry in journal["files"].values()} | {"lock", JOURNAL})
