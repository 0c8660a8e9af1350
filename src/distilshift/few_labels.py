"""Correct predictions for target texts with the true labels of some of them, and measure how accurate they are then.

The correction of a text's logits is a Gaussian process over the texts, one per class (Rasmussen and Williams 2006,
section 3.5), with the logits to be corrected as its mean:

    logits'(x) = logits(x) + b + g(x),   b ~ N(0, bias^2),   g ~ GP(0, strength^2 k)

b moves the class prior. g is learned from labelled texts and passed on to similar ones, k being the similarity. Both
are fitted by their mode (MAP), so that with few labels, or labels that the logits explain already, little changes.

How large b and g may be, and which of several predictions is corrected, is not chosen but averaged over: each option
is weighted by the likelihood that it gives to labels it was not fitted to (cross-validation), with a prior of one half
for no correction at all. So labels that prove nothing change nothing. With numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from distilshift.measured import effective_number
from distilshift.metrics import Floats, softmax
from distilshift.target_labels import TargetLabels

# Standard deviations, in units of a calibrated logit: chosen on development tasks (benchmarks/few_labels.py).
BIASES = (0.0, 0.5, 1.0)
STRENGTHS = (0.0, 1.0, 2.0, 4.0)
# The prior probability that nothing is to be corrected.
UNCHANGED = 0.5
FOLDS = 5
RESAMPLES = 200
ITERATIONS = 100
TOLERANCE = 0.01
# The probability that a label is right, for a labelled text.
CERTAINTY = 0.98
LOWEST = 1e-12


@dataclass(frozen=True)
class Option:
    """One way to correct.

    Attributes:
        candidate: name of the predictions.
        bias: standard deviation of b.
        strength: standard deviation of g.
    """

    candidate: str
    bias: float
    strength: float

    def kernel(self, similarity: Floats) -> NDArray[np.float64]:
        """Covariances of b + g, from similarities."""
        return self.bias**2 + self.strength**2 * np.asarray(similarity, np.float64)


@dataclass(frozen=True)
class Correction:
    """A fitted correction.

    Attributes:
        options: those with a noticeable weight.
        weights: (options,), summing to 1.
        dual: (options, labelled, classes); the correction of a text is its covariances with the labelled texts times
            these.
        held_out: (labelled, classes) probabilities of each labelled text, fitted and weighted without its own fold.
    """

    options: tuple[Option, ...]
    weights: NDArray[np.float64]
    dual: NDArray[np.float64]
    held_out: NDArray[np.float64]

    def apply(self, candidates: Mapping[str, Floats], similarity: Floats) -> NDArray[np.float64]:
        """Return corrected logarithms of probabilities, (texts, classes).

        Args:
            candidates: calibrated logits of the texts by the names that were fitted, each (texts, classes).
            similarity: of the texts to the labelled ones, (texts, labelled).
        """
        parts = zip(self.options, self.weights, self.dual, strict=True)
        mixed = sum(w * softmax(candidates[o.candidate] + o.kernel(similarity) @ dual) for o, w, dual in parts)
        return np.log(np.maximum(mixed, LOWEST))


def fit_correction(candidates: Mapping[str, Floats], similarity: Floats, labels: TargetLabels, seed: int) -> Correction:
    """Fit all options to the labels, and weight them by cross-validation.

    Args:
        candidates: calibrated logits of the labelled texts, (labelled, classes), by name; the first one is kept unless
            labels say otherwise.
        similarity: of the labelled texts to one another, (labelled, labelled).
        labels: of these texts, in this order.
        seed: of folds and resamples.
    """
    options = [Option(*each) for each in product(candidates, BIASES, STRENGTHS)]  # the first one changes nothing
    kernels = np.stack([option.kernel(similarity) for option in options])
    logits = np.stack([np.asarray(candidates[option.candidate], np.float64) for option in options])
    folds = np.random.default_rng(seed).permutation(len(labels)) % min(FOLDS, len(labels))
    predicted = np.empty(logits.shape)
    for fold in np.unique(folds):
        out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        dual = _fit(kernels[:, rest[:, None], rest], logits[:, rest], labels.classes[rest])
        predicted[:, out] = softmax(logits[:, out] + kernels[:, out[:, None], rest] @ dual)
    likelihood = np.log(np.maximum(predicted[:, np.arange(len(labels)), labels.classes], LOWEST))
    # The weights have mean 1; unequal ones are worth fewer labels.
    evidence = likelihood * labels.weights * effective_number(labels.weights) / len(labels)
    held_out = np.empty(predicted.shape[1:])
    for fold in np.unique(folds):
        inside = folds == fold
        posterior = _posterior(evidence[:, ~inside], seed)
        held_out[inside] = np.tensordot(posterior, predicted[:, inside], 1)
    weights = _posterior(evidence, seed)
    kept = [index for index in np.argsort(-weights) if weights[index] >= 0.01]
    chosen = tuple(options[index] for index in kept)
    dual = _fit(kernels[kept], logits[kept], labels.classes)
    return Correction(chosen, weights[kept] / weights[kept].sum(), dual, held_out)


def _fit(kernels: NDArray[np.float64], logits: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The modes of several processes at the same labelled texts, as K^-1 times them, (options, labelled, classes).

    By majorization: the curvature of the multinomial likelihood is at most 1/2 (Böhning 1992), so that each step is a
    ridge regression with one and the same matrix.

    Args:
        kernels: (options, labelled, labelled).
        logits: (options, labelled, classes), the means of the processes.
        classes: (labelled,).
    """
    targets = np.eye(logits.shape[2])[classes]
    inverse = np.linalg.inv(kernels + 2 * np.eye(len(classes)))
    smoother, moved = kernels @ inverse, np.zeros(logits.shape)
    working = moved
    for _ in range(ITERATIONS):
        working = moved + 2 * (targets - softmax(logits + moved))
        step = smoother @ working - moved
        moved = moved + step
        if np.abs(step).max() < TOLERANCE:
            break
    return inverse @ working


