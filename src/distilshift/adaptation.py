"""Adapting the teacher to unlabelled target texts: SHOT's information maximisation, with or without pseudo-labels.

Source: Liang et al. 2020, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer".
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distilshift import progress
from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.data.corpus import Corpus
from distilshift.encoder import Classifier, final_linear
from distilshift.inference import forward_all
from distilshift.loop import Objective, loop_config, train_once
from distilshift.losses.adapt import centroid_pseudo_labels, divergence_of_mean, entropy
from distilshift.parallel import Batch
from distilshift.run import RunDirectory
from distilshift.shards import shard_spans
from distilshift.views import view_count, view_of, view_tokens
from distilshift.vocabulary import used_rows_only

# SHOT refreshes its pseudo-labels this often over the whole training.
REFRESHES = 15


class ShotObjective(Objective):
    """Information maximisation, plus cross-entropy with pseudo-labels that are refreshed now and then."""

    def __init__(
        self,
        classifier: Classifier,
        views: Sequence[TokenStore],
        prior: Tensor,
        config: AdaptConfig,
        accelerator: Accelerator,
        run: RunDirectory,
    ) -> None:
        self._classifier, self._views, self._prior = classifier, views, prior
        self._config, self._accelerator, self._run = config, accelerator, run
        self._pseudo_labels = torch.zeros(len(views[0]), dtype=torch.int64)

    def _view(self, epoch: int) -> TokenStore:
        return self._views[view_of(epoch, len(self._views))]

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        return self._view(epoch).lengths

    def loss(self, model: Any, batch: Batch) -> Tensor:
        device = self._accelerator.device
        logits = model(**self._classifier.inputs(self._view(batch.epoch), batch.indices, device)).logits.float()
        drift = divergence_of_mean(batch.mean_log_probabilities(logits), self._prior)
        loss = batch.mean(entropy(logits)) + self._config.diversity_weight * batch.whole(drift)
        if self._config.method == "shot":
            targets = self._pseudo_labels[batch.indices].to(device)
            errors = F.cross_entropy(logits, targets, reduction="none")
            loss = loss + self._config.pseudo_label_weight * batch.mean(errors)
        return loss

    def before_step(self, step: int, steps: int) -> None:
        if self._config.method == "shot" and step % max(1, steps // REFRESHES) == 0:
            self._pseudo_labels = self._nearest_centroids()

    def _nearest_centroids(self) -> Tensor:
        device, autocast, crew = self._accelerator.device, self._accelerator.autocast, self._run.crew
        texts, features = self._views[0], final_linear(self._classifier.model).in_features
        probabilities = torch.zeros(len(texts), len(self._classifier.label_names))
        with tempfile.TemporaryFile(dir=self._run.path) as file:
            bank = np.memmap(file, np.float16, "w+", shape=(len(texts), features))
            for span in shard_spans(len(texts)):
                seen = forward_all(self._classifier, texts, device, autocast, features=True, span=span, crew=crew)
                bank[span] = seen["features"]
                probabilities[span] = torch.from_numpy(seen["logits"]).softmax(dim=-1)
            return centroid_pseudo_labels(torch.from_numpy(bank), probabilities)

    def state(self) -> dict[str, Tensor]:
        return {"pseudo_labels": self._pseudo_labels}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._pseudo_labels = state["pseudo_labels"]


def adapt_teacher(
    teacher: Classifier,
    texts: Corpus,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    prior: NDArray[np.float64],
) -> None:
    """Adapt the teacher in place; its last linear map, the source's hypothesis, stays as it was.

    Args:
        teacher: with logits on the scale it was trained at, not the calibrated one.
        texts: the target texts.
        config: method none leaves the teacher alone.
        accelerator: where it runs.
        run: keeps the adapted weights.
        prior: (classes,), the class shares to expect, which the diversity term leads to.
    """
    if config.method == "none":
        return
    count = view_count(config.adapt_epochs, config.spans)
    with progress.stage("tokenising", len(texts) * count) as advance:
        views = view_tokens(teacher, "teacher", texts, count, config, run, advance)
    expected = torch.tensor(prior, dtype=torch.float32, device=accelerator.device)
    final_linear(teacher.model).requires_grad_(False)
    loop = loop_config("adapt", config, config.adapt_epochs, config.adapt_batch_size, config.adapt_learning_rate)
    with used_rows_only(teacher.model, views) as compact:
        objective = ShotObjective(teacher, compact, expected, config, accelerator, run)
        train_once(teacher.model, objective, loop, accelerator, run)
    teacher.model.requires_grad_(True)
