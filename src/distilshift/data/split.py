"""Stratified, seeded splits of labelled examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from distilshift.errors import DataError
from distilshift.types import Example


def stratified_split(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples; each class gives its share, at least one text, to both.

    Texts that occur more than once stay on one side, so that validation is not on texts the teacher has learnt;
    a text that has two labels is one to learn from, not to measure with.

    Raises:
        DataError: a class has fewer than two different texts, or none that is of no other class.
    """
    rng = np.random.default_rng(seed)
    classes: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for item in examples:
        classes[item.label or ""].add((item.text, item.pair or ""))
    owners = Counter(text for texts in classes.values() for text in texts)
    held_out: set[tuple[str, str]] = set()
    for name, texts in sorted(classes.items()):
        clear = sorted(text for text in texts if owners[text] == 1)
        if len(texts) < 2 or not clear:
            raise DataError(
                f"class {name!r} cannot be split",
                expected="at least 2 different texts, one of them of this class alone",
                got=f"{len(texts)}, {len(clear)} of this class alone",
                fix="add texts of that class, or give --validation",
            )
        count = min(max(1, round(fraction * len(texts))), len(texts) - 1)
        held_out |= {clear[index] for index in rng.permutation(len(clear))[:count]}
    inside = [(item.text, item.pair or "") in held_out for item in examples]
    training = [item for item, out in zip(examples, inside, strict=True) if not out]
    return training, [item for item, out in zip(examples, inside, strict=True) if out]
