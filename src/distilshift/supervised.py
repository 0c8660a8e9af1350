"""Training on labels: cross-entropy, and keeping the weights of the epoch that validates best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distilshift.data.batch import TokenStore
from distilshift.encoder import Classifier
from distilshift.loop import Objective
from distilshift.parallel import Batch
from distilshift.run import RunDirectory
from distilshift.validation import Validation

# The run's name for the validation logits of all epochs.
VALIDATION = "validation"


class SupervisedObjective(Objective):
    """Cross-entropy with label smoothing and class weights.

    Source of label smoothing for a teacher that will be adapted: Liang et al. 2020, section 3.1.
    """

    def __init__(
        self,
        classifier: Classifier,
        training: TokenStore,
        labels: NDArray[np.int64],
        smoothing: float,
        device: torch.device,
        class_weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Learn from labels.

        Args:
            classifier: on the device.
            training: its texts.
            labels: (texts,), class indices.
            smoothing: share of the target that is spread over all classes.
            device: where the classifier is.
            class_weights: (classes,), what a text of each class counts in the loss; 1 for all if None.
        """
        self._classifier, self._store, self._labels = classifier, training, torch.from_numpy(labels)
        self._smoothing, self._device = smoothing, device
        self._weights = None if class_weights is None else torch.from_numpy(class_weights)

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        """Of the training texts."""
        return self._store.lengths

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """The weighted mean cross-entropy."""
        logits = model(**self._classifier.inputs(self._store, batch.indices, self._device)).logits
        labels = self._labels[batch.indices]
        errors = F.cross_entropy(
            logits.float(), labels.to(self._device), label_smoothing=self._smoothing, reduction="none"
        )
        if self._weights is not None:
            errors = errors * self._weights[labels].to(self._device)
        return batch.mean(errors)


class BestEpoch(SupervisedObjective):
    """Keeps the weights of the epoch that validates best, and what each epoch predicts for the validation texts."""

    def __init__(
        self,
        *learning: Any,
        validate: Callable[[], NDArray[np.float32]],
        held_out: NDArray[np.int64],
        by_macro_f1: bool,
    ) -> None:
        """Learn and validate.

        Args:
            learning: as of `SupervisedObjective`.
            validate: gives the logits of the validation texts, (texts, classes).
            held_out: (texts,), their class indices.
            by_macro_f1: see `Validation`.
        """
        super().__init__(*learning)
        self._validate, self._held_out, self._by_macro_f1 = validate, held_out, by_macro_f1
        self._logits: list[Tensor] = []
        self._best: dict[str, Tensor] = {}

    def validation(self) -> Validation:
        """What the epochs so far predict."""
        return _validation(self._logits, self._held_out, self._by_macro_f1)

    def after_epoch(self, epoch: int) -> None:
        """Validate, and keep the weights if they are the best so far."""
        self._logits.append(torch.from_numpy(self._validate()))
        if self.validation().best_epoch() == epoch:
            self._best = {k: v.detach().clone() for k, v in self._classifier.model.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """The validation logits of the epochs so far, and the best weights."""
        logits = {f"logits.{epoch}": values for epoch, values in enumerate(self._logits)}
        return logits | {f"best.{key}": value for key, value in self._best.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        epochs = sum(key.startswith("logits.") for key in state)
        self._logits = [state.pop(f"logits.{epoch}") for epoch in range(epochs)]
        self._best = {key.removeprefix("best."): value for key, value in state.items()}

    def finish(self, run: RunDirectory) -> None:
        """Give the model the weights of its best epoch, and keep the validation logits in the run."""
        from safetensors.torch import save_file

        def write(path: Path) -> None:
            save_file({f"logits.{epoch}": values for epoch, values in enumerate(self._logits)}, path)

        run.save(VALIDATION, write)
        self._classifier.model.load_state_dict(self._best)


def saved_validation(run: RunDirectory, held_out: NDArray[np.int64], by_macro_f1: bool) -> Validation:
    """What `BestEpoch.finish` kept."""
    from safetensors.torch import load_file

    saved = load_file(run.file(VALIDATION))
    return _validation([saved[f"logits.{epoch}"] for epoch in range(len(saved))], held_out, by_macro_f1)


def _validation(logits: Sequence[Tensor], held_out: NDArray[np.int64], by_macro_f1: bool) -> Validation:
    return Validation(torch.stack(list(logits)).numpy(), held_out, by_macro_f1)
