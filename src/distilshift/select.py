"""Judging a model without labels, with numpy alone: scores to rank models by, and estimates of the accuracy.

`probabilities` are of shape (texts, classes), rows summing to 1; entropies are in nats. A model that has collapsed
with confidence scores well on some of these: look at several.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilshift.errors import EstimateError
from distilshift.metrics import Floats

# Similarities held at a time: 32 MB in float64, however many texts there are.
CELLS = 2**22
# Target samples drawn for each threshold of a bootstrap.
DRAWS = 10


@dataclass(frozen=True)
class AccuracyEstimate:
    """An accuracy guessed without labels.

    Attributes:
        accuracy: 0 to 1.
        low, high: bounds for the sampling error alone; how wrong the method is on this target is not in them.
        level: how often the bounds hold the value that endless texts would give, 0 to 1.
    """

    accuracy: float
    low: float
    high: float
    level: float


def checked_probabilities(probabilities: Floats) -> NDArray[np.float64]:
    """The same in float64, rows summing to 1 exactly.

    Raises:
        EstimateError: no texts, another shape, or rows that are no probabilities.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise EstimateError("no predictions to judge", expected="shape (texts, classes)", got=str(values.shape))
    sound = (values >= -1e-6).all(axis=1) & (np.abs(values.sum(axis=1) - 1) < 1e-3)
    if not sound.all():
        first = int(sound.argmin())
        raise EstimateError("not probabilities", expected="rows that sum to 1", got=f"row {first}: {values[first]}")
    values = values.clip(min=0.0)
    return values / values.sum(axis=1, keepdims=True)


