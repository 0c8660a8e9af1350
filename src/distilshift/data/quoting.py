"""What quotation marks mean in a table: whether a file is quoted as CSV, or quotes are ordinary characters in it."""

from __future__ import annotations

import csv
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from distilshift.data.lines import Lines
from distilshift.data.rows import RowError

# What fits a C long everywhere.
_NO_LIMIT = 2**31 - 1
# csv keeps its limit in one variable of the process.
_CSV_LIMIT = threading.RLock()
_MAX_VALUES = 200
TOO_LONG = "record larger than the limit"
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")


def split_line(line: str, delimiter: str) -> list[str]:
    """Cells of one line whose quotes are ordinary characters; a blank line has none."""
    content = line.rstrip("\r\n")
    return content.split(delimiter) if content else []


def parse_record(first: str, lines: Lines, delimiter: str) -> list[str]:
    """Cells of the record that begins with `first`; more lines are taken while a quotation is open.

    Raises:
        csv.Error: the quotes are malformed, or the record is longer than the limit of a line.
    """
    with _CSV_LIMIT:
        before = csv.field_size_limit(lines.limit or _NO_LIMIT)
        try:
            return next(csv.reader(_limited(chain([first], lines), lines.limit), delimiter=delimiter, strict=True))
        finally:
            csv.field_size_limit(before)


def _limited(lines: Iterable[str], limit: int) -> Iterator[str]:
    """Give the lines of one record; quotes that open and close in each line could make all of a file one record."""
    taken = 0
    for line in lines:
        taken += len(line)
        if 0 < limit < taken:
            raise csv.Error(TOO_LONG)
        yield line


@dataclass
class _Values:
    """The values of one column, as far as they tell a column of classes or numbers from others."""

    seen: set[str] = field(default_factory=set)
    numeric: bool = True

    def add(self, value: str) -> None:
        value = value.strip()
        self.numeric = self.numeric and bool(_NUMBER.fullmatch(value))
        if len(self.seen) <= _MAX_VALUES:
            self.seen.add(value)

    def like(self, values: Sequence[str]) -> bool:
        """Whether one of the values is a class of this column, or all are numbers as its own are."""
        if self.numeric and self.seen and values:
            return all(_NUMBER.fullmatch(value.strip()) for value in values)
        return len(self.seen) <= _MAX_VALUES and any(value.strip() in self.seen - {""} for value in values)


class Evidence:
    """What all lines of a table tell about its quotes.

    Attributes:
        consistent: every quotation opens at the start of a cell and closes at the end of one, and all rows are as long
            as the header.
        needed: some line cannot be read with quotes as ordinary characters.
    """

    def __init__(self, lines: Lines, delimiter: str, headed: bool) -> None:
        self.consistent, self.needed = True, False
        self._delimiter, self._width = delimiter, 0
        self._values: list[_Values] = []
        self._well_formed = _well_formed(delimiter)
        for number, (cells, raw) in enumerate(self._records(lines)):
            self._note(cells, raw, header=headed and not number)

    @property
    def quoted(self) -> bool:
        """Whether the file is CSV beyond doubt: well-formed throughout, and unreadable otherwise."""
        return self.consistent and self.needed

    def hides_rows(self, raw: Sequence[str], cells: Sequence[str]) -> bool:
        """Whether the lines of one record are likely rows of their own, which a stray quote joined.

        They are where some have as many cells as the header, and the cells beside the quotation look like other values
        of their column.
        """
        if self._width < 2:
            return False
        split = [split_line(line, self._delimiter) for line in raw]
        long = next(index for index, cell in enumerate(cells) if "\n" in cell or "\r" in cell)
        # What stands before the quotation in its first line, and after it in its last, is of the record itself.
        before, after = ([line for line in lines if len(line) == self._width] for lines in (split[1:], split[:-1]))
        return any(
            column.like([line[index] for line in (before if index < long else after)])
            for index, column in enumerate(self._values)
            if index != long
        )

    def _records(self, lines: Lines) -> Iterator[tuple[list[str], list[str]]]:
        while True:
            lines.begin_record()
            try:
                first = next(lines)
                cells = parse_record(first, lines, self._delimiter) if '"' in first else None
                yield split_line(first, self._delimiter) if cells is None else cells, lines.record
            except StopIteration:
                return
            except RowError:
                continue
            except csv.Error:
                self.consistent = False
                return  # nothing can make the file consistent again

    def _note(self, cells: list[str], raw: list[str], header: bool) -> None:
        self._width = self._width or len(cells)
        text = "".join(raw)
        if '"' not in text:
            if len(cells) == self._width and not header:
                self._learn(cells)
            return
        if len(cells) != self._width or not self._well_formed.fullmatch(text):
            self.consistent = False
            return
        blank = self._width == 1  # where a blank line would be a blank text
        counts = {len(split_line(line, self._delimiter)) for line in raw} - (set() if blank else {0})
        self.needed = self.needed or header or counts != {self._width} or any('"' in cell for cell in cells)
        if len(raw) == 1 and not header:
            self._learn(cells)

    def _learn(self, cells: Sequence[str]) -> None:
        self._values = self._values or [_Values() for _ in cells]
        for column, cell in zip(self._values, cells, strict=True):
            column.add(cell)


def _well_formed(delimiter: str) -> re.Pattern[str]:
    """A record of RFC 4180: a cell is either quoted as a whole, with inner quotes doubled, or has no quote."""
    mark = re.escape(delimiter)
    cell = rf'(?:"(?:[^"]++|"")*+"|[^"{mark}\r\n]*+)'
    return re.compile(rf"{cell}(?:{mark}{cell})*+[\r\n]*")
