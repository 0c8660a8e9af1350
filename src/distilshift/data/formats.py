"""File formats to rows, in constant memory: text lines, CSV, TSV, JSONL and Parquet."""

from __future__ import annotations

import csv
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from distilshift.config import InputConfig
from distilshift.data.lines import Lines, open_lines
from distilshift.data.parquet import parquet_rows
from distilshift.data.rows import Row, RowError, attempts, missing_column, require_columns, shown
from distilshift.data.streams import Opened, Readable, opened
from distilshift.errors import DataError

Rows = Iterator[Row | RowError]

_JSON_SPACE = " \t\r\n"
# What fits a C long everywhere.
_NO_LIMIT = 2**31 - 1
# csv keeps its limit in one variable of the process.
_CSV_LIMIT = threading.RLock()
_HINTS = {
    ".json": "write one JSON object a line (`jq -c '.[]'`) and name it .jsonl",
    ".xls": "export it as .csv",
    ".xlsx": "export it as .csv",
    ".zip": "unpack it",
}


def read_rows(path: Readable, config: InputConfig, columns: Mapping[str, str]) -> Rows:
    """The rows of a file; a row that cannot be used comes as a RowError in its place.

    Args:
        path: a file, "-" for standard input, or an open handle.
        config: how it is read.
        columns: role ("text", "pair", "label") to column name.

    Raises:
        DataError: the file as a whole cannot be used.
    """
    with opened(path) as file:
        if file.suffix == ".parquet":
            yield from parquet_rows(file, columns)
            return
        reader = _TEXT_FORMATS.get(file.suffix)
        if reader is None:
            raise _unknown(file)
        with open_lines(file, config.encoding, line_limit(config.max_chars)) as lines:
            yield from reader(lines, columns)


def line_limit(max_chars: int) -> int:
    """Characters that a physical line, or a CSV field of any column, may have: far above `max_chars`; 0 for no limit.

    It keeps memory bounded where a quote is not closed, or a file has no lines.
    """
    return max_chars and max(16 * max_chars, 2**20)


def _unknown(file: Opened) -> DataError:
    *others, last = _TEXT_FORMATS
    return DataError(
        f"{file.name}: unknown file type",
        expected=f"{', '.join(others)}, {last} or .parquet, each also with .gz; or - for standard input",
        got=repr(file.suffix) if file.suffix else "no suffix",
        fix=_HINTS.get(file.suffix, "convert or rename it"),
    )


def text_rows(lines: Lines, columns: Mapping[str, str]) -> Rows:
    """A text a line."""
    extra = [role for role in columns if role != "text"]
    if extra:
        raise DataError(
            f"{lines.name}: plain text has no {extra[0]} column",
            expected=f"a file with a column {shown(columns[extra[0]])}",
            got="one text a line",
            fix="use .csv, .tsv, .jsonl or .parquet",
        )

    def read() -> Row:
        line = next(lines)
        lines.verify()
        return Row(lines.place, {"text": line.rstrip("\r\n")})

    return attempts(read)


