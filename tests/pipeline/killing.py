"""Commands in processes of their own, stopped at chosen points."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from commands import Command
from nursery import Child, Nursery

INTERRUPTED = "Interrupted. The same command continues where it stopped."
# Only a hang takes as long, even on a machine with much other work.
TIME_LIMIT = 1200.0
# Of each verb: what `make test` can afford; `make soak` asks for more.
KILLS = 2
# A checkpoint a step, so that there is much to stop at.
SETTINGS = {"OMP_NUM_THREADS": "1", "DISTILSHIFT_CHECKPOINT_SECONDS": "0"}

Kind = Literal["write", "time", "staging", "placed"]
# SIGKILL and SIGINT go to all processes of a command, as from a terminal; a benchmark's runner is also killed alone.
By = Literal["SIGKILL", "SIGINT", "full disk", "SIGKILL of the runner"]


@dataclass(frozen=True)
class Stop:
    """What ends a running command.

    Attributes:
        kind: at a journal write, some time after the first one, while the bundle is written, or once it is there.
        at: how far in that, 0 to 1, of the uninterrupted run.
        by: what does.
    """

    kind: Kind
    at: float
    by: By


@dataclass(frozen=True)
class Trial:
    """A command, and the stops that it must survive, each followed by a start of the same command."""

    verb: str
    number: int
    stops: tuple[Stop, ...]

    def __str__(self) -> str:
        stops = "-".join(f"{stop.by}@{stop.kind}" for stop in self.stops)
        return f"{self.verb}-{self.number}-{stops}".replace(" ", "_")


Shape = tuple[tuple[Kind, By], ...]
KILL, CTRL_C, FULL, ALONE = "SIGKILL", "SIGINT", "full disk", "SIGKILL of the runner"
# The first of each is what `make test` runs.
PATTERNS: dict[str, tuple[Shape, ...]] = {
    "teach": (
        (("write", KILL), ("time", CTRL_C)),
        (("write", FULL), ("time", KILL)),
        (("write", KILL),) * 4,
        (("time", FULL), ("time", CTRL_C), ("write", FULL)),
        (("placed", KILL),),
        (("write", CTRL_C), ("staging", KILL)),
    ),
    "adapt": (
        (("write", KILL), ("staging", KILL)),
        (("write", FULL), ("time", CTRL_C)),
        (("write", KILL), ("write", CTRL_C), ("write", KILL), ("staging", FULL)),
        (("time", KILL), ("staging", CTRL_C)),
        (("time", FULL), ("write", CTRL_C), ("time", KILL)),
        (("placed", KILL),),
    ),
    "bench": (
        (("write", KILL), ("time", CTRL_C)),
        (("write", FULL), ("time", FULL)),
        (("write", KILL), ("write", CTRL_C), ("staging", KILL)),
        (("time", ALONE),),
        (("time", KILL), ("staging", FULL), ("time", CTRL_C)),
        (("placed", KILL),),
    ),
}


def plan(kills: int, seed: int) -> list[Trial]:
    """Trials with so many stops of each verb; the kinds follow `PATTERNS`, the places are drawn from the seed."""
    trials: list[Trial] = []
    for verb, shapes in PATTERNS.items():
        left, number = kills, 0
        while left > 0:
            rng = random.Random(f"{seed}-{verb}-{number}")
            shape = shapes[number % len(shapes)][:left]
            trials.append(Trial(verb, number, tuple(Stop(kind, round(rng.random(), 4), by) for kind, by in shape)))
            left, number = left - len(shape), number + 1
    return trials


class Finished(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    def lines(self) -> list[str]:
        """What it printed on standard error; blank lines are click's end of ^C's."""
        return [*filter(None, self.err.splitlines())]


@dataclass
class Timeline:
    """When a run did what, in seconds from its start.

    Attributes:
        writes: times at which a new journal was seen.
        staged: a temporary folder of the bundle was seen.
        placed: what was asked for was seen.
    """

    writes: list[float] = field(default_factory=list)
    staged: float | None = None
    placed: float | None = None


def _started(line: list[Any], settings: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "distilshift", *map(str, line)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | SETTINGS | settings,
        start_new_session=True,
        # A shell that starts a benchmark in the background has it ignore SIGINT, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


class Running:
    """A command in a process group of its own, new or forked."""

    def __init__(self, command: Command, output: Path, settings: dict[str, str], nursery: Nursery | None) -> None:
        scratch = output.parent.with_name(f"{output.parent.name}.tmp")
        scratch.mkdir(exist_ok=True, parents=True)
        output.parent.mkdir(exist_ok=True)
        settings = settings | {"TMPDIR": str(scratch)}
        self.command, self.output, self.timeline = command, output, Timeline()
        self._seen, self._start = self._journals(), time.monotonic()
        self.continued = bool(self._seen)
        line = command.line(output)
        self.process: subprocess.Popen[str] | Child
        if nursery:
            self.process = nursery.start(line, settings)
        else:
            self.process = _started(line, settings)

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def watch(self, enough: Callable[[], bool] = lambda: False) -> bool:
        """Follow the run, looking every millisecond, until `enough()`; False where it ended before."""
        while self.process.poll() is None:
            self._look()
            if enough():
                return True
            assert self.seconds() < TIME_LIMIT, f"{self.output} is not there after {TIME_LIMIT} s"
            time.sleep(0.001)
        return False

    def send(self, number: signal.Signals, alone: bool = False) -> None:
        """Signal the whole process group, or its first process alone."""
        if self.process.poll() is None:
            (os.kill if alone else os.killpg)(self.process.pid, number)

    def fill(self, filler: Path) -> None:
        """Leave no room on the disk of this file until the command has ended."""
        with filler.open("ab", buffering=0) as file:
            while self.process.poll() is None:
                for size in (1 << 16, 1 << 12):
                    with suppress(OSError):
                        while file.write(bytes(size)) == size:
                            pass
                time.sleep(0.001)

    def end(self) -> Finished:
        """Wait for it."""
        out, err = self.process.communicate(timeout=TIME_LIMIT)
        return Finished(int(self.process.returncode or 0), out, err)

    def _journals(self) -> set[tuple[int, int]]:
        found = set()
        for path in self.command.journals(self.output):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.add((status.st_ino, status.st_mtime_ns))
        return found

    def _look(self) -> None:
        now, versions = self.seconds(), self._journals()
        if versions - self._seen:
            self.timeline.writes.append(now)
            self._seen |= versions
        if self.timeline.staged is None and self.command.is_staged(self.output):
            self.timeline.staged = now
        if self.timeline.placed is None and self.command.is_placed(self.output):
            self.timeline.placed = now


@contextmanager
def running(
    command: Command, output: Path, nursery: Nursery | None = None, checkpoint_seconds: float = 0.0
) -> Iterator[Running]:
    """A command under way; none of its processes outlives the block, but for those whose runner was killed alone."""
    run = Running(command, output, {"DISTILSHIFT_CHECKPOINT_SECONDS": str(checkpoint_seconds)}, nursery)
    try:
        yield run
    finally:
        run.send(signal.SIGCONT)
        run.send(signal.SIGKILL)
        run.process.communicate()


def finish(command: Command, output: Path, nursery: Nursery | None = None, checkpoint_seconds: float = 0.0) -> Finished:
    """Run a command to its end."""
    with running(command, output, nursery, checkpoint_seconds) as run:
        return run.end()


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run: the command, what it made, and when a forked one did what."""

    command: Command
    output: Path
    content: dict[str, Any]
    timeline: Timeline


