"""Distilling a black box: DINE trains the student on a teacher's probabilities alone, and adapts it at the same time.

Source: Liang et al. 2022, "DINE: Domain Adaptation from Single and Multiple Black-box Predictors".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from distilshift.config import AdaptConfig
from distilshift.encoder import Classifier
from distilshift.inference import forward_all
from distilshift.loop import loop_config, train_once
from distilshift.losses.adapt import entropy
from distilshift.losses.dine import bank_divergence, mixup_divergence, momentum_update, smooth_top_classes
from distilshift.methods.base import Material, UnlabelledObjective, uniform_prior
from distilshift.methods.shot import ShotObjective
from distilshift.parallel import Batch
from distilshift.run import RunDirectory
from distilshift.views import LabelledView
from distilshift.vocabulary import used_rows_only

# The authors' numbers: how often the bank moves, and the two parameters of the mixing share's Beta distribution.
BANK_UPDATES = 10
MIXING = 0.3
# The stage after "distil"; the journal and the progress bar call it so.
SECOND_STAGE = "refine"


class DineObjective(UnlabelledObjective):
    """Agree with a bank of targets, be certain, use all classes, and be linear between texts.

    The bank holds a row a text: the teacher's probabilities at first, drawn to the student's own at every tenth of the
    training. A span learns from its text's row, and by 1 - `span_text_weight` from what the teacher says of it.
    """

    def __init__(self, material: Material, views: Sequence[LabelledView]) -> None:
        """Work on labelled views.

        Args:
            material: the student, the tokens of the views, and the rest.
            views: with the teacher's logits, of which only the probabilities are used.
        """
        super().__init__(material)
        self._labelled = views
        self._bank = torch.zeros(0, 0)

    def before_step(self, step: int, steps: int) -> None:
        if step == 0:
            whole = self._labelled[0]
            self._bank = smooth_top_classes(whole.targets(np.arange(len(whole.texts))).softmax(dim=-1))
        elif step % -(-steps // BANK_UPDATES) == 0:  # rounded up, or short trainings would move it at every step
            self._bank = momentum_update(self._bank, self._own_probabilities())

    def loss(self, model: Any, batch: Batch) -> Tensor:
        logits = self.logits(model, batch)
        agreement = bank_divergence(logits, self.targets(batch).to(logits.device))
        loss = batch.mean(agreement) + batch.mean(entropy(logits)) + self.diversity(logits, batch)
        return loss + self._material.config.mixup_weight * batch.mean(self._consistency(model, batch, logits))

    def targets(self, batch: Batch) -> Tensor:
        """What a batch learns from, (share, classes), rows summing to 1."""
        own, number = self._bank[batch.indices], self.view(batch.epoch)
        if number == 0:
            return own
        view = self._labelled[number]
        said = smooth_top_classes(torch.from_numpy(view.teacher_logits[batch.indices]).softmax(dim=-1))
        return view.text_weight * own + (1 - view.text_weight) * said

    def _consistency(self, model: Any, batch: Batch, logits: Tensor) -> Tensor:
        share = torch.distributions.Beta(MIXING, MIXING).sample().item()
        partners = torch.randperm(len(logits)).to(logits.device)
        student, store = self._material.classifier, self._material.views[self.view(batch.epoch)]
        inputs = mixed_inputs(student.model, student.inputs(store, batch.indices, logits.device), partners, share)
        return mixup_divergence(model(**inputs).logits.float(), logits, logits[partners], share)

    def _own_probabilities(self) -> Tensor:
        material = self._material
        device, autocast = material.accelerator.device, material.accelerator.autocast
        seen = forward_all(material.classifier, material.views[0], device, autocast, crew=material.run.crew)
        return torch.from_numpy(seen["logits"]).softmax(dim=-1)

    def state(self) -> dict[str, Tensor]:
        return {"bank": self._bank}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._bank = state["bank"]


def mixed_inputs(model: Any, inputs: dict[str, Tensor], partners: Tensor, share: float) -> dict[str, Tensor]:
    """Inputs between texts and their partners: token ids cannot be mixed, so their embeddings are, place by place.

    Where one of the two has ended, the other's embedding is left, by its share; token types are the text's own.

    Args:
        model: whose embeddings, before positions are added.
        inputs: of a batch, as `Classifier.inputs` gives them.
        partners: (batch,), the row of each text's partner.
        share: of the text itself, 0 to 1.

    Returns:
        `inputs_embeds` (batch, length, width) in the place of `input_ids`, and the other inputs.
    """
    kept = {name: value for name, value in inputs.items() if name != "input_ids"}
    mask = inputs["attention_mask"]
    embeddings = model.get_input_embeddings()(inputs["input_ids"]) * mask.unsqueeze(-1)
    mixed = share * embeddings + (1 - share) * embeddings[partners]
    return kept | {"inputs_embeds": mixed, "attention_mask": torch.maximum(mask, mask[partners])}


def dine_student(
    student: Classifier,
    views: Sequence[LabelledView],
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> None:
    """Train the student in place on what a teacher of which nothing else is known says of the views.

    The first stage has the numbers of distillation (`distil_epochs` and so on). The second, information maximisation
    alone, has those of a teacher's adaptation (`adapt_epochs` and so on), which this method does without. Deviation:
    it has a fixed length, and does not end when predictions stop changing.
    """
    first = loop_config("distil", config, config.distil_epochs, config.distil_batch_size, config.distil_learning_rate)
    second = loop_config(SECOND_STAGE, config, config.adapt_epochs, config.adapt_batch_size, config.adapt_learning_rate)
    student.model.to(accelerator.device)
    prior = uniform_prior(len(student.label_names), accelerator)
    with used_rows_only(student.model, [view.texts for view in views]) as stores:
        material = Material(student, stores, prior, config, accelerator, run)
        train_once(student.model, DineObjective(material, views), first, accelerator, run)
        train_once(student.model, ShotObjective(material), second, accelerator, run)
