"""Tables that hold the main ones to account: like beside like, and without the pairs of choices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distilshift.bench.table import Gain, Table, read_table

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
# The pairs that options were chosen on.
DEVELOPMENT = {("dvd", "kitchen"), ("kitchen", "dvd"), ("airline", "imdb"), ("imdb", "airline")}
# What reads texts alike: a row, what it is held against, and the title.
ALIKE = (
    ("distilshift", "plain-kd-windows", "distilshift, plain distillation in windows"),
    ("default-size", "plain-kd-windows", "`small`, the default size, plain distillation in windows"),
    ("two-layers", "plain-kd-windows", "`small` with two layers, plain distillation in windows"),
    ("distilshift", "teacher-windows", "distilshift, the teacher in windows"),
    ("distilshift", "oracle-windows", "distilshift, the oracle in windows"),
    ("distilshift", "oracle", "distilshift, the oracle, which reads beginnings"),
)


def alike_table() -> str:
    """Rows against others than plain distillation of beginnings, on the twelve pairs."""
    table = read_table(RESULTS / "amazon12-minilm")
    lines = ["| | seeds | points | 95 % interval | harmed |", "|---|---|---|---|---|"]
    for row, other, title in ALIKE:
        if gain := table.gain(row, other):
            seeds = gain.cells // gain.pairs
            lines.append(f"| {title} | {seeds} | {_points(gain)} | {gain.harmed} of {gain.pairs} |")
    return "\n".join([*lines, "\nHarmed: pairs where the former is more than a point below the latter."])


def _points(gain: Gain) -> str:
    return f"{100 * gain.mean:+.1f} | {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"


# A line each: the matrix and, of a resampled one, the share of positives.
CHOSEN = (
    ("amazon12-minilm", None, "the twelve pairs"),
    ("all30-minilm", None, "the thirty pairs"),
    ("amazon12-mpnet", None, "the twelve pairs, a teacher of BERT's size"),
    *(("label-shift", share, f"resampled, {share:.0%} positive") for share in (0.1, 0.3, 0.5, 0.7, 0.9)),
)


def chosen_table() -> str:
    """The gain over plain distillation with and without the pairs that options were chosen on."""
    lines = ["| gain, points | all pairs | without development pairs | these alone |", "|---|---|---|---|"]
    for name, share, title in CHOSEN:
        whole = read_table(RESULTS / name)
        table = whole if share is None else whole.at(share)
        gains = _gains(table)
        own = [gain for pair, gain in gains.items() if pair in DEVELOPMENT]
        others = [gain for pair, gain in gains.items() if pair not in DEVELOPMENT]
        cells = [f"{100 * np.mean(each):+.1f} ({len(each)})" for each in (list(gains.values()), others, own)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join([*lines, "\nIn brackets: how many pairs."])


def _gains(table: Table) -> dict[tuple[str, str], float]:
    """Each measured pair's gain over plain distillation, mean of its seeds."""
    values = {pair: table.values(("plain-kd", "distilshift"), pair) for pair in table.matrix.pairs()}
    return {pair: float((rows[:, 1] - rows[:, 0]).mean()) for pair, rows in values.items() if len(rows)}
