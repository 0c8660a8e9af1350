"""Tables of accuracy in README.md and docs/accuracy.md, from the committed cells of the matrices."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from distilshift.bench.matrix import Cell, in_percent
from distilshift.bench.methods import METHODS
from distilshift.bench.table import HARM, Table, read_table

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
ACCURACY_ROWS = ("teacher", "plain-kd", "distilshift")


# A line each in README.md: the matrix, and what it is.
SUMMARY = {
    "amazon12-minilm": "Amazon reviews, twelve pairs of four domains",
    "all30-minilm": "thirty pairs of six domains",
    "amazon12-mpnet": "the twelve pairs, a teacher of BERT's size",
    "label-shift": "four pairs, 10 to 90 % positive reviews",
    "vader": "short texts: movie sentences to three of VADER's domains",
}


def summary_table() -> str:
    """A line a matrix: the main rows, on those pairs and seeds that have all of them."""
    heads = ["", "teacher", "plain distillation", "**distilshift**", "gain", "harmed", "seeds"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, title in SUMMARY.items():
        whole = read_table(RESULTS / name)
        parts = [whole.at(share) for share in whole.matrix.config.positive_shares] or [whole]
        cases = [_accuracies(part, pair) for part in parts for pair in part.matrix.pairs()]
        if not (found := [rows for rows in cases if len(rows)]):
            continue
        pairs = np.array([rows.mean(axis=0) for rows in found])
        means, gains = pairs.mean(axis=0)[:, 0], _gains(pairs)[:, 0]
        cells = [
            *(f"{mean:.1f}" for mean in means),
            f"{gains.mean():+.1f}",
            f"{_harmed(gains)} of {len(gains)}",
        ]
        missing = f", {len(cases) - len(found)} to be measured" if len(found) < len(cases) else ""
        of_whom = "" if whole.matrix.config.teacher_seed is None else " of students"
        lines.append(f"| {title} | {' | '.join(cells)} | {_count(found)}{of_whom}{missing} |")
    lines.append(
        "\nAccuracy in per cent on held-out texts of the target, means of all pairs; students of `--size base`. "
        "Harmed: more than a point below plain distillation, which has the same teacher, texts, student and steps but, "
        "as the teacher's column, reads the first 128 tokens of a text only; distilshift reads up to six windows."
    )
    return "\n".join(lines)


def accuracy_table() -> str:
    """The main rows of the Amazon matrix, on those pairs and seeds that have all of them."""
    table = read_table(RESULTS / "amazon12-minilm")
    found = {pair: rows for pair in table.matrix.pairs() if len(rows := _accuracies(table, pair))}
    if not found:
        return "Not measured yet: `make bench`."
    lines = _heads("source → target", "seeds")
    lines += [_accuracy_line(" → ".join(pair), str(len(rows)), rows.mean(axis=0)) for pair, rows in found.items()]
    means = np.array([rows.mean(axis=0) for rows in found.values()])
    lines.append(_accuracy_line("**mean of these pairs**", "", means.mean(axis=0)))
    harmed = _harmed(_gains(means)[:, 0])
    lines.append(
        "\nAccuracy in per cent on the 400 held-out reviews; the last column is on all 2,000, the 1,600 unlabelled "
        f"training texts among them. {len(found)} of {len(table.matrix.pairs())} pairs, {harmed} of them more than a "
        "point below plain distillation. A MiniLM-L6 teacher, a student of three of its layers, the same number of "
        "steps. Made by `make bench`."
    )
    return "\n".join(lines)


def thirty_table() -> str:
    """The main rows of all thirty pairs, by what lies at their ends."""
    table = read_table(RESULTS / "all30-minilm")
    found = {pair: rows[0] for pair in table.matrix.pairs() if len(rows := _accuracies(table, pair))}
    if not found:
        return "Not measured yet: `distilshift bench benchmarks/configs/all30-minilm.toml`."
    lines = _heads("pairs", "measured")
    others = {"airline", "imdb"}
    groups = {
        "between the four of Amazon's": lambda source, target: not {source, target} & others,
        "from these to airline, imdb": lambda source, target: source not in others and target in others,
        "from airline, imdb": lambda source, target: source in others,
        "**all**": lambda source, target: True,
    }
    for name, belongs in groups.items():
        pairs = [pair for pair in table.matrix.pairs() if belongs(*pair)]
        if values := [found[pair] for pair in pairs if pair in found]:
            lines.append(_accuracy_line(name, f"{len(values)} of {len(pairs)}", np.mean(values, axis=0)))
    harmed = _harmed(np.array([_gains(rows)[0] for rows in found.values()]))
    lines.append(f"\nFirst seed; {harmed} of {len(found)} pairs more than a point below plain distillation.")
    return "\n".join(lines)


def large_table() -> str:
    """The main rows with a teacher of BERT's size, means over the pairs that have them."""
    table = read_table(RESULTS / "amazon12-mpnet")
    found = [rows for pair in table.matrix.pairs() if len(rows := _accuracies(table, pair))]
    if not found:
        return "Not measured yet: `distilshift bench benchmarks/configs/amazon12-mpnet.toml`."
    pairs, means = (
        f"{len(found)} of {len(table.matrix.pairs())}",
        np.mean([rows.mean(axis=0) for rows in found], axis=0),
    )
    line = _accuracy_line("between the four of Amazon's", pairs, means)
    return "\n".join([*_heads("pairs", "measured"), line, f"\n{_seeds(found)}."])


