"""Which columns of a file are meant, and which to propose where the wanted ones are missing."""

from __future__ import annotations

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distilshift.data.rows import listed, shown
from distilshift.errors import DataError

Sample = Mapping[str, Sequence[Any]]
# Rows that are looked at for a proposal.
SAMPLE_ROWS = 200
_TEXT_NAMES = frozenset(
    re.findall(
        r"\w+",
        """text texts review reviewtext reviewbody reviews sentence content contents body tweet tweettext comment
        comments commenttext message document article headline title description summary abstract utterance query
        question post phrase feedback transcript""",
    )
)
_LABEL_NAMES = frozenset(
    re.findall(
        r"\w+",
        """label labels sentiment class classes category categories target stars star rating polarity intent topic
        emotion labeltext airlinesentiment sentimentlabel classlabel genre""",
    )
)
_NEVER_TEXT = _LABEL_NAMES | {"id", "idx", "index", "score"}
_SPELLED_ALIKE = 0.75
# Delimiters that a table may have whose header was read as one name.
_MARKS = ";,\t|~^:"
_MAX_CLASSES = 50
_NUMBER = re.compile(r"\s*[+-]?[0-9][0-9.,eE+-]*\s*")


def require_columns(
    place: str,
    columns: Mapping[str, str],
    found: Sequence[str],
    sample: Callable[[], Sample] | None = None,
    headed: bool | None = None,
) -> None:
    """Check the column names of a whole file.

    Args:
        place: file and line of the names, for messages.
        columns: role to wanted column.
        found: the file's column names.
        sample: reads the first values of each column, for the advice.
        headed: whether the names come from a header line; None where the format has none.

    Raises:
        DataError: a column is missing, or a name occurs twice.
    """
    missing = [role for role, column in columns.items() if column not in found]
    if missing and headed:
        values = sample() if sample else {}
        mark = _mark_within(found, values)
        if mark is not None and (_cells(found[0], mark) & {*columns.values()} or not looks_like_data(found, values)):
            fix = f"`--delimiter {'tab' if mark == chr(9) else shlex.quote(mark)}`"
            raise DataError(**missing_column(place, missing[0], columns, found) | {"fix": fix})
        if looks_like_data(found, values):
            raise _headless(place, columns, found, values)
    twice = [name for name, count in Counter(found).items() if count > 1 and name]
    if twice:
        raise DataError(
            f"{place}: duplicate column {shown(twice[0])}",
            expected="every column once",
            got=listed(found),
            fix="rename or remove one of them",
        )
    if missing:
        raise DataError(**missing_column(place, missing[0], columns, found, sample() if sample else {}))


def missing_column(
    place: str, role: str, columns: Mapping[str, str], found: Sequence[str], sample: Sample | None = None
) -> dict[str, str]:
    """Return the fields of the error for a missing column, with a fix for all columns that are missing."""
    return {
        "problem": f"{place}: no {role} column",
        "expected": f"a column {shown(columns[role])}",
        "got": f"columns {listed(found)}" if found else "no columns",
        "fix": _fix(columns, found, sample or {}),
    }


def _mark_within(found: Sequence[str], sample: Sample) -> str | None:
    """The delimiter that a lone column holds in its name and in most of its values, the most frequent one."""
    if len(found) != 1:
        return None
    values = _known(sample.get(found[0], ()))
    held = [mark for mark in _MARKS if len(_cells(found[0], mark)) > 1]
    meant = [mark for mark in held if 2 * sum(mark in value for value in values) >= len(values)]
    return max(meant, key=found[0].count, default=None)


def _cells(line: str, mark: str) -> set[str]:
    return {cell.strip() for cell in line.split(mark)}


def looks_like_data(header: Sequence[str], sample: Sample) -> bool:
    """Whether a first line holds values rather than names: a number, a value that recurs below it, or a lone text."""
    if any(_plain(name) in _TEXT_NAMES | _LABEL_NAMES for name in header):
        return False
    if len(header) == 1:
        words = _mean(len(value.split()) for value in _known(sample.get(header[0], ())))
        return len(header[0].split()) >= max(3, words / 3)
    recurring = any(name in sample.get(name, ()) for name in header if name)
    return recurring or any(_NUMBER.fullmatch(name) for name in header)