def uninterrupted(command: Command, output: Path, nursery: Nursery) -> Reference:
    """Run a command once in a new process, for what it makes, and once forked, for its times; both must agree."""
    done = finish(command, output)
    assert done.code == 0, done
    assert not command.orphans(output, finished=True)
    made = command.content(output)
    again = output.parents[1] / "again" / output.name
    with running(command, again, nursery) as run:
        run.watch()
        seconds, done = run.seconds(), run.end()
    assert done.code == 0, done
    assert command.content(again) == made
    known = run.timeline
    # A wink too short to be seen.
    staged, placed = known.staged or known.writes[-1], known.placed or seconds
    return Reference(command, output, made, replace(known, staged=staged, placed=placed))


def moment(stop: Stop, run: Running, reference: Reference, stops: int) -> Callable[[], bool]:
    """A function that tells when a stop is due."""
    known, seen = reference.timeline, run.timeline
    assert known.placed is not None
    assert known.staged is not None
    if stop.kind == "write":
        # A share of the writes for each stop, so that a chain of them gets on and does not end early.
        wanted = 1 + int(stop.at * len(known.writes) / stops)
        return lambda: len(seen.writes) >= wanted
    if stop.kind == "time":
        wait = stop.at * (known.placed - known.writes[0])
        if run.continued:  # the journal stays as it is until there is something new: count from the usual time
            return lambda: run.seconds() >= known.writes[0] + wait
        return lambda: bool(seen.writes) and run.seconds() >= seen.writes[0] + wait
    if stop.kind == "staging":
        wait = stop.at * (known.placed - known.staged)
        return lambda: seen.staged is not None and run.seconds() >= seen.staged + wait
    wait = stop.at * 0.01
    return lambda: seen.placed is not None and run.seconds() >= seen.placed + wait