def large_others_table() -> str:
    """The other rows with a teacher of BERT's size, beside what plain distillation has on the same pairs."""
    table = read_table(RESULTS / "amazon12-mpnet")
    lines = ["| | pairs | seeds | accuracy | over plain distillation there |", "|---|---|---|---|---|"]
    for row in ("shot-kd", "six-layers", "oracle"):
        values = {pair: table.values((row, "plain-kd"), pair) for pair in table.matrix.pairs()}
        if found := [rows for rows in values.values() if len(rows)]:
            own, plain = 100 * np.mean([rows.mean(axis=0) for rows in found], axis=0)
            pairs = f"{len(found)} of {len(values)}"
            lines.append(f"| {METHODS[row].title} | {pairs} | {_count(found)} | {own:.1f} | {own - plain:+.1f} |")
    return "\n".join(lines)


def shares_table() -> str:
    """Targets whose classes are not equally frequent: a column a share, the main rows and the gain."""
    table = read_table(RESULTS / "label-shift")
    shares, pairs = table.matrix.config.positive_shares, table.matrix.pairs()
    found = [[_accuracies(part, pair) for pair in pairs] for part in map(table.at, shares)]
    if not all(len(rows) for part in found for rows in part):
        return "Not measured yet: `distilshift bench benchmarks/configs/label-shift.toml`."
    means = np.array([np.mean([rows.mean(axis=0) for rows in part], axis=0) for part in found])  # (shares, rows, 2)
    gains = _gains(means)
    lines = [
        ["positive reviews", *(f"{in_percent(share)} %" for share in shares)],
        *(line for row in ("teacher", "plain-kd", "shot-im-kd", "distilshift") for line in _row(table, row)),
        ["gain", *(f"{gain:+.1f}" for gain in gains[:, 0])],
        ["gain, on all texts", *(f"{gain:+.1f}" for gain in gains[:, 1])],
    ]
    shown = [f"| {' | '.join(line)} |" for line in lines]
    said = f"\n{len(pairs)} pairs. {_seeds(rows for part in found for rows in part)}."
    return "\n".join([shown[0], "|---" * len(lines[0]) + "|", *shown[1:], said])


def _row(table: Table, row: str) -> list[list[str]]:
    """A row's line, its mean accuracy at each share; none where not all are measured."""
    means = [table.at(share).means(row) for share in table.matrix.config.positive_shares]
    return [[METHODS[row].title, *(f"{100 * float(np.mean(each)):.1f}" for each in means)]] if all(means) else []


# What is added up to the default, step by step, and the teacher beside it: row of the matrix, number, title.
LADDER = (
    ("teacher", "test_accuracy", "teacher, the first 128 tokens of a review"),
    ("teacher-windows", "test_accuracy", "teacher, long reviews in up to six windows"),
    ("plain-kd", "test_accuracy", "plain distillation, the first 128 tokens"),
    ("plain-kd-windows", "test_accuracy", "learns labels of, and reads, long reviews in windows"),
    ("without-adaptation", "test_accuracy", "learns from random spans, too"),
    ("distilshift", "test_accuracy", "learns corrected labels: **distilshift**"),
    ("distilshift", "test_accuracy_beginning", "the same students, reading the first 128 tokens only"),
)


