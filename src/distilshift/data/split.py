"""Stratified, seeded splits of labelled examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distilshift.errors import DataError
from distilshift.types import Example


def stratified_split(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples; each class gives its share, at least one text, to both.

    Texts that occur more than once stay on one side, so that validation is not on texts the teacher has learnt.

    Raises:
        DataError: a class has fewer than two different texts.
    """
    rng = np.random.default_rng(seed)
    held_out: set[tuple[str, str]] = set()
    for name in sorted({example.label or "" for example in examples}):
        texts = sorted({(item.text, item.pair or "") for item in examples if item.label == name})
        if len(texts) < 2:
            raise DataError(
                f"class {name!r} cannot be split",
                expected="at least 2 different texts",
                got=str(len(texts)),
                fix="add texts of that class, or give --validation",
            )
        count = min(max(1, round(fraction * len(texts))), len(texts) - 1)
        held_out |= {texts[index] for index in rng.permutation(len(texts))[:count]}
    inside = [(item.text, item.pair or "") in held_out for item in examples]
    training = [item for item, out in zip(examples, inside, strict=True) if not out]
    return training, [item for item, out in zip(examples, inside, strict=True) if out]
