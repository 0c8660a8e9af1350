"""Numbers from predictions, with numpy alone, so that the device can compute them too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Row-wise softmax in float64; shape as given, rows sum to 1."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    powers = np.exp(shifted)
    return powers / powers.sum(axis=-1, keepdims=True)


def confusion_matrix(labels: Ints, predictions: Ints, classes: int) -> NDArray[np.int64]:
    """counts[i, j]: texts of class i predicted as class j; shape (classes, classes)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Share of texts on the diagonal, 0 to 1."""
    return float(np.trace(confusion) / confusion.sum())


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur as a label or as a prediction (scikit-learn's convention), 0 to 1."""
    hits = np.diag(confusion).astype(np.float64)
    support = confusion.sum(axis=0) + confusion.sum(axis=1)
    present = support > 0
    return float(np.mean(2 * hits[present] / support[present]))


def class_recalls(confusion: NDArray[np.int64]) -> list[float | None]:
    """Share of the texts of each class that are predicted as it, 0 to 1; None for a class without a text."""
    support = confusion.sum(axis=1)
    return [float(hits / texts) if texts else None for hits, texts in zip(np.diag(confusion), support, strict=True)]


def balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """Mean recall over the classes that have texts (scikit-learn's convention), 0 to 1."""
    return float(np.mean([recall for recall in class_recalls(confusion) if recall is not None]))


def never_predicted(confusion: NDArray[np.int64]) -> list[int]:
    """Indices of the classes that have texts, but are never predicted."""
    return np.flatnonzero((confusion.sum(axis=0) == 0) & (confusion.sum(axis=1) > 0)).tolist()


def calibration_error(probabilities: Floats, labels: Ints, bins: int = 15) -> float:
    """Expected calibration error over equal-width confidence bins, 0 to 1. Source: Guo et al. 2017, eq. 3."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(correct[index == k].mean() - confidence[index == k].mean()) * np.mean(index == k)
        for k in range(bins)
        if np.any(index == k)
    ]
    return float(sum(gaps))


def negative_log_likelihood(probabilities: Floats, labels: Ints) -> float:
    """Mean -log p(label), in nats; probabilities are floored at 1e-12."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def temperature_of_confidence(logits: Floats, mean_confidence: float) -> float:
    """The temperature, 0.05 to 20, at which the mean largest probability of softmax(logits / T) is this, by bisection.

    Args:
        logits: (texts, classes).
        mean_confidence: 0 to 1; one that no temperature of that range gives is approached.
    """
    low, high = 0.05, 20.0
    for _ in range(50):
        middle = (low * high) ** 0.5
        if softmax(logits / middle).max(axis=1).mean() > mean_confidence:
            low = middle
        else:
            high = middle
    return (low * high) ** 0.5


def agreement(first: Floats, second: Floats) -> float:
    """Share of rows with the same largest entry, 0 to 1; both of shape (texts, classes)."""
    return float(np.mean(first.argmax(axis=1) == second.argmax(axis=1)))
