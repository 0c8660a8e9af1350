"""CSV and TSV to rows: header, delimiter and quoting are found out where they are not given."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from distilshift.config import InputConfig
from distilshift.config.parsers import parse_delimiter
from distilshift.data.columns import SAMPLE_ROWS, Sample, require_columns
from distilshift.data.lines import Lines, open_lines
from distilshift.data.quoting import TOO_LONG, Evidence, parse_record, split_line
from distilshift.data.rows import Row, RowError, attempts, shown
from distilshift.data.streams import Opened
from distilshift.errors import DataError

_DELIMITERS = (",", ";", "\t", "|")
_CLOSE = 'close each quoted cell and double the quotes inside it ("")'
_ORDINARY = "pass `--quoting none` if quotes are ordinary characters"
# Lines of a malformed record that are read again: more of them condemn the file, as each could cost as much.
_MAX_RETRIED = 1000
# What Excel writes and reads before the header.
_SEP_LINE = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)


def table_rows(
    file: Opened, lines: Lines, config: InputConfig, columns: Mapping[str, str], keep: bool
) -> Iterator[Row | RowError]:
    """Delimited rows, under a header line unless `config.header` is off.

    After a malformed row reading resumes on the next line.
    """
    yield from attempts(_Table(file, lines, config, columns, keep).read)


class _Table:
    """The state of a table as it is read: its columns and how many rows have gone by."""

    def __init__(self, file: Opened, lines: Lines, config: InputConfig, columns: Mapping[str, str], keep: bool) -> None:
        self._file, self._lines, self._config = file, lines, config
        self._row, self._width = 0, 0
        self._evidence: Evidence | None = None
        self._pushed: list[str] | None = None
        header = self._open(columns)
        if not config.header:
            self._pushed, columns = header, _by_number(columns, len(header))
            header = [str(index) for index in range(len(header))]
        require_columns(lines.place, columns, header, lambda: self._sample(header), headed=config.header or None)
        self._width = len(header)
        self._wanted = {role: header.index(column) for role, column in columns.items()}
        others = [index for index in range(len(header)) if keep and index not in self._wanted.values()]
        self._others = {header[index] or f"unnamed_{index}": index for index in others}

    def read(self) -> Row:
        """The next row. Raises RowError, or StopIteration at the end."""
        self._row += 1
        cells: list[str] = []
        while not cells:
            start = self._lines.number + 1
            # A blank line is an empty cell where there is one column, and no row where there are more.
            cells = self._next() or [""] * (self._width == 1)
        place = self._place(start)
        if len(cells) != self._width:
            raise self._ragged(place, len(cells))
        others = {name: cells[index] for name, index in self._others.items()}
        return Row(place, {role: cells[index] for role, index in self._wanted.items()}, others)

    def _open(self, columns: Mapping[str, str]) -> list[str]:
        """The first record, once the delimiter is known: given, named by a `sep=` line, or told by the header."""
        try:
            self._lines.begin_record()
            first = next(self._lines)
            option, match = self._config.delimiter, _SEP_LINE.fullmatch(first)
            given = parse_delimiter(option) if option else None
            self._preamble = match is not None
            if match:
                given = given or match.group(1)
                self._lines.begin_record()
                first = next(self._lines)
            default = "\t" if self._file.suffix == ".tsv" else ","
            self._delimiter = given or (
                _sniffed(first, default, columns) if self._config.header else self._agreed(default)
            )
            return [cell.strip() for cell in self._record(first)]
        except StopIteration:
            raise DataError(
                f"{self._lines.name}: the file is empty",
                expected="a header line with column names" if self._config.header else "at least one row",
                got="no data",
                fix="check the path",
            ) from None

    def _agreed(self, default: str) -> str:
        """The delimiter of a file without a header: the first that cuts all of its first lines into as many cells."""
        if self._file.again is None:
            return default
        with self._file.again() as file, open_lines(file, self._config.encoding, self._lines.limit) as lines:
            first = [line for line in islice(lines, SAMPLE_ROWS) if line.strip() and not _SEP_LINE.fullmatch(line)]
        marks = (default, *_DELIMITERS)
        widths = {mark: _widths(first, mark, self._config.quoting) for mark in marks}
        return next((mark for mark in marks if len(widths[mark]) == 1 and widths[mark] != {1}), default)

    def _next(self) -> list[str]:
        if self._pushed is not None:
            cells, self._pushed = self._pushed, None
            return cells
        self._lines.begin_record()
        return self._record(next(self._lines))

    def _record(self, first: str) -> list[str]:
        start = self._lines.number
        if '"' not in first or not self._is_quoted():
            cells = split_line(first, self._delimiter)
        else:
            try:
                cells = parse_record(first, self._lines, self._delimiter)
            except csv.Error as error:
                problem = self._malformed(str(error), start)
                if len(self._lines.record) > _MAX_RETRIED:
                    raise DataError(
                        problem.problem, expected=problem.expected, got=problem.got, fix=f"{_CLOSE}, or {_ORDINARY}"
                    ) from None
                self._lines.resume_after_first()
                raise problem from None
            if len(self._lines.record) > 1 and self._config.quoting == "auto":
                self._require_one_row(cells, start)
        self._lines.verify()
        return cells

    def _is_quoted(self) -> bool:
        """Whether quotes mark cells: as a convention in CSV, in TSV only where all its lines say so."""
        if self._config.quoting != "auto" or self._delimiter != "\t":
            return self._config.quoting != "none"
        evidence = self._told()
        return evidence is not None and evidence.quoted

    def _require_one_row(self, cells: list[str], start: int) -> None:
        """Refuse a cell of several lines that may as well be several rows, joined by stray quotes."""
        inside = [cell for cell in cells if "\n" in cell or "\r" in cell]
        if self._width != 1 and not any(self._delimiter in cell for cell in inside):
            return
        evidence = self._told()
        if evidence is not None and evidence.quoted and not evidence.hides_rows(self._lines.record, cells):
            return
        raise DataError(
            f"{self._place(start)}: a quoted cell goes on to line {self._lines.number} and may hold whole rows",
            expected="a quotation that closes in its own line, or a file that is quoted as CSV throughout",
            got=shown(inside[0]),
            fix="`--quoting none` if quotes are ordinary characters, or `--quoting csv` if the cell is one text",
        )

    def _told(self) -> Evidence | None:
        """What all lines say about quotes; None where the input can be read only once."""
        if self._evidence is None and self._file.again is not None:
            with self._file.again() as file, open_lines(file, self._config.encoding, self._lines.limit) as lines:
                if self._preamble:
                    next(lines, None)
                self._evidence = Evidence(lines, self._delimiter, self._config.header)
        return self._evidence

    def _sample(self, header: list[str]) -> Sample:
        """The first values of each column."""
        if self._file.again is None:
            return {}
        with self._file.again() as file, open_lines(file, self._config.encoding, self._lines.limit) as lines:
            try:
                for _ in range(self._config.header + self._preamble):
                    next(lines, None)
                rows = [split_line(line, self._delimiter) for line in islice(lines, 5 * SAMPLE_ROWS)]
            except RowError:
                return {}
        whole = [[cell.strip('"') for cell in row] for row in rows if len(row) == len(header)][:SAMPLE_ROWS]
        return {name: [row[index] for row in whole] for index, name in enumerate(header)}

    def _place(self, start: int) -> str:
        return f"{self._lines.name}, line {start} (row {self._row})" if self._width else f"{self._lines.name}, line 1"

    def _ragged(self, place: str, found: int) -> RowError:
        cells = "1 cell" if self._width == 1 else f"{self._width} cells"
        quotes = self._config.quoting == "csv" or self._delimiter != "\t"
        fix = f"put cells that contain {self._delimiter!r} in double quotes" if quotes else "remove tabs inside cells"
        return RowError(
            f"{place}: wrong number of cells",
            expected=f"{cells}, as in the {'header' if self._config.header else 'first row'}",
            got=str(found),
            fix=f"{fix}, or pass --skip-bad",
        )

    def _malformed(self, message: str, start: int) -> RowError:
        expected, got = "well-formed quotes", message
        if message == "unexpected end of data":
            expected, got = "a closing quote", "the end of the file"
        elif message == TOO_LONG or message.startswith("field larger"):
            expected, got = f"at most {self._lines.limit:,} characters in a row", "more"
        return RowError(
            f"{self._place(start)}: malformed row or unclosed quote",
            expected=expected,
            got=got,
            fix=f"{_CLOSE}, {_ORDINARY}, or pass --skip-bad",
        )


def _widths(lines: Sequence[str], mark: str, quoting: str) -> set[int]:
    """Return the numbers of cells that the rows of a sample have; as in `_Table`, quotes are ordinary in TSV."""
    if quoting == "none" or (quoting == "auto" and mark == "\t"):
        return {len(split_line(line, mark)) for line in lines}
    try:
        rows = list(csv.reader(lines, delimiter=mark))
    except csv.Error:
        return set()
    # The sample may end within a quoted cell.
    return {len(row) for row in (rows[:-1] if len(lines) >= SAMPLE_ROWS else rows) if row}


def _by_number(columns: Mapping[str, str], width: int) -> dict[str, str]:
    """The columns of a file without a header: a lone one is the text."""
    return {role: "0" if width == 1 and role == "text" else column for role, column in columns.items()}


def _sniffed(first: str, default: str, columns: Mapping[str, str]) -> str:
    """The delimiter under which the header has all wanted columns, else that which gives the most cells."""
    cells = {}
    for mark in (default, *(mark for mark in _DELIMITERS if mark != default)):
        try:
            cells[mark] = [cell.strip() for cell in next(csv.reader([first], delimiter=mark), [])]
        except csv.Error:
            cells[mark] = split_line(first, mark)
    for mark, found in cells.items():
        if all(column in found for column in columns.values()):
            return mark
    return max(cells, key=lambda mark: len(cells[mark]))
