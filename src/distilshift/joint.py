"""Adapting and distilling at once: the labels that the student learns from learn from the student.

Beside plain distillation, or with it: predicting for masked copies of the texts what the teacher says of all of them,
and what the masks hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distilshift.config import AdaptConfig
from distilshift.distil import DistilObjective
from distilshift.encoder import Classifier, layers_of
from distilshift.frozen import frozen_layers
from distilshift.inference import forward_all
from distilshift.inner import watching
from distilshift.loop import loop_config, train_once
from distilshift.losses.distil import mixture_logits, soft_target_divergence
from distilshift.losses.joint import align_shares, masked_piece_error, mean_log_prediction
from distilshift.masking import Masking, special_tokens
from distilshift.parallel import Batch
from distilshift.piece_head import PieceHead, load_piece_head, piece_head
from distilshift.run import RunDirectory
from distilshift.views import LabelledView
from distilshift.vocabulary import used_rows_only


class JointObjective(DistilObjective):
    """Soft targets from a bank that the student refines, and the same for masked copies; either may be left out.

    The bank holds a row a whole text: the logarithm of the teacher's probabilities at first, (texts, classes)
    float32. After every `feedback_every`-th epoch but the last, Q <- (1 - feedback) Q + feedback P, with P the
    student's own mean prediction over the views of each text, moved to the expected class shares where these are known.
    A span learns by `span_text_weight` from its text's row, by the rest from what the teacher says of the span.
    """

    def __init__(
        self,
        student: Classifier,
        views: Sequence[LabelledView],
        config: AdaptConfig,
        accelerator: Accelerator,
        run: RunDirectory,
        expected: NDArray[np.float64] | None = None,
        masking: Masking | None = None,
        head: PieceHead | None = None,
    ) -> None:
        """Work on labelled views.

        Args:
            student: on the accelerator's device.
            views: tokenised for it, the whole texts first.
            config: the options.
            accelerator: where it runs.
            run: of the processes that work together.
            expected: (classes,), class shares that the student's predictions are moved to; None leaves them.
            masking: None without masked copies.
            head: says what the masks hide; a part of the student's model. None without masked language modelling.
        """
        super().__init__(student, views, config.temperature, accelerator.device)
        self._config, self._accelerator, self._crew = config, accelerator, run.crew
        self._expected = None if expected is None else torch.tensor(expected, dtype=torch.float32)
        self._masking, self._head, self._bank = masking, head, torch.zeros(0, 0)
        self._last = len(layers_of(student.model))
        self.needs_all_tokens = head is not None

    def before_step(self, step: int, steps: int) -> None:
        if step == 0 and self._config.feedback:
            whole = self._views[0]
            self._bank = F.log_softmax(whole.targets(np.arange(len(whole.texts))), dim=-1)

    def after_epoch(self, epoch: int) -> None:
        done, config = epoch + 1, self._config
        if config.feedback and done % config.feedback_every == 0 and done < config.distil_epochs:
            self._bank = mixture_logits(self._bank, self._own_labels(), config.feedback)

    def targets(self, batch: Batch) -> Tensor:
        if not self._config.feedback:
            return super().targets(batch)
        view = self._view(batch.epoch)
        return mixture_logits(view.own(batch.indices), self._bank[batch.indices], view.text_weight)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        if self._masking is None:
            return super().loss(model, batch)
        inputs = self._student.inputs(self._view(batch.epoch).texts, batch.indices, self._device)
        twice = self._masking.beside(inputs)
        with watching(self._student.model, [self._last] if self._head else [], []) as seen:
            # One pass over both: several processes' gradients are joined after a single one.
            logits, masked = model(**twice).logits.float().chunk(2)
        targets = self.targets(batch).to(self._device)
        plain, hidden = (batch.mean(soft_target_divergence(z, targets, self._temperature)) for z in (logits, masked))
        loss = plain + self._config.masked_consistency * hidden
        if self._head is None:
            return loss
        return loss + self._config.mlm_weight * batch.mean(self._hidden_pieces(twice, seen.states[self._last]))

    def _hidden_pieces(self, twice: dict[str, Tensor], states: Tensor) -> Tensor:
        """How well the masked pieces are told from the masked copies' last states; (batch,)."""
        assert self._head is not None
        pieces, masked = twice["input_ids"].chunk(2)
        hit = pieces != masked
        embedding = self._student.model.get_input_embeddings().weight
        logits = self._head(states.chunk(2)[1][hit], embedding)
        return masked_piece_error(logits.float(), pieces[hit], hit)

    def _own_labels(self) -> Tensor:
        """Logarithm of what the student says of each text, (texts, classes): half the whole text, half its spans."""
        device, autocast = self._accelerator.device, self._accelerator.autocast
        passes = [forward_all(self._student, view.texts, device, autocast, crew=self._crew) for view in self._views]
        logits = torch.stack([torch.from_numpy(seen["logits"]) for seen in passes])
        own = mean_log_prediction(logits, turn_weights(len(passes)))
        return own if self._expected is None else align_shares(own, self._expected)

    def state(self) -> dict[str, Tensor]:
        return {"bank": self._bank} if self._config.feedback else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._bank = state.get("bank", self._bank)


def masks(config: AdaptConfig) -> bool:
    """Whether the student learns from masked copies too."""
    return bool(config.masked_consistency or config.mlm_head)


def require_masks(student: Classifier, config: AdaptConfig) -> None:
    """Refuse, before anything is computed, a student that cannot learn from masked copies as the options want it.

    Raises:
        ConfigError: its tokenizer has no mask, or `mlm_head` does not fit it.
        ModelError: `mlm_head` cannot be used.
    """
    if masks(config):
        special_tokens(student)
    if config.mlm_head:
        load_piece_head(config.mlm_head, student)


def turn_weights(views: int) -> Tensor:
    """Each view's share in the mean, (views,) float32: that of the epochs which train on it."""
    if views == 1:
        return torch.ones(1)
    return torch.tensor([0.5, *[0.5 / (views - 1)] * (views - 1)])


def distil_jointly(
    student: Classifier,
    views: Sequence[LabelledView],
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    expected: NDArray[np.float64] | None,
    name: str = "distil",
) -> None:
    """Train the student in place on labels that it refines itself, on masked copies too, or on both.

    The head for masked language modelling learns with it, and is then thrown away.

    Args:
        student: not trained yet.
        views: with the teacher's labels.
        config: with `feedback`, or with what `masks`.
        accelerator: where it runs.
        run: keeps bank and weights.
        expected: (classes,), the class shares of the target where they are known.
        name: the run's for this training.

    Raises:
        ConfigError: masked copies are asked for, and the student's tokenizer has no mask; `mlm_head` does not fit.
        ModelError: `mlm_head` cannot be used.
    """
    loop = loop_config(name, config, config.distil_epochs, config.distil_batch_size, config.distil_learning_rate)
    student.model.to(accelerator.device)
    special = [special_tokens(student)] if masks(config) else []
    read = [*(view.texts for view in views), *special]
    with (
        frozen_layers(student.model, config.distil_frozen_layers),
        piece_head(student, config.mlm_head, read) as head,
        used_rows_only(student.model, read) as stores,
    ):
        compact = [replace(view, texts=store) for view, store in zip(views, stores, strict=False)]
        masking = Masking.of(stores[-1], config.mask_fraction) if special else None
        objective = JointObjective(student, compact, config, accelerator, run, expected, masking, head)
        train_once(student.model, objective, loop, accelerator, run)
