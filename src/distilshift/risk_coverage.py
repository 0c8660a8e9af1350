"""Risk-coverage curves: the accuracy that can be promised of labels above each confidence, with numpy alone.

With labeled target texts that the student did not learn, a promise is a bound that holds with a stated probability;
else it is an estimate.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from distilshift.abstention import LEVEL, Basis, RiskCoverage
from distilshift.errors import EstimateError
from distilshift.metrics import Floats, softmax

# Thresholds are quantiles of the confidences, at these shares of answered texts: a curve tells of no single text.
COVERAGES = np.arange(1, 21) / 20
# Accuracies that are tested for, ascending; a request in between takes the next one.
PROMISES = np.arange(50, 100) / 100


def confidence_grid(confidences: Floats) -> NDArray[np.float64]:
    """Thresholds from the strictest to 0, which answers every text: quantiles of the confidences at `COVERAGES`."""
    grid = np.quantile(np.asarray(confidences, np.float64), 1 - COVERAGES)
    grid[-1] = 0.0
    return grid


def share_answered(confidences: Floats, threshold: float) -> float:
    """Share of texts whose confidence reaches the threshold, 0 to 1."""
    return float(np.mean(np.asarray(confidences) >= threshold))


def labeled_curve(
    confidences: Floats, right: NDArray[np.bool_], weights: Floats, target_confidences: Floats, level: float = LEVEL
) -> RiskCoverage:
    """Bounds from labeled target texts: for each accuracy, with probability `level`, the labels given are as accurate.

    For each accuracy, thresholds are tested in a fixed order, from strict to lenient, each against the hypothesis that
    labels at it are right less often, until one is not rejected. The chance that any true hypothesis is rejected is
    1 - level at most. Source: Angelopoulos et al. 2021 (Learn then Test), algorithm 1 (fixed sequence testing), the
    risk being the share of wrong ones among the labels that are given.

    Args:
        confidences: (texts,), the student's for labeled texts that it was neither trained on nor chosen by.
        right: (texts,), whether its label is the right one.
        weights: (texts,), importance weights, above 0: proportional to 1 / probability of having been drawn.
        target_confidences: of target texts, labeled or not: they give the thresholds and the shares that are answered.
        level: probability with which each promise holds.

    Raises:
        EstimateError: no texts, or arrays of different lengths.
    """
    sure, hits, weight = np.asarray(confidences, np.float64), np.asarray(right, bool), np.asarray(weights, np.float64)
    if len(sure) == 0 or not len(sure) == len(hits) == len(weight) or (weight <= 0).any():
        got = f"{len(sure)}, {len(hits)} and {len(weight)}"
        raise EstimateError("labeled texts cannot be used", expected="as many outcomes and weights above 0", got=got)
    grid = confidence_grid(target_confidences)
    found = [(float(promise), _tested(sure, hits, weight, grid, 1 - float(promise), 1 - level)) for promise in PROMISES]
    kept = [(promise, float(grid[place])) for promise, place in found if place is not None]
    reason = (
        None if kept else f"by {len(sure)} labeled texts, not even an accuracy of {PROMISES[0]:.0%} can be promised"
    )
    return _curve("labels", len(sure), kept, target_confidences, reason)


def _tested(
    sure: NDArray[np.float64],
    hits: NDArray[np.bool_],
    weight: NDArray[np.float64],
    grid: NDArray[np.float64],
    risk: float,
    delta: float,
) -> int | None:
    """The place of the last threshold that is rejected, in order; None if not even the first is."""
    last = None
    for place in range(_start(sure, weight, grid, risk, delta), len(grid)):
        answered = sure >= grid[place]
        if risk_p_value(~hits[answered], weight[answered], risk) > delta:
            break
        last = place
    return last


def _start(
    sure: NDArray[np.float64], weight: NDArray[np.float64], grid: NDArray[np.float64], risk: float, delta: float
) -> int:
    """Where testing begins: at the first threshold that could be rejected with one error, else without any.

    Before it, a threshold answers too few texts for any outcome to be evidence; and where no error is allowed, one
    unlucky text ends all, unless half of the texts would be needed. Outcomes are not looked at: the order is fixed.
    """
    for errors, most in ((1, len(grid) // 2), (0, len(grid))):
        for place, threshold in enumerate(grid[:most]):
            weights = np.sort(weight[sure >= threshold])[::-1]
            if risk_p_value(np.arange(len(weights)) < errors, weights, risk) <= delta:
                return place
    return len(grid)


def risk_p_value(wrong: NDArray[np.bool_], weights: NDArray[np.float64], risk: float) -> float:
    """How likely so few wrong ones are where the weighted share of wrong ones is above `risk`: valid for any sample.

    With equal weights the binomial tail, which is exact (Clopper and Pearson 1934). Else Hoeffding-Bentkus, min of
    exp(-n KL(mean, risk)) and e P(Bin(n, risk) <= ceil(n mean)), for losses from 0 to 1: Angelopoulos et al. 2021,
    proposition 1. A text counts with w / max w, and as the risk itself with the rest: its expected loss is above the
    risk exactly where the weighted share is.

    Args:
        wrong: (texts,).
        weights: (texts,), above 0.
        risk: 0 to 1.
    """
    texts = len(wrong)
    if texts == 0:
        return 1.0
    if np.ptp(weights) <= 1e-9 * weights[0]:
        return _binomial_tail(int(wrong.sum()), texts, risk)
    part = weights / weights.max()
    mean = float((part * wrong + (1 - part) * risk).mean())
    if mean >= risk:
        return 1.0
    hoeffding = math.exp(-texts * _divergence(mean, risk))
    return min(hoeffding, math.e * _binomial_tail(math.ceil(texts * mean), texts, risk))


def _divergence(first: float, second: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli distributions, in nats."""
    pairs = ((first, second), (1 - first, 1 - second))
    return sum(p * math.log(p / q) for p, q in pairs if p > 0)


