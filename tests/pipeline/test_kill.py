"""Runs that are killed, interrupted, out of disk space or tampered with: the end is the same, or says what is wrong.

    python -m pytest tests/pipeline/test_kill.py --kills 20 --kill-seed 7

A failure is repeated with the same two options and `-k` its trial's number.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from killing import (
    INTERRUPTED,
    KILLS,
    Finished,
    Reference,
    Running,
    Stop,
    Trial,
    content,
    finish,
    moment,
    names,
    plan,
    running,
    uninterrupted,
)

from disks import small_disk
from texts import make_texts

TEACH = ["--epochs", "4", "--learning-rate", "3e-3", "--max-length", "32", "--precision", "fp32"]
ADAPT = [
    *("--student-layers", "1", "--adapt-epochs", "3", "--distil-epochs", "4", "--adapt-learning-rate", "1e-3"),
    *("--distil-learning-rate", "1e-3", "--precision", "fp32"),
]


# Bytes of room and seconds between checkpoints. Room for the first checkpoints but not for those that hold the best
# epoch's weights too; for the weights but not for the bundle.
ROOMS = {"saving": (700_000, 0.0), "writing": (200_000, 60.0)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Few kills and one full disk in `make test`; the options are missing where no argument names this folder."""
    kills, seed = metafunc.config.getoption("kills", KILLS), metafunc.config.getoption("kill_seed", 0)
    if "trial" in metafunc.fixturenames:
        metafunc.parametrize("trial", plan(kills, seed), ids=str)
    if "room" in metafunc.fixturenames:
        chosen = ROOMS if kills > KILLS else {"saving": ROOMS["saving"]}
        metafunc.parametrize(("room", "checkpoint_seconds"), chosen.values(), ids=chosen)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, source_file: Path) -> Reference:
    """Teaching, not stopped."""
    output = tmp_path_factory.mktemp("reference") / "work" / "teacher"
    return uninterrupted(["teach", source_file, "--base-model", tiny_encoder, *TEACH], output)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory, taught: Reference) -> Reference:
    """Adapting, not stopped."""
    folder = tmp_path_factory.mktemp("reference")
    texts = folder / "target.txt"
    texts.write_text("\n".join(text for text, _ in make_texts(300, 2)) + "\n")
    return uninterrupted(["adapt", taught.output, texts, *ADAPT], folder / "work" / "student")


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
    with running(taught.arguments, output) as run:
        assert run.watch(lambda: len(run.timeline.writes) > 5)
        run.send(signal.SIGSTOP)
        copy = output.parent.with_name("copy.run")
        shutil.copytree(run.journal.parent, copy)
        second = finish(taught.arguments, output)
        run.send(signal.SIGCONT)
        return Unfinished(copy, second, run.end(), output)


def one_line(text: str) -> str:
    """The line that says what went wrong; before it, at most the lines of finished stages, and click's end of ^C's."""
    *stages, last = filter(None, text.splitlines())
    assert all(" in " in line and line.endswith(" s") for line in stages), text
    return last


