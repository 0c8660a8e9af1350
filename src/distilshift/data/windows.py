"""Windows of a long text, so that a model of limited length can read all of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from distilshift.data.words import in_parts, word_count, words_of
from distilshift.types import Example

# Words that fit a model's token limit, in English prose with WordPiece tokens: a window that is a little longer loses
# its last words, a shorter one costs one more pass.
WORDS_A_TOKEN = 0.7


def window_count(example: Example, max_length: int, most: int) -> int:
    """Windows that the text is read in: 1 where it fits, and for pairs, whose texts belong together."""
    if example.pair is not None or most == 1:
        return 1
    return min(most, max(1, math.ceil(word_count(example.text) / (WORDS_A_TOKEN * max_length))))


def windows_of(example: Example, max_length: int, most: int) -> list[Example]:
    """The text cut into windows of equal numbers of words; of a text with more than `most` of them, the first ones."""
    count = window_count(example, max_length, most)
    if count == 1:
        return [example]
    words = words_of(example.text)[: int(most * WORDS_A_TOKEN * max_length)]
    return [Example(part) for part in in_parts(words, count)]


def long_windows(examples: Iterable[Example], max_length: int, most: int) -> Iterator[Example]:
    """The windows of those texts that need more than one."""
    for example in examples:
        if window_count(example, max_length, most) > 1:
            yield from windows_of(example, max_length, most)


def mean_over_windows(
    own: NDArray[np.floating],
    windows: NDArray[np.floating],
    counts: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Each text's probabilities: the mean over its windows, or its own where one window is all of it.

    Args:
        own: (texts, classes), of the beginning of each text.
        windows: (windows, classes), of the long texts' windows, in order.
        counts: (texts,) windows of each text; the windows of those with 1 are not in `windows`.
    """
    probabilities = np.array(own, np.float64)
    long = np.flatnonzero(counts > 1)
    if len(long):
        starts = np.concatenate([[0], np.cumsum(counts[long])[:-1]])
        probabilities[long] = np.add.reduceat(np.asarray(windows, np.float64), starts) / counts[long, None]
    return probabilities
