"""A table's result files, and the numbers that can be had from them: accuracies, gains, intervals, harm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.bench.job import MATRIX_FILE, read_result
from distilshift.bench.matrix import Cell, Matrix, make_matrix
from distilshift.errors import ConfigError

BASELINE = "plain-kd"
# A pair is harmed by a method that is further below the baseline than this, as a fraction; a point itself is no harm,
# whatever the last digit of a difference.
HARM = 0.01 + 1e-9
RESAMPLES = 4000
# What rows must have in common to be compared.
_SAME = ("teacher_sha256", "data_sha256")


@dataclass(frozen=True)
class Gain:
    """A method against the baseline, on the cells that both have.

    Attributes:
        mean: of the difference in accuracy, a fraction.
        low, high: 95 % interval of the mean, from resampled test texts.
        cells: how many cells both have.
        harmed: pairs with a mean more than a point below the baseline.
        pairs: pairs that both have.
    """

    mean: float
    low: float
    high: float
    cells: int
    harmed: int
    pairs: int


@dataclass(frozen=True)
class Table:
    """A matrix and those of its cells that are measured.

    Attributes:
        matrix: what was asked for.
        rows: the results, made with the matrix's options.
        strangers: cells whose result was made with other options, which count as missing.
    """

    matrix: Matrix
    rows: dict[Cell, dict[str, Any]]
    strangers: tuple[Cell, ...] = ()

    def missing(self) -> int:
        """How many of the matrix's cells have no result."""
        return len(self.matrix.cells()) - len(self.rows)

    def at(self, share: float) -> Table:
        """The cells of one positive share, as a table without shares."""
        matrix = Matrix(replace(self.matrix.config, positive_shares=()))
        found = {c: row for c, row in self.rows.items() if c.positive_share == share}
        return Table(matrix, {replace(c, positive_share=None): row for c, row in found.items()})

    def comparable(self, pair: tuple[str, str], seed: int, methods: Sequence[str]) -> list[dict[str, Any]]:
        """The results of methods on a pair and seed; none where one is missing, or has another teacher or data."""
        rows = [self.rows.get(Cell(*pair, method, seed)) for method in methods]
        found = [row for row in rows if row]
        alike = all(row[key] == found[0][key] for row in found for key in _SAME)
        return found if alike and len(found) == len(methods) else []

    def values(self, methods: Sequence[str], pair: tuple[str, str], key: str = "test_accuracy") -> NDArray[np.float64]:
        """(seeds, methods): a number of a pair's cells, of the seeds that have all these methods, of the same teacher.

        Once a seed has all pairs, those that lack some are left out: all pairs are then of the same seeds.
        """
        seeds = self.whole_seeds(methods) or self.matrix.config.seeds
        found = [[row[key] for row in rows] for seed in seeds if (rows := self.comparable(pair, seed, methods))]
        return np.array(found, np.float64).reshape(-1, len(methods))

    def means(self, method: str, key: str = "test_accuracy") -> list[float]:
        """The mean over all pairs, of each seed whose cells all have the number; a seed that lacks one is left out."""
        means = (self.mean(method, seed, key) for seed in self.matrix.seeds_of(method))
        return [mean for mean in means if mean is not None]

    def mean(self, method: str, seed: int, key: str = "test_accuracy") -> float | None:
        """The mean over all pairs, of one seed; None where a cell lacks the number."""
        pairs = self.matrix.pairs()
        cells = [Cell(*pair, method, seed) for pair in pairs]
        values = [value for cell in cells if (value := self.rows.get(cell, {}).get(key)) is not None]
        return float(np.mean(values)) if len(values) == len(pairs) else None

    def whole_seeds(self, methods: Sequence[str]) -> list[int]:
        """The seeds of which all pairs have cells of all these methods, of the same teacher."""
        pairs = self.matrix.pairs()
        return [
            seed for seed in self.matrix.config.seeds if all(self.comparable(pair, seed, methods) for pair in pairs)
        ]

    def has(self, key: str) -> bool:
        """Return whether any cell has the number; those from before it existed do not."""
        return any(key in row for row in self.rows.values())

    def of_method(self, method: str) -> list[dict[str, Any]]:
        """The measured cells of a method."""
        return [row for cell, row in self.rows.items() if cell.method == method]

    def gain(self, method: str, baseline: str = BASELINE) -> Gain | None:
        """A method against the baseline; None where no cell can be compared."""
        differences = self._differences(method, baseline)
        if not differences:
            return None
        by_pair: dict[tuple[str, str], list[float]] = {}
        by_target: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
        for cell, difference in differences.items():
            by_pair.setdefault((cell.source, cell.target), []).append(float(difference.mean()))
            by_target.setdefault((cell.target, len(difference)), []).append(difference)
        low, high = interval([np.sum(each, axis=0) / len(differences) for each in by_target.values()])
        mean = float(np.mean([difference.mean() for difference in differences.values()]))
        harmed = sum(float(np.mean(values)) < -HARM for values in by_pair.values())
        return Gain(mean, low, high, len(differences), harmed, len(by_pair))

    def _differences(self, method: str, baseline: str) -> dict[Cell, NDArray[np.float64]]:
        """(texts,) of -1, 0 or 1 for each cell that has a counterpart with the same teacher and data.

        Once a seed has all pairs, the cells of seeds that lack some are left out: a mean over pairs weighs them alike.
        """
        found = {}
        for cell in self.rows:
            pair = cell.source, cell.target
            if cell.method == method and (rows := self.comparable(pair, cell.seed, [method, baseline])):
                own, other = (digits(row["test_correct"]) for row in rows)
                found[cell] = own - other
        whole = _seeds_of_all(found, self.matrix.pairs())
        return {cell: difference for cell, difference in found.items() if not whole or cell.seed in whole}


