"""Whether a value is a text, of characters that texts have."""

from __future__ import annotations

import codecs
import re
from functools import cache
from typing import Any

from distilshift.config import InputConfig
from distilshift.data.rows import SURROGATE, RowError, shown

# What the bytes 0x80 to 0x9f become where cp1252 is read as latin-1. U+0085 (next line) may be meant elsewhere.
_C1, _C1_AND_NEL = re.compile("[\x80-\x84\x86-\x9f]"), re.compile("[\x80-\x9f]")


def usable_text(value: Any, place: str, column: str, config: InputConfig) -> str:
    """The value, once it is known to be a text that can be used.

    Args:
        value: what the column holds.
        place: file and row, for messages.
        column: its name.
        config: how the file is read.

    Raises:
        RowError: it is no string, blank, too long, or has characters that no text has.
    """
    if not isinstance(value, str):
        raise RowError(
            f"{place}: {shown(column)} is not a text",
            expected="a string",
            got=shown(value),
            fix="write it as a string, remove the row, or pass --skip-bad",
        )
    check_characters(value, place, column, config.encoding)
    if not value.strip():
        raise RowError(
            f"{place}: blank text",
            expected=f"words in {shown(column)}",
            got="only white space" if value else "an empty text",
            fix="remove the row, or pass --skip-bad",
        )
    if 0 < config.max_chars < len(value):
        raise RowError(
            f"{place}: text too long",
            expected=f"at most {config.max_chars:,} characters",
            got=f"{len(value):,}",
            fix="close a quote that was left open, raise --max-chars (0: no limit), or pass --skip-bad",
        )
    return value


def check_characters(value: str, place: str, column: str, encoding: str) -> None:
    """Refuse NUL, control characters that stand for those of Windows, and halves of surrogate pairs.

    Raises:
        RowError: there is one.
    """
    if "\0" in value:
        raise RowError(
            f"{place}: a NUL character in {shown(column)}",
            expected="text",
            got=shown(value),
            fix="remove it, or pass --skip-bad; name the encoding (`--encoding utf-16-le`) if NULs are everywhere",
        )
    if value.isascii():
        return
    if match := (_C1_AND_NEL if _is_latin(encoding) else _C1).search(value):
        mend = "make the file again from its source: cp1252 was read as latin-1"
        raise RowError(
            f"{place}: a control character in {shown(column)}",
            expected="printable text",
            got=f"U+{ord(match.group()):04X}",
            fix=f"{'`--encoding cp1252`' if _is_latin(encoding) else mend}, or pass --skip-bad",
        )
    if match := SURROGATE.search(value):
        raise RowError(
            f"{place}: half a surrogate pair in {shown(column)}",
            expected="whole characters",
            got=f"\\u{ord(match.group()):04x} alone",
            fix="write the character itself, remove the row, or pass --skip-bad",
        )


@cache
def _is_latin(encoding: str) -> bool:
    """Whether an encoding is one of ISO 8859, which all have control characters where Windows has quotes and dashes."""
    try:
        return codecs.lookup(encoding).name.startswith("iso8859")
    except LookupError:
        return False
