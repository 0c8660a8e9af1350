"""What words say on the device: a linear model of word pieces and neighbouring ones beside the student's network.

The second opinion makes labels better, but a small network that learns them from few texts hands only some of that on
to new texts. So the words go along: the student's logits are a weighted mean of the network's and of a table's, which
holds a number a class for each piece and for each pair of neighbours, these by their hash. It is the wide part of
Cheng et al. 2016 ("Wide and deep learning for recommender systems"); deviation: the two are taught apart, since a
network that fits its training texts leaves a table beside it nothing to learn.

A feature counts once a text, weighs by its inverse document frequency, and a text's features have length 1: what
`second_opinion` does, in operators that an ONNX graph has. Pairs find their row by a hash (Weinberger et al. 2009):
pairs that share one count as the same, which costs nothing that can be measured (benchmarks/LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from torch import Tensor, nn

from distilshift import progress
from distilshift.config import AdaptConfig
from distilshift.data.corpus import Corpus
from distilshift.data.sample import random_mask
from distilshift.encoder import Classifier, scale_logits
from distilshift.mapped import Arrays
from distilshift.metrics import softmax
from distilshift.run import RunDirectory
from distilshift.second_opinion import RIDGE, WHOLE, SecondOpinion, centred
from distilshift.shape import WORD_SLOTS
from distilshift.shards import Rows, token_store
from distilshift.static_student import STATIC

# Of the hash of a pair of neighbours.
LEFT, RIGHT = 40_503, 30_011
# A feature of fewer texts says nothing of others.
MIN_TEXTS_A_FEATURE = 2
# So many texts, drawn at random, are enough to know what words mean, and memory stays bounded.
MOST_TEXTS = 20_000
FOLDS = 5

# A text's token ids, uncut, and which of a pair's texts each is of.
TextRow = tuple[NDArray[np.int32], NDArray[np.uint8]]


class WordPart(nn.Module):
    """The table, as the device reads it.

    Attributes:
        table: (pieces a segment * segments + WORD_SLOTS, classes + 1) int8; the last column is the inverse document
            frequency, the others are what a feature adds to each class, times that.
        scales: (classes + 1,) float32, of the columns.
        offset: (classes,) float32, logits of a text without any feature.
        is_word: (pieces,) bool; special pieces are no words.
        weight: the table's share in the student's logits, 0 to 1.
    """

    table: Tensor
    scales: Tensor
    offset: Tensor
    is_word: Tensor

    def __init__(self, arrays: Arrays, weight: float) -> None:
        """Args: what `fitted` gives; the table's share."""
        super().__init__()
        self.weight = weight
        for name in ("table", "scales", "offset", "is_word"):
            self.register_buffer(name, torch.from_numpy(np.array(arrays[name])))

    @property
    def segments(self) -> int:
        """2 where the texts of a pair have rows of their own, else 1."""
        return (len(self.table) - WORD_SLOTS) // len(self.is_word)

    def forward(
        self, logits: Tensor, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """The network's logits and the table's, by weight: (batch, classes) float32 from int64 (batch, tokens)."""
        words = (attention_mask > 0) & self.is_word[input_ids]
        pieces = input_ids
        if self.segments == 2 and token_type_ids is not None:
            pieces = input_ids + len(self.is_word) * token_type_ids
        pairs = len(self.table) - WORD_SLOTS + slot(pieces[:, :-1], pieces[:, 1:])
        found = self._sum(pieces, words) + self._sum(pairs, words[:, :-1] & words[:, 1:])
        said, squares = found[:, :-1], found[:, -1:]
        own = self.offset + said / squares.clamp_min(1e-9).sqrt()
        return (1 - self.weight) * logits + self.weight * own

    def _sum(self, features: Tensor, real: Tensor) -> Tensor:
        """The table's rows of the features that there are, each once a text, the last column squared: (batch, columns).

        A feature that occurs n times counts 1/n each time.
        """
        same = (features.unsqueeze(2) == features.unsqueeze(1)) & real.unsqueeze(1)
        share = real.float() / same.float().sum(dim=2).clamp_min(1.0)
        rows = torch.index_select(self.table, 0, features.flatten()).float() * self.scales
        rows = torch.cat([rows[:, :-1], rows[:, -1:] * rows[:, -1:]], dim=1)
        return (rows.view(*features.shape, -1) * share.unsqueeze(2)).sum(dim=1)


def calibrate(student: Classifier, words: WordPart | None, temperature: float) -> None:
    """Divide the logits of the network, and of the table beside it, by a temperature."""
    scale_logits(student.model, 1.0 / temperature)
    if words:
        words.scales[:-1] /= temperature
        words.offset /= temperature


def slot(first: Any, second: Any) -> Any:
    """The row among those for pairs, of neighbouring pieces: int64 arrays or tensors of one shape."""
    return (first * LEFT + second * RIGHT) % WORD_SLOTS


def has_word_part(config: AdaptConfig) -> bool:
    """Whether the options ask for a table. It is still left out where words are not heard in the labels."""
    return config.method == "second-opinion" and config.word_weight > 0 and config.student != STATIC


def empty_word_part(student: Classifier, weight: float = 0.5) -> WordPart:
    """A table that says nothing, to measure what it costs."""
    pieces, classes = int(student.model.config.vocab_size), int(student.model.config.num_labels)
    arrays: Arrays = {
        "table": np.zeros((pieces + WORD_SLOTS, classes + 1), np.int8),
        "scales": np.ones(classes + 1, np.float32),
        "offset": np.zeros(classes, np.float32),
        "is_word": np.ones(pieces, np.bool_),
    }
    return WordPart(arrays, weight)


def word_part(
    student: Classifier,
    texts: Corpus,
    logits: Rows,
    opinion: SecondOpinion | None,
    config: AdaptConfig,
    run: RunDirectory,
) -> WordPart | None:
    """The table that goes with a student, on the scale of the teacher's training; None where words have no say.

    Args:
        student: whose pieces are the words.
        texts: target texts.
        logits: the teacher's, (texts, classes), of the whole texts.
        opinion: whether words were heard, and where class shares went; None without a second opinion.
        config: the options.
        run: keeps the table.
    """
    if opinion is None or not opinion.weight or not has_word_part(config):
        return None
    with progress.stage("tokenising", len(texts)) as advance:
        words = token_store(replace(student, max_length=WHOLE), texts, len(texts), run, "student-words", advance)

    def compute() -> Arrays:
        chosen = np.flatnonzero(random_mask(len(texts), min(MOST_TEXTS, len(texts)), config.seed))
        rows = [words.row(int(index)) for index in chosen]
        tokenizer, pieces = student.tokenizer, int(student.model.config.vocab_size)
        return fitted(rows, tokenizer.all_special_ids, pieces, centred(logits[chosen]), opinion.bias, config.seed)

    return WordPart(run.arrays("word-part", compute, lead_only=True), config.word_weight)


def fitted(
    rows: Sequence[TextRow],
    special: Sequence[int],
    pieces: int,
    logits: NDArray[np.float64],
    bias: NDArray[np.float32],
    seed: int,
) -> Arrays:
    """Ridge regression of the teacher's predictions on a text's words, with the spread of the teacher's logits.

    That spread is what held-out fifths of the texts say of it: on its own texts a table is surer than on new ones.

    Args:
        rows: a text's token ids, uncut, and which of a pair's texts each is of.
        special: ids that are no words.
        pieces: in the vocabulary.
        logits: the teacher's, (texts, classes), with mean 0 in each row.
        bias: (classes,), what moved the labels' class shares.
        seed: of the fifths.

    Returns:
        the arrays of `WordPart`.
    """
    is_word = np.ones(pieces, np.bool_)
    is_word[[index for index in special if index < pieces]] = False
    found = _occurrences(rows, is_word, 2 if any(types.any() for _, types in rows) else 1)
    seen = np.asarray(found.sum(axis=0)).ravel() >= MIN_TEXTS_A_FEATURE
    weigh = TfidfTransformer(norm="l2")
    features = weigh.fit_transform(found.multiply(seen).tocsr())
    targets = softmax(logits)
    targets -= targets.mean(axis=0)

    def learn(some: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        ridge = Ridge(RIDGE, fit_intercept=False, solver="sparse_cg", tol=1e-6)
        return np.atleast_2d(ridge.fit(features[some], targets[some]).coef_).T

    unseen = np.zeros_like(targets)
    for others, fold in KFold(FOLDS, shuffle=True, random_state=seed).split(targets):
        unseen[fold] = features[fold] @ learn(others)
    scale = (logits - logits.mean(axis=0)).std() / max(float(unseen.std()), 1e-12)
    frequency = np.where(seen, weigh.idf_, 0.0)
    columns = np.column_stack([scale * learn(slice(None)) * frequency[:, None], frequency])
    scales = np.maximum(np.abs(columns).max(axis=0), 1e-12) / 127
    return {
        "table": np.round(columns / scales).astype(np.int8),
        "scales": scales.astype(np.float32),
        "offset": (logits.mean(axis=0) + bias).astype(np.float32),
        "is_word": is_word,
    }


def _occurrences(rows: Sequence[TextRow], is_word: NDArray[np.bool_], segments: int) -> csr_matrix:
    """Which features each text has, (texts, rows of the table) of 0 and 1."""
    found = [_features(ids.astype(np.int64), types, is_word, segments) for ids, types in rows]
    ends = np.cumsum([0, *(len(each) for each in found)])
    width = len(is_word) * segments + WORD_SLOTS
    return csr_matrix((np.ones(ends[-1]), np.concatenate(found), ends), shape=(len(rows), width))


def _features(
    ids: NDArray[np.int64], types: NDArray[np.uint8], is_word: NDArray[np.bool_], segments: int
) -> NDArray[np.int64]:
    words = is_word[ids]
    pieces = ids + len(is_word) * types if segments == 2 else ids
    pairs = slot(pieces[:-1], pieces[1:])[words[:-1] & words[1:]]
    return np.unique(np.concatenate([pieces[words], len(is_word) * segments + pairs]))
