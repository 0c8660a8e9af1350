"""What a teacher that nothing else is known of says of the target texts: a file of probabilities, checked."""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.config import InputConfig
from distilshift.data.formats import read_rows
from distilshift.data.labels import is_number, sorted_labels
from distilshift.data.lines import open_lines
from distilshift.data.packed import unpacked_name
from distilshift.data.parquet import pyarrow
from distilshift.data.rows import Row, RowError, listed, shown
from distilshift.data.streams import opened
from distilshift.errors import DataError
from distilshift.files import sha256_of

# Columns that are no class: what `predict` writes beside its probabilities, and a number for a text.
NOT_CLASSES = frozenset({"id", "text", "pair", "label", "problem"})
# In an npz file; the former is also the name of the object that `predict` writes to JSONL.
PROBABILITIES, LABEL_NAMES = "probabilities", "label_names"
TOLERANCE = 1e-3
# Probabilities that were rounded to one, two or three decimals sum to 1 less exactly, but no worse than this.
ROUNDED_TOLERANCE = 0.1


@dataclass(frozen=True)
class Probabilities:
    """A checked file.

    Attributes:
        name: the file's, for messages.
        label_names: two or more, in the order of the columns; by value where all of them are numbers.
        rows: (texts, classes) float32 in the order of `label_names`, not negative, each row summing to 1.
        sha256: of the file (hex).
    """

    name: str
    label_names: list[str]
    rows: NDArray[np.float32]
    sha256: str


def read_probabilities(path: str | Path, encoding: str = "utf-8") -> Probabilities:
    """Read a CSV, TSV, JSONL, Parquet or npz file with a row a text and a column a class.

    Columns named id, text, pair, label or problem are left out, and where there are both of the latter what does not
    stand between them, so that what `predict` writes can be given as it is. In an npz file `probabilities` is
    (texts, classes) and `label_names` (classes,).

    Args:
        path: the file.
        encoding: of a text file.

    Raises:
        DataError: the file or a row of it cannot be used; the message says which.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    file = Path(path)
    reader = {".npz": _npz, ".parquet": _parquet}.get(file.suffix.lower())
    try:
        names, rows = reader(file) if reader else _text(file, encoding)
    except RowError as error:
        fix = "correct the file, or name its encoding (--encoding); none of its rows can be skipped"
        raise DataError(error.problem, expected=error.expected, got=error.got, fix=fix) from None
    if len(names) < 2 or len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise DataError(
            f"{file}: these are no classes",
            expected="a column for each of two classes or more, named as it",
            got=f"columns {listed(names)}" if names else "none",
            fix="name the columns after the classes",
        )
    _require_probabilities(file, rows)
    scaled = rows / rows.sum(axis=1, keepdims=True)
    if all(map(is_number, names)):  # then the file may have them in alphabetical order: 0, 1, 10, 2
        order = [names.index(name) for name in sorted_labels(names)]
        names, scaled = [names[column] for column in order], scaled[:, order]
    return Probabilities(str(file), names, scaled.astype(np.float32), sha256_of(file))


def _require_probabilities(file: Path, rows: NDArray[np.float64]) -> None:
    if not len(rows):
        raise DataError(f"{file}: no row", expected="a row for each text", got="none", fix="check the path")
    with np.errstate(invalid="ignore"):  # infinities of both signs
        sums = rows.sum(axis=1)
    tolerance = _tolerance(rows)
    wrong = ~np.isfinite(rows).all(axis=1) | (rows < 0).any(axis=1) | ~(abs(sums - 1) <= tolerance)
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(
            f"{file}, row {first + 1}: not probabilities",
            expected=f"finite numbers, 0 or more, that sum to 1 within {tolerance:g}",
            got=f"{', '.join(f'{value:g}' for value in rows[first][:8])}, sum {sums[first]:g}",
            fix="write probabilities, not logits or percentages; one row for each text, no row without them; "
            f"columns called {', '.join(sorted(NOT_CLASSES))} are no classes",
        )


def _tolerance(rows: NDArray[np.float64]) -> float:
    """How far a row's sum may be from 1: half a unit of the last decimal per class, where these are few."""
    with np.errstate(invalid="ignore", over="ignore"):
        for decimals in (1, 2, 3):
            # float32 columns hold no decimal exactly
            if (abs(np.round(rows, decimals) - rows) < 1e-6).all() and not (np.round(rows) == rows).all():
                return min(ROUNDED_TOLERANCE, max(TOLERANCE, rows.shape[1] * 0.5 / 10**decimals)) + 1e-9
    return TOLERANCE


