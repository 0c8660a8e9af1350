"""Made-up reviews with a signal."""

from __future__ import annotations

import random

POSITIVE = ("good", "great", "fine", "love", "nice", "best")
NEGATIVE = ("bad", "awful", "poor", "hate", "worst", "sad")
NEUTRAL = ("the", "a", "book", "film", "pan", "was", "it", "plot", "handle", "very", "and", "this")


def make_texts(count: int, seed: int, neutral: tuple[str, ...] = NEUTRAL) -> list[tuple[str, str]]:
    """(text, label) pairs; the label shows in two of ten words."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        label, words = ("positive", POSITIVE) if index % 2 else ("negative", NEGATIVE)
        text = rng.choices(words, k=2) + rng.choices(neutral, k=rng.randint(4, 12))
        rng.shuffle(text)
        rows.append((" ".join(text), label))
    return rows
