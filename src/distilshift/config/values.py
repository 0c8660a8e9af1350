"""Check option values against their annotations: types, ranges and choices, without importing a library."""

from __future__ import annotations

import math
import operator
import os
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

Check = Callable[[Any], Any]
_BOUNDS: tuple[tuple[type, str, Callable[[Any, Any], bool], str], ...] = (
    (Ge, "ge", operator.ge, "greater than or equal to"),
    (Gt, "gt", operator.gt, "greater than"),
    (Le, "le", operator.le, "less than or equal to"),
    (Lt, "lt", operator.lt, "less than"),
)


class ValueProblem(ValueError):  # noqa: N818 - it never leaves `config`
    """What is wrong with a value, as a phrase that follows the option's name."""


@cache
def checks_of(kind: Any) -> dict[str, Check]:
    """Option name to a function that returns its value in the annotated type, for a config dataclass.

    The function raises ValueProblem.
    """
    hints = get_type_hints(kind, include_extras=True)
    return {entry.name: _with_reader(entry.metadata.get("read"), _check(hints[entry.name])) for entry in fields(kind)}


def _with_reader(read: Check | None, check: Check) -> Check:
    """A check of what `read` makes of the value, if the option takes Python values beside its own type."""
    return check if read is None else lambda value: check(read(value))


def _check(hint: Any) -> Check:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _any_of([_check(each) for each in arguments if each is not type(None)], type(None) in arguments)
    if origin is Annotated:
        return _bounded(_check(arguments[0]), arguments[1:])
    if origin is Literal:
        return _choice(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is dict:
        return _mapping
    return _PLAIN[hint]


def _any_of(members: list[Check], optional: bool) -> Check:
    """A check that the first fitting member makes; its problem is that of the last one."""

    def chosen(value: Any) -> Any:
        if optional and value is None:
            return None
        for member in members[:-1]:
            with suppress(ValueProblem):
                return member(value)
        return members[-1](value)

    return chosen


def _bounded(check: Check, bounds: tuple[Any, ...]) -> Check:
    limits = [
        (getattr(bound, name), holds, phrase)
        for bound in bounds
        for kind, name, holds, phrase in _BOUNDS
        if isinstance(bound, kind)
    ]

    def bounded(value: Any) -> Any:
        value = check(value)
        for limit, holds, phrase in limits:
            if not holds(value, limit):
                raise ValueProblem(f"input should be {phrase} {limit}")
        return value

    return bounded


def _choice(choices: tuple[Any, ...]) -> Check:
    *others, last = map(repr, choices)

    def chosen(value: Any) -> Any:
        if not (isinstance(value, str) and value in choices):
            raise ValueProblem(f"input should be {', '.join(others)} or {last}")
        return str(value)

    return chosen


def _tuple(arguments: tuple[Any, ...]) -> Check:
    repeated = arguments[-1] is Ellipsis
    checks = [_check(each) for each in arguments if each is not Ellipsis]

    def several(value: Any) -> tuple[Any, ...]:
        if repeated and isinstance(value, str | int):
            value = [value]
        if not isinstance(value, list | tuple):
            raise ValueProblem("input should be a list")
        if not repeated and len(value) != len(checks):
            raise ValueProblem(f"input should be a list of {len(checks)}")
        return tuple(checks[0 if repeated else index](each) for index, each in enumerate(value))

    return several


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueProblem("input should be a mapping of names to values")
    return dict(value)


def _text(value: Any) -> str:
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(value, str):
        raise ValueProblem("input should be a string")
    return str(value)


def _whole(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if is_flag(value):
        raise ValueProblem("input should be a whole number")
    try:
        return operator.index(value)
    except TypeError:
        raise ValueProblem("input should be a whole number") from None


def _number(value: Any) -> float:
    if is_flag(value) or not hasattr(value, "__float__"):
        raise ValueProblem("input should be a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueProblem("input should be a finite number") from None
    if not math.isfinite(number):
        raise ValueProblem("input should be a finite number")
    return number


def is_flag(value: Any) -> bool:
    """Whether a value is a boolean, Python's or NumPy's: both also count as numbers elsewhere."""
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")


def _flag(value: Any) -> bool:
    if not is_flag(value):
        raise ValueProblem("input should be true or false")
    return bool(value)


_PLAIN: dict[Any, Check] = {str: _text, int: _whole, float: _number, bool: _flag}
