"""Which texts are copies of one another, or nearly: the same features, but for a word or two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

# Share of features in common (cosine of the sets) from which two texts are near copies. One changed word of eight
# leaves 0.71. Reviews have almost no pairs between 0.6 and 0.9, short commands have many (benchmarks/LOG.md).
MIN_OVERLAP = 0.6
# Near copies that are left out with a text and its exact copies, the nearest ones: each set costs a solution of as many
# equations, and among thousands of short commands all are near copies of others.
MOST_NEAR = 64


def near_copies(texts: Sequence[NDArray[np.int64]]) -> dict[int, NDArray[np.int64]]:
    """Find the near copies of each text, and the near copies of these.

    Two copies of a text, each with another word changed, are near to it rather than to each other. Chains end there:
    followed to their end, they would make one group of short texts.

    Args:
        texts: the features of each, as numbers, each once.

    Returns:
        For each text with near copies its index and theirs, ascending.
    """
    rows = incidence(texts)
    lengths = np.sqrt([max(1, len(features)) for features in texts])
    common = (rows @ rows.T).tocoo()
    close = common.data >= MIN_OVERLAP * lengths[common.row] * lengths[common.col]
    near = np.eye(len(texts), dtype=bool)
    near[common.row[close], common.col[close]] = True
    copied = np.flatnonzero(near.sum(axis=1) > 1)
    links = near[np.ix_(copied, copied)].astype(np.float32)
    paths, kinds = links @ links, _kinds([texts[int(index)] for index in copied])
    return {int(index): copied[_left_out(paths[at], kinds == kinds[at])] for at, index in enumerate(copied)}


def _kinds(texts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """A number for each text, the same for texts with the same features."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(features.tobytes(), len(numbers)) for features in texts], np.int64)


def _left_out(paths: NDArray[np.float32], exact: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The exact copies of a text, and the `MOST_NEAR` texts to which most paths of two steps lead, ascending."""
    near = np.flatnonzero((paths > 0) & ~exact)
    nearest = near[np.argsort(-paths[near], kind="stable")[:MOST_NEAR]]
    return np.union1d(np.flatnonzero(exact), nearest)


def incidence(texts: Sequence[NDArray[np.int64]]) -> csr_matrix:
    """Return which text has which feature, (texts, features), 0 or 1, of the features that two texts or more have.

    Features are numbers rather than strings, since long documents have millions of them.
    """
    every, counts = np.unique(np.concatenate(texts), return_counts=True)
    shared = every[counts > 1]
    if not len(shared):
        return csr_matrix((len(texts), 0))
    columns = []
    for codes in texts:
        places = np.minimum(np.searchsorted(shared, codes), len(shared) - 1)
        columns.append(places[shared[places] == codes])
    indices, ends = np.concatenate(columns), np.cumsum([0, *map(len, columns)])
    return csr_matrix((np.ones(len(indices)), indices, ends), (len(texts), len(shared)))
