"""Progress for people: bars with an ETA on a terminal, one log line a stage elsewhere."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger("distilshift")
Advance = Callable[[int], None]
# Set to 1, it hides progress bars; the environment reaches the processes of `--num-processes` too.
HIDDEN = "DISTILSHIFT_DISABLE_PROGRESS_BARS"


def disable_progress_bars() -> None:
    """Show no progress bars in this process and in those that it starts."""
    os.environ[HIDDEN] = "1"


def enable_progress_bars() -> None:
    """Show progress bars on a terminal again, as by default."""
    os.environ.pop(HIDDEN, None)


@contextmanager
def stage(name: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show one long step.

    Args:
        name: what is being done, in a few words.
        total: units of work.
        done: units an interrupted run had finished already.

    Yields:
        a function that takes the number of units just finished.
    """
    console, start = Console(stderr=True), time.perf_counter()
    if os.environ.get("RANK", "0") != "0":  # of many processes, the first one speaks
        yield lambda units: None
        return
    if not console.is_terminal or os.environ.get(HIDDEN, "0") not in ("", "0"):
        yield lambda units: None
        log.info("%s: %d in %.1f s", name, total - done, time.perf_counter() - start)
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(name, total=total, completed=done)
        yield lambda units: progress.advance(task, units)
