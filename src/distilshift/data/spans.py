"""Random spans of a text: more views of the target for the teacher to label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from distilshift.data.words import text_of, words_of
from distilshift.types import Example


def random_span(text: str, rng: np.random.Generator, shortest: int, longest: int) -> str:
    """A run of words of the text, `shortest` to `longest` of them; of a short text, half of it or more."""
    words = words_of(text)
    high = min(longest, len(words))
    low = min(shortest, max(1, len(words) // 2), high)
    length = int(rng.integers(low, high + 1))
    start = int(rng.integers(0, len(words) - length + 1))
    return text_of(words[start : start + length])


def random_spans(
    examples: Iterable[Example], *, shortest: int, longest: int, seed: int, view: int
) -> Iterator[Example]:
    """One span of each example (of both texts of a pair), drawn anew for each `view`; labels are dropped.

    A span with more tokens than the model sees, such as one of links, is truncated. Nothing is lost: its label is that
    of the tokens that are left, and other spans begin elsewhere.
    """
    rng = np.random.default_rng([seed, view])
    for example in examples:
        yield replace(
            example,
            text=random_span(example.text, rng, shortest, longest),
            pair=random_span(example.pair, rng, shortest, longest) if example.pair else example.pair,
            label=None,
        )