def _headless(place: str, columns: Mapping[str, str], found: Sequence[str], sample: Sample) -> DataError:
    rows: list[Sequence[Any]] = [found, *zip(*(sample.get(name, ()) for name in found), strict=False)]
    numbered = {str(index): [row[index] for row in rows] for index in range(len(found))}
    chosen = proposed_columns(columns, list(numbered), numbered)
    options = _options(chosen) if len(found) > 1 else ""
    asked = [f"--{role}-column" for role in columns if role not in chosen and len(found) > 1]
    numbers = f", and name each column by its number, from 0, with {' and '.join(asked)}" if asked else ""
    return DataError(
        f"{place}: this looks like a file without a header",
        expected=f"a column {shown(next(c for c in columns.values() if c not in found))}",
        got=f"a first line with {listed(found)}",
        fix=f"`{' '.join(['--no-header', *options.split(' ')]).strip()}`{numbers}, if so",
    )


def _fix(columns: Mapping[str, str], found: Sequence[str], sample: Sample) -> str:
    wanted = [role for role, column in columns.items() if column not in found]
    chosen = proposed_columns(columns, found, sample)
    unknown = [f"--{role}-column" for role in wanted if role not in chosen]
    parts = [f"`{_options(chosen)}`"] * bool(chosen)
    parts += [f"add the column, or name it with {' and '.join(unknown)}"] * bool(unknown)
    return "; ".join(parts)


def _options(chosen: Mapping[str, str]) -> str:
    return " ".join(f"--{role}-column {shlex.quote(column)}" for role, column in chosen.items())


def proposed_columns(columns: Mapping[str, str], found: Sequence[str], sample: Sample) -> dict[str, str]:
    """Return role to column for those missing columns that the names or the values leave no doubt about.

    Args:
        columns: role to wanted column.
        found: the file's column names.
        sample: first values of each column.
    """
    chosen: dict[str, str] = {}
    for role, column in columns.items():
        if column in found:
            continue
        free = [name for name in found if name and name not in (*columns.values(), *chosen.values())]
        name = _propose(role, column, free, sample)
        if name is not None:
            chosen[role] = name
    return chosen


def _propose(role: str, wanted: str, free: Sequence[str], sample: Sample) -> str | None:
    fits = {"text": _may_be_text, "pair": _may_be_text, "label": _may_be_label}.get(role, lambda name, values: True)
    able = [
        name
        for name in free
        if _all_usable(role, sample.get(name, ())) and fits(_plain(name), _known(sample.get(name, ())))
    ]
    spelled = {name.lower(): name for name in able}
    close = difflib.get_close_matches(wanted.lower(), spelled, n=1, cutoff=_SPELLED_ALIKE)
    if close:
        return spelled[close[0]]
    if role == "text":
        return _longest(able, sample)
    return _only_class(able, sample) if role == "label" else None


def _all_usable(role: str, values: Sequence[Any]) -> bool:
    """Whether the values, as far as there are any, have a type that the role can use."""
    usable = {"text": str, "pair": str, "label": str | int | float}.get(role, object)
    return all(value is None or isinstance(value, usable) for value in values)


def _longest(names: Sequence[str], sample: Sample) -> str | None:
    """The text column: the longest of those with a common name, else the one that is clearly the longest."""
    length = {name: _mean(len(value) for value in _known(sample.get(name, ()))) for name in names}
    common = [name for name in names if _plain(name) in _TEXT_NAMES]
    if common:
        return max(common, key=lambda name: length[name])
    ranked = sorted(names, key=lambda name: -length[name])
    wordy = [name for name in ranked if length[name] >= 20]
    if wordy and (len(ranked) == 1 or length[wordy[0]] >= 2 * length[ranked[1]]):
        return wordy[0]
    return None


def _only_class(names: Sequence[str], sample: Sample) -> str | None:
    """The label column: the one with a common name, else the only one with few distinct values."""
    common = [name for name in names if any(part in _LABEL_NAMES for part in (_plain(name), *_words(name)))]
    if common:
        return common[0] if len(common) == 1 else None
    repeating = [name for name in names if _repeats(_known(sample.get(name, ())))]
    return repeating[0] if len(repeating) == 1 else None


def _may_be_text(name: str, values: Sequence[str]) -> bool:
    letters = _mean(sum(char.isalpha() for char in value) / max(1, len(value)) for value in values)
    return name not in _NEVER_TEXT and (not values or letters > 0.5)


def _may_be_label(name: str, values: Sequence[str]) -> bool:
    distinct = len(set(values))
    return distinct <= _MAX_CLASSES and (len(values) < 10 or 2 * distinct <= len(values))


def _repeats(values: Sequence[str]) -> bool:
    return 2 <= len(set(values)) <= len(values) / 2


def _known(values: Sequence[Any]) -> list[str]:
    return [str(value) for value in values if value is not None and str(value).strip()]


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _mean(values: Any) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
