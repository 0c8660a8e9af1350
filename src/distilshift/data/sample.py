"""Choosing some of many texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def reservoir(items: Iterable[T], count: int, seed: int) -> list[T]:
    """Choose `count` items at random in one pass, or all where there are no more; 0 chooses all.

    Source: Vitter 1985, algorithm R.
    """
    generator, chosen = np.random.default_rng(seed), []  # type: np.random.Generator, list[T]
    for number, item in enumerate(items):
        if not count or number < count:
            chosen.append(item)
        elif (place := int(generator.integers(number + 1))) < count:
            chosen[place] = item
    return chosen


def random_mask(size: int, count: int, seed: int) -> NDArray[np.bool_]:
    """A mask of shape (size,) that chooses `count` texts at random, or all where there are no more."""
    mask = np.zeros(size, bool)
    mask[np.random.default_rng(seed).permutation(size)[:count]] = True
    return mask


def confidence_strata_mask(probabilities: NDArray[np.floating], count: int, seed: int) -> NDArray[np.bool_]:
    """A mask that chooses `count` texts with the same mix of predicted classes and confidences as all of them.

    Systematic sampling from a random start: texts are ordered by predicted class, then by confidence, and taken at
    equal steps, so that each stratum, however fine, is represented by its share. Texts with equal confidences, as hard
    labels have, are in random order.

    Args:
        probabilities: (texts, classes).
        count: how many; all where there are no more.
        seed: of the start.
    """
    size = len(probabilities)
    if count >= size:
        return np.ones(size, bool)
    generator, step = np.random.default_rng(seed), size / count
    start = generator.uniform(0, step)
    order = np.lexsort((generator.random(size), probabilities.max(axis=1), probabilities.argmax(axis=1)))
    mask = np.zeros(size, bool)
    mask[order[np.minimum((start + step * np.arange(count)).astype(np.int64), size - 1)]] = True
    return mask
