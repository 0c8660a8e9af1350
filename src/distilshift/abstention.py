"""Abstention on the device: which confidence a label needs, by the risk-coverage curve of the student's bundle.

The curve says which threshold of the confidence keeps which promise, and which share of the texts is then answered;
`risk_coverage` makes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from distilshift.errors import ConfigError

# Probability with which a promise made with labels holds.
LEVEL = 0.95
# Of a curve, what a card tells.
TOLD_ACCURACIES = (0.8, 0.9, 0.95, 0.99)

Basis = Literal["labels", "estimate"]


@dataclass(frozen=True)
class RiskCoverage:
    """Which threshold of the confidence promises which accuracy of the labels that are given.

    Attributes:
        basis: "labels" for a bound that holds with probability `LEVEL`, for each accuracy by itself; "estimate" for
            one from the low end of an accuracy's interval, measured or estimated, which can be wrong.
        texts: number of texts that it was made from.
        accuracy: ascending promises, 0 to 1.
        threshold: the confidence that a label needs, for each promise.
        answered: share of the texts that reach it, for each promise.
        reason: why there is no promise at all; None where there are some.
    """

    basis: Basis
    texts: int
    accuracy: tuple[float, ...] = ()
    threshold: tuple[float, ...] = ()
    answered: tuple[float, ...] = ()
    reason: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> RiskCoverage:
        """The curve of a student's manifest, where it has one."""
        if not values:
            return cls("estimate", 0, reason="the bundle was made by a version that stored no risk-coverage curve")
        lists = {name: tuple(values[name]) for name in ("accuracy", "threshold", "answered")}
        return cls(values["basis"], values["texts"], **lists, reason=values.get("reason"))

    def to_json(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def answered_for(self, min_accuracy: float) -> float:
        """The share of the target texts that is answered with `threshold_for`; 0 where it promises nothing."""
        place = self._place(min_accuracy)
        return 0.0 if place is None else self.answered[place]

    def _place(self, min_accuracy: float) -> int | None:
        kept = (place for place, promise in enumerate(self.accuracy) if promise >= min_accuracy - 1e-9)
        return next(kept, None)

    def promise(self, min_accuracy: float) -> str:
        """What `threshold_for` promises, in a sentence."""
        if self.basis == "estimate":
            return f"That {min_accuracy:.1%} of these labels are right is an estimate, not a bound."
        held = f"with a probability of {LEVEL:.0%}, {min_accuracy:.1%} or more of such labels are right"
        return f"By {self.texts:,} labeled texts, {held}."

    def threshold_for(self, min_accuracy: float) -> float:
        """The lowest confidence whose labels are promised to be right this often.

        Raises:
            ConfigError: no threshold promises it.
        """
        place = self._place(min_accuracy)
        if place is not None:
            return self.threshold[place]
        fix = "label more target texts (`distilshift query` picks them) and make the student with `adapt --labels`"
        best = f"{math.floor(1000 * self.accuracy[-1]) / 1000:g}" if self.accuracy else None  # rounding up could fail
        if best:
            fix = f"ask for at most {best}, or {fix}"
        raise ConfigError(
            f"no confidence promises an accuracy of {min_accuracy:g}",
            expected=f"at most {best}" if best else "a student whose accuracy is measured or estimated",
            got=str(min_accuracy) if best else f"no promise: {self.reason}",
            fix=f"{fix}; or set the confidence yourself with abstain_below",
        )


def required_confidence(
    curve: RiskCoverage, min_accuracy: float | None = None, abstain_below: float | None = None
) -> float | None:
    """The confidence that a label needs; None where all labels are given.

    Args:
        curve: the student's.
        min_accuracy: accuracy that the labels given shall have, 0 to 1.
        abstain_below: the confidence itself, 0 to 1.

    Raises:
        ConfigError: both are given, one is out of its range, or the curve cannot promise the accuracy.
    """
    if min_accuracy is not None and abstain_below is not None:
        raise ConfigError(
            "min_accuracy and abstain_below exclude each other",
            expected="an accuracy, from which the confidence follows, or a confidence",
            got=f"min_accuracy {min_accuracy:g} and abstain_below {abstain_below:g}",
            fix="leave one out",
        )
    for name, value in (("min_accuracy", min_accuracy), ("abstain_below", abstain_below)):
        if value is not None and not 0 <= value <= 1:
            fix = "pass a fraction, such as 0.95 for 95 %"
            raise ConfigError(f"{name} is out of its range", expected="0 to 1", got=str(value), fix=fix)
    return abstain_below if min_accuracy is None else curve.threshold_for(min_accuracy)


def abstention_sentence(summary: dict[str, Any]) -> str:
    """Which accuracies `predict --min-accuracy` promises; empty for a student that was made without a curve."""
    if not summary.get("abstention"):
        return ""
    curve = RiskCoverage.from_json(summary["abstention"])
    kept = [(asked, share) for asked in TOLD_ACCURACIES if (share := curve.answered_for(asked))]
    if not kept:
        reason = curve.reason or f"at most {curve.accuracy[-1]:.1%} could be promised"
        return f"`predict --min-accuracy` promises nothing of use: {reason}."
    shares = ", ".join(f"{asked:.0%} right with {share:.0%} of the texts labeled" for asked, share in kept)
    basis = "by labeled target texts" if curve.basis == "labels" else "an estimate, not a bound"
    return f"With `predict --min-accuracy`, which withholds labels: {shares} ({basis})."