def _text(file: Path, encoding: str) -> tuple[list[str], NDArray[np.float64]]:
    """CSV, TSV or JSONL."""
    columns, names = _columns(file, encoding)
    numbers = array("d")
    for row in read_rows(file, InputConfig(encoding=encoding), {column: column for column in columns}):
        if isinstance(row, RowError):
            raise row
        numbers.extend(_numbers(row, names, columns != names))
    return names, np.frombuffer(numbers, np.float64).reshape(-1, len(names)) if names else np.zeros((0, 0))


def _columns(file: Path, encoding: str) -> tuple[list[str], list[str]]:
    """The columns to read, and the classes in them."""
    with opened(file) as stream, open_lines(stream, encoding, 2**20) as lines:
        first = next(lines, "")
    kind = PurePath(unpacked_name(file.name)).suffix
    if kind in (".json", ".jsonl", ".ndjson"):
        record = _record(file, first)
        nested = record.get(PROBABILITIES)
        if isinstance(nested, dict):
            return [PROBABILITIES], list(nested)
        found = list(record)
    else:
        found = _header(file, first, "\t" if kind == ".tsv" else ",")
        if {"label", "problem"} <= set(found):  # as `predict` writes them: columns of its input stand elsewhere
            found = found[found.index("label") : found.index("problem")]
    names = [name for name in found if name not in NOT_CLASSES]
    return names, names


def _header(file: Path, line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error as error:  # a cell beyond its limit
        raise DataError(
            f"{file}, line 1: not a header",
            expected="the names of the classes",
            got=str(error),
            fix="write one; an unclosed quote makes one cell of many lines",
        ) from None


def _record(file: Path, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise DataError(
            f"{file}, line 1: not a JSON object",
            expected='{"class": probability, ...}',
            got=shown(line.strip()),
            fix="write one JSON object a line",
        )
    return record


def _numbers(row: Row, names: list[str], nested: bool) -> list[float]:
    values = row.values.get(PROBABILITIES) if nested else row.values
    if not isinstance(values, dict) or values.keys() != set(names):
        raise _no_number(row, f"a number for each of {listed(names)}", shown(values))
    try:
        return [float(values[name]) for name in names]
    except (TypeError, ValueError, OverflowError):
        raise _no_number(row, "numbers", ", ".join(shown(values[name]) for name in names)) from None


def _no_number(row: Row, expected: str, got: str) -> DataError:
    return DataError(f"{row.place}: not probabilities", expected=expected, got=got, fix="correct that row")


def _npz(file: Path) -> tuple[list[str], NDArray[np.float64]]:
    try:
        with np.load(file, allow_pickle=False) as found:
            names = [str(name) for name in found[LABEL_NAMES]]
            rows = np.asarray(found[PROBABILITIES], np.float64)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{file}: cannot be read",
            expected=f"an npz file with {PROBABILITIES} (texts, classes) and {LABEL_NAMES} (classes,)",
            got=shown(str(error)),
            fix="write it with numpy.savez",
        ) from None
    if rows.ndim != 2 or rows.shape[1] != len(names):
        expected = f"{PROBABILITIES} of shape (texts, {len(names)})"
        raise DataError(f"{file}: sizes differ", expected=expected, got=str(rows.shape), fix="write it again")
    return names, rows


def _parquet(file: Path) -> tuple[list[str], NDArray[np.float64]]:
    arrow, parquet = pyarrow()
    try:
        schema = parquet.read_schema(file)
        names = [name for name in schema.names if name not in NOT_CLASSES]
        table = parquet.read_table(file, columns=names)
        columns = [np.asarray(table.column(name).to_numpy(), np.float64) for name in names]
    except (arrow.ArrowException, OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{file}: cannot be read",
            expected="Parquet columns of numbers",
            got=shown(str(error)),
            fix="write it again",
        ) from None
    return names, np.stack(columns, axis=1) if columns else np.zeros((0, 0))
