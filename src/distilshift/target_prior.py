"""Which class shares are expected of the target, and how sure that is: given by the user, or read off the labels.

With numpy alone. Of two classes, parts of the texts tell the shares (`part_shares`), where these are many and long
enough; labels are moved as far as the error of that estimate allows. The error is measured, not assumed: what a
bootstrap over texts leaves out, that the model of parts is wrong, is most of it. Estimators that take
the target to differ from the source in its class shares only (EM, BBSE) made labels worse on new domains
(benchmarks/LOG.md), and are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.errors import ConfigError
from distilshift.metrics import Floats
from distilshift.part_shares import PartShare

# What the bootstrap leaves out of the error of the estimate by parts, that its model is wrong: a standard error, that
# of the worst development domain over class shares of 0.05 to 0.95 (benchmarks/results/label_designs.json).
PARTS_ERROR = 0.11
# How far the class shares that an adapting teacher keeps are led from its labels' towards equal ones, for more than two
# classes: of many it forgets some, and equal shares bring them back. With two it costs up to ten points where they are
# unequal (benchmarks/LOG.md).
TOWARDS_UNIFORM = 0.5
# Correlation of two parts of a text, at the least, and what q (1 - q) times a second number adds, q being the share:
# so much two classes have in common. With less there may be one class that looks like two. On the development pairs
# two halves had 0.22 and more, a tenth 0.13 and more, one class that was taken for two halves 0.14 and less
# (benchmarks/LOG.md).
MIN_COMMON, MIN_COMMON_OF_CLASSES = 0.08, 0.4
# No class is expected to have less of the texts.
LOWEST_SHARE = 0.02
# A share given by the user may sum to 1 only up to rounding.
ROUNDING = 0.005


@dataclass(frozen=True)
class TargetPrior:
    """Class shares to expect.

    Attributes:
        shares: one a class, above 0, summing to 1.
        origin: "given" by the user, told by "parts" of texts, or "labels": nothing but the teacher's labels tells them.
        reason: in a sentence.
    """

    shares: tuple[float, ...]
    origin: str
    reason: str

    @property
    def known(self) -> bool:
        """Whether there is more to them than the teacher's labels, so that labels may be moved to them."""
        return self.origin != "labels"

    def array(self) -> NDArray[np.float64]:
        """(classes,) float64."""
        return np.array(self.shares)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TargetPrior:
        """What `dataclasses.asdict` and JSON made of one."""
        return cls(tuple(values["shares"]), values["origin"], values["reason"])


def _invalid(text: str, got: str, label_names: list[str]) -> ConfigError:
    shares = [f"{1 / len(label_names):.3g}" for _ in label_names]
    by_name = (f"{name}={share}" for name, share in zip(label_names, shares, strict=True))
    example = ",".join(shares if any("," in name for name in label_names) else by_name)
    return ConfigError(
        f"target_prior {text!r} is not usable",
        expected=f"auto, uniform, or a share above 0 for each of {', '.join(label_names)} that sum to 1",
        got=got,
        fix=f"write it as {example}",
    )


def given_prior(text: str, label_names: list[str]) -> TargetPrior | None:
    """The prior that an option's text names; None for "auto", which needs the teacher's outputs.

    Args:
        text: "auto", "uniform", "0.3,0.7" in the order of the classes, or "negative=0.3,positive=0.7" in any.
        label_names: the classes.

    Raises:
        ConfigError: it is none of these, or the shares are not one above 0 for each class, summing to 1.
    """
    if text == "auto":
        return None
    if text == "uniform":
        classes = len(label_names)
        return TargetPrior((1 / classes,) * classes, "given", "Uniform class shares were asked for.")
    names, _, numbers = zip(*(part.rpartition("=") for part in text.split(",")), strict=True)
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        raise _invalid(text, "something that is no number", label_names) from None
    order = [name.strip() for name in names] if any(names) else label_names
    if len(values) != len(label_names) or sorted(order) != sorted(label_names):
        raise _invalid(text, f"{len(values)} shares of {', '.join(filter(None, names)) or 'classes'}", label_names)
    if not min(values) > 0 or not abs(sum(values) - 1) <= ROUNDING * len(values) + 1e-9:
        raise _invalid(text, f"shares from {min(values):g}, sum {sum(values):g}", label_names)
    by_name = dict(zip(order, values, strict=True))
    shares = tuple(by_name[name] / sum(values) for name in label_names)
    return TargetPrior(shares, "given", "The class shares were given.")


def labels_prior(probabilities: Floats) -> TargetPrior:
    """The share of the texts that each class is predicted for; of more than two classes, half-way to equal shares.

    Of two classes not the mean prediction: an unsure teacher's is nearer to equal shares than the target is, and
    information maximization that was led there made labels worse (benchmarks/LOG.md). One text more counts for each.

    Args:
        probabilities: (texts, classes), of the unadapted teacher.
    """
    texts, classes = np.shape(probabilities)
    counts = np.bincount(np.argmax(probabilities, axis=1), minlength=classes)
    shares = (counts + 1) / (texts + classes)
    if classes > 2:
        shares = (1 - TOWARDS_UNIFORM) * shares + TOWARDS_UNIFORM / classes
    reason = "Labels keep the class shares that they have: there is no better evidence."
    return TargetPrior(tuple(shares.tolist()), "labels", reason)


def with_parts(probabilities: Floats, found: PartShare | None) -> TargetPrior:
    """The share of the labels, moved towards the one by parts of texts until it is one standard error away from that.

    So labels move as far as it is likely that they should, and not at all where the two agree within that error: over
    development domains and class shares that never harmed, where a move all the way harmed in a fifth of the cases.
    The labels alone where the parts of a text have too little in common: there may be one class only.

    Args:
        probabilities: (texts, 2), as of `labels_prior`.
        found: of the second class; None where all parts look the same.
    """
    if found is None or found.common < MIN_COMMON + MIN_COMMON_OF_CLASSES * found.share * (1 - found.share):
        return labels_prior(probabilities)
    own = float(np.asarray(probabilities, np.float64)[:, 1].mean())
    error = float(np.hypot(found.error, PARTS_ERROR))
    told = (
        f"parts of the texts tell {found.share:.2f} for the second class (95 % interval "
        f"{max(0.0, found.share - 1.96 * error):.2f} to {min(1.0, found.share + 1.96 * error):.2f})"
    )
    apart = found.share - own
    if abs(apart) <= error:
        same = labels_prior(probabilities)
        return TargetPrior(same.shares, "labels", f"{same.reason[:-1]}; {told}, which agrees with {own:.2f}.")
    share = float(np.clip(own + np.sign(apart) * (abs(apart) - error), LOWEST_SHARE, 1 - LOWEST_SHARE))
    reason = f"Labels move from {own:.2f} to {share:.2f}: {told}, and they stop one standard error before it."
    return TargetPrior((1 - share, share), "parts", reason)
