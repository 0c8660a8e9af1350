"""Distilling the teacher into the student, on target texts and on random spans of them by turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from distilshift.config import AdaptConfig
from distilshift.encoder import Classifier
from distilshift.frozen import frozen_layers
from distilshift.frozen_states import computed_once
from distilshift.loop import Objective, finished, loop_config, train_once
from distilshift.losses.distil import soft_target_divergence
from distilshift.parallel import Batch
from distilshift.run import RunDirectory
from distilshift.views import LabelledView, view_of, view_uses
from distilshift.vocabulary import used_rows_only


class DistilObjective(Objective):
    """Mean soft-target divergence from the teacher's cached outputs."""

    # Each text has a target of its own, so that a batch may be of one length: of kitchen's reviews 96 % of its places
    # are real tokens then, else 90 %. What teaches or adapts wants its batches mixed: length may tell of the class.
    window_batches = 50

    def __init__(
        self,
        student: Classifier,
        views: Sequence[LabelledView],
        temperature: float,
        device: torch.device,
        past_epochs: int = 0,
    ) -> None:
        """Learn from views; `past_epochs` of them were another training's, and the views go on in turn."""
        self._student, self._views, self._temperature, self._device = student, views, temperature, device
        self._past_epochs = past_epochs

    def view_number(self, epoch: int) -> int:
        """Which view an epoch takes."""
        return view_of(self._past_epochs + epoch, len(self._views))

    def _view(self, epoch: int) -> LabelledView:
        return self._views[self.view_number(epoch)]

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        return self._view(epoch).texts.lengths

    def targets(self, batch: Batch) -> Tensor:
        """Logits that a batch learns from, (share, classes) float32, on the CPU."""
        return self._view(batch.epoch).targets(batch.indices)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        view = self._view(batch.epoch)
        logits = model(**self._student.inputs(view.texts, batch.indices, self._device)).logits
        targets = self.targets(batch).to(self._device)
        return batch.mean(soft_target_divergence(logits.float(), targets, self._temperature))


def distil_student(
    student: Classifier,
    views: Sequence[LabelledView],
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    name: str = "distil",
) -> None:
    """Train the student in place on the views' cached teacher outputs; `name` is the run's for this training."""
    loop = loop_config(name, config, config.distil_epochs, config.distil_batch_size, config.distil_learning_rate)
    student.model.to(accelerator.device)
    frozen, uses = config.distil_frozen_layers, view_uses(loop.epochs, len(views))
    known = 0 if config.dropout or finished(name) in run else frozen
    with (
        frozen_layers(student.model, frozen),
        used_rows_only(student.model, [view.texts for view in views]) as used,
        computed_once(student, known, used, uses, accelerator, run.crew) as stores,
    ):
        compact = [replace(view, texts=store) for view, store in zip(views, stores, strict=True)]
        objective = DistilObjective(student, compact, config.temperature, accelerator.device)
        train_once(student.model, objective, loop, accelerator, run)
