"""What the objectives of this package share: texts and spans by turns, and the drift of the mean prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.encoder import Classifier
from distilshift.loop import Objective
from distilshift.losses.adapt import divergence_of_mean
from distilshift.parallel import Batch
from distilshift.run import RunDirectory
from distilshift.views import view_of


@dataclass(frozen=True)
class Material:
    """What an objective works on.

    Attributes:
        classifier: the model that learns.
        views: the whole texts, then spans of them, tokenised for it.
        prior: (classes,), the expected class shares, on the device.
        config: the options.
        accelerator: where it runs.
        run: of the processes that work together.
    """

    classifier: Classifier
    views: Sequence[TokenStore]
    prior: Tensor
    config: AdaptConfig
    accelerator: Accelerator
    run: RunDirectory


def uniform_prior(classes: int, accelerator: Accelerator) -> Tensor:
    """Equal class shares, (classes,) float32, on the device."""
    return torch.full((classes,), 1.0 / classes, device=accelerator.device)


class UnlabelledObjective(Objective):
    """An objective on whole texts and random spans of them by turns.

    Attributes:
        keeps_hypothesis: the model's last linear map stays as it was.
    """

    keeps_hypothesis = True

    def __init__(self, material: Material) -> None:
        self._material = material

    def view(self, epoch: int) -> int:
        """The number of the view that an epoch takes; 0 is the whole texts."""
        return view_of(epoch, len(self._material.views))

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        return self._material.views[self.view(epoch)].lengths

    def logits(self, model: Any, batch: Batch) -> Tensor:
        """Predictions for this process's share, (share, classes) float32."""
        material, store = self._material, self._material.views[self.view(batch.epoch)]
        inputs = material.classifier.inputs(store, batch.indices, material.accelerator.device)
        logits: Tensor = model(**inputs).logits
        return logits.float()

    def diversity(self, logits: Tensor, batch: Batch) -> Tensor:
        """The weighted term that keeps every class in use over the whole batch; a scalar."""
        drift = divergence_of_mean(batch.mean_log_probabilities(logits), self._material.prior)
        return self._material.config.diversity_weight * batch.whole(drift)
