"""Adapting the teacher to unlabelled target texts: SHOT's information maximisation, with or without pseudo-labels.

Source: Liang et al. 2020, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer".
"""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.encoder import Classifier, final_linear, forward_all
from distilshift.loop import LoopConfig, Objective, train_once
from distilshift.losses.adapt import centroid_pseudo_labels, information_maximisation
from distilshift.run import RunDirectory

# SHOT refreshes its pseudo-labels this often over the whole training.
REFRESHES = 15


class ShotObjective(Objective):
    """Information maximisation, plus cross-entropy with pseudo-labels that are refreshed now and then."""

    def __init__(
        self, classifier: Classifier, texts: TokenStore, prior: Tensor, config: AdaptConfig, accelerator: Accelerator
    ) -> None:
        self._classifier, self._texts, self._prior = classifier, texts, prior
        self._config, self._accelerator = config, accelerator
        self._pseudo_labels = torch.zeros(len(texts), dtype=torch.int64)

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        return self._texts.lengths

    def loss(self, epoch: int, indices: NDArray[np.int64]) -> Tensor:
        device = self._accelerator.device
        logits = self._classifier.model(**self._classifier.inputs(self._texts, indices, device)).logits.float()
        loss = information_maximisation(logits, self._prior, self._config.diversity_weight)
        if self._config.method == "shot":
            targets = self._pseudo_labels[indices].to(device)
            loss = loss + self._config.pseudo_label_weight * F.cross_entropy(logits, targets)
        return loss

    def before_step(self, step: int, steps: int) -> None:
        if self._config.method == "shot" and step % max(1, steps // REFRESHES) == 0:
            self._pseudo_labels = self._nearest_centroids()

    def _nearest_centroids(self) -> Tensor:
        seen = forward_all(
            self._classifier, self._texts, self._accelerator.device, self._accelerator.autocast, features=True
        )
        probabilities = torch.from_numpy(seen["logits"]).softmax(dim=-1)
        return centroid_pseudo_labels(torch.from_numpy(seen["features"]), probabilities)

    def state(self) -> dict[str, Tensor]:
        return {"pseudo_labels": self._pseudo_labels}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._pseudo_labels = state["pseudo_labels"]


def adapt_teacher(
    teacher: Classifier, texts: TokenStore, config: AdaptConfig, accelerator: Accelerator, run: RunDirectory
) -> None:
    """Adapt the teacher in place; its last linear map, the source's hypothesis, stays as it was.

    Args:
        teacher: with logits on the scale it was trained at, not the calibrated one.
        texts: the target texts, tokenised for the teacher.
        config: method none leaves the teacher alone.
        accelerator: where it runs.
        run: keeps the adapted weights.
    """
    if config.method == "none":
        return
    classes = len(teacher.label_names)
    prior = torch.full((classes,), 1.0 / classes, device=accelerator.device)
    final_linear(teacher.model).requires_grad_(False)
    loop = LoopConfig(
        "adapt",
        config.adapt_epochs,
        config.adapt_batch_size,
        config.adapt_learning_rate,
        config.warmup_fraction,
        config.weight_decay,
        config.seed,
    )
    train_once(teacher.model, ShotObjective(teacher, texts, prior, config, accelerator), loop, accelerator, run)
    teacher.model.requires_grad_(True)
