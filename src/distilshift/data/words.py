"""The words of a text, as spans and parts count them, also where a script has no spaces between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# Thai and Lao, Burmese, Khmer, then ideographs, kana and full-width signs: the encoders of these scripts have about one
# token for a character. Hangul is left out, as Korean has spaces.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u2e80-\u2fff\u3001-\u312f\u3190-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(f" ?(?:[{UNSPACED}]|[^{UNSPACED}]+)")


def words_of(text: str) -> list[str]:
    """The text's words in order; a character of a script without spaces is one.

    A word that has white space before it, or nothing, begins with a space.
    """
    words = [f" {word}" for word in text.split()]
    return words if _is_spaced(text) else [part for word in words for part in _WORD.findall(word)]


def word_count(text: str) -> int:
    """The length of `words_of`, without making the words where white space separates them."""
    return len(text.split() if _is_spaced(text) else words_of(text))


def text_of(words: Sequence[str]) -> str:
    """The text that a run of `words_of` is."""
    return "".join(words).removeprefix(" ")


def in_parts(words: Sequence[str], count: int) -> list[str]:
    """Texts of `count` runs of like numbers of words, which together are all of them."""
    edges = np.linspace(0, len(words), count + 1).astype(int)
    return [text_of(words[first:last]) for first, last in pairwise(edges)]


def _is_spaced(text: str) -> bool:
    return text.isascii() or not _UNSPACED.search(text)
