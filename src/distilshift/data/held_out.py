"""Target texts that the student is not trained on, so that int8 and pareto are measured on texts new to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distilshift.data.corpus import Corpus, plain_digest

# From so many texts that occur once on, a tenth is held out, and no more than settle a share near 0.99 to a third of a
# point.
MIN_TEXTS, SHARE, MAX_HELD_OUT = 2_000, 10, 1_000


def held_out_mask(texts: Corpus, labelled: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
    """Return a mask of the texts that are held out: none of a corpus with fewer than MIN_TEXTS texts that occur once.

    A text that occurs again, apart from case and white space, is trained on: it would be known to the student, and
    count several times. A text is chosen by its own hash, so that all students of the same texts are measured on the
    same ones, whatever their seed. Texts whose labels are known, by their numbers, are never held out.
    """
    keys = _keys(texts)
    distinct, counts = np.unique(keys, return_counts=True)
    single = distinct[counts == 1]
    if len(single) < MIN_TEXTS:
        return np.zeros(len(texts), bool)
    mask = np.isin(keys, single[: min(len(single) // SHARE, MAX_HELD_OUT)])
    if labelled is not None:
        mask[labelled] = False
    return mask


def training_rows(held_out: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Return the numbers of the texts to train on; None for all of them."""
    return np.flatnonzero(~held_out) if held_out.any() else None


def rows_like_new(texts: Corpus, held_out: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Return the numbers of texts on which the student is as accurate and as confident as on new ones.

    These are the held-out texts, and the same share of the texts that occur several times: the student is trained on
    the latter, but new texts repeat them as well. At most MAX_HELD_OUT in all; empty if no text is held out.
    """
    _, places, counts = np.unique(_keys(texts), return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[places] > 1)
    share = held_out.sum() / max(1, len(texts) - len(repeated))
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(repeated)[: round(share * len(repeated))]
    both = np.concatenate([np.flatnonzero(held_out), chosen])
    return np.sort(generator.permutation(both)[:MAX_HELD_OUT])


def _keys(texts: Corpus) -> NDArray[np.uint64]:
    digests = (int.from_bytes(plain_digest(text)[:8], "big") for text in texts)
    return np.fromiter(digests, np.uint64, len(texts))
