"""Do no harm: whether the adapted teacher's labels replace those of the unadapted one, decided without labels.

With numpy alone. Adaptation makes any teacher surer, on noise too, so its own confidence is no evidence for it. The
gate therefore looks for signs of harm, each with a bound, and one is enough to refuse: what a refusal costs is
the gain of an adaptation, and the unadapted teacher's labels are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distilshift.bundle import Statistics
from distilshift.errors import EstimateError
from distilshift.estimates import accuracy_estimate
from distilshift.metrics import Floats, agreement
from distilshift.select import (
    checked_probabilities,
    information_score,
    neighbourhood_density,
    prior_drift,
)
from distilshift.target_facts import NOTHING_KNOWN, Target
from distilshift.target_prior import TargetPrior

Chosen = Literal["adapted", "unadapted"]

# Fewer different texts than this: too few texts, or copies of a few.
MIN_DISTINCT = 50
# Where more of the word pieces are unknown to the teacher's tokenizer, it cannot read the texts.
MAX_UNKNOWN = 0.5
# The unadapted teacher's information about its class, as a share of the most possible (log classes). A binary teacher
# that is right and sure of itself in 63 % of cases has this much; below, adaptation would amplify noise.
MIN_INFORMATION = 0.05
# The estimated accuracy of the unadapted teacher must be this far above chance; where parts of the texts told two
# classes apart, no further below it than this, since ATC is some ten points off, mostly too low (docs/trust.md).
MIN_ABOVE_CHANCE, MAX_BELOW_CHANCE = 0.05, 0.05
# A teacher that gives this share of the texts one class sees a target of one class; dividing it would invent another.
MAX_ONE_CLASS = 0.9
# A class with at least half of an even share, before and by expectation, must keep this part of its texts.
FAIR_SHARE, MIN_KEPT = 0.5, 0.2
# Total variation of class shares, relative to that between uniform shares and one class (1 - 1/classes): from the
# expected ones; from the unadapted teacher's, where parts of the texts told the expected ones; and from them where
# they did not, unless the user gave them. For two classes: 0.30, 0.35 and 0.25.
MAX_DRIFT, MAX_TOLD_MOVE, MAX_MOVE = 0.6, 0.7, 0.5
# Share of texts that keep their label. The largest honest gain seen, 16 points, needs no less than 0.84.
MIN_AGREEMENT = 0.65
# More texts than this tell the density no more, and its cost grows with their square.
DENSITY_TEXTS = 4_000


@dataclass(frozen=True)
class Scores:
    """What is known of one teacher's predictions without labels.

    Attributes:
        information: mutual information of text and predicted class, in nats; more is better.
        density: neighbourhood density (SND), in nats, of `DENSITY_TEXTS` texts at the most; reported and not used:
            it is highest for a teacher that has collapsed.
        drift: total variation distance of the mean prediction from the expected class shares, 0 to 1.
        shares: share of the texts that each class is predicted for.
        estimated_accuracy: by ATC, with the source's threshold, or None without one; too high for an adapted teacher.
        estimated_accuracy_interval: its 95 % bounds, for sampling error alone.
    """

    information: float
    density: float
    drift: float
    shares: tuple[float, ...]
    estimated_accuracy: float | None = None
    estimated_accuracy_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class GateDecision:
    """Which teacher labels the target.

    Attributes:
        chosen: "adapted" or "unadapted".
        reason: in a sentence.
        agreement: share of texts that both give the same label.
        unadapted, adapted: the scores of both.
    """

    chosen: Chosen
    reason: str
    agreement: float
    unadapted: Scores
    adapted: Scores

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> GateDecision:
        """What `dataclasses.asdict` and JSON made of one."""
        return cls(**values | {side: _scores_from_json(values[side]) for side in ("unadapted", "adapted")})


def _scores_from_json(values: dict[str, Any]) -> Scores:
    interval = values["estimated_accuracy_interval"]
    made = {"shares": tuple(values["shares"]), "estimated_accuracy_interval": interval and tuple(interval)}
    return Scores(**values | made)


def scores_of(
    probabilities: Floats, prior: TargetPrior, statistics: Statistics | None, beginnings: Floats | None = None
) -> Scores:
    """The scores of one teacher; arguments as of `decide`."""
    values = checked_probabilities(probabilities)
    texts, classes = values.shape
    found = accuracy_estimate(values if beginnings is None else beginnings, statistics)
    return Scores(
        information=information_score(values),
        density=neighbourhood_density(values[:DENSITY_TEXTS]) if texts > 1 else 0.0,
        drift=prior_drift(values, prior.array()),
        shares=tuple((np.bincount(values.argmax(axis=1), minlength=classes) / texts).tolist()),
        estimated_accuracy=found.accuracy if found else None,
        estimated_accuracy_interval=(found.low, found.high) if found else None,
    )


def decide(
    unadapted: Floats,
    adapted: Floats,
    prior: TargetPrior,
    statistics: Statistics | None,
    beginnings: tuple[Floats, Floats] | None = None,
    target: Target = NOTHING_KNOWN,
) -> GateDecision:
    """The adapted teacher, unless a sign of harm is found.

    Args:
        unadapted: (texts, classes), calibrated probabilities, the texts in an order that means nothing.
        adapted: (texts, classes), those of the adapted teacher for the same texts.
        prior: the class shares that are expected.
        statistics: of the teacher's bundle; without them, accuracy is not estimated.
        beginnings: what both say of the texts cut as the validation texts were, to estimate accuracy by: a mean over
            windows is less sure of itself than those, whether it is right or not. None: nothing is longer.
        target: facts about the texts.

    Raises:
        EstimateError: not probabilities, or not of the same texts and classes.
    """
    both, (first, second) = _same_texts(unadapted, adapted), beginnings or (None, None)
    old, new = scores_of(both[0], prior, statistics, first), scores_of(both[1], prior, statistics, second)
    kept = agreement(*both)
    signs = [*_unfit_target(old, prior, target), *_harm(old, new, kept, prior, target)]
    if signs:
        return GateDecision("unadapted", f"Adaptation was refused: {signs[0]}.", kept, old, new)
    reason = (
        f"No sign of harm: the adapted teacher keeps {kept:.0%} of the labels, is {new.drift:.2f} from the expected "
        f"class shares, and tells more of the class ({new.information:.2f} nats a text after {old.information:.2f})."
    )
    return GateDecision("adapted", reason, kept, old, new)


def decide_labels(
    unadapted: Floats,
    revised: Floats,
    prior: TargetPrior,
    statistics: Statistics | None,
    what: str,
    who: str = "student",
    beginnings: Floats | None = None,
    target: Target = NOTHING_KNOWN,
) -> GateDecision:
    """Labels that are not an adapted teacher's, unless a sign of harm is found.

    Those of a student that has learnt from its own predictions, or of teacher and words together. What they tell of the
    class is not held against them: a small network tells less than its teacher, and a mean of two less than one. Nor is
    ATC's estimate, whose threshold is of other predictions.

    Args:
        unadapted: (texts, classes), calibrated probabilities of the unadapted teacher.
        revised: (texts, classes), what would take their place, for the same texts.
        prior: the class shares that are expected.
        statistics: of the teacher's bundle.
        what: what was done, for the reason.
        who: whose labels these are, for the reason.
        beginnings: as of `decide`, of the teacher.
        target: facts about the texts.

    Raises:
        EstimateError: not probabilities, or not of the same texts and classes.
    """
    both = _same_texts(unadapted, revised)
    old, new = scores_of(both[0], prior, statistics, beginnings), scores_of(both[1], prior, None)
    kept = agreement(*both)
    subjects = f"the {who}", f"teacher and {who}"
    signs = [*_unfit_target(old, prior, target), *_moved(old, new, kept, prior, target, *subjects)]
    if signs:
        return GateDecision("unadapted", f"{what} was refused: {signs[0]}.", kept, old, new)
    reason = (
        f"No sign of harm: the {who} keeps {kept:.0%} of the unadapted teacher's labels, and is {new.drift:.2f} from "
        "the expected class shares."
    )
    return GateDecision("adapted", reason, kept, old, new)


def _same_texts(first: Floats, second: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both, checked."""
    before, after = checked_probabilities(first), checked_probabilities(second)
    if before.shape != after.shape:
        raise EstimateError("predictions of other texts", expected=str(before.shape), got=str(after.shape))
    return before, after


