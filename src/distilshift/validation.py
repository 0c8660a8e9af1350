"""Which epoch's weights to keep, and what the validation texts say about them without having chosen them.

The best of several epochs looks better on the texts that chose it than it is: with four equally good epochs and 160
texts, by about two points of accuracy. So the statistics are cross-fitted: the validation texts are divided into five
folds, and each fold is predicted by the epoch that the other four choose. All folds count, unlike with a held-out part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from distilshift.bundle import Statistics
from distilshift.calibration import fit_temperature, source_statistics
from distilshift.metrics import accuracy, confusion_matrix, macro_f1, negative_log_likelihood, softmax

FOLDS = 5


@dataclass(frozen=True)
class Validation:
    """What the model of each epoch predicts for the validation texts.

    Attributes:
        logits: (epochs, texts, classes) float32.
        labels: (texts,), class indices.
        by_macro_f1: choose the epoch by macro-F1, then accuracy, then likelihood, as for unequal classes; otherwise by
            accuracy alone. The first of equals.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    by_macro_f1: bool

    def best_epoch(self, texts: NDArray[np.bool_] | None = None) -> int:
        """The epoch that is best on the validation texts, or on some of them."""
        rows = np.ones(len(self.labels), dtype=bool) if texts is None else texts
        scores = [self._score(logits[rows], self.labels[rows]) for logits in self.logits]
        return max(range(len(scores)), key=lambda epoch: (scores[epoch], -epoch))

    def _score(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, ...]:
        """Larger is better."""
        confusion = confusion_matrix(labels, logits.argmax(axis=1), logits.shape[1])
        if not self.by_macro_f1:
            return (accuracy(confusion),)
        # Epochs that never predict a rare class often tie.
        return macro_f1(confusion), accuracy(confusion), -negative_log_likelihood(softmax(logits), labels)


def folds_of(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The fold of each text, (texts,): each class is spread evenly over `FOLDS` folds, fewer for fewer texts."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % min(FOLDS, len(labels))
    return folds


def validated_statistics(validation: Validation, class_counts: Sequence[int], seed: int) -> Statistics:
    """The aggregates of a teacher's bundle, of the epoch that is best, without the advantage of having been chosen.

    The temperature is that of the best epoch, times what the cross-fitted predictions still lack to be calibrated.

    Args:
        validation: of all epochs.
        class_counts: (classes,), training texts of each class.
        seed: of folds and bootstrap.
    """
    chosen, labels = validation.logits[validation.best_epoch()], validation.labels
    counts, temperature = np.array(class_counts), fit_temperature(chosen, labels)
    found = source_statistics(_cross_fitted(validation, seed), labels, counts / counts.sum(), seed)
    return replace(found, temperature=temperature * found.temperature, class_counts=counts.tolist())


def _cross_fitted(validation: Validation, seed: int) -> NDArray[np.float32]:
    """Logits, (texts, classes), of each fold by the epoch that the other folds choose, each epoch's calibrated."""
    labels = validation.labels
    folds, scaled = folds_of(labels, seed), {}
    crossed = np.empty_like(validation.logits[0])
    for fold in range(folds.max() + 1):
        own = folds == fold
        epoch = validation.best_epoch(None if own.all() else ~own)
        if epoch not in scaled:
            logits = validation.logits[epoch]
            scaled[epoch] = logits / np.float32(fit_temperature(logits, labels))
        crossed[own] = scaled[epoch][own]
    return crossed
