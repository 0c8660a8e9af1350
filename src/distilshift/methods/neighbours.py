"""NRC and AaD: a text agrees with its nearest neighbours among all target texts.

Sources: Yang et al. 2021, "Exploiting the Intrinsic Neighborhood Structure for Source-free Domain Adaptation" (NRC);
Yang et al. 2022, "Attracting and Dispersing: A Simple Approach for Source-free Domain Adaptation" (AaD).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from distilshift.encoder import head_inputs
from distilshift.inference import forward_all
from distilshift.losses.neighbours import (
    dispersion,
    dispersion_weight,
    expanded_neighbours,
    nearest_neighbours,
    neighbour_attraction,
    reciprocal_affinity,
    reciprocal_clustering,
)
from distilshift.methods.base import Material, UnlabelledObjective
from distilshift.parallel import Batch


class NeighbourObjective(UnlabelledObjective):
    """A bank of each whole text's feature and prediction as they were last seen, and agreement with neighbours in it.

    The bank is filled by a pass without dropout before the first step; a step over whole texts then replaces the rows
    of its batch, without momentum, as the authors do, by what it sees. Deviation: a step over spans replaces nothing,
    and a span's neighbours are those of its text. The bank is part of the checkpoint, and costs 4 bytes for each text
    and feature in memory. The last linear map learns, too, and batches are of texts of any length: which texts
    are in one decides what a text is pushed away from.
    """

    keeps_hypothesis = False
    window_batches = 1

    def __init__(self, material: Material) -> None:
        super().__init__(material)
        self._features, self._probabilities = torch.zeros(0, 0), torch.zeros(0, 0)
        self._progress = 0.0

    def before_step(self, step: int, steps: int) -> None:
        self._progress = step / steps
        if step == 0:
            self._fill()

    def loss(self, model: Any, batch: Batch) -> Tensor:
        with head_inputs(self._material.classifier.model) as seen:
            logits = self.logits(model, batch)
        own = torch.from_numpy(batch.indices).to(logits.device)
        if self.view(batch.epoch) == 0:
            self._refresh(batch.rows(own), batch.rows(seen[-1].detach()), batch.rows(logits.detach()))
        near = nearest_neighbours(self._features[own], self._features, self._material.config.neighbours, own)
        return self.agreement(logits, batch, own, near)

    @abstractmethod
    def agreement(self, logits: Tensor, batch: Batch, own: Tensor, near: Tensor) -> Tensor:
        """The loss.

        Args:
            logits: (share, classes).
            batch: the share.
            own: (share,), the texts' rows of the bank.
            near: (share, neighbours), their neighbours' rows.
        """

    def _fill(self) -> None:
        classifier, texts = self._material.classifier, self._material.views[0]
        device, autocast = self._material.accelerator.device, self._material.accelerator.autocast
        seen = forward_all(classifier, texts, device, autocast, features=True, crew=self._material.run.crew)
        self._features = torch.from_numpy(seen["features"]).to(device)
        self._probabilities = torch.from_numpy(seen["logits"]).to(device).softmax(dim=-1)

    def _refresh(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        self._features[rows] = features.float()
        self._probabilities[rows] = logits.softmax(dim=-1)

    def state(self) -> dict[str, Tensor]:
        return {"features": self._features, "probabilities": self._probabilities}

    def load_state(self, state: dict[str, Tensor]) -> None:
        device = self._material.accelerator.device
        self._features, self._probabilities = state["features"].to(device), state["probabilities"].to(device)


class NrcObjective(NeighbourObjective):
    """Agreement with neighbours by reciprocity, with theirs, and every class in use (Yang et al. 2021)."""

    def agreement(self, logits: Tensor, batch: Batch, own: Tensor, near: Tensor) -> Tensor:
        expanded = expanded_neighbours(near, self._features, self._material.config.neighbours)
        affinity = reciprocal_affinity(own, expanded)
        bank = self._probabilities
        clustering = reciprocal_clustering(logits, bank[near], affinity, bank[expanded])
        return batch.mean(clustering) + self.diversity(logits, batch)


class AadObjective(NeighbourObjective):
    """Agreement with neighbours, and with the rest of the batch less and less disagreement (Yang et al. 2022).

    With two classes, half of the rest of a batch is of a text's own class and is pushed away too, so that the second
    term, a sum over the batch, is far larger than with the authors' many classes. The formula is theirs; the
    fading weight is their remedy: a `dispersion_decay` of 5 leaves 3 % of it after a tenth of the training.
    """

    def agreement(self, logits: Tensor, batch: Batch, own: Tensor, near: Tensor) -> Tensor:
        weight = dispersion_weight(self._progress, self._material.config.dispersion_decay)
        spread = batch.whole(dispersion(batch.rows(logits)).mean())
        return batch.mean(neighbour_attraction(logits, self._probabilities[near])) + weight * spread
