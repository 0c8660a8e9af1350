"""Progress over a matrix: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from distilshift.bench.estimate import in_words, remaining_seconds, seconds_by_method
from distilshift.bench.job import Job, read_result
from distilshift.bench.matrix import Cell


class Board:
    """Says what is under way, what came out, and how much is left.

    Args:
        results: the table's folder, whose finished cells tell how long others take.
        total: cells in all.
        console: where it is shown.
        progress: the bar; None where there is no terminal.
    """

    def __init__(self, results: Path, total: int, console: Console, progress: Progress | None) -> None:
        self._results, self._total, self._console, self._progress = results, total, console, progress
        self._left: Sequence[Cell] = ()
        self._task = progress.add_task("", total=total, left="") if progress else None

    def show(self, left: Sequence[Cell]) -> None:
        """Note which cells are left."""
        self._left = left
        if self._progress and self._task is not None:
            self._progress.update(self._task, completed=self._total - len(left), left=self._time_left())

    def begin(self, title: str) -> None:
        """A piece of work begins."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, description=title)
            return
        self.note(f"{self._total - len(self._left)} of {self._total} done, left: {self._time_left()}; now {title}")

    def end(self, job: Job) -> None:
        """A cell is measured."""
        row = read_result(job.result)
        accuracy, teacher = 100 * row["test_accuracy"], 100 * row["teacher_test_accuracy"]
        self.note(f"{job.cell.title}: {accuracy:.2f} (teacher {teacher:.2f}), {row['seconds']:.0f} s")

    def note(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _time_left(self) -> str:
        return in_words(remaining_seconds(self._left, seconds_by_method(self._results))) if self._left else "nothing"


@contextmanager
def board(results: Path, total: int) -> Iterator[Board]:
    """A board on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Board(results, total, console, None)
        return
    columns = (TextColumn("{task.description:<45}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left: {task.fields[left]}"), console=console) as progress:
        yield Board(results, total, console, progress)