def json_rows(lines: Lines, columns: Mapping[str, str]) -> Rows:
    """A JSON object a line; blank lines are no rows."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)

    def read() -> Row:
        while not (line := next(lines).strip(_JSON_SPACE)):
            pass
        lines.verify()
        record = _json_object(decoder, line, lines.place)
        for role, column in columns.items():
            if column not in record:
                fields = missing_column(lines.place, role, columns, list(record))
                raise RowError(**{**fields, "fix": f"{fields['fix']}, or pass --skip-bad"})
        return Row(lines.place, {role: record[column] for role, column in columns.items()})

    return attempts(read)


class _DuplicateKeyError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise _DuplicateKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return record


def _json_object(decoder: json.JSONDecoder, line: str, place: str) -> dict[str, Any]:
    fix = "write one JSON object a line, or pass --skip-bad"
    try:
        value = decoder.decode(line)
    except json.JSONDecodeError as error:
        got = f"{shown(line)} ({error.msg}, character {error.colno})"
        raise RowError(f"{place}: not JSON", expected="a JSON object", got=got, fix=fix) from None
    except _DuplicateKeyError as error:
        fix = "remove one, or pass --skip-bad"
        got = f"{shown(error.args[0])} twice"
        raise RowError(f"{place}: duplicate key", expected="every key once", got=got, fix=fix) from None
    except RecursionError:
        raise RowError(f"{place}: nested too deeply", expected="flat JSON", got="deep nesting", fix=fix) from None
    except ValueError as error:  # an integer with thousands of digits
        raise RowError(f"{place}: not usable JSON", expected="a JSON object", got=str(error), fix=fix) from None
    if not isinstance(value, dict):
        raise RowError(f"{place}: not a JSON object", expected='an object, {"...": ...}', got=shown(value), fix=fix)
    return value


class _Table:
    """The state of a CSV or TSV file as it is read: its header and how many rows have gone by."""

    def __init__(self, lines: Lines, delimiter: str, columns: Mapping[str, str]) -> None:
        self._lines, self._delimiter, self._row = lines, delimiter, 0
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)
        self._width = 0
        header = self._header()
        require_columns(lines.place, columns, header)
        self._width = len(header)
        self._wanted = {role: header.index(column) for role, column in columns.items()}

    def read(self) -> Row:
        """The next row. Raises RowError, or StopIteration at the end."""
        self._row += 1
        cells: list[str] = []
        while not cells:
            start = self._lines.number + 1
            # A blank line is an empty cell where there is one column, and no row where there are more.
            cells = self._record() or [""] * (self._width == 1)
        place = self._place(start)
        if len(cells) != self._width:
            raise self._ragged(place, len(cells))
        return Row(place, {role: cells[index] for role, index in self._wanted.items()})

    def _header(self) -> list[str]:
        try:
            return [cell.strip() for cell in self._record()]
        except StopIteration:
            raise DataError(
                f"{self._lines.name}: the file is empty",
                expected="a header line with column names",
                got="no data",
                fix="check the path",
            ) from None

    def _record(self) -> list[str]:
        start = self._lines.number + 1
        limit = self._lines.limit or _NO_LIMIT
        self._lines.begin_record()
        with _CSV_LIMIT:
            before = csv.field_size_limit(limit)
            try:
                cells = next(self._reader)
            except csv.Error as error:
                self._lines.resume_after_first()
                raise self._malformed(str(error), start, limit) from None
            finally:
                csv.field_size_limit(before)
        self._lines.verify()
        return cells

    def _place(self, start: int) -> str:
        return f"{self._lines.name}, line {start} (row {self._row})" if self._width else f"{self._lines.name}, line 1"

    def _ragged(self, place: str, found: int) -> RowError:
        cells = "1 cell" if self._width == 1 else f"{self._width} cells"
        return RowError(
            f"{place}: wrong number of cells",
            expected=f"{cells}, as in the header",
            got=str(found),
            fix=f"put cells that contain {self._delimiter!r} in double quotes, or pass --skip-bad",
        )

    def _malformed(self, message: str, start: int, limit: int) -> RowError:
        expected, got = "well-formed quotes", message
        if message == "unexpected end of data":
            expected, got = "a closing quote", "the end of the file"
        elif message.startswith("field larger"):
            expected, got = f"at most {limit:,} characters in a cell", "more"
        return RowError(
            f"{self._place(start)}: malformed row or unclosed quote",
            expected=expected,
            got=got,
            fix='close each quoted cell and double the quotes inside it (""), or pass --skip-bad',
        )


def csv_rows(lines: Lines, columns: Mapping[str, str]) -> Rows:
    """Comma-separated rows under a header line; after a malformed row reading resumes on the next line."""
    yield from attempts(_Table(lines, ",", columns).read)


def tsv_rows(lines: Lines, columns: Mapping[str, str]) -> Rows:
    """Tab-separated rows under a header line, quoted as in CSV."""
    yield from attempts(_Table(lines, "\t", columns).read)


_TEXT_FORMATS: dict[str, Callable[[Lines, Mapping[str, str]], Rows]] = {
    ".txt": text_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
}
