"""Lay texts in a row so that neighbors are similar, in time and memory linear in their number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]

# Texts of a cell, which is not divided further.
CELL_TEXTS = 32
# Of the power iteration for the direction in which texts differ most: a rough one divides them as well.
_STEPS = 8


def similarity_order(vectors: Vectors, classes: Indices) -> Indices:
    """Order texts by class, then by a tree that halves them where they differ most, (texts,).

    Args:
        vectors: (texts, width) of norm 1 or 0.
        classes: (texts,).
    """
    cells = (cell for number in np.unique(classes) for cell in _halved(vectors, np.flatnonzero(classes == number)))
    return np.concatenate([np.zeros(0, np.int64), *cells])


def _halved(vectors: Vectors, texts: Indices) -> Iterator[Indices]:
    """The cells of these texts, from one end of the tree to the other."""
    waiting = [texts]
    while waiting:
        cell = waiting.pop()
        if len(cell) <= CELL_TEXTS:
            yield cell
            continue
        ranked = cell[np.argsort(_along(vectors[cell]), kind="stable")]
        waiting += [ranked[len(ranked) // 2 :], ranked[: len(ranked) // 2]]


def _along(vectors: Vectors) -> Vectors:
    """Each text's place, (texts,), along the direction in which they differ most."""
    centered = vectors - vectors.mean(axis=0)
    direction = centered[(centered**2).sum(axis=1).argmax()]
    for _ in range(_STEPS):
        direction = (centered @ direction) @ centered
        direction /= max(float(np.linalg.norm(direction)), 1e-30)
    return centered @ direction
