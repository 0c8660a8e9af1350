"""Gain and harm by task family: each method against plain distillation that reads as much of a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.bench.job import MATRIX_FILE
from distilshift.bench.methods import METHODS
from distilshift.bench.table import HARM, Table, digits, interval, read_table

BASELINE = "plain-kd-windows"
ROWS = ("plain-kd", "shot-im-kd", "shot-im-kd-windows", "distilshift", "oracle", "oracle-windows")
Pair = tuple[str, str]


@dataclass(frozen=True)
class Family:
    """A kind of task.

    Attributes:
        tables: the tables with its pairs; the same cell in two of them counts once.
        development: the pairs that options are tuned on.
    """

    tables: tuple[str, ...]
    development: tuple[Pair, ...] = ()


_REVIEWS = (("dvd", "kitchen"), ("kitchen", "dvd"), ("airline", "imdb"), ("imdb", "airline"))
FAMILIES = {
    "reviews": Family(("amazon12-minilm", "all30-minilm"), _REVIEWS),
    "vader": Family(("vader",)),
    "intents": Family(("dev-intents", "intents"), (("hwu", "clinc"),)),
    "emotions": Family(("dev-emotions", "emotions"), (("tweets", "reddit"),)),
    "crisis": Family(("dev-crisis", "crisis"), (("floods", "storms_quakes"),)),
    "issues": Family(("dev-issues", "issues"), (("react+vscode", "tensorflow"),)),
    "aspects": Family(("dev-aspects", "aspects"), (("restaurants", "laptops"),)),
}

NOTE = (
    "Per cent on held-out test texts, means over pairs; a pair is the mean of its seeds. Gain: over plain distillation "
    "that reads long texts in windows, with the same teacher and data; in brackets its 95 % interval from resampled "
    "test texts (paired; pairs and seeds as they are). Below: pairs that lose more than one point, and more than two. "
    "Plain distillation without windows, SHOT-IM without windows and the oracle without windows read the beginnings "
    "of texts only. Families alike: the mean of the families' means."
)


@dataclass(frozen=True)
class PairGain:
    """A method on one pair; means over the seeds that it and the baseline have.

    Attributes:
        family, pair: which pair.
        seeds: how many seeds.
        accuracy: of the method, a fraction.
        macro_f1: likewise; None if a cell has none.
        differences: (texts,) share of seeds with the text right, minus the baseline's.
    """

    family: str
    pair: Pair
    seeds: int
    accuracy: float
    macro_f1: float | None
    differences: NDArray[np.float64] = field(repr=False)

    @property
    def gain(self) -> float:
        """The difference in accuracy, a fraction."""
        return float(self.differences.mean())

    @property
    def is_development(self) -> bool:
        """Whether options may be tuned on the pair."""
        return self.pair in FAMILIES[self.family].development


@dataclass(frozen=True)
class Summary:
    """A method on several pairs.

    Attributes:
        accuracy, macro_f1, gain: weighted means, fractions; no macro_f1 if a pair has none.
        low, high: 95 % interval of the gain.
        harmed: pairs that lose more than one point, and more than two.
        worst: the pair with the smallest gain.
    """

    accuracy: float
    macro_f1: float | None
    gain: float
    low: float
    high: float
    harmed: tuple[int, int]
    worst: PairGain


def read_families(results: Path) -> dict[str, list[Table]]:
    """Return the tables of each family that have been run; families without any are left out."""
    found = {
        name: [read_table(results / table) for table in family.tables if (results / table / MATRIX_FILE).is_file()]
        for name, family in FAMILIES.items()
    }
    return {name: tables for name, tables in found.items() if tables}


def pair_gains(family: str, tables: Iterable[Table], method: str) -> list[PairGain]:
    """Return a method's gains on the family's pairs; of a pair in several tables, that of the most seeds.

    Seeds whose texts differ from the first seed's, as results of older data do, are left out.
    """
    found: dict[Pair, PairGain] = {}
    for table in tables:
        for pair in table.matrix.pairs():
            rows = [table.comparable(pair, seed, [method, BASELINE]) for seed in table.matrix.config.seeds]
            measured = [each for each in rows if each]
            cells = [each for each in measured if each[0]["data_sha256"] == measured[0][0]["data_sha256"]]
            if len(cells) > (found[pair].seeds if pair in found else 0):
                found[pair] = _pair_gain(family, pair, cells)
    return list(found.values())


def _pair_gain(family: str, pair: Pair, cells: Sequence[list[dict[str, Any]]]) -> PairGain:
    """Compare a method's cells with the baseline's, [own, other] per seed."""
    scores = [own["test_macro_f1"] for own, _ in cells if "test_macro_f1" in own]
    return PairGain(
        family,
        pair,
        len(cells),
        float(np.mean([own["test_accuracy"] for own, _ in cells])),
        float(np.mean(scores)) if len(scores) == len(cells) else None,
        np.mean([digits(own["test_correct"]) - digits(other["test_correct"]) for own, other in cells], axis=0),
    )


def summarize(gains: Sequence[PairGain], families_alike: bool = False) -> Summary:
    """Summarize a method's gains over pairs.

    Args:
        gains: one per pair, at least one.
        families_alike: weight the pairs so that all families count alike, however many pairs they have.
    """
    sizes = [sum(other.family == each.family for other in gains) if families_alike else 1 for each in gains]
    weights = np.divide(1, sizes) / np.divide(1, sizes).sum()
    by_target: dict[tuple[str, str, int], list[NDArray[np.float64]]] = {}
    for each, weight in zip(gains, weights, strict=True):
        key = each.family, each.pair[1], len(each.differences)
        by_target.setdefault(key, []).append(weight * each.differences)
    low, high = interval([np.sum(each, axis=0) for each in by_target.values()])
    scores = [each.macro_f1 for each in gains]
    return Summary(
        accuracy=float(weights @ [each.accuracy for each in gains]),
        macro_f1=None if None in scores else float(weights @ np.array(scores, np.float64)),
        gain=float(weights @ [each.gain for each in gains]),
        low=low,
        high=high,
        harmed=(_harmed(gains, 1), _harmed(gains, 2)),
        worst=min(gains, key=lambda each: each.gain),
    )


def _harmed(gains: Iterable[PairGain], times: int) -> int:
    return sum(each.gain < -times * HARM for each in gains)


def families_report(results: Path) -> str:
    """Return the Markdown table of gain and harm, by family and over all of them."""
    families = read_families(results)
    heads = ["", "row", "pairs", "seeds", "accuracy", "macro-F1", "gain", "1 point below", "2 below", "worst pair"]
    lines = [_line(heads), "|---" * len(heads) + "|"]
    found = {method: {name: pair_gains(name, families[name], method) for name in families} for method in ROWS}
    for name, tables in families.items():
        pairs = len({pair for table in tables for pair in table.matrix.pairs()})
        lines += [_row(name, method, found[method][name], f" of {pairs}") for method in ROWS if found[method][name]]
    for title, alike, reporting_only in (
        ("all pairs", False, False),
        ("families alike", True, False),
        ("reporting pairs", False, True),
    ):
        for method in ROWS:
            all_gains = [each for gains in found[method].values() for each in gains]
            gains = [each for each in all_gains if not (reporting_only and each.is_development)]
            lines += [_row(title, method, gains, "", alike)] if gains else []
    if len(lines) == 2:
        return "Not measured yet: `distilshift bench`."
    missing = [name for name in FAMILIES if not any(found[method].get(name) for method in ROWS)]
    parts = ["\n".join(lines), *([f"Not measured yet: {', '.join(missing)}."] if missing else []), NOTE]
    return "\n\n".join(parts)


def _row(title: str, method: str, gains: Sequence[PairGain], of: str, alike: bool = False) -> str:
    found, seeds = summarize(gains, alike), sorted({each.seeds for each in gains})
    return _line(
        [
            title,
            METHODS[method].title,
            f"{len(gains)}{of}",
            str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]}",
            f"{100 * found.accuracy:.1f}",
            "–" if found.macro_f1 is None else f"{100 * found.macro_f1:.1f}",
            f"{100 * found.gain:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]",
            str(found.harmed[0]),
            str(found.harmed[1]),
            f"{' → '.join(found.worst.pair)} {100 * found.worst.gain:+.1f}",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
