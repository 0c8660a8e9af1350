"""Distilling the teacher into the student, on whole target texts and on random spans of them by turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from distilshift import progress
from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.data.corpus import Corpus
from distilshift.data.spans import random_spans
from distilshift.encoder import Classifier
from distilshift.loop import Objective, loop_config, train_once
from distilshift.losses.distil import soft_target_divergence
from distilshift.parallel import Batch
from distilshift.run import RunDirectory
from distilshift.shards import Rows, outputs, token_store
from distilshift.types import Example
from distilshift.vocabulary import used_rows_only


@dataclass(frozen=True)
class LabelledView:
    """One version of all target texts, with what the teacher says of it.

    Attributes:
        texts: tokenised for the student.
        teacher_logits: (texts, classes) float32, on the disk.
    """

    texts: TokenStore
    teacher_logits: Rows


def view_of(epoch: int, views: int) -> int:
    """Which view an epoch trains on: the whole texts (0) every other epoch, the spans in turn between."""
    if views == 1 or epoch % 2 == 0:
        return 0
    return 1 + (epoch // 2) % (views - 1)


class DistilObjective(Objective):
    """Mean soft-target divergence from the teacher's cached outputs."""

    def __init__(
        self, student: Classifier, views: Sequence[LabelledView], temperature: float, device: torch.device
    ) -> None:
        self._student, self._views, self._temperature, self._device = student, views, temperature, device

    def _view(self, epoch: int) -> LabelledView:
        return self._views[view_of(epoch, len(self._views))]

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        return self._view(epoch).texts.lengths

    def loss(self, model: Any, batch: Batch) -> Tensor:
        view = self._view(batch.epoch)
        logits = model(**self._student.inputs(view.texts, batch.indices, self._device)).logits
        targets = torch.from_numpy(view.teacher_logits[batch.indices]).to(self._device)
        return batch.mean(soft_target_divergence(logits.float(), targets, self._temperature))


def label_views(
    teacher: Classifier,
    student: Classifier,
    texts: Corpus,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> list[LabelledView]:
    """The whole texts and as many span views as the epochs will use, each labelled by the teacher once."""
    names = ["whole", *(f"spans-{view}" for view in range(min(config.spans, config.distil_epochs // 2)))]
    own_tokens = student.tokenizer is not teacher.tokenizer
    sides = {"teacher": teacher} | ({"student": student} if own_tokens else {})
    with progress.stage("tokenising", len(texts) * len(names) * len(sides)) as advance:
        stores = {
            (role, name): token_store(side, _version(texts, config, index), len(texts), run, f"{role}-{name}", advance)
            for index, name in enumerate(names)
            for role, side in sides.items()
        }
    teacher.model.to(accelerator.device)
    views = []
    with progress.stage("teacher labels texts", len(texts) * len(names)) as advance:
        for name in names:
            store = stores["teacher", name]
            logits = outputs(teacher, store, run, f"teacher-{name}", accelerator, advance)
            views.append(LabelledView(stores["student", name] if own_tokens else store, logits))
    return views


def _version(texts: Corpus, config: AdaptConfig, index: int) -> Iterable[Example]:
    """The whole texts (0), or a view of random spans."""
    if index == 0:
        return texts
    shortest, longest = config.span_min_words, config.span_max_words
    return random_spans(texts, shortest=shortest, longest=longest, seed=config.seed, view=index - 1)


def distil_student(
    student: Classifier,
    views: Sequence[LabelledView],
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> None:
    """Train the student in place on the views' cached teacher outputs."""
    loop = loop_config("distil", config, config.distil_epochs, config.distil_batch_size, config.distil_learning_rate)
    student.model.to(accelerator.device)
    with used_rows_only(student.model, [view.texts for view in views]) as stores:
        compact = [replace(view, texts=store) for view, store in zip(views, stores, strict=True)]
        objective = DistilObjective(student, compact, config.temperature, accelerator.device)
        train_once(student.model, objective, loop, accelerator, run)
