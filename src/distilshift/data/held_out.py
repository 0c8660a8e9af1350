"""Target texts that the student is not trained on, so that int8 and pareto are measured on texts new to it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from distilshift.data.corpus import Corpus

# From so many different texts on, a tenth is held out, and no more than settle a share near 0.99 to a third of a point.
MIN_TEXTS, SHARE, MAX_HELD_OUT = 2_000, 10, 1_000


def held_out_mask(texts: Corpus) -> NDArray[np.bool_]:
    """Return a mask of the texts that are held out: none of a corpus of fewer than MIN_TEXTS different texts.

    A text is chosen by its own hash. So copies of a text are on the same side, and all students that are made from the
    same texts are measured on the same ones, whatever their seed.
    """
    hashes = (hashlib.sha256(f"{text.text}\0{text.pair or ''}".encode("utf-8", "surrogatepass")) for text in texts)
    keys = np.fromiter((int.from_bytes(each.digest()[:8], "big") for each in hashes), np.uint64, len(texts))
    distinct = np.unique(keys)
    if len(distinct) < MIN_TEXTS:
        return np.zeros(len(texts), bool)
    return keys < distinct[min(len(distinct) // SHARE, MAX_HELD_OUT)]


def training_rows(held_out: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Return the numbers of the texts to train on; None for all of them."""
    return np.flatnonzero(~held_out) if held_out.any() else None
