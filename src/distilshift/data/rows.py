"""What every file format hands on: rows, or the errors that stand in their place."""

from __future__ import annotations

import difflib
import re
import reprlib
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from distilshift.errors import DataError

T = TypeVar("T")

SURROGATE = re.compile("[\ud800-\udfff]")
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_LISTED = 20
# Spelling alone would take "label" for "text".
_NEVER_TEXT = {"class", "id", "idx", "index", "label", "labels", "rating", "score", "stars", "target"}


class RowError(DataError):
    """One row cannot be used; `skip_bad` leaves out that row, whereas any other DataError condemns the file."""

    @property
    def reason(self) -> str:
        """The message without its fix, which would advise the `skip_bad` that is in use."""
        return str(DataError(self.problem, expected=self.expected, got=self.got))


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the file has it, unchecked.

    Attributes:
        place: file name and line or row number, for messages.
        values: role ("text", "pair", "label") to the value found.
    """

    place: str
    values: Mapping[str, Any]


def attempts(read: Callable[[], T]) -> Iterator[T | RowError]:
    """What `read` returns until it raises StopIteration; a RowError becomes an item, so that reading goes on."""
    while True:
        try:
            item: T | RowError = read()
        except StopIteration:
            return
        except RowError as error:
            item = error
        yield item


def shown(value: Any) -> str:
    """A short form of a value that is safe to print: escapes instead of control characters."""
    return "null" if value is None else _BRIEF.repr(value)


def listed(values: Sequence[Any]) -> str:
    """The first values, by `shown`, and how many more there are."""
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return ", ".join(shown(value) for value in values[:_LISTED]) + more


def require_columns(place: str, columns: Mapping[str, str], found: Sequence[str]) -> None:
    """Check the column names of a whole file.

    Args:
        place: file and line of the names, for messages.
        columns: role to wanted column.
        found: the file's column names.

    Raises:
        DataError: a column is missing, or a name occurs twice.
    """
    twice = [name for name, count in Counter(found).items() if count > 1 and name]
    if twice:
        raise DataError(
            f"{place}: duplicate column {shown(twice[0])}",
            expected="every column once",
            got=listed(found),
            fix="rename or remove one of them",
        )
    for role, column in columns.items():
        if column not in found:
            raise DataError(**missing_column(place, role, columns, found))


def missing_column(place: str, role: str, columns: Mapping[str, str], found: Sequence[str]) -> dict[str, str]:
    """The fields of the error that says a column is not there, and which one may be meant."""
    return {
        "problem": f"{place}: no {role} column",
        "expected": f"a column {shown(columns[role])}",
        "got": f"columns {listed(found)}" if found else "no columns",
        "fix": _column_fix(role, columns, found),
    }


def _column_fix(role: str, columns: Mapping[str, str], found: Sequence[str]) -> str:
    if len(found) == 1 and (separator := re.search("[;|\t,]", found[0])):
        return f"the columns seem to be separated by {separator.group()!r}: save with commas as .csv, with tabs as .tsv"
    free = {name.lower(): name for name in found if name and name not in columns.values()}
    if role != "label":
        free = {low: name for low, name in free.items() if low not in _NEVER_TEXT}
    closest = difflib.get_close_matches(columns[role].lower(), free, n=1, cutoff=0.0)
    if not closest:
        return f"add the column, or name it with --{role}-column"
    return f"`--{role}-column {shlex.quote(free[closest[0]])}`"
