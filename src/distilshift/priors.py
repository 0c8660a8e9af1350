"""The target's class shares, without labels, with numpy alone.

Both methods take the target to differ from the source in its class shares only: texts of a class are alike in both.
Where the domain differs as well, they are a guess. Both shrink towards the source's shares by one text's worth, so
that no class comes out at exactly 0, which a divergence from the prior could not bear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilshift.errors import EstimateError
from distilshift.metrics import Floats, Ints
from distilshift.select import checked_probabilities

# Below this the confusion matrix says next to nothing of the shares: balanced accuracy 0.55 for two classes.
SMALLEST_SINGULAR_VALUE = 0.1


@dataclass(frozen=True)
class PriorEstimate:
    """Class shares of the target.

    Attributes:
        prior: (classes,), summing to 1.
        fell_back: the method could not be used, and `prior` is the source's.
        note: what else is to be known of the estimate; empty where it went as it should.
    """

    prior: NDArray[np.float64]
    fell_back: bool = False
    note: str = ""


def _source_prior(prior: Floats, classes: int) -> NDArray[np.float64]:
    values = checked_probabilities(np.atleast_2d(prior))[0]
    if len(values) != classes:
        raise EstimateError("a source prior of other classes", expected=f"{classes} classes", got=str(len(values)))
    if values.min() <= 0:
        raise EstimateError(
            "a class that the source does not have", expected="shares above 0", got=str(values), fix="leave it out"
        )
    return values


def em_prior(
    probabilities: Floats,
    source_prior: Floats,
    pseudo_texts: float = 1.0,
    tolerance: float = 1e-6,
    rounds: int = 2000,
) -> PriorEstimate:
    """The class shares under which the target's predictions are likeliest, by expectation maximisation.

    Each round weighs the predictions by the shares over the source's, normalises, and takes the mean as the new
    shares. Predictions that say nothing (all equal to the source prior) leave the source prior. If all texts look
    like one class its share tends to 1. Source: Saerens et al. 2002, section 2.2.
    Deviation: `pseudo_texts` of the source's shares are counted with the texts; 0 is the paper's.

    Args:
        probabilities: (texts, classes), calibrated on the source; else the shares are biased.
        source_prior: (classes,), above 0, the shares of the training texts.
        pseudo_texts: weight of the source's shares, in texts.
        tolerance: it has settled when no share moves by more in a round.
        rounds: at most so many; the note says when they did not suffice.

    Raises:
        EstimateError: no texts, not probabilities, or a source prior with a 0 or of other classes.
    """
    values = checked_probabilities(probabilities)
    source = _source_prior(source_prior, values.shape[1])
    ratios, shares, step = values / source, source, np.inf
    for _ in range(rounds):
        weighed = ratios * shares
        weighed /= weighed.sum(axis=1, keepdims=True)
        fresh = (weighed.sum(axis=0) + pseudo_texts * source) / (len(values) + pseudo_texts)
        shares, step = fresh, float(np.abs(fresh - shares).max())
        if step <= tolerance:
            return PriorEstimate(shares)
    return PriorEstimate(shares, note=f"not settled after {rounds} rounds: the last one moved a share by {step:.1e}")


def _rates(confusion: NDArray[np.float64], label_names: Sequence[str]) -> NDArray[np.float64] | str:
    """rates[j, i] of class i being predicted as j, or why they cannot be solved for the shares."""
    support = confusion.sum(axis=1)
    if not support.all():
        return f"{_name(int(support.argmin()), label_names)} has no validation text"
    rates = (confusion / support[:, None]).T
    smallest = float(np.linalg.svd(rates, compute_uv=False)[-1])
    if smallest < SMALLEST_SINGULAR_VALUE:
        return f"the confusion matrix tells the classes apart too little: smallest singular value {smallest:.3f}"
    return rates


def _name(index: int, label_names: Sequence[str]) -> str:
    return repr(label_names[index]) if label_names else f"class {index}"


def bbse_prior(
    predictions: Ints,
    confusion: Floats | Ints,
    source_prior: Floats,
    pseudo_texts: float = 1.0,
    label_names: Sequence[str] = (),
) -> PriorEstimate:
    """The class shares that explain how often each class is predicted, given who is taken for whom on the source.

    Solves predicted share_j = sum_i rate(predicted j | class i) share_i; negative shares become 0 and the rest is
    scaled, which the note tells. Where a class has no validation text, or the rates are close to singular
    (`SMALLEST_SINGULAR_VALUE`), the source prior is given instead, `fell_back` is set and the note says why.
    Source: Lipton et al. 2018 (BBSE). Deviations: rates within each class instead of joint shares, so that
    the validation set's class shares do not matter; `pseudo_texts` as of `em_prior`.

    Args:
        predictions: (texts,), the class index predicted for each target text, by the model of the matrix.
        confusion: (classes, classes), counts[i][j] of validation texts of class i predicted as j.
        source_prior: (classes,), above 0.
        pseudo_texts: weight of the source's shares, in texts; 0 is the paper's.
        label_names: the classes, to name them in the note.

    Raises:
        EstimateError: no texts, a prediction that is no class, a matrix that is not square or has a count below 0,
            or a source prior with a 0 or of other classes.
    """
    counts, found = np.asarray(confusion, dtype=np.float64), np.asarray(predictions)
    classes = counts.shape[0] if counts.ndim == 2 else 0
    if counts.shape != (classes, classes) or not classes or not (counts.min() >= 0 and np.isfinite(counts).all()):
        raise EstimateError("not a confusion matrix", expected="a square of counts", got=str(counts.tolist()))
    if (
        found.ndim != 1
        or not len(found)
        or found.dtype.kind not in "iu"
        or not 0 <= found.min() <= found.max() < classes
    ):
        wanted = f"a class index below {classes} for each text"
        raise EstimateError("predictions cannot be counted", expected=wanted, got=str(found)[:80])
    source, rates = _source_prior(source_prior, classes), _rates(counts, label_names)
    if isinstance(rates, str):
        return PriorEstimate(source, fell_back=True, note=rates)
    solved = np.linalg.solve(rates, np.bincount(found, minlength=classes) / len(found))
    lowest = int(solved.argmin())
    note = (
        ""
        if solved[lowest] >= -1e-9
        else f"{_name(lowest, label_names)} came out at {solved[lowest]:.3f} and was set to 0"
    )
    shares = solved.clip(min=0.0) / solved.clip(min=0.0).sum()
    return PriorEstimate((len(found) * shares + pseudo_texts * source) / (len(found) + pseudo_texts), note=note)
