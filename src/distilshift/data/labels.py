"""What a file has for labels to class names."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from distilshift.data.rows import ClassLabel, RowError, listed, shown
from distilshift.errors import DataError

AS_IS = "as-is"

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_NUMERIC_CLASSES = 50
_MAPPED = 10
# Labels without a name, beyond which no more are looked for.
_MOST_MISSING = 50
_SHARED = " (several may share a name)"


def label_mapping(names: str, *, distinct: bool = False) -> dict[str, str]:
    """Label to class name, from "0=negative,1=positive".

    Args:
        names: the option; several labels may share a name, as in "1=negative,2=negative,5=positive".
        distinct: refuse a name that two labels share, as for the classes of a model.

    Raises:
        DataError: an entry is not `label=name`, or a label (or with `distinct` a name) occurs twice.
    """
    entries = [entry.partition("=") for entry in names.split(",")]
    pairs = [(label.strip(), name.strip()) for label, _, name in entries]
    incomplete = next((entry for entry, pair in zip(entries, pairs, strict=True) if not all(pair)), None)
    if incomplete:
        raise _bad_mapping("an entry is not label=name", "".join(incomplete))
    labels, class_names = zip(*pairs, strict=True)
    for what, values in (("label", labels), ("name", class_names))[: 1 + distinct]:
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise _bad_mapping(f"a {what} occurs twice", value)
    return dict(pairs)


def _bad_mapping(problem: str, got: str) -> DataError:
    return DataError(
        f"--label-names: {problem}",
        expected="every label once, as 0=negative,1=positive",
        got=shown(got),
        fix="correct it",
    )


class LabelNamer:
    """A function of a raw label and its place that gives the class name, or None for a label to be left out.

    A label that the mapping lacks is left out, too, and noted; `finish` reports them all.

    Args:
        option: `label_names` as configured.
        ignored: labels, as the file has them, whose rows are left out.
        known: the classes of the bundle that the labels are for, which the mapping need not name.

    Raises:
        DataError: the option is malformed.
    """

    def __init__(self, option: str | None, ignored: Iterable[str | int] = (), known: Sequence[str] = ()) -> None:
        self._option = (option or "").strip()
        self._as_is = self._option == AS_IS
        self._given = None if option is None or self._as_is else label_mapping(option)
        self._mapping = {name: name for name in known} | (self._given or {})
        self._left_out = {_plain_number(str(label).strip()) for label in ignored}
        self._missing: dict[str, str] = {}  # label to its first place

    def __call__(self, raw: Any, place: str) -> str | None:
        """Name a label.

        Raises:
            RowError: it is blank or unusable.
            DataError: the file has no name for it, or the mapping lacks very many.
        """
        spelled = _spellings(raw) if isinstance(raw, ClassLabel) else _number_spellings(label_text(raw, place))
        if self._left_out.intersection(spelled):
            return None
        if self._given is None:
            return _own_name(raw, spelled, place, self._as_is)
        found = next((label for label in spelled if label in self._mapping), None)
        if found is not None:
            return self._mapping[found]
        self._missing.setdefault(spelled[0], place)
        if len(self._missing) > _MOST_MISSING:
            self.finish()
        return None

    def finish(self) -> None:
        """Report the labels that the mapping lacks.

        Raises:
            DataError: there are some.
        """
        if not self._missing:
            return
        missing = sorted_labels(self._missing)
        named = shlex.quote(",".join([self._option, *(f"{label}=NAME" for label in missing)]))
        ignoring = " ".join(f"--ignore-label {shlex.quote(label)}" for label in missing)
        raise DataError(
            f"{next(iter(self._missing.values()))}: --label-names has no name for a label",
            expected=f"one of {listed(list(self._mapping))}",
            got=listed(missing),
            fix=f"`--label-names {named}`, or `{ignoring}`"
            if len(missing) <= _MOST_MISSING
            else "name another column with --label-column",
        )


def _spellings(raw: ClassLabel) -> list[str]:
    """A class label by its number, and by its name where it has one."""
    return [str(raw.number), *([raw.name] if raw.name else [])]


def _own_name(raw: Any, known: list[str], place: str, as_is: bool) -> str:
    if as_is or not isinstance(raw, ClassLabel):
        return known[0]
    if raw.name is None:
        raise DataError(
            f"{place}: the file has no name for a label",
            expected="one of the classes that its metadata name",
            got=known[0],
            fix=f"`--ignore-label {known[0]}` if it means no label, or name all with --label-names",
        )
    return raw.name


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


def _plain_number(label: str) -> str:
    """A whole number without its decimals, as -1 for -1.0, which is what tables make of it; anything else as it is."""
    whole = is_number(label) and float(label).is_integer()
    return str(int(float(label))) if whole and abs(float(label)) < 2**53 else label


def _number_spellings(label: str) -> list[str]:
    """A label as it is written and, if it is a whole number, without decimals."""
    return list(dict.fromkeys([label, _plain_number(label)]))


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
        labels: class names, as `LabelNamer` gives them.
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
            fix=_fix(numbers, known),
        )


def _fix(numbers: Sequence[str], known: Sequence[str]) -> str:
    absent = _stands_for_none(numbers) if len(numbers) != len(known) else None
    if absent is not None:
        rest = [number for number in numbers if number != absent]
        return f"`--ignore-label {absent}` if {absent} means no label, else name it, too; {_fix(rest, known)}"
    if known:
        return _as_known(numbers, known)
    names = f"`--label-names {_proposal(numbers)}`{_SHARED * (len(numbers) > 2)}"
    return f"name them, as in {names}, or keep them with `--label-names {AS_IS}`"


def _stands_for_none(numbers: Sequence[str]) -> str | None:
    """The label -1 beside two or more other class numbers, where many data sets have it for no label."""
    absent = [number for number in numbers if float(number) == -1]
    others = [float(number) for number in numbers if number not in absent]
    counted = len(others) >= 2 and all(number >= 0 and number.is_integer() for number in others)
    return absent[0] if len(absent) == 1 and counted else None


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