def _seeds_of_all(cells: Iterable[Cell], pairs: list[tuple[str, str]]) -> set[int]:
    """Seeds that have a cell of each pair."""
    pairs_of: dict[int, set[tuple[str, str]]] = {}
    for cell in cells:
        pairs_of.setdefault(cell.seed, set()).add((cell.source, cell.target))
    return {seed for seed, found in pairs_of.items() if found.issuperset(pairs)}


def digits(text: str) -> NDArray[np.float64]:
    """Return a result's `test_correct` as (texts,) of 0 and 1."""
    return np.array([digit == "1" for digit in text], np.float64)


def interval(differences: Iterable[NDArray[np.float64]], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of a sum of means over texts, each list of texts resampled with replacement.

    Efron 1979's bootstrap, paired: a text's difference is drawn as one, and cells with the same target share the draw.
    It tells of the texts' chance only: pairs and seeds are taken as they are.

    Args:
        differences: (texts,) for each target, the sum over its cells, divided by the number of all cells.
        seed: of the draws.
    """
    rng, total = np.random.default_rng(seed), np.zeros(RESAMPLES)
    for values in differences:
        counts = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), RESAMPLES)
        total += counts @ values / len(values)
    low, high = np.percentile(total, [2.5, 97.5])
    return float(low), float(high)


def read_table(folder: Path) -> Table:
    """The cells of a table's folder that belong to the matrix that it was last run with.

    Raises:
        ConfigError: its matrix is damaged, or no longer understood.
    """
    path = folder / MATRIX_FILE
    try:
        matrix = make_matrix(read_result(path))
    except ConfigError as error:
        raise ConfigError(f"{path} is not a matrix", got=error.problem, fix="run its benchmark file again") from error
    files = ((cell, read_result(folder / f"{cell.name}.json")) for cell in matrix.cells())
    found = {cell: row for cell, row in files if row}
    strangers = tuple(cell for cell, row in found.items() if not matrix.has_options_of(cell, row))
    return Table(matrix, {cell: row for cell, row in found.items() if cell not in strangers}, strangers)


def table_folders(results: Path) -> list[Path]:
    """The folders of results that a matrix has been run in."""
    return sorted(path.parent for path in results.glob(f"*/{MATRIX_FILE}"))
