"""The seconds that a cell takes, summed over its starts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distilshift.errors import OutputError
from distilshift.files import write_text

# How often the sum is noted, so that a killed start counts too.
NOTE_SECONDS = 5.0


def _noted(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0


@contextmanager
def stopwatch(path: Path) -> Iterator[Callable[[], float]]:
    """Time the block; the file keeps the sum until it is removed.

    Yields:
        a function that gives the seconds so far, those of earlier starts included.
    """
    before, start, ended = _noted(path), time.perf_counter(), threading.Event()

    def seconds() -> float:
        return before + time.perf_counter() - start

    def note() -> None:
        while not ended.wait(NOTE_SECONDS):
            with suppress(OutputError):  # a full disk stops the work itself, which says so
                write_text(path, f"{seconds()}", durable=False)

    path.parent.mkdir(parents=True, exist_ok=True)
    thread = threading.Thread(target=note, daemon=True)
    thread.start()
    try:
        yield seconds
    finally:
        ended.set()
        thread.join()
        write_text(path, f"{seconds()}", durable=False)
