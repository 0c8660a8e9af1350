"""A table's result files, and the numbers that can be had from them: accuracies, gains, intervals, harm."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.bench.job import MATRIX_FILE, read_result
from distilshift.bench.matrix import Cell, Matrix, make_matrix
from distilshift.config import AdaptConfig, StageConfig, TeachConfig

BASELINE = "plain-kd"
# A pair is harmed by a method that is further below the baseline than this, as a fraction.
HARM = 0.01
RESAMPLES = 4000
# What cells of one row may differ in.
_VARIES = ("seed", "threads")


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
    """A matrix and those of its cells that are measured."""

    matrix: Matrix
    rows: dict[Cell, dict[str, Any]]

    def missing(self) -> int:
        """How many of the matrix's cells have no result."""
        return len(self.matrix.cells()) - len(self.rows)

    def at(self, share: float) -> Table:
        """The cells of one positive share, as a table without shares."""
        matrix = Matrix(replace(self.matrix.config, positive_shares=()))
        found = {c: row for c, row in self.rows.items() if c.positive_share == share}
        return Table(matrix, {replace(c, positive_share=None): row for c, row in found.items()})

    def values(self, methods: Sequence[str], pair: tuple[str, str], key: str = "test_accuracy") -> NDArray[np.float64]:
        """(seeds, methods): a number of a pair's cells, of the seeds that have all these methods.

        Once a seed has all pairs, those that lack some are left out: all pairs are then of the same seeds.
        """
        seeds = self.whole_seeds(methods) or self.matrix.config.seeds
        cells = [[Cell(*pair, method, seed) for method in methods] for seed in seeds]
        found = [[self.rows[cell][key] for cell in row] for row in cells if all(cell in self.rows for cell in row)]
        return np.array(found, np.float64).reshape(-1, len(methods))

    def means(self, method: str, key: str = "test_accuracy") -> list[float]:
        """The mean over all pairs, of each seed whose cells all have the number; a seed that lacks one is left out."""
        pairs, found = self.matrix.pairs(), []
        for seed in self.matrix.seeds_of(method):
            cells = [Cell(*pair, method, seed) for pair in pairs]
            values = [value for cell in cells if (value := self.rows.get(cell, {}).get(key)) is not None]
            if len(values) == len(pairs):
                found.append(float(np.mean(values)))
        return found

    def whole_seeds(self, methods: Iterable[str]) -> list[int]:
        """The seeds of which all pairs have cells of all these methods."""
        wanted = [
            _seeds_of_all((c for c in self.rows if c.method == method), self.matrix.pairs()) for method in methods
        ]
        return [seed for seed in self.matrix.config.seeds if all(seed in seeds for seeds in wanted)]

    def of_method(self, method: str) -> list[dict[str, Any]]:
        """The measured cells of a method."""
        return [row for cell, row in self.rows.items() if cell.method == method]

    def is_mixed(self, method: str) -> bool:
        """Whether the cells of a method were made with different options.

        One that a cell is older than counts as its default, as in `--keep-older`.
        """
        kinds = {
            json.dumps([_whole(AdaptConfig, row["config"]), _whole(TeachConfig, row["teacher_config"])], sort_keys=True)
            for row in self.of_method(method)
        }
        return len(kinds) > 1

    def gain(self, method: str, baseline: str = BASELINE) -> Gain | None:
        """A method against the baseline; None where no cell can be compared."""
        differences = self._differences(method, baseline)
        if not differences:
            return None
        by_pair: dict[tuple[str, str], list[float]] = {}
        by_target: dict[str, list[NDArray[np.float64]]] = {}
        for cell, difference in differences.items():
            by_pair.setdefault((cell.source, cell.target), []).append(float(difference.mean()))
            by_target.setdefault(cell.target, []).append(difference)
        low, high = interval([np.sum(each, axis=0) / len(differences) for each in by_target.values()])
        mean = float(np.mean([difference.mean() for difference in differences.values()]))
        harmed = sum(float(np.mean(values)) < -HARM for values in by_pair.values())
        return Gain(mean, low, high, len(differences), harmed, len(by_pair))

    def _differences(self, method: str, baseline: str) -> dict[Cell, NDArray[np.float64]]:
        """(texts,) of -1, 0 or 1 for each cell that has a counterpart with the same teacher and data.

        Once a seed has all pairs, the cells of seeds that lack some are left out: a mean over pairs weighs them alike.
        """
        found = {}
        for cell, row in self.rows.items():
            other = self.rows.get(Cell(cell.source, cell.target, baseline, cell.seed))
            same = ("teacher_sha256", "data_sha256")
            if cell.method == method and other and all(row[key] == other[key] for key in same):
                found[cell] = _digits(row["test_correct"]) - _digits(other["test_correct"])
        whole = _seeds_of_all(found, self.matrix.pairs())
        return {cell: difference for cell, difference in found.items() if not whole or cell.seed in whole}


def _whole(kind: type[StageConfig], config: dict[str, Any]) -> dict[str, Any]:
    """The options that count, those that are missing at their default; none where the row has none."""
    values = kind().to_dict() | config if config else {}
    return {key: value for key, value in values.items() if key not in _VARIES}


def _seeds_of_all(cells: Iterable[Cell], pairs: list[tuple[str, str]]) -> set[int]:
    """Seeds that have a cell of each pair."""
    pairs_of: dict[int, set[tuple[str, str]]] = {}
    for cell in cells:
        pairs_of.setdefault(cell.seed, set()).add((cell.source, cell.target))
    return {seed for seed, found in pairs_of.items() if found.issuperset(pairs)}


def _digits(text: str) -> NDArray[np.float64]:
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
        ConfigError: its matrix is no longer understood.
    """
    matrix = make_matrix(read_result(folder / MATRIX_FILE))
    found = ((cell, read_result(folder / f"{cell.name}.json")) for cell in matrix.cells())
    return Table(matrix, {cell: row for cell, row in found if row})


def table_folders(results: Path) -> list[Path]:
    """The folders of results that a matrix has been run in."""
    return sorted(path.parent for path in results.glob(f"*/{MATRIX_FILE}"))