def unfit_target(
    beginnings: Floats, prior: TargetPrior | None, statistics: Statistics | None, target: Target
) -> str | None:
    """Why the unadapted teacher's predictions for this target cannot be trusted; None if there is no sign of that.

    Args:
        beginnings: (texts, classes), calibrated probabilities of the unadapted teacher.
        prior: the class shares that are expected; None: equal ones.
        statistics: of the teacher's bundle.
        target: facts about the texts.
    """
    classes = beginnings.shape[1]
    expected = prior or TargetPrior((1 / classes,) * classes, "labels", "")
    return next(_unfit_target(scores_of(beginnings, expected, statistics), expected, target), None)


def _unfit_target(old: Scores, prior: TargetPrior, target: Target) -> Iterator[str]:
    """Why no adaptation to this target can be trusted, whatever it made of it."""
    classes = len(old.shares)
    if target.distinct is not None and target.distinct < MIN_DISTINCT:
        yield f"there are {target.distinct} different texts, fewer than {MIN_DISTINCT}"
    if target.unknown_share > MAX_UNKNOWN:
        yield f"{target.unknown_share:.0%} of the word pieces are unknown to the teacher's tokenizer"
    if old.information < MIN_INFORMATION * np.log(classes):
        yield f"the unadapted teacher tells next to nothing of these texts' class ({old.information:.3f} nats a text)"
    least = 1 / classes + (-MAX_BELOW_CHANCE if prior.origin == "parts" else MIN_ABOVE_CHANCE)
    if old.estimated_accuracy is not None and old.estimated_accuracy < least:
        yield f"the unadapted teacher's estimated accuracy, {old.estimated_accuracy:.2f}, is next to chance"
    largest = max(old.shares)
    if largest >= MAX_ONE_CLASS and prior.origin != "given":  # a user who knows of such shares has said so
        yield f"the unadapted teacher gives {largest:.0%} of the texts one class: there may be no other"


