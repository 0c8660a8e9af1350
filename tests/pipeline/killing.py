"""Commands in processes of their own, stopped at chosen points; what they leave, and what a bundle holds."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from distilshift.files import sha256_of

INTERRUPTED = "Interrupted. The same command continues where it stopped."
# Measured time, and what follows from it: which form of int8 is the first that is faster, and what is the default.
TIMED_FILES = ("onnx/model_quantized.onnx",)
TIMED_RUNTIME = ("default", "size_bytes", "int8")
TIMED_CARD_ROWS = ("| latency", "| int8 labels as fp32", "| form of int8", "| size of the ONNX")
TIMED_CARD_END = "## Forms that were tried"
# Only a hang takes as long, even on a machine with much other work.
TIME_LIMIT = 1200.0
# What `make test` can afford; `make soak` asks for more.
KILLS = 4

Kind = Literal["write", "time", "staging", "placed"]


@dataclass(frozen=True)
class Stop:
    """One signal to a running command.

    Attributes:
        kind: at a journal write, some time after the first one, while the bundle is written, or once it is there.
        at: how far in that, 0 to 1, of the uninterrupted run.
        signal: SIGKILL or SIGINT.
    """

    kind: Kind
    at: float
    signal: signal.Signals


@dataclass(frozen=True)
class Trial:
    """A command, and the stops that it must survive, each followed by a start of the same command."""

    verb: str
    number: int
    stops: tuple[Stop, ...]

    def __str__(self) -> str:
        kinds = "-".join(f"{stop.signal.name[3:].lower()}@{stop.kind}" for stop in self.stops)
        return f"{self.number}-{self.verb}-{kinds}"


# The first two are what `make test` runs: all parts of a run but the last, both signals.
PATTERN: tuple[tuple[str, tuple[tuple[Kind, signal.Signals], ...]], ...] = (
    ("teach", (("write", signal.SIGKILL), ("time", signal.SIGINT))),
    ("adapt", (("write", signal.SIGKILL), ("staging", signal.SIGKILL))),
    ("adapt", (("time", signal.SIGKILL),)),
    ("teach", (("write", signal.SIGKILL),) * 4),
    ("adapt", (("write", signal.SIGKILL), ("write", signal.SIGINT), ("write", signal.SIGKILL))),
    ("teach", (("placed", signal.SIGKILL),)),
    ("adapt", (("staging", signal.SIGINT), ("time", signal.SIGKILL))),
    ("teach", (("staging", signal.SIGKILL), ("time", signal.SIGKILL))),
    ("adapt", (("placed", signal.SIGKILL),)),
    ("adapt", (("time", signal.SIGINT), ("time", signal.SIGKILL))),
)


def plan(kills: int, seed: int) -> list[Trial]:
    """Trials with so many stops in all; the kinds follow `PATTERN`, the places are drawn from the seed."""
    trials: list[Trial] = []
    while kills > 0:
        number = len(trials)
        rng = random.Random(f"{seed}-{number}")
        verb, shapes = PATTERN[number % len(PATTERN)]
        stops = tuple(Stop(kind, round(rng.random(), 4), sent) for kind, sent in shapes[:kills])
        trials.append(Trial(verb, number, stops))
        kills -= len(stops)
    return trials


class Finished(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass
class Timeline:
    """When a run did what, in seconds from its start.

    Attributes:
        writes: times at which a new journal was seen.
        staged: a temporary folder of the bundle was seen.
        placed: the bundle was seen.
    """

    writes: list[float] = field(default_factory=list)
    staged: float | None = None
    placed: float | None = None


class Running:
    """A command in a process group of its own."""

    def __init__(self, arguments: list[Any], output: Path, checkpoint_seconds: float = 0.0) -> None:
        scratch = output.parent.with_name(f"{output.parent.name}.tmp")
        scratch.mkdir(exist_ok=True, parents=True)
        output.parent.mkdir(exist_ok=True)
        settings = {
            "OMP_NUM_THREADS": "1",
            "DISTILSHIFT_CHECKPOINT_SECONDS": str(checkpoint_seconds),
            "TMPDIR": str(scratch),
        }
        self.output, self.journal = output, output.with_name(f"{output.name}.run") / "journal.json"
        self.timeline = Timeline()
        self._there, self._version, self._start = names(output.parent), self._journal_version(), time.monotonic()
        self.continued = self._version is not None
        command = [sys.executable, "-m", "distilshift", *map(str, arguments), "-o", str(output)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | settings,
            start_new_session=True,
            # A shell that starts a benchmark in the background has it ignore SIGINT, which children inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

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

    def send(self, number: signal.Signals) -> None:
        """Signal the whole process group, as a terminal does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def end(self) -> Finished:
        """Wait for it."""
        out, err = self.process.communicate(timeout=TIME_LIMIT)
        return Finished(self.process.returncode, out, err)

    def _journal_version(self) -> tuple[int, int] | None:
        try:
            status = self.journal.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _look(self) -> None:
        now, version = self.seconds(), self._journal_version()
        if version not in (None, self._version):
            self.timeline.writes.append(now)
            self._version = version
        found = names(self.output.parent) - self._there
        if self.timeline.staged is None and any(name.startswith(f".{self.output.name}.part-") for name in found):
            self.timeline.staged = now
        if self.timeline.placed is None and self.output.name in found:
            self.timeline.placed = now


