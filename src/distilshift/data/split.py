"""Stratified, seeded splits of labelled examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from distilshift.data.labels import sorted_labels
from distilshift.data.rows import shown
from distilshift.errors import DataError
from distilshift.types import Example

# Classes that an error lists.
_LISTED = 20


def stratified_split(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples; each class gives its share, at least one text, to both.

    Texts that occur more than once stay on one side, so that validation is not on texts the teacher has learnt;
    a text that has two labels is one to learn from, not to measure with.

    Raises:
        DataError: classes have fewer than two different texts, or none that is of no other class; all are listed.
    """
    rng = np.random.default_rng(seed)
    classes: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for item in examples:
        classes[item.label or ""].add((item.text, item.pair or ""))
    owners = Counter(text for texts in classes.values() for text in texts)
    unique = {name: sorted(text for text in texts if owners[text] == 1) for name, texts in classes.items()}
    _require_divisible(classes, unique)
    held_out: set[tuple[str, str]] = set()
    for name, texts in sorted(classes.items()):
        clear = unique[name]
        count = min(max(1, round(fraction * len(texts))), len(texts) - 1)
        held_out |= {clear[index] for index in rng.permutation(len(clear))[:count]}
    inside = [(item.text, item.pair or "") in held_out for item in examples]
    training = [item for item, out in zip(examples, inside, strict=True) if not out]
    return training, [item for item, out in zip(examples, inside, strict=True) if out]


def _require_divisible(classes: Mapping[str, Collection[Any]], unique: Mapping[str, Collection[Any]]) -> None:
    """Refuse classes that cannot have a text on both sides, all of them at once.

    Args:
        classes: the different texts of each class.
        unique: those of them that have no other label.
    """
    found = [name for name in sorted_labels(classes) if len(classes[name]) < 2 or not unique[name]]
    if not found:
        return
    counts = [f"{shown(name)}: {len(classes[name])}, {len(unique[name])} of this class alone" for name in found]
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise DataError(
        "1 class cannot be split" if len(found) == 1 else f"{len(found)} classes cannot be split",
        expected="at least 2 different texts in each class, one of them of this class alone",
        got="; ".join(counts[:_LISTED]) + more,
        fix="add texts of these classes, remove their rows, or give --validation",
    )
