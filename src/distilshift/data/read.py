"""Files of texts, with or without labels, to examples: streamed, and with every flaw named by its line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilshift.config import InputConfig, LabelledInputConfig
from distilshift.data.formats import read_rows
from distilshift.data.labels import check_label_names, label_mapping, label_namer
from distilshift.data.rows import SURROGATE, Row, RowError, shown
from distilshift.data.streams import Readable
from distilshift.data.streams import display_name as file_name
from distilshift.data.tables import Table
from distilshift.errors import DataError
from distilshift.types import Example

__all__ = [
    "ReadReport",
    "Texts",
    "iter_examples",
    "iter_labelled",
    "label_mapping",
    "read_examples",
    "read_labelled",
    "require_classes",
]

_LOG = logging.getLogger("distilshift")


@dataclass
class ReadReport:
    """Counts of one pass over a file, up to date at every row.

    Attributes:
        rows: rows met so far.
        bad: those of them that cannot be used.
        first_problem: what is wrong with the first of these, or None.
    """

    rows: int = 0
    bad: int = 0
    first_problem: str | None = None

    def count_bad(self, error: RowError) -> None:
        """Note a row that cannot be used."""
        self.bad += 1
        self.first_problem = self.first_problem or error.reason


@dataclass(frozen=True)
class Texts:
    """A whole file.

    Attributes:
        examples: its usable rows, in order.
        skipped: number of rows left out (`skip_bad`).
    """

    examples: tuple[Example, ...]
    skipped: int = 0


def iter_examples(
    path: Readable | Table,
    config: InputConfig,
    *,
    pass_bad: bool = False,
    report: ReadReport | None = None,
    warn: bool = True,
) -> Iterator[Example]:
    """Texts of a file, without labels, in constant memory.

    Lines end at LF, CRLF or CR and nowhere else; blank lines are no rows in JSONL and in tables of several columns.

    Args:
        path: .txt (a text a line), .csv, .tsv, .jsonl, .ndjson or .parquet, each also with .gz;
            "-" for texts on standard input; or an open handle, whose name tells the format (none: .txt);
            or a table of Python objects.
        config: how it is read.
        pass_bad: give a row that cannot be used as an Example with `problem` set, in its place.
        report: counts to keep up to date, for the caller to read.
        warn: log at the end how many rows could not be used.

    Raises:
        DataError: for the options at once; while iterating for the file, or (without `skip_bad` and `pass_bad`) a row.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    columns = _columns(text=config.text_column, pair=config.pair_column)
    return _examples(path, config, columns, None, pass_bad, report or ReadReport(), warn)


def iter_labelled(
    path: Readable | Table, config: LabelledInputConfig, *, pass_bad: bool = False, report: ReadReport | None = None
) -> Iterator[Example]:
    """Texts of a file with their labels, in constant memory; otherwise as `iter_examples`.

    Labels are stripped and `label_names` applied. That they are not bare numbers only `read_labelled` can check.

    Raises:
        DataError: as `iter_examples`; also where `label_names` is malformed or (even with `skip_bad`) lacks a label.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    columns = _columns(text=config.text_column, pair=config.pair_column, label=config.label_column)
    namer = label_namer(config.label_names)
    return _examples(path, config, columns, namer, pass_bad, report or ReadReport())


def read_examples(path: Readable | Table, config: InputConfig) -> Texts:
    """All texts of a file, without labels; arguments as `iter_examples`.

    Raises:
        DataError: the file or a row cannot be used, or there is no usable row.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    report = ReadReport()
    return _texts(path, tuple(iter_examples(path, config, report=report)), report)


