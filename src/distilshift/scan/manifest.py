"""The types of a manifest's values, checked before anything relies on them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

MAX_LENGTH = 2**20
MAX_CLASSES = 10_000

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_count(value: Any) -> bool:
    return _is_whole(value, 0, 2**53)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 1e300 and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _are(check: Check) -> Check:
    return lambda values: isinstance(values, list) and all(map(check, values))


def _maps(check: Check) -> Check:
    return lambda values: isinstance(values, dict) and all(map(check, values.values()))


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_curve(value: Any) -> bool:
    """A risk-coverage curve, as `abstention.RiskCoverage` has it."""
    if not _is_object(value) or value.get("basis") not in ("labels", "estimate"):
        return False
    lists = [value.get(name) for name in ("accuracy", "threshold", "answered")]
    same_length = all(map(_are(_is_share), lists)) and len({len(each) for each in lists}) == 1
    return same_length and _is_count(value.get("texts")) and _or_none(_is_text)(value.get("reason"))


def _are_labels(value: Any) -> bool:
    return _are(_is_text)(value) and 0 < len(value) == len(set(value)) <= MAX_CLASSES


_MANIFEST: dict[str, Check] = {
    "kind": lambda value: value in ("teacher", "student"),
    "label_names": _are_labels,
    "base_model": _is_text,
    "max_length": lambda value: _is_whole(value, 1, MAX_LENGTH),
    "seed": _or_none(lambda value: _is_whole(value, 0, 2**64)),
    "config": _is_object,
    "versions": _maps(_is_text),
    "statistics": _or_none(_is_object),
    "runtime": _or_none(_is_object),
    "files": _maps(_is_digest),
}
_STATISTICS: dict[str, Check] = {
    "class_prior": _are(_is_share),
    "validation_confusion": _are(_are(_is_count)),
    "validation_accuracy": _is_share,
    "temperature": lambda value: _is_number(value) and 1e-6 <= value <= 1e6,
    "validation_confidence": _or_none(_is_share),
    "atc_threshold": _or_none(_is_number),
    "atc_thresholds": _or_none(_are(_is_number)),
    "balanced_accuracy": _or_none(_is_share),
    "macro_f1": _or_none(_is_share),
    "class_recall": _or_none(_are(_or_none(_is_share))),
    "class_counts": _or_none(_are(_is_count)),
}
# What running a student reads of it; the rest is told, not used.
_RUNTIME: dict[str, Check] = {
    "default": lambda value: value in ("fp32", "int8"),
    "max_windows": lambda value: _is_whole(value, 1, 10_000),
    "abstention": _or_none(_is_curve),
}


def wrong_value(content: dict[str, Any]) -> str | None:
    """The name of a value that is not of its type or out of its range, or None.

    Args:
        content: a manifest as JSON gave it; absent values are not looked at.
    """
    parts = (("", content, _MANIFEST), ("statistics.", "statistics", _STATISTICS), ("runtime.", "runtime", _RUNTIME))
    for prefix, part, checks in parts:
        values = content.get(part) or {} if isinstance(part, str) else part
        for name, check in checks.items():
            if name in values and not check(values[name]):
                return prefix + name
    return _wrong_size(content)


def _wrong_size(content: dict[str, Any]) -> str | None:
    """Statistics of another number of classes than there are labels."""
    known, classes = content.get("statistics"), len(content.get("label_names", []))
    if not known:
        return None
    confusion = known.get("validation_confusion", [])
    sizes = {len(confusion), *map(len, confusion)}
    for name in ("class_prior", "class_recall", "class_counts"):
        if known.get(name) is not None and len(known[name]) != classes:
            return f"statistics.{name}"
    return "statistics.validation_confusion" if sizes != {classes} else None
