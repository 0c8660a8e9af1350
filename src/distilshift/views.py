"""Versions of the target texts for teacher and student: whole texts, random spans, and windows of the long ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from distilshift import progress
from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.data.corpus import Corpus
from distilshift.data.sample import confidence_strata_mask, random_mask
from distilshift.data.spans import random_spans
from distilshift.data.windows import mean_over_windows
from distilshift.encoder import Classifier
from distilshift.losses.distil import mixture_logits
from distilshift.mapped import Arrays
from distilshift.metrics import softmax
from distilshift.run import RunDirectory
from distilshift.second_opinion import SecondOpinion
from distilshift.shards import Rows, outputs, token_store, window_store
from distilshift.types import Example

# With `max_texts`, the teacher looks at so many texts for each that is used: enough to know the mix.
CANDIDATES_A_TEXT = 4


@dataclass(frozen=True)
class LabelledView:
    """One version of all target texts, with what the teacher says of it.

    Attributes:
        texts: tokenised for the student.
        teacher_logits: (texts, classes) float32, of this version.
        text_logits: (texts, classes) float32, of the whole texts, read window by window.
        text_weight: the share of the latter in the labels, 0 to 1.
        bias: (classes,) float32, added to the former; it is in the latter already.
        shift: (texts, classes) float32, added to the former; it is in the latter already.
    """

    texts: TokenStore
    teacher_logits: Rows
    text_logits: Rows | None = None
    text_weight: float = 0.0
    bias: NDArray[np.float32] | None = None
    shift: Rows | None = None

    def only(self, chosen: NDArray[np.int64]) -> LabelledView:
        """The same version of some of the texts, by their numbers."""
        rows = {
            name: rows.only(chosen)
            for name in ("teacher_logits", "text_logits", "shift")
            if (rows := getattr(self, name)) is not None
        }
        return replace(self, texts=self.texts.only(chosen), **rows)

    def own(self, indices: NDArray[np.integer]) -> Tensor:
        """Logits of this version alone, (len(indices), classes) float32."""
        said = torch.from_numpy(self.teacher_logits[indices])
        if self.bias is not None:
            said = said + torch.from_numpy(self.bias)
        return said if self.shift is None else said + torch.from_numpy(self.shift[indices])

    def targets(self, indices: NDArray[np.integer]) -> Tensor:
        """Logits to learn from, (len(indices), classes) float32."""
        own = self.own(indices)
        if self.text_logits is None:
            return own
        return mixture_logits(own, torch.from_numpy(self.text_logits[indices]), self.text_weight)


def view_of(epoch: int, views: int) -> int:
    """Which view an epoch trains on: the whole texts (0) every other epoch, the spans in turn between."""
    if views == 1 or epoch % 2 == 0:
        return 0
    return 1 + (epoch // 2) % (views - 1)


def view_count(epochs: int, spans: int) -> int:
    """How many views, the whole texts among them, `view_of` will ask for."""
    return 1 + min(spans, epochs // 2)


def view_uses(epochs: int, views: int) -> list[int]:
    """In how many epochs each view is trained on."""
    turns = [view_of(epoch, views) for epoch in range(epochs)]
    return [turns.count(view) for view in range(views)]


def view_tokens(
    side: Classifier,
    role: str,
    texts: Corpus,
    views: int,
    config: AdaptConfig,
    run: RunDirectory,
    advance: progress.Advance,
) -> list[TokenStore]:
    """The whole texts and their span views, tokenised for one side ("teacher" or "student")."""
    return [
        token_store(side, _version(texts, config, view), len(texts), run, f"{role}-view-{view}", advance)
        for view in range(views)
    ]


def _version(texts: Corpus, config: AdaptConfig, view: int) -> Iterable[Example]:
    if view == 0:
        return texts
    shortest, longest = config.span_min_words, config.span_max_words
    return random_spans(texts, shortest=shortest, longest=longest, seed=config.seed, view=view - 1)


@dataclass(frozen=True)
class Reading:
    """What a teacher says of the target texts, calibrated or not as its logits are.

    Attributes:
        beginnings: (texts, classes) float32 logits, of the tokens that it sees at once.
        whole: (texts, classes) float32 logits, of all of each text, read window by window.
    """

    beginnings: Rows
    whole: Rows


def read_texts(
    teacher: Classifier,
    texts: Corpus,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    role: str = "teacher",
) -> Reading:
    """What a teacher says of the whole texts; `role` tells its outputs from those of the run's other teachers.

    The tokens are the same for all of them: they share a tokenizer.
    """
    with progress.stage("tokenising", len(texts)) as advance:
        (store,) = view_tokens(teacher, "teacher", texts, 1, config, run, advance)
    teacher.model.to(accelerator.device)
    with progress.stage(f"{role} reads texts", len(texts)) as advance:
        beginnings = outputs(teacher, store, run, f"{role}-view-0", accelerator, advance)
    return Reading(beginnings, _read_whole(teacher, texts, store, beginnings, config, accelerator, run, role))


def within_budget(
    corpus: Corpus, teacher: Classifier, config: AdaptConfig, accelerator: Accelerator, run: RunDirectory
) -> Corpus:
    """As many texts as `max_texts` allows, by what the teacher, as it came, says of them and of some others."""
    if not 0 < config.max_texts < len(corpus):
        return corpus
    candidates = corpus.only(random_mask(len(corpus), CANDIDATES_A_TEXT * config.max_texts, config.seed))
    with progress.stage("choosing texts", 2 * len(candidates)) as advance:
        store = token_store(teacher, candidates, len(candidates), run, "candidates", advance)
        logits = outputs(teacher, store, run, "candidates", accelerator, advance)
    probabilities = softmax(logits[np.arange(len(candidates))])
    return candidates.only(confidence_strata_mask(probabilities, config.max_texts, config.seed))


def label_views(
    teacher: Classifier,
    student: Classifier,
    texts: Corpus,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    role: str = "teacher",
    opinion: SecondOpinion | None = None,
) -> list[LabelledView]:
    """The whole texts and as many span views as the epochs will use, each labelled by the teacher once.

    `role` is that of `read_texts`; with a second opinion, that is the label of the whole texts.
    """
    count = view_count(config.distil_epochs, config.spans)
    own_tokens = student.tokenizer is not teacher.tokenizer or student.max_length != teacher.max_length
    with progress.stage("tokenising", len(texts) * count * (1 + own_tokens)) as advance:
        stores = view_tokens(teacher, "teacher", texts, count, config, run, advance)
        seen = view_tokens(student, "student", texts, count, config, run, advance) if own_tokens else stores
    teacher.model.to(accelerator.device)
    with progress.stage("teacher labels texts", len(texts) * count) as advance:
        logits = [
            outputs(teacher, store, run, f"{role}-view-{view}", accelerator, advance)
            for view, store in enumerate(stores)
        ]
    whole = (
        opinion.whole if opinion else _read_whole(teacher, texts, stores[0], logits[0], config, accelerator, run, role)
    )
    weights, bias = [1.0] + [config.span_text_weight] * (count - 1), opinion.bias if opinion else None
    each = zip(seen, logits, weights, strict=True)
    return [LabelledView(store, rows, whole, weight, bias) for store, rows, weight in each]


def _read_whole(
    teacher: Classifier,
    texts: Corpus,
    store: TokenStore,
    beginnings: Rows,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    role: str,
) -> Rows:
    """Return the teacher's logits of each whole text: the log of the mean over the windows that it is read in.

    `store` has the tokens of the beginnings; texts that are shorter than the teacher's limit need no windows.
    """
    full = store.lengths >= teacher.max_length
    if config.max_windows == 1 or not full.any():
        return beginnings
    with progress.stage("cutting long texts", int(full.sum())) as advance:
        chosen = compress(texts, full)
        windows = window_store(teacher, chosen, int(full.sum()), run, "teacher-windows", config.max_windows, advance)
    with progress.stage(f"{role} reads long texts", len(windows.tokens)) as advance:
        rows = outputs(teacher, windows.tokens, run, f"{role}-windows", accelerator, advance)

    def average() -> Arrays:
        own, parts = (softmax(each[np.arange(len(each))]) for each in (beginnings, rows))
        own[full] = mean_over_windows(parts, windows.counts)
        return {"logits": np.log(own).astype(np.float32)}

    return Rows([run.arrays(f"{role}-texts", average, lead_only=True)["logits"]])
