"""The classes of labelled examples: how many texts each has, names that look like mistakes, and their weights."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distilshift.config.parsers import parse_weights
from distilshift.data.rows import listed, shown
from distilshift.errors import ConfigError
from distilshift.types import Example

# What a missing label becomes when a table is written or converted to strings.
_MISSING = frozenset({"", "nan", "<na>", "none", "null", "nil", "n/a", "na", "nat", "#n/a", "undefined"})
# What stands for one among class numbers; of two classes it is one.
_NO_NUMBER = ("-1", "-1.0")
# A class is rare if its share is below this part of an even one; then accuracy says little about it.
_RARE = 0.5


def class_counts(names: Sequence[str], examples: Sequence[Example]) -> list[int]:
    """Number of examples of each class, in the order of `names`."""
    counts = Counter(item.label for item in examples)
    return [counts[name] for name in names]


def is_unequal(counts: Sequence[int]) -> bool:
    """Whether some class has less than half as many texts as it would have if all classes were equally frequent.

    For two classes: under 25 %.
    """
    return min(counts) < _RARE * sum(counts) / len(counts)


def name_warnings(names: Sequence[str]) -> list[str]:
    """Sentences about class names that are probably mistakes: two spellings of one name, or a missing label.

    Names are two spellings if they are equal but for case, white space or the Unicode form of their characters.
    """
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[_plain(name)].append(name)
    found = [
        f"The classes {' and '.join(map(shown, group))} differ only in case, white space or Unicode form: if they are "
        "one class, correct the labels."
        for group in spellings.values()
        if len(group) > 1
    ]
    missing = [name for name in names if _is_missing(name) or (name in _NO_NUMBER and len(names) > 2)]
    if missing and any(char.isalnum() for char in "".join(names)):  # else they are signs such as + and -
        what = "class" if len(missing) == 1 else "classes"
        found.append(
            f"The {what} {listed(missing)} may stand for a missing label: remove these rows unless that is a class."
        )
    return found


def _plain(name: str) -> str:
    """A name without what makes two spellings differ."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()))


def _is_missing(name: str) -> bool:
    """Whether a name may stand for nothing: it is one of `_MISSING`, or punctuation alone."""
    plain = unicodedata.normalize("NFKC", name).casefold().strip("\"'()[]{} \t")
    return plain in _MISSING or all(unicodedata.category(char)[0] in "PZC" for char in plain)


def class_weights(
    option: str | Mapping[str, float], names: Sequence[str], counts: Sequence[int]
) -> NDArray[np.float32]:
    """The weight of each class in the loss, (classes,); their mean over the training texts is 1.

    Args:
        option: "none", "balanced" (inversely proportional to the class's texts), or weights by name, as a mapping or as
            "rare=5,common=1"; a class that is not named has weight 1.
        names: the class names.
        counts: training texts of each class.

    Raises:
        ConfigError: a name is not a class.
    """
    texts = np.asarray(counts, np.float64)
    if option == "none":
        weights = np.ones(len(names))
    elif option == "balanced":
        weights = 1 / np.maximum(texts, 1)
    else:
        given = parse_weights(option)
        if unknown := [name for name in given if name not in names]:
            raise ConfigError(
                "class_weights names unknown classes",
                expected=f"some of {listed(names)}",
                got=listed(unknown),
                fix="use the names of the classes as in the labels",
            )
        weights = np.array([given.get(name, 1.0) for name in names])
    return (weights * texts.sum() / (weights * texts).sum()).astype(np.float32)
