"""The CSV file of questions and answers: read without loss, checked against its texts, and written atomically."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.config import InputConfig
from distilshift.data.corpus import plain_digest
from distilshift.data.lines import require_utf8
from distilshift.data.read import iter_examples
from distilshift.data.rows import shown
from distilshift.errors import DataError, OutputError
from distilshift.files import new_file, output_errors, require_file_name, sha256_of
from distilshift.types import Example

ROW, TEXT, PAIR, LABEL, INCLUSION = "row", "text", "pair", "label", "inclusion"
OWN = (ROW, TEXT, PAIR, LABEL, "suggestion", "confidence", INCLUSION, "reason")


@dataclass(frozen=True)
class QueryFile:
    """The file as it is now.

    Attributes:
        path: where it is, or will be.
        rows: its rows by column, in its order; columns that a person added are kept.
        sha256: of the file, or None if there is none yet.
    """

    path: Path
    rows: tuple[Mapping[str, Any], ...] = ()
    sha256: str | None = None

    @property
    def asked(self) -> NDArray[np.int64]:
        """Numbers of its texts, (rows,)."""
        return np.array([int(row[ROW]) for row in self.rows], np.int64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """How many texts each row stands for, (rows,)."""
        return np.array([1 / float(row[INCLUSION]) for row in self.rows])

    @property
    def unanswered(self) -> int:
        """Rows after the last one with a label."""
        answered = [index for index, row in enumerate(self.rows, 1) if str(row[LABEL] or "").strip()]
        return len(self.rows) - max(answered, default=0)


def open_query_file(path: Path, texts: Sequence[Example], count: int) -> QueryFile:
    """Read the file that earlier calls wrote, or prepare a new one.

    Args:
        path: its name, ending in .csv.
        texts: what it must have been drawn from.
        count: texts that are to be asked.

    Raises:
        OutputError: the name is not one of a CSV file, or so many questions are still open.
        DataError: the file was not written by `query`, or from other texts.
    """
    if path.suffix.lower() != ".csv":
        raise OutputError(f"{path.name} is not the name of a CSV file", expected="the ending .csv", fix="name it so")
    if not require_file_name(path, overwrite=True).exists():
        return QueryFile(path)
    found = QueryFile(path, tuple(_rows(path, texts)), sha256_of(path))
    if found.unanswered >= count:
        raise OutputError(
            f"the last {found.unanswered} rows of {path} have no label yet",
            expected=f"fewer than {count} open questions",
            fix="fill in the column label, or choose another output",
        )
    return found


def _rows(path: Path, texts: Sequence[Example]) -> list[Mapping[str, Any]]:
    require_utf8(path)
    paired = texts[0].pair is not None
    config = InputConfig(pair_column=PAIR if paired else None, quoting="csv", max_chars=0)
    found: list[Mapping[str, Any]] = []
    seen = set()
    for place, item in enumerate(iter_examples([path], config, keep_columns=True), 1):
        row = {TEXT: item.text} | ({PAIR: item.pair} if paired else {}) | dict(item.columns or {})
        if missing := [name for name in (ROW, LABEL, INCLUSION) if name not in row]:
            raise _foreign(f"{path} was not written by query", f"the column {missing[0]}", "none")
        number, inclusion = _number(row[ROW]), _number(row[INCLUSION])
        if not (number.is_integer() and 0 <= number < len(texts)):
            raise _foreign(
                f"{path} belongs to other texts",
                f"numbers of rows below {len(texts)}",
                f"{shown(row[ROW])} in row {place}",
            )
        if plain_digest(item) != plain_digest(texts[int(number)]):
            got = f"{shown(item.text)} in row {place}"
            raise _foreign(f"{path} belongs to other texts", shown(texts[int(number)].text), got)
        if not 0 < inclusion <= 1:
            raise _foreign(
                f"{path} lost an inclusion probability",
                "a number from 0 to 1",
                f"{shown(row[INCLUSION])} in row {place}",
            )
        if number in seen:
            raise _foreign(f"{path} has a text twice", "each number once in the column row", f"{number:.0f} again")
        seen.add(number)
        found.append(row | {ROW: int(number)})
    return found


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _foreign(problem: str, expected: str, got: str) -> DataError:
    return DataError(
        problem, expected=expected, got=got, fix="choose another output, or name the texts it was made from"
    )


def write_query_file(file: QueryFile, inclusion: Sequence[float], added: Sequence[Mapping[str, Any]]) -> None:
    """Replace the file by one with new rows behind the old ones, whose answers and added columns stay as they are.

    Args:
        file: as it was read.
        inclusion: of its rows, after this batch.
        added: the new rows, by column.

    Raises:
        OutputError: the file changed since, or cannot be written.
    """
    rows = [dict(row) | {INCLUSION: chance} for row, chance in zip(file.rows, inclusion, strict=True)] + list(
        map(dict, added)
    )
    paired = any(PAIR in row for row in rows)
    own = [name for name in OWN if paired or name != PAIR]
    others = [name for name in (file.rows[0] if file.rows else ()) if name not in own]
    with (
        output_errors(file.path),
        new_file(file.path, overwrite=True) as part,
    ):
        with part.open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, [*own, *others], restval="")
            table.writeheader()
            table.writerows(rows)
        if (sha256_of(file.path) if file.path.exists() else None) != file.sha256:
            raise OutputError(
                f"{file.path} changed while texts were chosen",
                expected="the file as it was",
                fix="run the command again",
            )
