"""Running a matrix: the next cell that nobody holds, until none is left; a failed one stops no other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from distilshift.bench.job import Job, is_done, of_another_teacher, take_over
from distilshift.bench.matrix import Cell
from distilshift.bench.show import Board
from distilshift.bench.worker import claimed, log_of, sweep, work
from distilshift.errors import BundleError

# How often a runner looks again when every cell that is left waits for a teacher that another runner teaches.
POLL_SECONDS = 5.0
# How long cells that others hold are waited for when nothing else is left: a worker whose runner was killed needs some
# of it to stop, and its cell is then free.
GRACE_SECONDS = 60.0

Outcome = Literal["worked", "taken", "waits"]


@dataclass
class Report:
    """What a start of a runner came to.

    Attributes:
        measured: cells that this runner measured.
        shared: cells whose result another table had already.
        taken: cells that another runner was measuring when this one had nothing else to do.
        failed: what went wrong, by cell.
    """

    measured: list[Cell] = field(default_factory=list)
    shared: list[Cell] = field(default_factory=list)
    taken: list[Cell] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)


def missing(jobs: Sequence[Job]) -> list[Job]:
    """The cells that have no file, or one from other options or data."""
    return [job for job in jobs if not is_done(job)]


class Runner:
    """One runner of a matrix; several may share its folders.

    Args:
        jobs: the cells, in the order in which they are wanted.
        board: shows how far it is.
    """

    def __init__(self, jobs: Sequence[Job], board: Board) -> None:
        self._jobs, self._board, self.report = list(jobs), board, Report()
        self._bad_teachers: dict[Path, str] = {}
        self._known_teachers: set[Path] = set()

    def run(self) -> Report:
        """Measure what is missing.

        Raises:
            KeyboardInterrupt: after Ctrl-C; the work under way is saved.
        """
        for job in self._jobs:
            if is_done(job):
                sweep(job)
        patience = GRACE_SECONDS
        while waiting := self._waiting():
            self._board.show([job.cell for job in waiting])
            outcome = self._work_on_first(waiting)
            if outcome != "taken":
                patience = GRACE_SECONDS
            elif patience <= 0:
                self.report.taken = [job.cell for job in waiting]
                break
            if outcome != "worked":
                time.sleep(POLL_SECONDS)
                patience -= POLL_SECONDS
        self._board.show([])
        return self.report

    def _waiting(self) -> list[Job]:
        """What is missing, but for what this runner has done or failed at: a result may be replaced by another's."""
        tried = {*self.report.failed, *self.report.measured, *self.report.shared}
        return missing([job for job in self._jobs if job.cell not in tried])

    def _work_on_first(self, waiting: Sequence[Job]) -> Outcome:
        """Work on the first cell that can be had; what keeps the others where none can."""
        outcomes: set[Outcome] = set()
        for job in waiting:
            outcome = self._measure(job) if self._has_teacher(job) else self._teach(job)
            if outcome == "worked":
                return outcome
            outcomes.add(outcome)
        return "waits" if "waits" in outcomes else "taken"

    def _has_teacher(self, job: Job) -> bool:
        return job.teacher.exists()

    def _teach(self, job: Job) -> Outcome:
        """Teach the cell's teacher; the cell itself comes in the next turn."""
        if reason := self._bad_teachers.get(job.teacher):
            return self._fail(job, reason)
        teaching = replace(job, kind="teacher")
        with claimed(teaching) as lock:
            if lock is None:
                return "waits"
            if self._has_teacher(job):  # another runner has finished it just now
                return "worked"
            seed = job.matrix.teacher_config(job.cell.seed).seed
            self._board.begin(f"teacher for {job.cell.source}, seed {seed}")
            if reason := work(teaching, lock):
                self._bad_teachers[job.teacher] = f"its teacher failed: {reason} (see {log_of(teaching)})"
        return "worked"

    def _measure(self, job: Job) -> Outcome:
        with claimed(job) as lock:
            if lock is None:
                return "taken"
            if is_done(job):  # another runner has finished it just now
                return "worked"
            self._compare_teacher(job)
            if take_over(job):
                self.report.shared.append(job.cell)
                return "worked"
            self._board.begin(job.cell.title)
            reason = work(job, lock)
        if reason or not is_done(job):
            return self._fail(job, f"{reason or 'it left no result'} (see {log_of(job)})")
        self.report.measured.append(job.cell)
        self._board.end(job)
        return "worked"

    def _compare_teacher(self, job: Job) -> None:
        """Say, once a teacher, whether results that are there were measured with another one."""
        if job.teacher in self._known_teachers:
            return
        self._known_teachers.add(job.teacher)
        with suppress(BundleError):  # a damaged teacher is the cell's to report
            if others := of_another_teacher(job):
                self._board.note(
                    f"{job.cell.source}, seed {job.cell.seed}: {len(others)} results are of another teacher than "
                    f"{job.teacher}, which other code taught, or another kind of processor; no gain is told between "
                    f"them and new ones. Fix: remove them ({others[0].name}.json …), or bring back their teacher"
                )

    def _fail(self, job: Job, reason: str) -> Outcome:
        self.report.failed[job.cell] = reason
        self._board.note(f"{job.cell.title}: failed: {reason}")
        return "worked"
