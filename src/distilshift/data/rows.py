"""What every file format hands on: rows, or the errors that stand in their place."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from distilshift.errors import DataError

T = TypeVar("T")

SURROGATE = re.compile("[\ud800-\udfff]")
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_LISTED = 20


class RowError(DataError):
    """One row cannot be used; `skip_bad` leaves out that row, whereas any other DataError condemns the file."""

    @property
    def reason(self) -> str:
        """The message without its fix, which would advise the `skip_bad` that is in use."""
        return str(DataError(self.problem, expected=self.expected, got=self.got))


class BlankLineError(RowError):
    """A blank line of a plain text file, which is never a reason to stop."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the file has it, unchecked.

    Attributes:
        place: file name and line or row number, for messages.
        values: role ("text", "pair", "label", "id") to the value found.
        others: the columns without a role, by name; filled only where the caller keeps them.
    """

    place: str
    values: Mapping[str, Any]
    others: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClassLabel:
    """A number whose name the file itself gives, as the `datasets` library writes it.

    Attributes:
        number: the class index.
        name: its name; None for a number outside the classes, such as -1.
    """

    number: int
    name: str | None


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
