"""What a file has for labels to class names."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from distilshift.data.rows import RowError, listed, shown
from distilshift.errors import DataError

AS_IS = "as-is"

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_NUMERIC_CLASSES = 50
_MAPPED = 10


def label_mapping(names: str) -> dict[str, str]:
    """Label to class name, from "0=negative,1=positive".

    Raises:
        DataError: an entry is not `label=name`, or a label or a name occurs twice.
    """
    entries = [entry.partition("=") for entry in names.split(",")]
    pairs = [(label.strip(), name.strip()) for label, _, name in entries]
    incomplete = next((entry for entry, pair in zip(entries, pairs, strict=True) if not all(pair)), None)
    if incomplete:
        raise _bad_mapping("an entry is not label=name", "".join(incomplete))
    for what, values in zip(("label", "name"), zip(*pairs, strict=True), strict=True):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise _bad_mapping(f"a {what} occurs twice", value)
    return dict(pairs)


def _bad_mapping(problem: str, got: str) -> DataError:
    return DataError(
        f"--label-names: {problem}",
        expected="every label and every name once, as 0=negative,1=positive",
        got=shown(got),
        fix="correct it",
    )


def label_namer(option: str | None) -> Callable[[Any, str], str]:
    """A function of a raw label and its place that gives the class name.

    It raises RowError for a blank or unusable label, and DataError for one that the mapping lacks.

    Args:
        option: `label_names` as configured.

    Raises:
        DataError: the option is malformed.
    """
    if option is None or option.strip() == AS_IS:
        return label_text
    mapping = label_mapping(option)

    def named(raw: Any, place: str) -> str:
        label = label_text(raw, place)
        if label not in mapping:
            raise DataError(
                f"{place}: --label-names has no name for a label",
                expected=f"one of {listed(list(mapping))}",
                got=shown(label),
                fix=f"`--label-names {option.strip()},{label}=NAME`, or remove the row",
            )
        return mapping[label]

    return named


def label_text(raw: Any, place: str) -> str:
    """A label as text: stripped; booleans as "true" and "false"; numbers as written.

    Raises:
        RowError: it is blank, null, or neither text nor number nor boolean.
    """
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, str) and raw.strip():
        return raw.strip()
    if isinstance(raw, int) or (isinstance(raw, float) and math.isfinite(raw)):
        return str(raw)
    blank = raw is None or isinstance(raw, (str, float))
    raise RowError(
        f"{place}: {'blank' if blank else 'unusable'} label",
        expected="a class name",
        got=shown(raw),
        fix="label the row, remove it, or pass --skip-bad",
    )


def is_number(label: str) -> bool:
    """Whether a label is written as a number, such as 1, -1 or 2.0."""
    return bool(_NUMBER.fullmatch(label))


def sorted_labels(labels: Iterable[str]) -> list[str]:
    """Distinct labels in order: by value if all of them are numbers, such as -1, 2 and 10; else alphabetically."""
    distinct = set(labels)
    if distinct and all(map(is_number, distinct)):
        return sorted(distinct, key=lambda label: (float(label), label))
    return sorted(distinct)


def class_order(labels: Iterable[str], option: str | None) -> list[str]:
    """The distinct class names in the order in which a classifier has them.

    Classes that `label_names` gives to numbers keep the order of these numbers; others are in that of `sorted_labels`.

    Args:
        labels: class names, as `label_namer` gives them.
        option: `label_names` as configured.
    """
    names = sorted_labels(labels)
    if option is None or option.strip() == AS_IS:
        return names
    mapping = label_mapping(option)
    if not all(map(is_number, mapping)):
        return names
    numbered = dict.fromkeys(mapping[number] for number in sorted_labels(mapping))
    return sorted(names, key=list(numbered).index)


def check_label_names(labels: Iterable[str], name: str, option: str | None, known: Sequence[str] = ()) -> None:
    """Refuse numbers as class names, unless they were asked for.

    Args:
        labels: the labels of a whole file.
        name: the file's, for messages.
        option: `label_names` as configured.
        known: the classes of the bundle that the labels are for.

    Raises:
        DataError: all labels are numbers and nobody named them, or they are ratings on a continuous scale.
    """
    numbers = sorted_labels(labels)
    if not all(map(is_number, numbers)):
        return
    if len(numbers) > _MAX_NUMERIC_CLASSES and not all(float(number).is_integer() for number in numbers):
        raise DataError(
            f"{name}: labels look like ratings",
            expected="classes",
            got=f"{len(numbers)} distinct numbers from {numbers[0]} to {numbers[-1]}",
            fix="bin them into named classes, or name another column with --label-column",
        )
    if numbers and option is None:
        raise DataError(
            f"{name}: labels are numbers",
            expected="class names",
            got=_plain(numbers),
            fix=_as_known(numbers, known)
            if known
            else f"name them, as in `--label-names {_proposal(numbers)}`, or keep them with `--label-names {AS_IS}`",
        )


def _plain(numbers: Sequence[str]) -> str:
    more = f" and {len(numbers) - _MAPPED} more" if len(numbers) > _MAPPED else ""
    return ", ".join(numbers[:_MAPPED]) + more


def _proposal(numbers: Sequence[str]) -> str:
    if len(numbers) == 2:
        return f"{numbers[0]}=negative,{numbers[1]}=positive"
    return ",".join(f"{number}=class-{number}" for number in numbers)


def _as_known(numbers: Sequence[str], known: Sequence[str]) -> str:
    """How to name numbers by the classes of a bundle, whose order need not be theirs."""
    if len(numbers) > len(known):
        return f"give each number one of the bundle's classes ({', '.join(known)}) with --label-names"
    counted = all(number.isdecimal() and int(number) < len(known) for number in numbers)
    names = [known[int(number)] for number in numbers] if counted else known
    mapping = ",".join(f"{number}={name}" for number, name in zip(numbers, names, strict=False))
    return f"name them by the bundle's classes: `--label-names {shlex.quote(mapping)}`, if that is their order"