@contextmanager
def running(arguments: list[Any], output: Path, checkpoint_seconds: float = 0.0) -> Iterator[Running]:
    """A command under way; none of its processes outlives the block."""
    run = Running(arguments, output, checkpoint_seconds)
    try:
        yield run
    finally:
        run.send(signal.SIGCONT)
        run.send(signal.SIGKILL)
        run.process.communicate()


def finish(arguments: list[Any], output: Path, checkpoint_seconds: float = 0.0) -> Finished:
    """Run a command to its end."""
    with running(arguments, output, checkpoint_seconds) as run:
        return run.end()


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run: the command, what its bundle holds, and when it did what."""

    arguments: list[Any]
    output: Path
    content: dict[str, Any]
    timeline: Timeline
    seconds: float


def uninterrupted(arguments: list[Any], output: Path) -> Reference:
    """Run a command once, following it."""
    with running(arguments, output) as run:
        run.watch()
        seconds, done = run.seconds(), run.end()
    assert done.code == 0, done.err
    assert names(output.parent) == {output.name}
    timeline = run.timeline
    # A wink too short to be seen.
    staged = timeline.staged or timeline.writes[-1]
    return Reference(
        arguments, output, content(output), replace(timeline, staged=staged, placed=timeline.placed or seconds), seconds
    )


def moment(stop: Stop, run: Running, reference: Reference, stops: int) -> Callable[[], bool]:
    """A function that tells when a stop is due."""
    known, seen = reference.timeline, run.timeline
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


def names(folder: Path) -> set[str]:
    """What lies in a folder, hidden or not."""
    return {path.name for path in folder.iterdir()}


def content(bundle: Path) -> dict[str, Any]:
    """What of a bundle must not depend on how often its run was stopped: sha256 by file, and the manifest's facts."""
    found: dict[str, Any] = {
        path.relative_to(bundle).as_posix(): sha256_of(path) for path in bundle.rglob("*") if path.is_file()
    }
    card = (bundle / "README.md").read_text().partition(TIMED_CARD_END)[0].splitlines()
    found["README.md"] = [line for line in card if not line.startswith(TIMED_CARD_ROWS)]
    manifest = json.loads((bundle / "distilshift.json").read_text())
    del manifest["sha256"], manifest["files"]["README.md"]
    if runtime := manifest["runtime"]:
        for part, timed in ((runtime, TIMED_RUNTIME), (manifest["files"], TIMED_FILES), (found, TIMED_FILES)):
            for name in timed:
                del part[name]
    found["distilshift.json"] = manifest
    return found
