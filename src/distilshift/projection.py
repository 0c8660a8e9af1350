"""A fixed random projection of the words of a text: 64 numbers that show a change of topic or style.

Words are counted without the student's tokenizer, whose vocabulary may have been chosen by the same texts: it splits
new texts into more pieces, also those of the same domain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from distilshift.data.words import UNSPACED
from distilshift.types import Example

DIMENSIONS = 64
# A character of a script without spaces, a run of letters and digits, or a single other sign.
_TERM = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[^\W_])+|[^\w\s]|_")
# Words whose signs are remembered; a word takes some 800 bytes.
_REMEMBERED = 50_000


@dataclass(frozen=True)
class Projected:
    """Texts as the drift test sees them, without the model.

    Attributes:
        words: (texts, DIMENSIONS), one row per text, with a mean square of about 1.
        lengths: (texts,) words and punctuation marks; of a pair, those of both texts.
    """

    words: NDArray[np.float64]
    lengths: NDArray[np.int64]


def project(examples: Sequence[Example]) -> Projected:
    """Project the words of each text, weighted by 1 + log(count) and scaled to unit length, by random signs.

    Upper and lower case make no difference. A text without words is a row of zeros.
    """
    words = np.zeros((len(examples), DIMENSIONS))
    lengths = np.zeros(len(examples), np.int64)
    for row, item in enumerate(examples):
        terms = [term for text in (item.text, item.pair) if text is not None for term in _TERM.findall(text.lower())]
        counts = Counter(terms)
        lengths[row] = len(terms)
        if counts:
            weights = 1 + np.log(np.fromiter(counts.values(), np.float64, len(counts)))
            words[row] = weights @ np.array([_signs(term) for term in counts]) / np.linalg.norm(weights)
    return Projected(words, lengths)


@lru_cache(_REMEMBERED)
def _signs(term: str) -> NDArray[np.int8]:
    """Return DIMENSIONS signs, -1 or 1, the same for a word on every machine."""
    # A word of any encoding: half of a surrogate pair is a word, too.
    digest = blake2b(term.encode("utf-8", "surrogatepass"), digest_size=DIMENSIONS // 8).digest()
    return np.unpackbits(np.frombuffer(digest, np.uint8)).astype(np.int8) * 2 - 1