@lru_cache(maxsize=4096)
def _binomial_tail(successes: int, trials: int, probability: float) -> float:
    """P(Bin(trials, probability) <= successes)."""
    if not 0 < probability < 1:
        return 1.0 if probability <= 0 or successes >= trials else 0.0
    counts = range(min(successes, trials) + 1)
    first, other = math.log(probability), math.log1p(-probability)
    logs = [_log_ways(trials, count) + count * first + (trials - count) * other for count in counts]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _log_ways(trials: int, count: int) -> float:
    return math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)


def estimated_curve(logits: Floats, low_accuracy: float | None, reason: str | None = None) -> RiskCoverage:
    """What can be said without a bound: accuracies that hold if the student is as bad as its interval allows.

    A text's chance of error is one less its confidence, times the factor by which the student errs more often than its
    mean confidence says where its accuracy is the low end of the interval. It is as good as that interval,
    and assumes that errors lie where confidence is low: no probability is stated for it.

    Args:
        logits: (texts, classes), calibrated, of target texts.
        low_accuracy: the low end, measured with labels or estimated without; None where there is neither.
        reason: why there is no estimate.
    """
    texts, classes = logits.shape
    if low_accuracy is None or low_accuracy <= 1 / classes:
        found = (
            f"without labels no accuracy can be promised: {reason}"
            if reason
            else "the accuracy may be as low as chance"
        )
        return RiskCoverage("estimate", texts, reason=found)
    sure = softmax(logits).max(axis=1)
    factor = max(1.0, (1 - low_accuracy) / max(1e-9, 1 - float(sure.mean())))
    kept: list[tuple[float, float]] = []
    for threshold in confidence_grid(sure)[::-1]:
        reached = sure[sure >= threshold]
        promise = 1 - factor * (1 - float(reached.mean())) if len(reached) else 0.0
        if promise > (kept[-1][0] if kept else 0.0):
            kept.append((promise, float(threshold)))
    return _curve("estimate", texts, kept, sure, None)


def _curve(
    basis: Basis, texts: int, kept: list[tuple[float, float]], target_confidences: Floats, reason: str | None
) -> RiskCoverage:
    """A curve of (promise, threshold) pairs, ascending; of promises with one threshold, the highest."""
    ends = [pair for pair, after in pairwise([*kept, (1.0, -1.0)]) if after[1] != pair[1]]
    return RiskCoverage(
        basis,
        texts,
        accuracy=tuple(promise for promise, _ in ends),
        threshold=tuple(threshold for _, threshold in ends),
        answered=tuple(share_answered(target_confidences, threshold) for _, threshold in ends),
        reason=reason,
    )
