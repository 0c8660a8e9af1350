"""Strings that are the names of files, where texts are meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from distilshift.data.rows import shown
from distilshift.errors import DataError

# A slash, or an ending: whoever writes one more likely means a file than a text.
LIKE_A_PATH = re.compile(r"[/\\]|\.[a-z][a-z0-9]{0,9}$", re.IGNORECASE)


def require_no_names(given: Any, fix: str = "pass pathlib.Path objects, a folder, or a glob as one string") -> None:
    """Refuse a list of strings all of which name files: it would be read as that many texts.

    Args:
        given: any input.
        fix: what to do instead.

    Raises:
        DataError: it is one.
    """
    if isinstance(given, list | tuple) and given and all(isinstance(item, str) and _names_file(item) for item in given):
        more = f" and {len(given) - 1} more" if len(given) > 1 else ""
        raise DataError(
            "the names of files where texts are read", expected="texts", got=f"{shown(given[0])}{more}", fix=fix
        )


def _names_file(text: str) -> bool:
    """Whether a text is the name of a file: one that is there, or one with the ending of a kind that is read."""
    if "\n" in text or not LIKE_A_PATH.search(text):
        return False
    from distilshift.data.formats import is_readable  # the readers, which predicting does not need

    return is_readable(text) or _exists(text)


def _exists(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a long text, or one with a NUL byte, is no path
        return False
