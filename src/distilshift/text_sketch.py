"""What texts have in common, by hashed words: vectors for similarity and groups of near copies, with numpy alone.

Time and memory are linear in the number of texts, and nothing depends on a model, so that texts have the same near
copies whichever bundle asks.
"""

from __future__ import annotations

import string
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.data.words import words_of
from distilshift.types import Example

Hashes = NDArray[np.uint64]

# Width of the vectors: cosines are off by 1 / 16 where words collide.
WIDTH = 256
# Words in a row that are one feature, at most, and the share of all different features of two texts (Jaccard index)
# that near copies have in common: 0.6 by the cosine of equally long texts, as in `near_copies`.
LONGEST_RUN, MIN_SHARED = 3, 0.43
# MinHash values of a text, compared in bands of two: texts that share 0.43 meet in one of 32 bands with probability
# 0.998. Source: Broder 1997; Leskovec, Rajaraman and Ullman 2014, chapter 3.
HASHES = 64
_CHUNK_TEXTS = 1024
_ODD = np.uint64(0x9E3779B97F4A7C15)  # of the golden ratio


@dataclass(frozen=True)
class Words:
    """Hashed words of texts, end to end.

    Attributes:
        hashes: (words,) uint64; the second text of a pair has others.
        offsets: (texts + 1,) text i has the words offsets[i] to offsets[i + 1].
        seconds: (texts,) uint64; of the second text of a pair as a whole, 0 if there is none.
    """

    hashes: Hashes
    offsets: NDArray[np.int64]
    seconds: Hashes

    def chunks(self) -> Iterator[tuple[Hashes, NDArray[np.int64]]]:
        """Words of about a thousand texts at a time, and for each word the number of its text in the chunk."""
        for start in range(0, len(self.offsets) - 1, _CHUNK_TEXTS):
            edges = self.offsets[start : start + _CHUNK_TEXTS + 1]
            yield self.hashes[edges[0] : edges[-1]], np.repeat(np.arange(len(edges) - 1), np.diff(edges))


def hashed_words(examples: Iterable[Example]) -> Words:
    """Hash the words of texts; case and punctuation around a word make no difference."""
    codes, ends, seconds = array("q"), array("q", [0]), array("q")
    for item in examples:
        second = _codes(item.pair or "")
        codes.extend(_codes(item.text))
        codes.extend(~code for code in second)
        ends.append(len(codes))
        seconds.append(zlib.crc32(np.array(second).tobytes()) if second else 0)
    return Words(_mixed(_unsigned(codes)), np.frombuffer(ends, np.int64), _mixed(_unsigned(seconds)))


def _unsigned(values: array[int]) -> Hashes:
    return np.frombuffer(values, np.int64).astype(np.uint64)


def _codes(text: str) -> list[int]:
    words = (word.strip() for word in words_of(text.casefold()))
    return [zlib.crc32((word.strip(string.punctuation) or word).encode()) for word in words]


def _mixed(values: Hashes) -> Hashes:
    """Well-distributed 64 bits of each value. Source: SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def word_vectors(words: Words) -> NDArray[np.float32]:
    """Random projections of TF-IDF vectors, (texts, `WIDTH`), of norm 1; 0 for a text whose words no other text has.

    How often a word occurs in a text does not count. Source: Weinberger et al. 2009 (feature hashing).
    """
    texts = len(words.offsets) - 1
    known, counts = np.unique(np.concatenate([_once(*chunk)[0] for chunk in words.chunks()]), return_counts=True)
    inverse = np.where(counts > 1, 1 + np.log((1 + texts) / (1 + counts)), 0.0)
    rows = []
    for hashes, numbers in words.chunks():
        features, owners = _once(hashes, numbers)
        signs = np.where(features >> np.uint64(63), 1.0, -1.0)
        places = owners * WIDTH + (features % np.uint64(WIDTH)).astype(np.int64)
        values = signs * inverse[np.searchsorted(known, features)]
        rows.append(np.bincount(places, values, (int(numbers[-1]) + 1) * WIDTH).reshape(-1, WIDTH))
    return unit_vectors(np.concatenate(rows))


def unit_vectors(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """The rows, float32, divided by their norms; rows of zeros stay."""
    norms = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return (rows / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _once(hashes: Hashes, numbers: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    """Each text's features, each once, and whose they are."""
    order = np.lexsort((hashes, numbers))
    hashes, numbers = hashes[order], numbers[order]
    first = np.ones(len(hashes), bool)
    first[1:] = (hashes[1:] != hashes[:-1]) | (numbers[1:] != numbers[:-1])
    return hashes[first], numbers[first]


def near_copy_groups(words: Words) -> NDArray[np.int64]:
    """A number for each text, (texts,), the same for near copies: the index of the first of them.

    All texts of a group are near copies of its first one, so that chains end there. Those of pairs have the same second
    text: with another one, the first text may have another label.
    """
    parts, start = [], 0
    for hashes, numbers in words.chunks():
        parts.append(_signatures(hashes, numbers, words.seconds[start:]))
        start += len(parts[-1])
    signatures = np.concatenate(parts)
    texts = np.arange(len(signatures))
    first = texts.copy()
    for keys in signatures.view(np.uint64).T:  # two values of 32 bits are a band
        _, places, inverse = np.unique(keys, return_index=True, return_inverse=True)
        found = places[inverse]
        first = np.where((found < first) & _alike(signatures, texts, found), found, first)
    for text in np.flatnonzero(first != texts):  # ascending: the first ones are settled before those that follow them
        leader = first[first[text]]
        first[text] = leader if _alike(signatures, text, leader) else text
    return first


def _signatures(hashes: Hashes, numbers: NDArray[np.int64], seconds: Hashes) -> NDArray[np.uint32]:
    """The least of each of `HASHES` functions over the runs of words of each text, (texts, HASHES)."""
    runs, owners, run, owner = [hashes], [numbers], hashes, numbers
    for length in range(1, LONGEST_RUN):
        whole = owner[:-1] == numbers[length:]
        run = _mixed(run[:-1] * _ODD + hashes[length:])
        owner = owner[:-1]
        runs.append(run[whole])
        owners.append(owner[whole])
    every, whose = np.concatenate(runs), np.concatenate(owners)
    order = np.argsort(whose, kind="stable")
    every = _mixed(every ^ seconds[whose])[order]
    starts = np.searchsorted(whose[order], np.arange(int(numbers[-1]) + 1))
    factors = _mixed(np.arange(1, HASHES + 1, dtype=np.uint64)) | np.uint64(1)
    found = np.empty((len(starts), HASHES), np.uint32)
    for column, factor in enumerate(factors):
        found[:, column] = np.minimum.reduceat((every * factor) >> np.uint64(32), starts)
    return found


def _alike(signatures: NDArray[np.uint32], some: Any, others: Any) -> NDArray[np.bool_]:
    """Whether texts, by index, have as much in common as near copies, by the share of equal MinHash values."""
    return (signatures[some] == signatures[others]).mean(axis=-1) >= MIN_SHARED
