"""What the strings of some options mean; each function raises ValueProblem where a string means nothing."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping

from distilshift.config.values import ValueProblem

UNITS = {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
DELIMITERS = {"tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
WEIGHTS = ("none", "balanced")


def parse_bytes(text: str) -> int:
    """Bytes of a size such as '8MB', '500 kB' or '7.5MiB'; without a unit they are bytes."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text.strip())
    factor = UNITS.get((found.group(2) or "b").lower()) if found else None
    if not found or not factor or not float(found.group(1)):
        raise ValueProblem("input should be a number and a unit, such as 8MB, 500kB or 7.5MiB")
    return round(float(found.group(1)) * factor)


def parse_delimiter(text: str) -> str:
    """The character that a delimiter's name stands for, or the character itself."""
    delimiter = DELIMITERS.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        named = ", ".join(name for name in DELIMITERS if name.isalpha())
        raise ValueProblem(f"input should be one character other than a quote, or {named}")
    return delimiter


def parse_weights(value: str | Mapping[str, float]) -> dict[str, float]:
    """Class names to their weights, of "rare=5,common=1" or a mapping; empty for "none" and "balanced"."""
    if value in WEIGHTS:
        return {}
    entries = _entries(value) if isinstance(value, str) else value.items()
    weights = {str(name).strip(): _number(number) for name, number in entries}
    if "" in weights or not all(number > 0 for number in weights.values()):
        raise ValueProblem("input should be none, balanced, or a positive number for each class, as rare=5,common=1")
    return weights


def check_shares(text: str) -> None:
    """Class shares: auto, uniform, or positive numbers, each with a name or in the order of the classes."""
    if text not in ("auto", "uniform") and not all(_number(number) > 0 for _, number in _entries(text)):
        raise ValueProblem(
            "input should be auto, uniform, or a share above 0 for each class, as negative=0.3,positive=0.7"
        )


def check_encoding(text: str) -> None:
    """The name of a character encoding that Python has."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=text)
    except (LookupError, ValueError):
        raise ValueProblem("input should be an encoding such as utf-8, cp1252 or utf-16") from None


def _entries(text: str) -> list[tuple[str, str]]:
    return [(name, number) for name, _, number in (entry.rpartition("=") for entry in text.split(","))]


def _number(value: object) -> float:
    """A finite number; 0, which no weight and no share may be, for anything else."""
    try:
        number = float(value)  # type: ignore[arg-type]  # what it cannot take is caught
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) else 0.0
