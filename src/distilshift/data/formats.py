"""File formats to rows, in constant memory: text lines, CSV, TSV, JSON, Parquet and Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from distilshift.config import InputConfig
from distilshift.data.json_rows import json_rows
from distilshift.data.lines import Lines, open_lines
from distilshift.data.packed import PACKED, unpacked_name
from distilshift.data.parquet import arrow_rows, parquet_rows
from distilshift.data.rows import BlankLineError, Row, RowError, attempts, shown
from distilshift.data.streams import Opened, Readable, opened
from distilshift.data.tables import table_rows
from distilshift.errors import DataError

Rows = Iterator[Row | RowError]
Reader = Callable[[Opened, Lines, InputConfig, Mapping[str, str], bool], Rows]

_HINTS = {
    ".xls": "export it as .csv",
    ".xlsx": "export it as .csv",
    ".zip": "unpack it",
}


def read_rows(path: Readable, config: InputConfig, columns: Mapping[str, str], keep: bool = False) -> Rows:
    """The rows of a file; a row that cannot be used comes as a RowError in its place.

    Args:
        path: a file, "-" for standard input, or an open handle.
        config: how it is read.
        columns: role ("text", "pair", "label", "id") to column name.
        keep: give each row its other columns, too.

    Raises:
        DataError: the file as a whole cannot be used.
        MissingExtraError: its format needs a library that is not installed.
    """
    with opened(path) as file:
        if file.suffix in _ARROW_FORMATS:
            yield from _ARROW_FORMATS[file.suffix](file, columns, keep)
            return
        reader = _TEXT_FORMATS.get(file.suffix)
        if reader is None:
            raise _unknown(file)
        with open_lines(file, config.encoding, line_limit(config.max_chars)) as lines:
            yield from reader(file, lines, config, columns, keep)


def is_readable(name: str) -> bool:
    """Whether a file of this name would be read as one of the formats."""
    return unpacked_name(name).endswith((*_TEXT_FORMATS, *_ARROW_FORMATS))


def line_limit(max_chars: int) -> int:
    """Characters that a physical line, or a CSV field of any column, may have: far above `max_chars`; 0 for no limit.

    It keeps memory bounded where a quote is not closed, or a file has no lines.
    """
    return max_chars and max(16 * max_chars, 2**20)


def _unknown(file: Opened) -> DataError:
    *others, last = *_TEXT_FORMATS, *_ARROW_FORMATS
    return DataError(
        f"{file.name}: unknown file type",
        expected=f"{', '.join(others)} or {last}, each also with {', '.join(PACKED)}; or - for standard input",
        got=repr(file.suffix) if file.suffix else "no suffix",
        fix=_HINTS.get(file.suffix, "convert or rename it"),
    )


def text_rows(file: Opened, lines: Lines, config: InputConfig, columns: Mapping[str, str], keep: bool) -> Rows:
    """One text per line; a blank line comes as a BlankLineError."""
    extra = [role for role in columns if role != "text"]
    if extra:
        raise DataError(
            f"{lines.name}: plain text has no {extra[0]} column",
            expected=f"a file with a column {shown(columns[extra[0]])}",
            got="one text per line",
            fix="use .csv, .tsv, .jsonl or .parquet",
        )

    def read() -> Row:
        line = next(lines)
        lines.verify()
        if not line.strip():
            raise BlankLineError(f"{lines.place}: blank line", expected="a text", got="none", fix="remove the line")
        return Row(lines.place, {"text": line.rstrip("\r\n")})

    return attempts(read)


_TEXT_FORMATS: dict[str, Reader] = {
    ".txt": text_rows,
    ".csv": table_rows,
    ".tsv": table_rows,
    ".json": json_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
}
_ARROW_FORMATS = {".parquet": parquet_rows, ".arrow": arrow_rows}
