"""What validation texts say of a classifier: the temperature that calibrates it, and aggregates that may travel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distilshift.bundle import Statistics
from distilshift.metrics import (
    Floats,
    accuracy,
    balanced_accuracy,
    class_recalls,
    confusion_matrix,
    macro_f1,
    softmax,
)
from distilshift.select import atc_threshold, atc_thresholds, confidences, negative_entropies

# Quantiles that stand for the bootstrap's thresholds: few enough to be aggregates, enough for the tails of 95 %.
QUANTILES = 40


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature in [0.05, 20] under which the labels are likeliest. Source: Guo et al. 2017, section 4.2.

    Deviation: each label counts as (n + 1) / (n + classes) certain, as Platt (1999) does, since a few texts that
    are all labelled right would otherwise call for unbounded confidence.
    """
    from scipy.optimize import minimize_scalar

    texts, classes = logits.shape
    targets = np.full((texts, classes), 1.0 / (texts + classes))
    targets[np.arange(texts), labels] = (texts + 1.0) / (texts + classes)

    def cost(log_temperature: float) -> float:
        return float(-(targets * np.log(softmax(logits / np.exp(log_temperature)) + 1e-300)).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(cost, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))


def source_statistics(
    logits: NDArray[np.float32], labels: NDArray[np.int64], class_prior: Floats, seed: int
) -> Statistics:
    """The aggregates of a teacher's bundle, the temperature fitted first and the rest counted on calibrated outputs.

    Args:
        logits: (texts, classes), of validation texts, as the model was trained.
        labels: (texts,), class indices.
        class_prior: (classes,), shares of the training texts.
        seed: of the bootstrap.
    """
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits / temperature)
    scores, right = negative_entropies(probabilities), probabilities.argmax(axis=1) == labels
    resampled = atc_thresholds(scores, right, np.random.default_rng(seed))
    confusion = confusion_matrix(labels, logits.argmax(axis=1), logits.shape[1])
    return Statistics(
        class_prior=np.asarray(class_prior).tolist(),
        validation_confusion=confusion.tolist(),
        validation_accuracy=accuracy(confusion),
        temperature=temperature,
        validation_confidence=float(confidences(probabilities).mean()),
        atc_threshold=atc_threshold(scores, right),
        atc_thresholds=np.quantile(resampled, (np.arange(QUANTILES) + 0.5) / QUANTILES).tolist(),
        balanced_accuracy=balanced_accuracy(confusion),
        macro_f1=macro_f1(confusion),
        class_recall=class_recalls(confusion),
    )
