"""Adversarial adaptation with distillation, AAD (Ryu & Lee 2020, arXiv 2010.11478): the row that sees source texts.

A target encoder, begun as a copy of the source's, learns to make target texts look to a discriminator like source
texts, while its predictions for source texts are held to the source model's by distillation at a high temperature.
The classifier on top stays. The adapted teacher is then distilled plainly, like every other row's.

Deviations: the rate warms up and decays linearly, as in all our loops, and the discriminator's is constant; batches of
target texts hold texts of like length, those of source texts are drawn at random; label smoothing taught the source
model; only predictions for source texts are used, never their labels; AdamW with the loops' weight decay, where theirs
is Adam, and no dropout.
For comparison only: nothing that `adapt` runs reaches this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from distilshift.bench.supervised import raw_teacher, write_classifier
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.encoder import Classifier, final_linear, head_inputs, scale_logits
from distilshift.inference import forward_all
from distilshift.journal import fingerprint
from distilshift.loop import Objective, loop_config, train_once
from distilshift.losses.distil import soft_target_divergence
from distilshift.parallel import Batch
from distilshift.run import RunDirectory
from distilshift.stage import fingerprint_examples, seeded
from distilshift.stage_run import stage_run
from distilshift.types import Example
from distilshift.vocabulary import used_rows_only

# As their authors set them.
TEMPERATURE = 20.0
LEARNING_RATE = 1e-5
EPOCHS = 3
CLIP = 0.01
# Width of the discriminator's two hidden layers, in features.
WIDENING = 4


def make_discriminator(features: int, seed: int) -> nn.Sequential:
    """(texts, features) to (texts, 1) logits of being a source text."""
    width = WIDENING * features
    with seeded(seed):
        return nn.Sequential(
            nn.Linear(features, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, 1)
        )


class AdversarialObjective(Objective):
    """The encoder's loss; each step trains the discriminator first, on the same features.

    Args:
        classifier: the source model, to be adapted.
        target, source: their texts.
        source_logits: (source texts, classes) float32, of the source model.
        config: seed and batch size.
        device: where it runs.
    """

    def __init__(
        self,
        classifier: Classifier,
        target: TokenStore,
        source: TokenStore,
        source_logits: Tensor,
        config: AdaptConfig,
        device: torch.device,
    ) -> None:
        self._classifier, self._target, self._source = classifier, target, source
        self._source_logits, self._seed, self._device = source_logits, config.seed, device
        width = final_linear(classifier.model).in_features
        self._discriminator = make_discriminator(width, config.seed).to(device)
        self._optimizer = torch.optim.Adam(self._discriminator.parameters(), lr=LEARNING_RATE)
        self._step = 0

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        """Of the target texts: an epoch is a pass over them."""
        return self._target.lengths

    def before_step(self, step: int, steps: int) -> None:
        """Note the step, which the draw of source texts depends on."""
        self._step = step

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """The share of target texts that the discriminator tells, plus the drift on source texts."""
        draw = np.random.default_rng([self._seed, self._step])
        rows = draw.integers(len(self._source), size=len(batch.indices))
        source_features, source_logits = self._features(model, self._source, rows)
        target_features, _ = self._features(model, self._target, batch.indices)
        self._train_discriminator(source_features.detach(), target_features.detach())
        found = self._discriminator(target_features)
        deceived = F.binary_cross_entropy_with_logits(found, torch.ones_like(found), reduction="none")
        kept = soft_target_divergence(source_logits, self._source_logits[rows].to(self._device), TEMPERATURE)
        return batch.mean(deceived[:, 0]) + batch.mean(kept)

    def _features(self, model: Any, store: TokenStore, rows: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """What the last linear map gets, (texts, features), and the logits, (texts, classes), both float32."""
        with head_inputs(self._classifier.model) as seen:
            logits = model(**self._classifier.inputs(store, rows, self._device)).logits
        return seen[0].float(), logits.float()

    def _train_discriminator(self, source: Tensor, target: Tensor) -> None:
        found = self._discriminator(torch.cat([source, target]))
        truth = torch.cat([torch.ones(len(source), 1), torch.zeros(len(target), 1)]).to(self._device)
        self._optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(found.float(), truth).backward()
        self._optimizer.step()
        with torch.no_grad():
            for parameter in self._discriminator.parameters():
                parameter.clamp_(-CLIP, CLIP)

    def state(self) -> dict[str, Tensor]:
        """The discriminator, and its optimiser's moments."""
        found = {f"model.{key}": value.detach().clone() for key, value in self._discriminator.state_dict().items()}
        for index, moments in self._optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{key}": value.clone() for key, value in moments.items()}
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put both back."""
        model = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
        self._discriminator.load_state_dict(model)
        saved = self._optimizer.state_dict()
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, index, field = key.split(".", 2)
                saved["state"].setdefault(int(index), {})[field] = value
        self._optimizer.load_state_dict(saved)


def adapt_adversarially(
    teacher: Path, source: Sequence[Example], target: Sequence[Example], config: AdaptConfig, output: Path
) -> Path:
    """Adapt a teacher with its source texts at hand.

    Args:
        teacher: its bundle.
        source: its texts; no label is read.
        target: texts of the domain to adapt to.
        config: seed, precision, length and batch size.
        output: the adapted teacher's bundle.
    """
    if output.exists():
        return output
    classifier, temperature = raw_teacher(teacher, config.max_length)
    manifest = read_manifest(teacher)
    texts = fingerprint_examples([*source, *target])
    inputs = {"teacher": fingerprint(asdict(manifest)), "texts": texts}
    with stage_run("bench-aad", output, config, inputs) as (accelerator, run):
        classifier.model.to(accelerator.device)
        stores = [classifier.tokenise(texts) for texts in (target, source)]
        before = run.arrays("source-logits", lambda: _source_logits(classifier, stores[1], accelerator))
        _train(classifier, stores, torch.from_numpy(np.array(before["logits"])), config, accelerator, run)
        scale_logits(classifier.model, 1.0 / temperature)
        write_classifier(output, classifier, config, manifest.statistics)
    return output


def _source_logits(classifier: Classifier, source: TokenStore, accelerator: Accelerator) -> dict[str, NDArray[Any]]:
    return {"logits": forward_all(classifier, source, accelerator.device, accelerator.autocast)["logits"]}


def _train(
    classifier: Classifier,
    stores: Sequence[TokenStore],
    source_logits: Tensor,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> None:
    loop = loop_config("aad", config, EPOCHS, config.adapt_batch_size, LEARNING_RATE)
    final_linear(classifier.model).requires_grad_(False)
    with used_rows_only(classifier.model, stores) as (target, source):
        objective = AdversarialObjective(classifier, target, source, source_logits, config, accelerator.device)
        train_once(classifier.model, objective, loop, accelerator, run)
    classifier.model.requires_grad_(True)