def _moved(
    old: Scores,
    new: Scores,
    kept: float,
    prior: TargetPrior,
    target: Target,
    who: str = "the adapted teacher",
    both: str = "both teachers",
) -> Iterator[str]:
    """Labels and class shares that moved as no better classifier's would."""
    classes = len(old.shares)
    most = 1 - 1 / classes
    if new.drift > MAX_DRIFT * most:
        yield f"{who} is {new.drift:.2f} from the expected class shares, over {MAX_DRIFT * most:.2f}"
    for index, (was, now) in enumerate(zip(old.shares, new.shares, strict=True)):
        if min(was, prior.shares[index]) >= FAIR_SHARE / classes and now < MIN_KEPT * was:
            yield f"{target.name(index)} went from {was:.0%} of the texts to {now:.0%}"
    moved = float(np.abs(np.subtract(new.shares, old.shares)).sum() / 2)
    bound = most * (MAX_TOLD_MOVE if prior.origin == "parts" else MAX_MOVE)
    if moved > bound and prior.origin != "given":
        yield f"class shares moved by {moved:.2f}, over {bound:.2f}"
    if kept < MIN_AGREEMENT:
        yield f"{both} give the same label to {kept:.0%} of the texts, under {MIN_AGREEMENT:.0%}"


def _harm(old: Scores, new: Scores, kept: float, prior: TargetPrior, target: Target) -> Iterator[str]:
    """What adaptation did that a better teacher would not."""
    yield from _moved(old, new, kept, prior, target)
    yield from _worse(old, new)


def _worse(old: Scores, new: Scores) -> Iterator[str]:
    """What says that adaptation did not make a better teacher."""
    if new.information < old.information:
        yield f"it tells less of the class: {new.information:.3f} nats a text after {old.information:.3f}"
    if new.estimated_accuracy_interval and old.estimated_accuracy_interval:
        high, low = new.estimated_accuracy_interval[1], old.estimated_accuracy_interval[0]
        if high < low:
            yield f"its estimated accuracy is at most {high:.2f}, that of the unadapted teacher at least {low:.2f}"