def read_labelled(path: Readable | Table, config: LabelledInputConfig) -> Texts:
    """All texts of a file with their labels; arguments as `iter_labelled`.

    Raises:
        DataError: the file or a row cannot be used, there is no usable row, or all labels are numbers
            that `label_names` neither names nor keeps.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    report = ReadReport()
    texts = _texts(path, tuple(iter_labelled(path, config, report=report)), report)
    check_label_names((str(item.label) for item in texts.examples), display_name(path), config.label_names)
    return texts


def require_classes(examples: Sequence[Example], path: Readable | Table) -> None:
    """Check that there is something to tell apart, as training needs.

    Args:
        examples: the labelled examples.
        path: their file, for the message.

    Raises:
        DataError: fewer than two classes.
    """
    classes = sorted({str(item.label) for item in examples})
    if len(classes) < 2:
        raise DataError(
            f"{display_name(path)}: too few classes",
            expected="at least two",
            got=f"only {shown(classes[0])} in {len(examples)} rows" if classes else "none",
            fix="add rows of another class, or name another column with --label-column",
        )


def display_name(source: Readable | Table) -> str:
    """How messages call a file or a table."""
    return source.name if isinstance(source, Table) else file_name(source)


def _columns(**roles: str | None) -> dict[str, str]:
    columns: dict[str, str] = {}
    for role, column in roles.items():
        if column in columns.values():
            raise DataError(
                f"--{role}-column: column {shown(column)} has another role already",
                expected="a column for each role",
                got=", ".join(f"--{other}-column {name}" for other, name in columns.items()),
                fix=f"name another column with --{role}-column",
            )
        if column is not None:
            columns[role] = column
    return columns


def _texts(path: Readable | Table, examples: tuple[Example, ...], report: ReadReport) -> Texts:
    if not examples:
        name = display_name(path)
        if report.first_problem is None:
            if isinstance(path, Table):
                raise DataError(f"{name} is empty", expected="at least one row", got="none", fix="check its source")
            raise DataError(f"{name}: the file is empty", expected="at least one row", got="none", fix="check the path")
        raise DataError(
            f"{name}: no usable row",
            expected="at least one",
            got=f"{report.bad} of {report.rows} rows unusable, the first: {report.first_problem}",
            fix="correct the file",
        )
    return Texts(examples, report.bad)


def _examples(
    path: Readable | Table,
    config: InputConfig,
    columns: Mapping[str, str],
    namer: Callable[[Any, str], str] | None,
    pass_bad: bool,
    report: ReadReport,
    warn: bool = True,
) -> Iterator[Example]:
    if isinstance(path, Table):  # class numbers have names there, unless the option names them
        rows = path.rows(columns, named=getattr(config, "label_names", None) is None)
    else:
        rows = read_rows(path, config, columns)
    for row in rows:
        report.rows += 1
        try:
            example = _example(row, columns, namer, config.max_chars)
        except RowError as error:
            if not (config.skip_bad or pass_bad):
                raise
            report.count_bad(error)
            if pass_bad:
                yield Example(text="", problem=error.reason)
            continue
        yield example
    if report.bad and warn:
        action = "marked" if pass_bad else "left out"
        name = display_name(path)
        _LOG.warning("%s: %s %d of %d rows; the first: %s", name, action, report.bad, report.rows, report.first_problem)


def _example(
    row: Row | RowError, columns: Mapping[str, str], namer: Callable[[Any, str], str] | None, max_chars: int
) -> Example:
    if isinstance(row, RowError):
        raise row
    values = dict(row.values)
    raw_label = values.pop("label", None)
    texts = {role: _usable(value, row.place, columns[role], max_chars) for role, value in values.items()}
    label = namer(raw_label, row.place) if namer else None
    if label:
        _check_characters(label, row.place, columns["label"])
    return Example(text=texts["text"], pair=texts.get("pair"), label=label)


def _usable(value: Any, place: str, column: str, max_chars: int) -> str:
    if not isinstance(value, str):
        raise RowError(
            f"{place}: {shown(column)} is not a text",
            expected="a string",
            got=shown(value),
            fix="write it as a string, remove the row, or pass --skip-bad",
        )
    _check_characters(value, place, column)
    if not value.strip():
        raise RowError(
            f"{place}: blank text",
            expected=f"words in {shown(column)}",
            got="only white space" if value else "an empty text",
            fix="remove the row, or pass --skip-bad",
        )
    if 0 < max_chars < len(value):
        raise RowError(
            f"{place}: text too long",
            expected=f"at most {max_chars:,} characters",
            got=f"{len(value):,}",
            fix="close a quote that was left open, raise --max-chars (0: no limit), or pass --skip-bad",
        )
    return value


def _check_characters(value: str, place: str, column: str) -> None:
    if "\0" in value:
        raise RowError(
            f"{place}: a NUL character in {shown(column)}",
            expected="text",
            got=shown(value),
            fix="remove it, or pass --skip-bad; name the encoding (`--encoding utf-16-le`) if NULs are everywhere",
        )
    if not value.isascii() and (match := SURROGATE.search(value)):
        raise RowError(
            f"{place}: half a surrogate pair in {shown(column)}",
            expected="whole characters",
            got=f"\\u{ord(match.group()):04x} alone",
            fix="write the character itself, remove the row, or pass --skip-bad",
        )