def assert_whole(output: Path, reference: Reference) -> None:
    """The bundle is there, `inspect` finds no fault with it, and it holds what it must."""
    command = [sys.executable, "-m", "distilshift", "inspect", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert content(output) == reference.content


def stopped(run: Running, stop: Stop, reference: Reference, stops: int) -> bool:
    """Stop a run; whether the stop came in time. What it leaves is whole or absent."""
    output = run.output
    in_time = run.watch(moment(stop, run, reference, stops))
    run.send(stop.signal)
    before_the_end = in_time and not output.exists()
    done = run.end()
    assert "Traceback" not in done.err
    if before_the_end and stop.signal == signal.SIGINT:
        assert (done.code, one_line(done.err)) == (130, INTERRUPTED)
        assert names(output.parent) <= {output.name, f"{output.name}.run"}
    elif before_the_end:
        assert done.code == -stop.signal, done.err
    else:
        assert done.code in (-stop.signal, 130, 0), done.err
    if output.exists():
        assert_whole(output, reference)
    return in_time


def continued(output: Path, reference: Reference) -> None:
    """The same command again gives the same bundle, and nothing beside it."""
    run = output.with_name(f"{output.name}.run")
    if not output.exists() or run.exists():  # a bundle without a run directory: it had finished
        done = finish(reference.arguments, output)
        assert done.code == 0, done.err
    assert names(output.parent) == {output.name}
    assert content(output) == reference.content


def test_a_stopped_run_ends_as_if_it_had_not_been(
    trial: Trial, request: pytest.FixtureRequest, tmp_path: Path, pytestconfig: pytest.Config
):
    reference: Reference = request.getfixturevalue("taught" if trial.verb == "teach" else "adapted")
    assert len(reference.timeline.writes) > 20  # a checkpoint a step, else there is little to stop at
    output, start = tmp_path / "work" / "out", time.monotonic()
    row: dict[str, Any] = asdict(trial) | {"stops": [], "identical": False}
    print(trial)
    try:
        for stop in trial.stops:
            with running(reference.arguments, output) as run:
                in_time = stopped(run, stop, reference, len(trial.stops))
            at = {"kind": stop.kind, "signal": stop.signal.name, "at": stop.at, "in_time": in_time}
            row["stops"].append(at | {"seconds": run.seconds(), "writes": len(run.timeline.writes)})
            if output.exists():
                break
        continued(output, reference)
        row["identical"] = True
    finally:
        print(row)
        if log := pytestconfig.getoption("kill_log", None):
            with Path(log).open("a") as file:
                file.write(json.dumps(row | {"trial_seconds": time.monotonic() - start}) + "\n")


def test_a_full_disk_ends_in_one_line_and_room_lets_the_run_continue(
    taught: Reference, tmp_path: Path, room: int, checkpoint_seconds: float
):
    with small_disk(tmp_path / "disk", "4m") as disk:
        output, filler = disk / "teacher", disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - room))
        done = finish(taught.arguments, output, checkpoint_seconds)
        line = one_line(done.err)
        assert done.code == 2
        assert line.startswith("Error: cannot write ")
        assert "No space left on device. Fix: free some space" in line
        assert names(disk) == {"filler", "teacher.run"}
        filler.unlink()
        continued(output, taught)


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
        done = run_cli(*taught.arguments, *options, "-o", tmp_path / "out")
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
    done = run_cli(*taught.arguments, "--fresh", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert names(tmp_path) == {"out"}
    assert content(tmp_path / "out") == taught.content


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--epochs", "5"], "epochs"), (["--batch-size", "16", "--learning-rate", "1e-3"], "batch_size, learning_rate")],
)
def test_another_commands_run_is_refused_and_kept(refused: Any, options: list[str], named: str):
    line = refused(lambda folder: None, *options)
    assert f"holds an unfinished run with other inputs or options: got a change in {named}. Fix: repeat" in line
    assert "--fresh" in line


def test_another_verbs_run_is_refused(run_cli: Any, unfinished: Unfinished, adapted: Reference, tmp_path: Path):
    shutil.copytree(unfinished.folder, tmp_path / "out.run")
    done = run_cli(*adapted.arguments, "-o", tmp_path / "out")
    assert done.code == 2
    assert ", stage, " in done.err
    assert names(tmp_path / "out.run") == names(unfinished.folder)


def test_the_plan_is_a_function_of_its_seed():
    assert plan(9, 0) == plan(9, 0) != plan(9, 1)
    assert plan(30, 0)[: len(plan(9, 0)) - 1] == plan(9, 0)[:-1]
    assert sum(len(trial.stops) for trial in plan(20, 3)) == 20
    assert replace(plan(4, 0)[0], stops=()) == Trial("teach", 0, ())
