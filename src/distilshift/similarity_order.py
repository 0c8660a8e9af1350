"""Lay texts in a row so that neighbors are similar, in time and memory linear in their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]

# Texts of a cell, which is not divided further; and those of them that count as a text's neighbors.
CELL_TEXTS, NEIGHBORS = 32, 8
# Of the power iteration for the direction in which texts differ most: a rough one divides them as well.
_STEPS = 8


@dataclass(frozen=True)
class Cells:
    """Texts in an order in which similar ones are close.

    Attributes:
        order: (texts,) their indices.
        density: (texts,) by index: mean cosine with the most similar texts of the same cell, -1 to 1.
    """

    order: Indices
    density: NDArray[np.float64]


def similarity_cells(vectors: Vectors, classes: Indices) -> Cells:
    """Order texts by class, then by a tree that halves them where they differ most.

    Args:
        vectors: (texts, width) of norm 1 or 0.
        classes: (texts,).
    """
    found = []
    density = np.zeros(len(vectors))
    for number in np.unique(classes):
        for cell in _halved(vectors, np.flatnonzero(classes == number)):
            found.append(cell)
            density[cell] = _density(vectors[cell])
    return Cells(np.concatenate([np.zeros(0, np.int64), *found]), density)


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


def _density(vectors: Vectors) -> NDArray[np.float64]:
    """Mean cosine of each text with its `NEIGHBORS` most similar ones; 0 where it is alone."""
    others = min(NEIGHBORS, len(vectors) - 1)
    if not others:
        return np.zeros(len(vectors))
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -np.inf)
    return np.partition(similar, -others, axis=1)[:, -others:].mean(axis=1, dtype=np.float64)