def _entropies(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    return -(probabilities * logs).sum(axis=-1)


def neighbourhood_density(probabilities: Floats, temperature: float = 0.05) -> float:
    """Mean entropy of softmax(cos(p_i, p_j) / T) over the other texts j: 0 to log(texts - 1), more is better.

    High where texts predicted alike are many and close. Highest of all where every text gets the same prediction,
    so read it beside `information_score`. Source: Saito et al. 2021 (SND), T = 0.05. Deviation: a text is left out of
    its own neighbours, where the authors give it the similarity -1, and no epsilon is in the logarithm.

    Raises:
        EstimateError: fewer than two texts.
    """
    values = checked_probabilities(probabilities)
    if len(values) < 2:
        raise EstimateError("neighbours need company", expected="two texts at least", got=str(len(values)))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    rows, total = max(1, CELLS // len(unit)), 0.0
    for start in range(0, len(unit), rows):
        scores = unit[start : start + rows] @ unit.T / temperature
        own = np.arange(len(scores)), np.arange(start, start + len(scores))
        scores[own] = -np.inf
        scores -= scores.max(axis=1, keepdims=True)
        powers = np.exp(scores)
        scores[own] = 0.0
        mass = powers.sum(axis=1)
        total += float((np.log(mass) - (powers * scores).sum(axis=1) / mass).sum())
    return total / len(unit)


def information_score(probabilities: Floats) -> float:
    """H(mean p) - mean H(p): certain of each text, all classes used; 0 to log(classes), more is better.

    The mutual information of text and predicted class. 0 for a model that says the same of every text.
    Source: Bridle et al. 1991; Liang et al. 2020 (SHOT), eq. 3 and 4, which train for it.
    """
    values = checked_probabilities(probabilities)
    return max(0.0, float(_entropies(values.mean(axis=0)) - _entropies(values).mean()))


def prior_drift(probabilities: Floats, prior: Floats) -> float:
    """Total variation distance between the mean prediction and the expected class shares, 0 to 1; less is better.

    Args:
        probabilities: (texts, classes).
        prior: (classes,), summing to 1.

    Raises:
        EstimateError: another number of classes.
    """
    mean, expected = checked_probabilities(probabilities).mean(axis=0), checked_probabilities(np.atleast_2d(prior))[0]
    if len(mean) != len(expected):
        raise EstimateError("a prior of other classes", expected=f"{len(mean)} classes", got=str(len(expected)))
    return float(np.abs(mean - expected).sum() / 2)


def confidences(probabilities: Floats) -> NDArray[np.float64]:
    """The largest probability of each text, a score for ATC and DoC; shape (texts,)."""
    return checked_probabilities(probabilities).max(axis=1)


def negative_entropies(probabilities: Floats) -> NDArray[np.float64]:
    """-H(p) of each text, the score that Garg et al. 2022 found best for ATC; shape (texts,).

    With two classes it orders the texts as `confidences` do.
    """
    return -_entropies(checked_probabilities(probabilities))


def _checked_scores(scores: Floats, what: str) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        got = f"shape {values.shape}" if values.ndim != 1 or not len(values) else "a value that is not finite"
        raise EstimateError(f"{what} cannot be used", expected="finite numbers, one a text", got=got)
    return values


def _checked_outcomes(scores: Floats, correct: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, right = _checked_scores(scores, "validation scores"), np.asarray(correct, dtype=bool)
    if right.shape != values.shape:
        raise EstimateError("scores without outcomes", expected=f"{len(values)} of each", got=str(right.shape))
    return values, right


def atc_threshold(scores: Floats, correct: NDArray[np.bool_]) -> float:
    """The score t that as large a share of validation texts reach as are predicted right.

    Where scores repeat, the t whose share comes nearest; of two equally near the higher, which claims less.
    With every text right it is the lowest score, with none right it is above the highest.
    Source: Garg et al. 2022 (ATC), eq. 1.

    Args:
        scores: (texts,), of held-out source texts, which the model has not been trained on.
        correct: (texts,), whether each was predicted right.

    Raises:
        EstimateError: no texts, another number of them, or scores that are not finite.
    """
    values, right = _checked_outcomes(scores, correct)
    candidates = np.append(np.unique(values), np.nextafter(values.max(), np.inf))
    reached = len(values) - np.searchsorted(np.sort(values), candidates, side="left")
    misses = np.abs(reached - right.sum())
    return float(candidates[np.flatnonzero(misses == misses.min())[-1]])


def atc_thresholds(
    scores: Floats, correct: NDArray[np.bool_], generator: np.random.Generator, resamples: int = 200
) -> NDArray[np.float64]:
    """`atc_threshold` of validation sets drawn with replacement; shape (resamples,).

    They carry the validation set's sampling error to where the target is, without its texts or scores.
    """
    values, right = _checked_outcomes(scores, correct)
    drawn = generator.integers(0, len(values), (resamples, len(values)))
    return np.array([atc_threshold(values[rows], right[rows]) for rows in drawn])


def atc_accuracy(
    scores: Floats, threshold: float, thresholds: Floats, generator: np.random.Generator, level: float = 0.95
) -> AccuracyEstimate:
    """The share of target texts whose score reaches the threshold, with a percentile bootstrap interval.

    The scores must be those of the model that the threshold was found for: adapting a model changes its confidence,
    and the threshold no longer says anything. Source: Garg et al. 2022 (ATC), eq. 2, as a share of right ones. The
    interval is of ours; it holds the sampling error of both validation and target.

    Args:
        scores: (texts,), of target texts.
        threshold: of `atc_threshold`, on the same kind of scores.
        thresholds: of `atc_thresholds`.
        generator: draws the target samples.
        level: of the interval.
    """
    values, several = np.sort(_checked_scores(scores, "target scores")), _checked_scores(thresholds, "thresholds")
    # How many of a resample reach a threshold is binomial, so that no resample need be drawn.
    shares = 1 - np.searchsorted(values, several, side="left") / len(values)
    draws = generator.binomial(len(values), shares, (DRAWS, len(several))) / len(values)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    accuracy = float((values >= threshold).mean())
    return AccuracyEstimate(accuracy, min(accuracy, float(low)), max(accuracy, float(high)), level)


def confidence_difference_accuracy(
    validation_accuracy: float, validation_confidence: float, target_confidence: float
) -> float:
    """Validation accuracy less the drop of mean confidence from validation to target, cut to 0 to 1.

    Of the same model on both, as with ATC. Source: Guillory et al. 2021 (DoC), the difference itself, as Garg et al.
    2022 use it; Guillory et al. also fit a regression on known shifts, which needs labels.

    Args:
        validation_accuracy: 0 to 1.
        validation_confidence: mean of `confidences` on validation texts.
        target_confidence: mean of `confidences` on target texts.

    Raises:
        EstimateError: a number that is not within 0 to 1.
    """
    given = (validation_accuracy, validation_confidence, target_confidence)
    if not all(0 <= value <= 1 for value in given):
        raise EstimateError("no shares", expected="three numbers from 0 to 1", got=str(given))
    return min(1.0, max(0.0, validation_accuracy - (validation_confidence - target_confidence)))