def _posterior(evidence: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Weights of the options, summing to 1; half the prior goes to the first one, which changes nothing.

    They are averaged over a Bayesian bootstrap of the labels, so that a few of these do not decide alone: pseudo-BMA+
    of Yao et al. 2018, section 3.4.

    Args:
        evidence: (options, labelled), log-likelihoods of labels that an option was not fitted to.
        seed: of the bootstrap.
    """
    count, size = evidence.shape
    prior = np.array([UNCHANGED, *[(1 - UNCHANGED) / (count - 1)] * (count - 1)])
    counts = size * np.random.default_rng(seed).dirichlet(np.ones(size), RESAMPLES)
    return np.asarray(softmax(np.log(prior) + counts @ evidence.T).mean(axis=0))


class Similarity:
    """Cosine similarity of texts, by features of zero mean and unit variance."""

    def __init__(self, sample: Floats, labelled: Floats) -> None:
        """Learn the scale of the features.

        Args:
            sample: features of some texts of the corpus, (texts, width).
            labelled: features of the labelled texts, (labelled, width).
        """
        values = np.asarray(sample, np.float64)
        deviation = values.std(axis=0)
        # Some features are constant: MiniLM's last LayerNorm has near-zero gammas.
        self._mean, self._scale = values.mean(axis=0), deviation + 0.01 * deviation.max() + LOWEST
        self._labelled = self._directions(labelled)

    def _directions(self, features: Floats) -> NDArray[np.float64]:
        values = (np.asarray(features, np.float64) - self._mean) / self._scale
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), LOWEST)

    def __call__(self, features: Floats) -> NDArray[np.float64]:
        """Similarities to the labelled texts, (texts, labelled), of features (texts, width)."""
        return self._directions(features) @ self._labelled.T
