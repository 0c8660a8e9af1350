"""Progress for people: bars with an ETA on a terminal, one log line a stage elsewhere."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger("distilshift")


Advance = Callable[[int], None]


class NotedAdvance(Protocol):
    """An `Advance` that also takes a note."""

    def __call__(self, units: int, note: str = "") -> None:
        """Move on by `units`; `note` is shown beside the bar."""


@contextmanager
def stage(name: str, total: int, done: int = 0) -> Iterator[NotedAdvance]:
    """Show one long step.

    Args:
        name: what is being done, in a few words.
        total: units of work.
        done: units an interrupted run had finished already.

    Yields:
        a function that takes the number of units just finished, and a note to show beside them.
    """
    console, start, last = Console(stderr=True), time.perf_counter(), ""

    def note_only(units: int, note: str = "") -> None:
        nonlocal last
        last = note

    if os.environ.get("RANK", "0") != "0":  # of many processes, the first one speaks
        yield note_only
        return
    if not console.is_terminal:
        yield note_only
        suffix = f", {last}" if last else ""
        log.info("%s: %d in %.1f s%s", name, total - done, time.perf_counter() - start, suffix)
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, *times, console=console) as progress:
        task = progress.add_task(name, total=total, completed=done, note="")

        def advance(units: int, note: str = "") -> None:
            progress.update(task, advance=units, note=note)

        yield advance
