"""Validation of `reference.json`, the aggregates of target texts that `drift` compares new texts with."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from distilshift.scan.json_file import read_object
from distilshift.scan.refusal import brief, require_whole, unsafe

REFERENCE = "reference.json"
VERSION = 1
MAX_REFERENCE_BYTES = 256 * 1024
# Aggregates of fewer texts would reveal something about single texts.
MIN_TEXTS, MAX_TEXTS = 50, 10**8
MAX_DIMENSIONS, MAX_EDGES, MAX_CLASSES = 64, 9, 10_000
# Significant digits of a number: enough for the tests, and little room to hide anything.
_DIGITS = 5
_MAX_NUMBER = 1e6
_PARTS = {
    "": frozenset({"version", "texts", "words", "length", "unknown", "outputs"}),
    "words": frozenset({"mean", "covariance"}),
    "length": frozenset({"edges", "counts"}),
    "outputs": frozenset({"texts", "classes", "confidence"}),
    "confidence": frozenset({"edges", "counts"}),
}


def rounded(value: float) -> float:
    """Return a number as the file has it, to five significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def check_reference(path: Path) -> dict[str, Any]:
    """Return the content of a `reference.json` after checking all of it.

    Raises:
        UnsafeError: an entry is missing, unknown, too long, of the wrong type or out of its range.
    """
    content = read_object(path, MAX_REFERENCE_BYTES)
    _require_keys(path, content, "")
    require_whole(path, "version", content["version"], VERSION, VERSION)
    texts = require_whole(path, "texts", content["texts"], MIN_TEXTS, MAX_TEXTS)
    require_whole(path, "unknown", content["unknown"], 0, texts)
    _check_words(path, content["words"], texts)
    _check_histogram(path, content["length"], "length", texts)
    outputs = content["outputs"]
    if outputs is not None:
        _require_keys(path, outputs, "outputs")
        judged = require_whole(path, "outputs.texts", outputs["texts"], MIN_TEXTS, MAX_TEXTS)
        _check_counts(path, outputs["classes"], "outputs.classes", range(1, MAX_CLASSES + 1), judged)
        _check_histogram(path, outputs["confidence"], "confidence", judged)
    return content


def _require_keys(path: Path, part: Any, name: str) -> None:
    if not isinstance(part, dict) or part.keys() != _PARTS[name]:
        got = sorted(part) if isinstance(part, dict) else part
        raise unsafe(path, f"{name or 'entries'} {brief(got)}", ", ".join(sorted(_PARTS[name])))


def _check_words(path: Path, words: Any, texts: int) -> None:
    _require_keys(path, words, "words")
    most = min(MAX_DIMENSIONS, texts - 1)
    size = len(_numbers(path, words["mean"], "words.mean", range(1, most + 1)))
    pairs = size * (size + 1) // 2
    _numbers(path, words["covariance"], "words.covariance", range(pairs, pairs + 1))


def _check_histogram(path: Path, part: Any, name: str, texts: int) -> None:
    _require_keys(path, part, name)
    edges = _numbers(path, part["edges"], f"{name}.edges", range(1, MAX_EDGES + 1))
    if any(low >= high for low, high in pairwise(edges)):
        raise unsafe(path, f"{name}.edges {brief(edges)}", "ascending numbers")
    _check_counts(path, part["counts"], f"{name}.counts", range(len(edges) + 1, len(edges) + 2), texts)


def _check_counts(path: Path, values: Any, name: str, sizes: range, total: int) -> None:
    _list(path, values, name, sizes, lambda value: type(value) is int and 0 <= value <= total)
    if sum(values) != total:
        raise unsafe(path, f"{name} of {sum(values):,} texts", f"counts of {total:,} texts")


def _numbers(path: Path, values: Any, name: str, sizes: range) -> list[float]:
    return _list(path, values, name, sizes, _is_number)


def _list(path: Path, values: Any, name: str, sizes: range, check: Callable[[Any], bool]) -> list[Any]:
    if not isinstance(values, list) or len(values) not in sizes or not all(map(check, values)):
        expected = f"{sizes[0]:,} to {sizes[-1]:,} numbers of at most {_DIGITS} digits, or counts"
        raise unsafe(path, f"{name} {brief(values)}", expected)
    return values


def _is_number(value: Any) -> bool:
    if type(value) not in (int, float) or not abs(value) <= _MAX_NUMBER:
        return False
    return math.isfinite(value) and rounded(value) == value
