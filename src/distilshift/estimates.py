"""The accuracy of teacher and student, guessed without labels from the statistics of the teacher's bundle.

With numpy alone. `select` has the formulas; docs/trust.md says how far such guesses are from the truth.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from distilshift.bundle import Statistics
from distilshift.metrics import Floats, agreement
from distilshift.select import (
    AccuracyEstimate,
    atc_accuracy,
    confidence_difference_accuracy,
    confidences,
    negative_entropies,
)

# Largest error of the difference of confidences over pairs of teacher and two-class target. With the sampling error,
# the largest of other domains held on 93 % of left-out pairs (benchmarks/results/estimate_error.json).
METHOD_ERROR = 0.11
# With more classes that error is above 0.3, whatever the estimator: too much to be of use.
MOST_CLASSES = 2


def no_estimate_reason(statistics: Statistics | None, classes: int) -> str | None:
    """Why an accuracy cannot be estimated; None if it can."""
    if statistics is None or statistics.validation_confidence is None:
        return "the teacher's bundle has no statistics for that"
    if classes > MOST_CLASSES:
        return (
            f"there are {classes} classes, and with more than {MOST_CLASSES}, estimates without labels were off by "
            "up to 40 points. Label some target texts and run `distilshift evaluate`"
        )
    return None


def accuracy_estimate(probabilities: Floats, statistics: Statistics | None, seed: int = 0) -> AccuracyEstimate | None:
    """ATC's estimate with the source's threshold; None where the bundle has none.

    Args:
        probabilities: (texts, classes), calibrated as the source's.
        statistics: of the teacher's bundle.
        seed: of the bootstrap.
    """
    if statistics is None or statistics.atc_threshold is None or not statistics.atc_thresholds:
        return None
    scores, thresholds = negative_entropies(probabilities), np.array(statistics.atc_thresholds)
    return atc_accuracy(scores, statistics.atc_threshold, thresholds, np.random.default_rng(seed))


def confidence_estimate(
    probabilities: Floats, statistics: Statistics | None, level: float = 0.95
) -> AccuracyEstimate | None:
    """The difference of confidences' estimate; None where the bundle does not know that of its validation texts.

    On 30 pairs of teacher and target it was 4 points off, ATC 10 and mostly too low (docs/trust.md). So this is
    what users are told; the gate, which asks whether a teacher might be next to chance, keeps to ATC.

    Args:
        probabilities: (texts, classes), calibrated as the source's.
        statistics: of the teacher's bundle.
        level: of the interval, which holds the sampling error of validation and target texts, and `METHOD_ERROR`.
    """
    if statistics is None or statistics.validation_confidence is None:
        return None
    sure, right = confidences(probabilities), statistics.validation_accuracy
    found = confidence_difference_accuracy(right, statistics.validation_confidence, float(sure.mean()))
    variance = right * (1 - right) / np.sum(statistics.validation_confusion) + float(sure.var()) / len(sure)
    half = float(np.hypot(NormalDist().inv_cdf((1 + level) / 2) * float(variance) ** 0.5, METHOD_ERROR))
    return AccuracyEstimate(found, max(0.0, found - half), min(1.0, found + half), level)


def student_estimate(student: Floats, unadapted: Floats, statistics: Statistics | None) -> AccuracyEstimate | None:
    """The student's accuracy, guessed without labels; None where the bundle has no validation confidence.

    It is the unadapted teacher's. The student's own confidence says nothing: its scale was fitted to that estimate. How
    it differs from the teacher is in the interval: two classifiers that label a share of the texts differently differ
    in accuracy by no more than it.

    Args:
        student: (texts, classes), probabilities.
        unadapted: (texts, classes), calibrated ones of the unadapted teacher for the same texts, cut as its validation
            texts were.
        statistics: of the teacher's bundle.
    """
    anchor = confidence_estimate(unadapted, statistics)
    if anchor is None:
        return None
    apart = 1 - agreement(student, unadapted)
    low, high = max(0.0, anchor.low - apart), min(1.0, anchor.high + apart)
    return AccuracyEstimate(anchor.accuracy, low, high, anchor.level)
