"""Runs that are killed, interrupted or out of disk space: started again, they end as if they had not been.

    python -m pytest tests/pipeline/test_kill.py --kills 20 --kill-seed 7

stops each verb twenty times. A failure is repeated with the same two options and `-k` its trial's name.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from commands import Benchmark, Command, names
from killing import (
    INTERRUPTED,
    KILLS,
    Reference,
    Running,
    Stop,
    Trial,
    finish,
    moment,
    plan,
    running,
)
from nursery import Nursery

from disks import small_disk

# Bytes of room and seconds between checkpoints. Room for the first checkpoints but not for those that hold the best
# epoch's weights too; for the weights but not for the bundle.
ROOMS = {"saving": (700_000, 0.0), "writing": (200_000, 60.0)}
# The disk of a run that is to meet a full one.
DISK = "24m"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Few kills and one full disk in `make test`; the options are missing where no argument names this folder."""
    kills, seed = metafunc.config.getoption("kills", KILLS), metafunc.config.getoption("kill_seed", 0)
    if "trial" in metafunc.fixturenames:
        metafunc.parametrize("trial", plan(kills, seed), ids=str)
    if "room" in metafunc.fixturenames:
        chosen = ROOMS if kills > KILLS else {"saving": ROOMS["saving"]}
        metafunc.parametrize(("room", "checkpoint_seconds"), chosen.values(), ids=chosen)


def assert_whole(command: Command, output: Path, reference: Reference) -> None:
    """What was asked for is there and holds what it must, and `inspect` finds no fault with a bundle."""
    if not isinstance(command, Benchmark):
        line = [sys.executable, "-m", "distilshift", "inspect", str(output)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert command.content(output) == reference.content


def stopped(run: Running, stop: Stop, reference: Reference, stops: int, filler: Path) -> bool:
    """Stop a run; whether the stop came in time. What it leaves is whole or absent."""
    command, output = run.command, run.output
    due = run.watch(moment(stop, run, reference, stops))
    before_the_end = due and not command.is_placed(output)
    if stop.by == "full disk":
        run.fill(filler)
    else:
        number = signal.SIGINT if stop.by == "SIGINT" else signal.SIGKILL
        run.send(number, alone=stop.by == "SIGKILL of the runner")
    done = run.end()
    assert not any(line.startswith("Traceback") for line in done.lines()), done.err
    if stop.by == "full disk":
        in_time = done.code != 0
        assert not in_time or command.is_refusal(done.code, done.lines()), done.err
        assert not command.orphans(output, finished=False)
    elif stop.by == "SIGINT":
        in_time = due
        assert not before_the_end or (done.code, done.lines()[-1]) == (130, INTERRUPTED), done
        assert not before_the_end or not command.orphans(output, finished=False)
        assert done.code in (130, 0), done
    else:
        in_time = due
        assert done.code == -signal.SIGKILL or not before_the_end, done
    if command.is_placed(output):
        assert command.content(output) == reference.content
    return in_time


def continued(output: Path, reference: Reference, nursery: Nursery) -> None:
    """The same command again gives the same, and nothing beside it."""
    if reference.command.is_unfinished(output):
        done = finish(reference.command, output, nursery)
        assert done.code == 0, done
    assert not reference.command.orphans(output, finished=True)
    assert_whole(reference.command, output, reference)


@contextmanager
def workplace(trial: Trial, folder: Path) -> Iterator[Path]:
    """Where a trial works: on a disk of its own where that is to be filled."""
    if not any(stop.by == "full disk" for stop in trial.stops):
        yield folder
        return
    with small_disk(folder / "disk", DISK) as disk:
        yield disk


REFERENCES = {"teach": "taught", "adapt": "adapted", "bench": "measured"}


def test_a_stopped_run_ends_as_if_it_had_not_been(
    trial: Trial, request: pytest.FixtureRequest, tmp_path: Path, pytestconfig: pytest.Config, nursery: Nursery
):
    reference: Reference = request.getfixturevalue(REFERENCES[trial.verb])
    assert len(reference.timeline.writes) > 12  # a checkpoint a step, else there is little to stop at
    row: dict[str, Any] = asdict(trial) | {"stops": [], "identical": False}
    start = time.monotonic()
    try:
        with workplace(trial, tmp_path) as folder:
            output, filler = folder / "work" / "out", folder / "filler"
            for stop in trial.stops:
                with running(reference.command, output, nursery) as run:
                    in_time = stopped(run, stop, reference, len(trial.stops), filler)
                filler.unlink(missing_ok=True)
                seen = {"in_time": in_time, "seconds": run.seconds(), "writes": len(run.timeline.writes)}
                row["stops"].append(asdict(stop) | seen)
                if not reference.command.is_unfinished(output):
                    break
            continued(output, reference, nursery)
            row["identical"] = True
    finally:
        print(row)
        if log := pytestconfig.getoption("kill_log", None):
            with Path(log).open("a") as file:
                file.write(json.dumps(row | {"trial_seconds": time.monotonic() - start}) + "\n")


def test_a_full_disk_ends_in_one_line_and_room_lets_the_run_continue(
    taught: Reference, tmp_path: Path, room: int, checkpoint_seconds: float, nursery: Nursery
):
    with small_disk(tmp_path / "disk", "4m") as disk:
        output, filler = disk / "teacher", disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - room))
        done = finish(taught.command, output, checkpoint_seconds=checkpoint_seconds)
        assert taught.command.is_refusal(done.code, done.lines()), done
        assert names(disk) == {"filler", "teacher.run"}
        filler.unlink()
        continued(output, taught, nursery)


def test_the_plan_is_a_function_of_its_seed():
    assert plan(9, 0) == plan(9, 0) != plan(9, 1)
    assert [trial for trial in plan(30, 0) if trial.number < 3] == [trial for trial in plan(12, 0) if trial.number < 3]
    counts = {verb: sum(len(trial.stops) for trial in plan(20, 3) if trial.verb == verb) for verb in REFERENCES}
    assert counts == {"teach": 20, "adapt": 20, "bench": 20}
    assert replace(plan(4, 0)[0], stops=()) == Trial("teach", 0, ())
