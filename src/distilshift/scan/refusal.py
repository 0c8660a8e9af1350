"""How every scanner says no, and the text that it may quote."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

from distilshift.errors import UnsafeError

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_BRIEF.maxdict = _BRIEF.maxlist = 4


_FIX = "get it again from a source that you trust"


def unsafe(path: Path, got: str, expected: str | None = None, fix: str = _FIX) -> UnsafeError:
    """The error for a file that a loader shall not see."""
    return UnsafeError(f"{path} is refused before it is loaded", expected=expected, got=got, fix=fix)


def brief(value: Any) -> str:
    """A short form of an untrusted value, escaped."""
    return _BRIEF.repr(value)


def require_whole(path: Path, name: str, value: Any, low: int, high: int) -> int:
    """`value`, if it is a whole number from `low` to `high`.

    Raises:
        UnsafeError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise unsafe(path, f"{name} {brief(value)}", f"a whole number from {low:,} to {high:,}")
    return value
