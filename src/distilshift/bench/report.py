"""The published tables, as Markdown, from the result files alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from distilshift.bench.matrix import in_percent
from distilshift.bench.methods import METHODS
from distilshift.bench.table import BASELINE, Table, read_table, table_folders

NOTE = (
    "Accuracy in per cent on the target's held-out test texts; mean ± standard deviation over the seeds that are "
    "measured. A number without a deviation is of one seed. A mean over pairs takes the seeds that have all of "
    "them, and is left out where none has. Int8: of the same students' int8 files; all other numbers are of fp32. "
    "Beginnings: of students that read no more of a text than 128 tokens, as loaders without windows do. All texts:"
    " on the target's train and test texts together, the former without labels in VADER's domains. Gain: over plain "
    "distillation, on the cells that both have, "
    "with the same teacher, and of the seeds that have all pairs, where one has; in brackets the 95 % interval of "
    "the mean from resampled test texts (paired; seeds and pairs as they are). Harmed: pairs more than one point "
    "below plain distillation. Seconds: median of a cell, without its teacher, which is not asked again what it has"
    " said for another cell."
)

# Numbers of a cell whose means a summary shows.
SUMMARY = {
    "mean": "test_accuracy",
    "macro-F1": "test_macro_f1",
    "int8": "test_accuracy_int8",
    "beginnings": "test_accuracy_beginning",
    "all texts": "all_accuracy",
}
F1_NOTE = (
    "Macro-F1: the mean over the classes of the F1 score on the held-out test texts, in per cent; all classes count "
    "alike, however rare they are. Cells from before it was measured have none."
)

SHARE_NOTE = (
    "Each target's training and test texts are resampled to the share of positives in the column's head. After the "
    "mean accuracy: the gain over plain distillation at the same share, and the pairs that are harmed."
)


def report(results: Path) -> str:
    """All tables of a folder of results."""
    tables = [read_table(folder) for folder in table_folders(results)]
    notes = [NOTE, *([F1_NOTE] if any(table.has(SUMMARY["macro-F1"]) for table in tables) else [])]
    return "\n\n".join([*map(section, tables), *notes]) if tables else "Not measured yet: `distilshift bench`."


def section(table: Table) -> str:
    """One table: a summary, then the pairs."""
    config = table.matrix.config
    total = len(table.matrix.cells())
    state = f"{table.missing()} of {total} cells are missing." if table.missing() else f"All {total} cells."
    pairs, seeds = len(table.matrix.pairs()), len(config.seeds)
    head = f"### {config.table}\n\n{pairs} pairs, {seeds} seed{'s' if seeds > 1 else ''}. {state}"
    methods = [method for method in METHODS if method in config.methods]
    measured = [method for method in methods if table.of_method(method)]
    parts = [head, *_bodies(table, measured)]
    if unmeasured := [METHODS[method].title for method in methods if method not in measured]:
        parts.append(f"No cell yet: {'; '.join(unmeasured)}.")
    if table.strangers:
        names = ", ".join(f"{cell.name}.json" for cell in table.strangers)
        parts.append(f"Made with other options than the matrix's, and left out: {names}.")
    return "\n\n".join(parts)


def _bodies(table: Table, methods: Sequence[str]) -> list[str]:
    """A summary and the pairs; of a table of label shift, the shares."""
    if not table.matrix.config.positive_shares:
        return [_summary(table, methods), _by_pair(table, methods)]
    return [_by_share(table, methods), SHARE_NOTE]


def _by_share(table: Table, methods: Sequence[str]) -> str:
    """A row a method, a column a positive share: mean over pairs and seeds, and the gain."""
    shares = table.matrix.config.positive_shares
    heads = ["", *(f"{in_percent(share)} % positive" for share in shares)]
    lines = [_line(heads), "|---" * len(heads) + "|"]
    for method in methods:
        cells = []
        for part in map(table.at, shares):
            gain, harmed = _gain(part, method)
            shown = _spread(part.means(method))
            cells.append(shown if gain == "–" else f"{shown}; {gain}; harmed {harmed}")
        lines.append(_line([METHODS[method].title, *cells]))
    return "\n".join(lines)


def _summary(table: Table, methods: Sequence[str]) -> str:
    numbers = {head: key for head, key in SUMMARY.items() if head != "macro-F1" or table.has(key)}
    heads = ["", "uses", "cells", *numbers, "gain", "harmed", "seconds"]
    lines = [_line(heads), "|---" * len(heads) + "|"]
    for method in methods:
        rows = table.of_method(method)
        seconds = f"{np.median([row['seconds'] for row in rows]):.0f}" if rows else "–"
        lines.append(
            _line(
                [
                    METHODS[method].title,
                    METHODS[method].uses or "–",
                    f"{len(rows)} of {_wanted(table, method)}",
                    *(_spread(table.means(method, key)) for key in numbers.values()),
                    *_gain(table, method),
                    seconds,
                ]
            )
        )
    return "\n".join(lines)


def _wanted(table: Table, method: str) -> int:
    """How many cells a row has when it is complete."""
    return len(table.matrix.pairs()) * len(table.matrix.seeds_of(method))


def _gain(table: Table, method: str) -> tuple[str, str]:
    """The gain and the number of harmed pairs."""
    gain = table.gain(method) if method != BASELINE else None
    if gain is None:
        return "–", "–"
    shown = f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    partly = "" if gain.cells == _wanted(table, method) else f" ({gain.cells} cells)"
    return shown + partly, f"{gain.harmed} of {gain.pairs}"


def _by_pair(table: Table, methods: Sequence[str]) -> str:
    """Methods by pairs, the longer of both downwards."""
    pairs = table.matrix.pairs()
    rows = [
        ["", *(f"{source} → {target}" for source, target in pairs)],
        *([METHODS[method].title, *(_spread(table.values([method], pair)) for pair in pairs)] for method in methods),
    ]
    if len(pairs) > len(methods):
        rows = [list(column) for column in zip(*rows, strict=True)]
    return "\n".join([_line(rows[0]), "|---" * len(rows[0]) + "|", *map(_line, rows[1:])])


def _spread(values: ArrayLike) -> str:
    """Mean ± standard deviation of fractions, in per cent."""
    points = 100 * np.ravel(values)
    if not len(points):
        return "–"
    return f"{points.mean():.1f} ± {points.std(ddof=1):.1f}" if len(points) > 1 else f"{points.mean():.1f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def fill(page: str, name: str, content: str) -> str:
    """A Markdown page with what lies between a table's two marks replaced; without them, as it is."""
    return re.sub(_place(name), lambda match: f"{match[1]}{content}\n{match[2]}", page, flags=re.S)


def has_place(page: str, name: str) -> bool:
    """Whether a page has the two marks of a table."""
    return bool(re.search(_place(name), page, flags=re.S))


def _place(name: str) -> str:
    return rf"(<!-- {name} table: [^\n]*-->\n).*?(<!-- end -->)"
