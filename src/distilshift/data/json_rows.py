"""JSON to rows: one object per line, or an array of objects that is never held as a whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from distilshift.config import InputConfig
from distilshift.data.columns import SAMPLE_ROWS, Sample, missing_column
from distilshift.data.lines import Lines, open_lines
from distilshift.data.rows import Row, RowError, attempts, shown
from distilshift.data.streams import Opened
from distilshift.errors import DataError

_SPACE = " \t\r\n"


def json_rows(
    file: Opened, lines: Lines, config: InputConfig, columns: Mapping[str, str], keep: bool
) -> Iterator[Row | RowError]:
    """The objects of JSON Lines, or of a file that is one array; blank lines are no rows."""

    def row(record: dict[str, Any], place: str) -> Row:
        for role, column in columns.items():
            if column not in record:
                sample = _sample(file, config.encoding, lines.limit)
                fields = missing_column(place, role, columns, list(record), sample)
                raise RowError(**{**fields, "fix": f"{fields['fix']}, or pass --skip-bad"})
        others = {key: value for key, value in record.items() if keep and key not in columns.values()}
        return Row(place, {role: record[column] for role, column in columns.items()}, others)

    records = _Records(lines)
    return attempts(lambda: row(*records.next()))


def _sample(file: Opened, encoding: str, limit: int) -> Sample:
    """The first values of each key."""
    found: dict[str, list[Any]] = {}
    if file.again is None:
        return found
    with file.again() as once_more, open_lines(once_more, encoding, limit) as lines:
        for item in islice(attempts(_Records(lines).next), SAMPLE_ROWS):
            for key, value in ({} if isinstance(item, RowError) else item[0]).items():
                found.setdefault(key, []).append(value)
    return found


class _Records:
    """Objects and their places, one at a time; after a RowError it goes on with the next."""

    def __init__(self, lines: Lines) -> None:
        self._lines, self._decoder = lines, json.JSONDecoder(object_pairs_hook=_unique)
        self._array: _Array | None = None
        self._begun = False

    def next(self) -> tuple[dict[str, Any], str]:
        """The next of them. Raises RowError, or StopIteration at the end."""
        if not self._begun:
            self._begun = True
            if self._lines.head() == "[":
                self._array = _Array(self._lines, self._decoder)
        if self._array is not None:
            return self._array.next()
        while not (line := next(self._lines).strip(_SPACE)):
            pass
        self._lines.verify()
        place = self._lines.place
        return _object(_decoded(self._decoder, line, place), place), place


class _Array:
    """The items of one array, decoded from a window that slides over the file."""

    def __init__(self, lines: Lines, decoder: json.JSONDecoder) -> None:
        self._lines, self._decoder = lines, decoder
        self._text, self._at, self._count, self._ended = "", 0, 0, False
        self._more(2**16)
        self._text = self._text.removeprefix("\ufeff")
        self._need("[", "an array")

    def next(self) -> tuple[dict[str, Any], str]:
        """The next item. Raises RowError, or StopIteration at the end."""
        if self._ended:
            raise StopIteration
        if self._count:
            if self._peek() == "]":
                return self._end()
            self._need(",", "a comma between items")
        elif self._peek() == "]":
            return self._end()
        self._count += 1
        place = f"{self._lines.name}, item {self._count}"
        return _object(self._item(place), place), place

    def _end(self) -> tuple[dict[str, Any], str]:
        self._ended = True
        self._at += 1
        if rest := self._peek():
            raise self._broken("nothing after the array", shown(rest))
        raise StopIteration

    def _item(self, place: str) -> Any:
        while True:
            try:
                self._peek()
                value, self._at = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # The item is cut by the window's end, or malformed; only more of the file can tell.
                too_long = 0 < self._lines.limit < len(self._text) - self._at
                if too_long or not self._more(max(2**16, len(self._text) - self._at)):
                    raise self._broken("a JSON object", f"{error.msg} in item {self._count}") from None
                continue
            except (_DuplicateKeyError, RecursionError, ValueError) as error:
                got = f"{shown(error.args[0])} twice" if isinstance(error, _DuplicateKeyError) else str(error)
                raise self._broken("a usable object", f"{got} in item {self._count}") from None
            return value

    def _peek(self) -> str:
        """The next character that is not white space, or nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or not self._more(2**16):
                return self._text[self._at : self._at + 1]

    def _need(self, mark: str, what: str) -> None:
        found = self._peek()
        if found != mark:
            raise self._broken(what, shown(found) if found else "the end of the file")
        self._at += 1

    def _more(self, count: int) -> bool:
        chunk = self._lines.chars(count)
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)

    def _broken(self, expected: str, got: str) -> DataError:
        return DataError(
            f"{self._lines.name}: a broken JSON array",
            expected=expected,
            got=got,
            fix="write the file again, best as one JSON object per line",
        )


class _DuplicateKeyError(ValueError):
    pass


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise _DuplicateKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return record


def _decoded(decoder: json.JSONDecoder, line: str, place: str) -> Any:
    fix = "write one JSON object per line, or pass --skip-bad"
    try:
        return decoder.decode(line)
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


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        fix = "write JSON objects, or pass --skip-bad"
        raise RowError(f"{place}: not a JSON object", expected='an object, {"...": ...}', got=shown(value), fix=fix)
    return value
