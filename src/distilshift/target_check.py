"""What the target texts are like: whether there are enough to adapt to, and how much of them can be read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distilshift.config import AdaptConfig
from distilshift.data.corpus import Corpus
from distilshift.encoder import Classifier
from distilshift.errors import DataError
from distilshift.gate import MIN_DISTINCT
from distilshift.target_facts import Target
from distilshift.unknown import unknown_pieces

# Target texts, the first ones, in which unknown word pieces are counted.
UNKNOWN_TEXTS = 2_000


def distinct_texts(corpus: Corpus, config: AdaptConfig) -> int:
    """Return the number of different texts that are used, at most `MOST_DISTINCT`."""
    return min(corpus.distinct, config.max_texts or corpus.distinct)


def sufficient(corpus: Corpus, config: AdaptConfig, forcing: str = "--force (force=True)") -> AdaptConfig:
    """Return the options for this corpus; too few texts are refused, or by `force` lead to plain labels.

    Args:
        corpus: the target texts.
        config: the options of `adapt`.
        forcing: how `force` is given, for the message.

    Raises:
        DataError: there are fewer than `MIN_DISTINCT` different texts, and `force` is off.
    """
    found = distinct_texts(corpus, config)
    if found >= MIN_DISTINCT:
        return config
    if not config.force:
        counted = f"{len(corpus):,} rows of {corpus.name}" if found == corpus.distinct else "max_texts"
        raise DataError(
            "too few target texts to adapt to",
            expected=f"{MIN_DISTINCT} different ones or more; some hundreds are better",
            got=f"{found} in {counted}",
            fix=f"give more texts; they need no labels. {forcing} makes a student of the teacher's plain labels",
        )
    return replace(config, method="none", feedback=0.0)


def facts_of(classifier: Classifier, corpus: Corpus) -> Target:
    """Return what is known of the target texts, `classifier` being the one whose tokenizer reads them."""
    found = unknown_pieces(classifier.tokenizer, corpus.at(np.arange(min(len(corpus), UNKNOWN_TEXTS))))
    return Target(corpus.distinct, tuple(classifier.label_names), found.share, found.kinds)
