"""How long the cells that are missing will take, from those that are there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median

from distilshift.bench.job import read_result
from distilshift.bench.matrix import Cell


def seconds_by_method(folder: Path) -> dict[str, float]:
    """Median seconds of a finished cell, by method, in a table's folder of results."""
    found: dict[str, list[float]] = {}
    for path in folder.glob("*.json"):
        row = read_result(path)
        if "cell_seconds" in row:
            found.setdefault(str(row["method"]), []).append(float(row["cell_seconds"]))
    return {method: median(seconds) for method, seconds in found.items()}


def remaining_seconds(cells: Iterable[Cell], known: dict[str, float]) -> float | None:
    """The sum over cells; one of a method without a finished cell counts as the median method. None: nothing known."""
    if not known:
        return None
    usual = median(known.values())
    return sum(known.get(cell.method, usual) for cell in cells)


def in_words(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "no cell has been timed yet"
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"about {minutes} min"
