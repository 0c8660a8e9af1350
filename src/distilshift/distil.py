"""Distilling the teacher into the student, on whole target texts and on random spans of them by turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from distilshift import progress
from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.data.spans import random_spans
from distilshift.encoder import Classifier, forward_all
from distilshift.loop import LoopConfig, Objective, train_once
from distilshift.losses.distil import soft_target_divergence
from distilshift.run import RunDirectory
from distilshift.types import Example


@dataclass(frozen=True)
class LabelledView:
    """One version of all target texts, with what the teacher says of it.

    Attributes:
        texts: tokenised for the student.
        teacher_logits: (texts, classes) float32.
    """

    texts: TokenStore
    teacher_logits: NDArray[np.float32]


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

    def loss(self, epoch: int, indices: NDArray[np.int64]) -> Tensor:
        view = self._view(epoch)
        logits = self._student.model(**self._student.inputs(view.texts, indices, self._device)).logits
        targets = torch.from_numpy(view.teacher_logits[indices]).to(self._device)
        return soft_target_divergence(logits.float(), targets, self._temperature).mean()


def label_views(
    teacher: Classifier,
    student: Classifier,
    examples: Sequence[Example],
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> list[LabelledView]:
    """The whole texts and as many span views as the epochs will use, each labelled by the teacher once."""
    spans = min(config.spans, config.distil_epochs // 2)
    versions = [list(examples)] + [
        random_spans(
            examples, shortest=config.span_min_words, longest=config.span_max_words, seed=config.seed, view=view
        )
        for view in range(spans)
    ]
    same_tokens = student.tokenizer is teacher.tokenizer
    teacher.model.to(accelerator.device)
    views = []
    with progress.stage("teacher labels texts", len(examples) * len(versions)) as advance:
        for index, version in enumerate(versions):
            store = teacher.tokenise(version)

            def outputs(store: TokenStore = store) -> dict[str, NDArray[np.float32]]:
                return forward_all(teacher, store, accelerator.device, accelerator.autocast, advance=advance)

            logits = run.arrays(f"teacher-outputs-{index}", outputs)["logits"]
            views.append(LabelledView(store if same_tokens else student.tokenise(version), logits))
    return views


def distil_student(
    student: Classifier,
    views: Sequence[LabelledView],
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> None:
    """Train the student in place on the views' cached teacher outputs."""
    loop = LoopConfig(
        "distil",
        config.distil_epochs,
        config.distil_batch_size,
        config.distil_learning_rate,
        config.warmup_fraction,
        config.weight_decay,
        config.seed,
    )
    student.model.to(accelerator.device)
    objective = DistilObjective(student, views, config.temperature, accelerator.device)
    train_once(student.model, objective, loop, accelerator, run)