def ladder_table() -> str:
    """Where the gain comes from: means over all pairs, first seed."""
    table = read_table(RESULTS / "amazon12-minilm")
    first = table.matrix.config.seeds[0]
    means = [(title, table.mean(row, first, number)) for row, number, title in LADDER]
    if first not in table.whole_seeds([row for row, _, _ in LADDER]):
        return "Not measured on all pairs yet."
    lines = ["| | accuracy, mean of twelve pairs, first seed |", "|---|---|"]
    return "\n".join([*lines, *(f"| {title} | {100 * mean:.1f} |" for title, mean in means if mean is not None)])


SIZES = {
    "distilshift": "base",
    "default-size": "small, the default",
    "two-layers": "small, two layers",
    "tiny": "tiny",
    "static": "`--student static`",
}


def sizes_table() -> str:
    """Sizes of the student: means over all pairs, first seed."""
    table = read_table(RESULTS / "amazon12-minilm")
    kinds = ("test_accuracy", "test_accuracy_int8", "test_accuracy_beginning", "all_accuracy")
    seed = table.matrix.config.seeds[0]
    lines = ["| `--size` | fp32 | gain | int8 | beginnings | all 2,000 |", "|---|---|---|---|---|---|"]
    for row, title in SIZES.items():
        wanted = [("plain-kd", kinds[0]), *((row, kind) for kind in kinds)]
        found = [100 * mean for name, kind in wanted if (mean := table.mean(name, seed, kind)) is not None]
        if len(found) == len(wanted):
            plain, first, *others = found
            cells = [f"{first:.1f}", f"{first - plain:+.1f}", *(f"{other:.1f}" for other in others)]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def vader_table() -> str:
    """All rows of VADER's domains, a column a target."""
    table = read_table(RESULTS / "vader")
    pairs, config = table.matrix.pairs(), table.matrix.config
    heads = [f"{config.pairs[0][0]} →", *(target for _, target in pairs), "mean"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in config.methods:
        cells = [[table.rows.get(Cell(*pair, row, seed)) for seed in config.seeds] for pair in pairs]
        if all(cell for line in cells for cell in line):
            means = [100 * float(np.mean([cell["test_accuracy"] for cell in line if cell])) for line in cells]
            lines.append(f"| {METHODS[row].title} | {' | '.join(f'{mean:.1f}' for mean in (*means, np.mean(means)))} |")
    return "\n".join([*lines, f"\nAccuracy in per cent, means of {len(config.seeds)} seeds."])


def _seeds(found: Iterable[np.ndarray]) -> str:
    """How many seeds the tables' rows, (seeds, rows, 2) for each pair, are means of."""
    count = _count(found)
    return "One seed" if count == "1" else f"Means of {count} seeds"


def _count(found: Iterable[np.ndarray]) -> str:
    """Seeds of such rows."""
    counts = sorted({len(rows) for rows in found})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _heads(*first: str) -> list[str]:
    """The head of a table of `_accuracy_line`s."""
    heads = *first, "teacher", "plain distillation", "**distilshift**", "gain", "gain, all 2,000"
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]


def _accuracies(table: Table, pair: tuple[str, str]) -> np.ndarray:
    """In per cent, (seeds, rows, 2), on held-out and on all texts, of the seeds that have all rows."""
    kinds = ("test_accuracy", "all_accuracy")
    return np.stack([100 * table.values(ACCURACY_ROWS, pair, kind) for kind in kinds], axis=-1)


def _gains(values: np.ndarray) -> np.ndarray:
    """Of distilshift over plain distillation, of accuracies (..., rows, 2)."""
    plain, own = (ACCURACY_ROWS.index(row) for row in ("plain-kd", "distilshift"))
    return values[..., own, :] - values[..., plain, :]


def _harmed(gains: np.ndarray) -> int:
    """How many of these gains, in points, are losses of more than one."""
    return int((gains < -100 * HARM).sum())


def _accuracy_line(name: str, seeds: str, values: np.ndarray) -> str:
    cells = [name, seeds, *(f"{value:.1f}" for value in values[:, 0]), *(f"{gain:+.1f}" for gain in _gains(values))]
    return f"| {' | '.join(cells)} |"
