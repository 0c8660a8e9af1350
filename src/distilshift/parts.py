"""What the teacher says of the parts of each text, by which class shares are told from its lean (`part_shares`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from distilshift import progress
from distilshift.data.corpus import Corpus
from distilshift.data.sample import random_mask
from distilshift.data.words import in_parts, word_count, words_of
from distilshift.encoder import Classifier
from distilshift.run import RunDirectory
from distilshift.shards import outputs, token_store
from distilshift.types import Example

PARTS = 6
# Fewer words in a part, in the median, say too little: with 7 the estimates were wrong, with 11 and more right
# (benchmarks/LOG.md).
MIN_WORDS = 8
# More texts than this tell shares no better than their errors allow, and are not read once more.
MOST_TEXTS = 10_000


def parts_of(text: str) -> list[str]:
    """The text in `PARTS` parts of like numbers of words."""
    return in_parts(words_of(text), PARTS)


def read_parts(
    teacher: Classifier, texts: Corpus, accelerator: Accelerator, run: RunDirectory, seed: int
) -> NDArray[np.float32] | None:
    """The teacher's logits for the parts of the texts, (texts, parts, 2).

    NaN for a text with fewer words than parts. None where there are more classes, or the texts are pairs or too short.
    Of a part that is longer than the teacher sees, its beginning is read; of more than `MOST_TEXTS`, a random choice.

    Args:
        teacher: as it came.
        texts: unlabelled.
        accelerator: where it runs.
        run: keeps tokens and logits.
        seed: of the choice.
    """
    if len(teacher.label_names) != 2:
        return None
    if len(texts) > MOST_TEXTS:
        texts = texts.only(random_mask(len(texts), MOST_TEXTS, seed))
    counts = np.array([0 if item.pair is not None else word_count(item.text) for item in texts])
    long = counts >= PARTS
    if not long.any() or np.median(counts) < MIN_WORDS * PARTS:
        return None
    size = int(long.sum()) * PARTS
    with progress.stage("teacher reads parts of texts", 2 * size) as advance:
        store = token_store(teacher, _all_parts(texts.only(long)), size, run, "teacher-parts", advance)
        teacher.model.to(accelerator.device)
        rows = outputs(teacher, store, run, "teacher-parts", accelerator, advance)
    logits = np.full((len(texts), PARTS, 2), np.nan, np.float32)
    logits[long] = rows[np.arange(size)].reshape(-1, PARTS, 2)
    return logits


def _all_parts(texts: Corpus) -> Iterator[Example]:
    for item in texts:
        yield from map(Example, parts_of(item.text))
