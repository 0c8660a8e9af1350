"""Files of texts, with or without labels, to examples: streamed, and with every flaw named by its line."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilshift.config import InputConfig, LabelledInputConfig
from distilshift.data.characters import check_characters, has_control_characters, usable_text
from distilshift.data.formats import read_rows
from distilshift.data.labels import LabelNamer, check_label_names, label_mapping
from distilshift.data.rows import BlankLineError, Row, RowError, shown
from distilshift.data.sources import Source, files_of, source_name
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
_TEXTS = ("text", "pair")

Given = Source | Table  # what examples are read from: files, or a table of Python objects


@dataclass
class ReadReport:
    """Counts of one pass over the files, up to date at every row.

    Attributes:
        rows: rows met so far.
        bad: those of them that cannot be used.
        ignored: those left out for their label.
        controls: those used whose text has control characters (`has_control_characters`).
        first_problem: what is wrong with the first bad one, or None.
    """

    rows: int = 0
    bad: int = 0
    ignored: int = 0
    controls: int = 0
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
    given: Given,
    config: InputConfig,
    *,
    pass_bad: bool = False,
    pass_blank: bool = False,
    keep_columns: bool = False,
    id_column: str | None = None,
    report: ReadReport | None = None,
    warn: bool = True,
) -> Iterator[Example]:
    """Texts of files, without labels, in constant memory.

    Lines end at LF, CRLF or CR and nowhere else. Blank lines are not rows in JSONL and in tables of several columns; in
    plain text they are left out and counted.

    Args:
        given: .txt (one text per line), .csv, .tsv, .json, .jsonl, .ndjson, .parquet or .arrow, each also with .gz,
            .bz2, .xz or .zst; a folder or a glob of such files, a folder that `save_to_disk` wrote, or a list of Path
            objects; "-" for texts on standard input; an open handle, whose name tells the format (none: .txt); or a
            table of Python objects.
        config: how they are read.
        pass_bad: give a row that cannot be used as an Example with `problem` set, in its place.
        pass_blank: give a blank line of plain text so, too, rather than leave it out.
        keep_columns: fill `Example.columns` with the columns that have no role.
        id_column: fill `Example.columns` with this column alone.
        report: counts to keep up to date, for the caller to read.
        warn: log at the end how many rows could not be used.

    Raises:
        DataError: for the options at once; while iterating for the file, or (without `skip_bad` and `pass_bad`) a row.
        MissingExtraError: the format needs a library that is not installed.
    """
    columns = _columns(text=config.text_column, pair=config.pair_column, id=id_column)
    passing = _Passing(pass_bad, pass_bad or pass_blank, keep_columns and id_column is None)
    return _examples(given, config, columns, None, passing, report or ReadReport(), warn)


def iter_labelled(
    given: Given,
    config: LabelledInputConfig,
    *,
    pass_bad: bool = False,
    report: ReadReport | None = None,
    known: Sequence[str] = (),
) -> Iterator[Example]:
    """Texts of files with their labels, in constant memory; otherwise as `iter_examples`.

    Labels are stripped, `ignore_label` and `label_names` applied; without the latter, class names that a Parquet or
    Arrow file has for its numbers hold. That labels are not bare numbers only `read_labelled` can check.

    Raises:
        DataError: as `iter_examples`; also where `label_names` is malformed or (even with `skip_bad`) lacks a label.
        MissingExtraError: the format needs a library that is not installed.
    """
    columns = _columns(text=config.text_column, pair=config.pair_column, label=config.label_column)
    namer = LabelNamer(config.label_names, config.ignore_label, known)
    return _examples(given, config, columns, namer, _Passing(pass_bad, pass_bad, False), report or ReadReport())


def read_examples(given: Given, config: InputConfig) -> Texts:
    """All texts of files, without labels; arguments as `iter_examples`.

    Raises:
        DataError: the file or a row cannot be used, or there is no usable row.
        MissingExtraError: the format needs a library that is not installed.
    """
    report = ReadReport()
    return _texts(given, tuple(iter_examples(given, config, report=report)), report)


def read_labelled(given: Given, config: LabelledInputConfig, known: Sequence[str] = ()) -> Texts:
    """All texts of files with their labels; arguments as `iter_labelled`, `known` as of `check_label_names`.

    Raises:
        DataError: the file or a row cannot be used, there is no usable row, or all labels are unnamed numbers.
        MissingExtraError: the format needs a library that is not installed.
    """
    report = ReadReport()
    texts = _texts(given, tuple(iter_labelled(given, config, report=report, known=known)), report)
    check_label_names((str(item.label) for item in texts.examples), given_name(given), config.label_names, known)
    return texts


def require_classes(examples: Sequence[Example], name: str) -> None:
    """Check that there is something to tell apart, as training needs.

    Args:
        examples: the labelled examples.
        name: how messages call their source.

    Raises:
        DataError: fewer than two classes.
    """
    classes = sorted({str(item.label) for item in examples})
    if len(classes) < 2:
        raise DataError(
            f"{name}: too few classes",
            expected="at least two",
            got=f"only {shown(classes[0])} in {len(examples)} rows" if classes else "none",
            fix="add rows of another class, or name another column with --label-column",
        )


def given_name(given: Given) -> str:
    """How messages call files or a table: always printable on one line."""
    return given.name if isinstance(given, Table) else source_name(given)


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


def _texts(given: Given, examples: tuple[Example, ...], report: ReadReport) -> Texts:
    if not examples:
        name = given_name(given)
        if report.first_problem is None:
            if isinstance(given, Table):
                raise DataError(f"{name} is empty", expected="at least one row", got="none", fix="check its source")
            raise DataError(f"{name}: the file is empty", expected="at least one row", got="none", fix="check the path")
        raise DataError(
            f"{name}: no usable row",
            expected="at least one",
            got=f"{report.bad} of {report.rows} rows unusable, the first: {report.first_problem}",
            fix="correct the file",
        )
    return Texts(examples, report.bad)


@dataclass(frozen=True)
class _Passing:
    """Which rows come as examples with a problem instead of ending the reading, and whether columns come along."""

    bad: bool
    blank: bool
    columns: bool


def _examples(
    given: Given,
    config: InputConfig,
    columns: Mapping[str, str],
    namer: LabelNamer | None,
    passing: _Passing,
    report: ReadReport,
    warn: bool = True,
) -> Iterator[Example]:
    for row in _rows(given, config, columns, passing.columns):
        report.rows += 1
        try:
            example = _example(row, columns, namer, config)
        except RowError as error:
            blank = isinstance(error, BlankLineError)
            if not (config.skip_bad or passing.bad or blank):
                raise
            report.count_bad(error)
            if passing.blank if blank else passing.bad:
                yield Example(text="", problem=error.reason, columns=_carried(row, columns))
            continue
        if example is None:
            report.ignored += 1
            continue
        report.controls += has_control_characters(example.text)
        yield example
    if namer is not None:
        namer.finish()
    if warn:
        _warn(given_name(given), report, passing)


def _rows(given: Given, config: InputConfig, columns: Mapping[str, str], keep: bool) -> Iterator[Row | RowError]:
    if isinstance(given, Table):
        return given.rows(columns)
    return (row for file in files_of(given) for row in read_rows(file, config, columns, keep))


def _warn(name: str, report: ReadReport, passing: _Passing) -> None:
    if report.bad:
        action, of = "marked" if passing.blank else "left out", f"{report.bad} of {report.rows} rows"
        _LOG.warning("%s: %s %s; the first: %s", name, action, of, report.first_problem)
    if report.ignored:
        _LOG.warning("%s: left out %d of %d rows for their label", name, report.ignored, report.rows)
    if report.controls:
        _LOG.warning(
            "%s: %d of %d rows have control characters (U+0080 to U+009F), which were quotes or dashes before somebody "
            "read cp1252 as latin-1; their texts are used as they are",
            *(name, report.controls, report.rows),
        )


def _example(
    row: Row | RowError,
    columns: Mapping[str, str],
    namer: LabelNamer | None,
    config: InputConfig,
) -> Example | None:
    """The row as an example; None if its label is one to leave out."""
    if isinstance(row, RowError):
        raise row
    label = namer(row.values["label"], row.place) if namer else None
    if namer and label is None:
        return None
    texts = {
        role: usable_text(row.values[role], row.place, columns[role], config) for role in _TEXTS if role in columns
    }
    if label:
        check_characters(label, row.place, columns["label"], config.encoding)
    return Example(text=texts["text"], pair=texts.get("pair"), label=label, columns=_carried(row, columns))


def _carried(row: Row | RowError, columns: Mapping[str, str]) -> dict[str, Any] | None:
    """The columns that go with a row, where some were asked for."""
    if isinstance(row, RowError):
        return None
    own = {columns["id"]: row.values["id"]} if "id" in columns else {}
    return {**own, **row.others} or None
