"""Python values to the strings that options hold, each of which is checked: class shares, names, sizes and others."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from distilshift.config.parsers import check_encoding, check_shares, parse_bytes, parse_delimiter, parse_weights
from distilshift.config.values import ValueProblem, is_flag


def read_shares(value: Any) -> Any:
    """'negative=0.3,positive=0.7' from a mapping of class names to shares, '0.3,0.7' from a list in label order."""
    if isinstance(value, Mapping):
        value = ",".join(f"{_name(key, ',')}={_share(share)}" for key, share in value.items())
    return _checked(_joined(value, _share), check_shares)


def read_label_names(value: Any) -> Any:
    """'0=negative,1=positive' from a mapping of labels to names, or from the list of names in number order."""
    if isinstance(value, Mapping):
        return ",".join(f"{_name(label)}={_name(name)}" for label, name in value.items())
    if _is_list(value):
        return ",".join(f"{number}={_name(name)}" for number, name in enumerate(value))
    return value


def read_names(value: Any) -> Any:
    """'base,small' from a list of names."""
    return _joined(value, _name)


def read_size(value: Any) -> Any:
    """Bytes as a string, from a whole number."""
    if is_flag(value):
        return value
    with suppress(TypeError):
        value = str(int(value) if isinstance(value, float) and value.is_integer() else operator.index(value))
    return _checked(value, parse_bytes)


def read_delimiter(value: Any) -> Any:
    """A delimiter as it is, or its name."""
    return _checked(value, parse_delimiter)


def read_encoding(value: Any) -> Any:
    """The name of an encoding as it is."""
    return _checked(value, check_encoding)


def read_weights(value: Any) -> Any:
    """Weights of classes as they are, a string or a mapping."""
    if isinstance(value, str | Mapping):
        parse_weights(value)
    return value


def _checked(value: Any, check: Callable[[str], Any]) -> Any:
    """The value, once a string has passed; what is none, the option's type refuses."""
    if isinstance(value, str):
        check(value)
    return value


def _joined(value: Any, part: Any) -> Any:
    return ",".join(map(part, value)) if _is_list(value) else value


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | set | frozenset)


def _name(value: Any, reserved: str = ",=") -> str:
    if is_flag(value) or not (isinstance(value, str) or hasattr(value, "__index__")):
        raise ValueProblem("input should have strings or whole numbers as names")
    if found := next((mark for mark in reserved if mark in str(value)), None):
        raise ValueProblem(f"input should have names without {found!r}, unlike {value!r}")
    return str(value)


def _share(value: Any) -> str:
    try:
        return repr(float(value))
    except (TypeError, ValueError):
        raise ValueProblem(f"input should have numbers as shares, not {value!r}") from None
