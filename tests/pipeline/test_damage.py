"""Run directories that another process holds, that are damaged or of another command: refused, and the reason said."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import content, names
from killing import Finished, Reference, finish, running


@dataclass(frozen=True)
class Unfinished:
    """A run as it was at one moment, and how two processes at once ended.

    Attributes:
        folder: a copy of the run directory.
        second: how the second process ended.
        first: how the first one did, afterwards.
        output: what the first one made.
    """

    folder: Path
    second: Finished
    first: Finished
    output: Path


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory, taught: Reference) -> Unfinished:
    """A run is stopped for a while, which keeps its lock; meanwhile another process comes, and a copy is taken."""
    output = tmp_path_factory.mktemp("unfinished") / "work" / "teacher"
    with running(taught.command, output) as run:
        assert run.watch(lambda: len(run.timeline.writes) > 5)
        run.send(signal.SIGSTOP)
        copy = output.parent.with_name("copy.run")
        shutil.copytree(output.with_name("teacher.run"), copy)
        second = finish(taught.command, output)
        run.send(signal.SIGCONT)
        return Unfinished(copy, second, run.end(), output)


def test_a_second_process_is_refused_and_the_first_is_unharmed(unfinished: Unfinished, taught: Reference):
    assert unfinished.second.code == 2
    (line,) = unfinished.second.err.splitlines()
    assert "teacher.run is in use by another process. Fix: wait for it" in line
    assert unfinished.first.code == 0, unfinished.first.err
    assert names(unfinished.output.parent) == {"teacher"}
    assert content(unfinished.output) == taught.content


def flipped(data: bytes) -> bytes:
    """One bit in the middle changed."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def truncated(data: bytes) -> bytes:
    return data[:-100]


@pytest.fixture
def refused(run_cli: Callable[..., Finished], taught: Reference, unfinished: Unfinished, tmp_path: Path) -> Any:
    """A function that runs `teach` on a copy of the unfinished run, damaged before; it gives the error line."""
    run = tmp_path / "out.run"

    def refuse(damage: Callable[[Path], Any], *options: Any) -> str:
        shutil.copytree(unfinished.folder, run)
        damage(run)
        journal = (run / "journal.json").read_bytes()
        done = run_cli(*taught.command.arguments, *options, "-o", tmp_path / "out")
        assert (done.code, done.out) == (2, "")
        assert names(tmp_path) == {"out.run"}
        assert (run / "journal.json").read_bytes() == journal
        (line,) = done.err.splitlines()
        return line

    return refuse


@pytest.mark.parametrize("damage", [flipped, truncated])
@pytest.mark.parametrize("pattern", ["teach.*", "journal.json"])
def test_damage_is_named_and_fresh_starts_again(
    refused: Any, run_cli: Any, taught: Reference, tmp_path: Path, pattern: str, damage: Callable[[bytes], bytes]
):
    """One checkpoint is in use; another may be there that a kill kept from the journal."""
    line = refused(lambda folder: [path.write_bytes(damage(path.read_bytes())) for path in folder.glob(pattern)])
    assert " is damaged" in line
    assert f"out.run/{pattern.removesuffix('*')}" in line
    assert "--fresh" in line
    done = run_cli(*taught.command.arguments, "--fresh", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert names(tmp_path) == {"out"}
    assert content(tmp_path / "out") == taught.content


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--epochs", "5"], "epochs"), (["--batch-size", "16", "--learning-rate", "1e-3"], "batch_size, learning_rate")],
)
def test_another_commands_run_is_refused_and_kept(refused: Any, options: list[str], named: str):
    line = refused(lambda folder: None, *options)
    assert f"holds an unfinished run that is not this one: got a change in {named}. Fix: repeat" in line
    assert "--fresh" in line


def test_another_verbs_run_is_refused(run_cli: Any, unfinished: Unfinished, adapted: Reference, tmp_path: Path):
    shutil.copytree(unfinished.folder, tmp_path / "out.run")
    done = run_cli(*adapted.command.arguments, "-o", tmp_path / "out")
    assert done.code == 2
    assert ", stage, " in done.err
    assert names(tmp_path / "out.run") == names(unfinished.folder)
