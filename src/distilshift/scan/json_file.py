"""JSON of unknown origin: bounded in size and depth, every key once, no NaN, no half characters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from distilshift.scan.refusal import brief, unsafe

# Deeper than anything that a tokenizer or a configuration needs, and far from the interpreter's own limit.
MAX_DEPTH = 64
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _RefusedError(ValueError):
    """Well-formed JSON that parsers read differently."""


def read_object(path: Path, limit: int) -> dict[str, Any]:
    """The JSON object that is a file's whole content.

    Args:
        path: the file.
        limit: bytes that it may have; no more are read.

    Raises:
        UnsafeError: too long, not JSON, not an object, nested too deeply, with a key twice, NaN or half a character.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise unsafe(path, f"over {limit} bytes", f"at most {limit:,} bytes")
    return parse_object(path, data)


def parse_object(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON object that `data`, a part of `path`, holds; errors as of `read_object`."""
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise unsafe(path, "deep nesting: the parser's recursion limit was met") from None
    except ValueError as error:
        raise unsafe(path, str(error), "a JSON object") from None
    if not isinstance(content, dict):
        raise unsafe(path, "not a JSON object", "a JSON object")
    _check_depth(path, content)
    if _SURROGATE.search(data):
        _check_characters(path, content)
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Where a key occurs twice, parsers differ in which of them they take: what is checked is not what is used."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RefusedError(f"the key {brief(next(name for name in names if names.count(name) > 1))} twice")
    return found


def _no_constant(name: str) -> Any:
    raise _RefusedError(f"{name}, which is no JSON")


def _check_depth(path: Path, content: dict[str, Any]) -> None:
    """Without recursion, and without a look at what is neither an object nor a list: a vocabulary has many strings."""
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        values = [value.values() if type(value) is dict else value for value in level]
        level = [value for part in values for value in part if type(value) is dict or type(value) is list]
        if not level:
            return
    raise unsafe(path, "deep nesting: no recursion is worth it", f"at most {MAX_DEPTH} levels")


def _check_characters(path: Path, content: dict[str, Any]) -> None:
    """Half a surrogate pair cannot be encoded again; only an escape can have brought it."""
    try:
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        got = f"half a surrogate pair, \\u{ord(error.object[error.start]):04x}"
        raise unsafe(path, got, "whole characters") from None
