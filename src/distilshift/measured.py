"""An accuracy that was measured on labelled target texts, with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.metrics import Floats

LEVEL = 0.95


@dataclass(frozen=True)
class Measured:
    """A measured accuracy.

    Attributes:
        accuracy: 0 to 1.
        low: lower bound of the interval.
        high: upper bound.
        level: of the interval.
        labels: number of labels that it is based on.
        effective: how many equally weighted labels tell as much.
    """

    accuracy: float
    low: float
    high: float
    level: float
    labels: int
    effective: float

    def widened(self, by: float) -> Measured:
        """The same with bounds that are further apart, by so much on each side."""
        low, high = max(0.0, self.low - by), min(1.0, self.high + by)
        return Measured(self.accuracy, low, high, self.level, self.labels, self.effective)


def weighted_accuracy(right: NDArray[np.bool_], weights: Floats, level: float = LEVEL) -> Measured:
    """Hájek's estimate of an accuracy, and its Clopper-Pearson interval for the effective number of labels.

    The interval is that of Korn and Graubard 1998 for surveys: exact for equal weights, and for unequal ones with
    Kish's effective number of texts.

    Args:
        right: (texts,), whether each text is labelled right by a prediction that its label did not enter.
        weights: (texts,), in proportion to 1 / inclusion probability.
        level: of the interval.
    """
    from scipy.special import betaincinv

    values = np.asarray(weights, np.float64)
    accuracy, effective = float((values * right).sum() / values.sum()), effective_number(values)
    hits, tail = accuracy * effective, (1 - level) / 2
    low = float(betaincinv(hits, effective - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, effective - hits, 1 - tail)) if hits < effective * (1 - 1e-12) else 1.0
    return Measured(accuracy, low, high, level, len(values), effective)


def effective_number(weights: Floats) -> float:
    """Return how many equally weighted texts tell as much as texts of these weights (Kish 1965)."""
    values = np.asarray(weights, np.float64)
    return float(values.sum() ** 2 / (values**2).sum())


def label_gap(probabilities: Floats, predicted: NDArray[np.int64]) -> float:
    """How much less accurate predictions are than labels, if the labels' own probabilities are right.

    It is the mean loss of probability where the two differ. A prediction may be the better one, so that it is a
    distance to either side.

    Args:
        probabilities: (texts, classes), of the labels.
        predicted: (texts,) class numbers.
    """
    values = np.asarray(probabilities, np.float64)
    return float((values.max(axis=1) - values[np.arange(len(values)), predicted]).mean())


def measured_sentence(values: Mapping[str, Any]) -> str:
    """Return a student's measured accuracy as a sentence.

    Args:
        values: a `Measured` as plain values, and `student_differs_by`, by which its interval was widened.
    """
    count, worth = values["labels"], values["effective"]
    based = f"{count} labelled texts" + (f", worth {worth:.0f} drawn at random" if worth < 0.95 * count else "")
    return (
        f"Measured accuracy on the target texts: {values['low']:.1%} to {values['high']:.1%} with "
        f"{values['level']:.0%} confidence, from {based}. The labels that the student was taught have "
        f"{values['accuracy']:.1%}, each text predicted without its own label (cross-validation); the interval "
        f"includes {values['student_differs_by']:.1%} to either side for texts that the student labels otherwise."
    )


def evidence_sentence(values: Mapping[str, Any] | None) -> str:
    """Return what else can be known of the accuracy; `values` as of `measured_sentence`, None without labels."""
    if values:
        return "`distilshift evaluate` measures the accuracy on other labelled texts."
    return "No label was used, so none of these numbers is a measured accuracy: `distilshift evaluate` gives that."
