"""SHOT: information maximisation, with or without pseudo-labels.

Source: Liang et al. 2020, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer".
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distilshift.encoder import final_linear
from distilshift.inference import forward_all
from distilshift.losses.adapt import centroid_pseudo_labels, entropy
from distilshift.methods.base import Material, UnlabelledObjective
from distilshift.parallel import Batch
from distilshift.shards import shard_spans


class ShotObjective(UnlabelledObjective):
    """Information maximisation; with method shot also cross-entropy with pseudo-labels, made anew in each epoch.

    The authors say 15 times a training, which has 15 epochs with them.
    """

    def __init__(self, material: Material) -> None:
        super().__init__(material)
        self._labels_itself = material.config.method == "shot"
        self._pseudo_labels = torch.zeros(len(material.views[0]), dtype=torch.int64)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        logits = self.logits(model, batch)
        loss = batch.mean(entropy(logits)) + self.diversity(logits, batch)
        if self._labels_itself:
            targets = self._pseudo_labels[batch.indices].to(logits.device)
            errors = F.cross_entropy(logits, targets, reduction="none")
            loss = loss + self._material.config.pseudo_label_weight * batch.mean(errors)
        return loss

    def before_step(self, step: int, steps: int) -> None:
        if self._labels_itself and step % (steps // self._material.config.adapt_epochs) == 0:
            self._pseudo_labels = self._nearest_centroids()

    def _nearest_centroids(self) -> Tensor:
        classifier, texts, run = self._material.classifier, self._material.views[0], self._material.run
        device, autocast = self._material.accelerator.device, self._material.accelerator.autocast
        features = final_linear(classifier.model).in_features
        probabilities = torch.zeros(len(texts), len(classifier.label_names))
        with tempfile.TemporaryFile(dir=run.path) as file:
            bank = np.memmap(file, np.float16, "w+", shape=(len(texts), features))
            for span in shard_spans(len(texts)):
                seen = forward_all(classifier, texts, device, autocast, features=True, span=span, crew=run.crew)
                bank[span] = seen["features"]
                probabilities[span] = torch.from_numpy(seen["logits"]).softmax(dim=-1)
            return centroid_pseudo_labels(torch.from_numpy(bank), probabilities)

    def state(self) -> dict[str, Tensor]:
        return {"pseudo_labels": self._pseudo_labels}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._pseudo_labels = state["pseudo_labels"]
