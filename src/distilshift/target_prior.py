"""Which class shares adaptation expects of the target: given by the user, estimated with care, or uniform.

With numpy alone. Of two classes, parts of the texts tell the shares (`part_shares`), where these are many and long
enough. The estimators of `priors` hold where the target differs from the source in its class shares only, and err by
any amount where the texts differ too, in the direction of the teacher's own bias: adaptation would then confirm what
it should correct. So with these alone `auto` leaves uniform shares only on evidence, and never by all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.bundle import Statistics
from distilshift.errors import ConfigError
from distilshift.metrics import Floats
from distilshift.part_shares import PartShare
from distilshift.priors import bbse_prior, em_prior
from distilshift.select import confidences

# Mean confidence on the target may be this far from that on the validation texts, before it is another domain in which
# who is taken for whom is not known. A shift of class shares alone hardly moves it.
MAX_CONFIDENCE_CHANGE = 0.04
# EM (from probabilities) and BBSE (from counts) fail differently: further apart than this, one of them is wrong.
MAX_DISAGREEMENT = 0.15
# No fewer texts than this, on the target and in the validation set, say anything of shares.
MIN_TEXTS = 50
# An estimate this near to uniform is no evidence of a shift; the sampling error of both samples comes on top.
MARGIN = 0.05
# Of the estimate by parts: above, it is no better than none, which is some 0.15 away (benchmarks/LOG.md). What is below
# counts for the less, the larger it is.
MAX_PART_ERROR, OTHERS_ERROR = 0.1, 0.15
# Correlation of two parts of a text, at the least, and what q (1 - q) times a second number adds, q being the share:
# so much two classes have in common. With less there may be one class that looks like two. On the development pairs
# two halves had 0.22 and more, a tenth 0.13 and more, one class that was taken for two halves 0.14 and less
# (benchmarks/LOG.md). Where q is not known, the bound is that for two halves.
MIN_COMMON, MIN_COMMON_OF_CLASSES = 0.08, 0.4
# A share given by the user may sum to 1 only up to rounding.
ROUNDING = 0.005


@dataclass(frozen=True)
class TargetPrior:
    """Class shares to expect.

    Attributes:
        shares: one a class, above 0, summing to 1.
        origin: "given", "parts", "estimated", "uniform", or "unclear": uniform ones, where there may be one class only.
        reason: in a sentence.
    """

    shares: tuple[float, ...]
    origin: str
    reason: str

    def array(self) -> NDArray[np.float64]:
        """(classes,) float64."""
        return np.array(self.shares)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TargetPrior:
        """What `dataclasses.asdict` and JSON made of one."""
        return cls(tuple(values["shares"]), values["origin"], values["reason"])


@dataclass(frozen=True)
class Move:
    """Where the class shares of labels go: towards expected ones, and no further than there is reason to.

    Attributes:
        expected: (classes,), above 0, summing to 1.
        most: how far from the start, as a total variation distance, 0 to 1.
        counted: (classes,), BBSE's estimate; None where there is none.
        temperature: by which logits are divided before shares are counted: the teacher's where the shares are known,
            else 1, the scale that was trained, on which the rule for unknown ones was found (benchmarks/LOG.md).
    """

    expected: NDArray[np.float64]
    most: float
    counted: NDArray[np.float64] | None = None
    temperature: float = 1.0

    def wanted(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """The shares that labels with this mean prediction, (classes,), shall have.

        They start half-way between it and BBSE's estimate. Predictions of an unsure teacher are nearer to equal shares
        than the target is; BBSE undoes that, and overdoes it where texts of a class differ from the source's.
        """
        start = mean if self.counted is None else (mean + self.counted) / 2
        apart = _distance(self.expected, start)
        return self.expected if apart <= self.most else start + self.most / apart * (self.expected - start)


def _uniform(classes: int, reason: str) -> TargetPrior:
    return TargetPrior((1.0 / classes,) * classes, "uniform", reason)


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
        return _uniform(len(label_names), "Uniform class shares were asked for.")
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


def _distance(first: Floats, second: Floats) -> float:
    """Total variation, 0 to 1."""
    return float(np.abs(first - second).sum() / 2)


def estimated_prior(
    probabilities: Floats, statistics: Statistics | None, label_names: Sequence[str] = ()
) -> TargetPrior:
    """The rule of `auto`: EM and BBSE's mean, moved towards uniform by the margin; uniform where there is doubt.

    Doubt is: no statistics; few texts; a class that the source or its validation set lacks; a confusion matrix that is
    close to singular; a mean confidence unlike that on the validation texts; EM and BBSE that disagree; or an estimate
    within the margin of uniform. The margin is a total variation distance of `MARGIN` + sqrt(classes / 2) *
    (1/sqrt(target texts) + 1/sqrt(validation texts)): for two classes two standard errors of a share of one half in
    each sample. Beyond it the shares leave uniform in proportion, so that no text more or less makes a jump.

    Args:
        probabilities: (texts, classes), calibrated, of the unadapted teacher, texts cut as its validation texts were.
        statistics: of its bundle.
        label_names: the classes, to name them in the reason.

    Raises:
        EstimateError: no probabilities.
    """
    texts, classes = probabilities.shape
    if statistics is None or statistics.validation_confidence is None:
        return _uniform(classes, "Uniform class shares: the teacher's bundle has no statistics to estimate them with.")
    validation_texts = int(np.sum(statistics.validation_confusion))
    doubt = _doubt(probabilities, statistics, validation_texts)
    if doubt:
        return _uniform(classes, f"Uniform class shares: {doubt}.")
    estimates = _estimates(probabilities, statistics, label_names)
    if isinstance(estimates, str):
        return _uniform(classes, f"Uniform class shares: {estimates}.")
    margin = MARGIN + (classes / 2) ** 0.5 * (texts**-0.5 + validation_texts**-0.5)
    return _shrunk(estimates.mean(axis=0), margin)


def with_parts(other: TargetPrior, found: PartShare | None) -> TargetPrior:
    """The shares by parts of texts, drawn to the other estimate by their error.

    The other one alone, where that is too large, or the parts of a text have too little in common; if the latter, and
    the other one is no estimate but equal shares, these are no place to move labels to. The weights are those of two
    independent estimates with these errors.

    Args:
        other: of two classes.
        found: of the second of them; None where all parts look the same.
    """
    known = found is not None and found.error <= MAX_PART_ERROR
    least = MIN_COMMON + MIN_COMMON_OF_CLASSES * (found.share * (1 - found.share) if found and known else 0.25)
    if found is None or found.common < least:
        return _unclear(other) if other.origin == "uniform" else other
    if not known:
        return other
    trust = OTHERS_ERROR**2 / (OTHERS_ERROR**2 + found.error**2)
    share = trust * found.share + (1 - trust) * other.shares[1]
    how = f"the second class's is {found.share:.2f} (standard error {found.error:.2f}) by the parts of the texts"
    reason = f"Class shares estimated: {how}, drawn to {other.shares[1]:.2f} by that error."
    return TargetPrior((1 - share, share), "parts", reason)


def _unclear(uniform: TargetPrior) -> TargetPrior:
    reason = f"{uniform.reason} Labels are not moved to them: the parts of a text have so little in common that there "
    return TargetPrior(uniform.shares, "unclear", reason + "may be one class only.")


def _doubt(probabilities: Floats, statistics: Statistics, validation_texts: int) -> str:
    """Why no estimate is worth making; empty where one is."""
    if len(probabilities) < MIN_TEXTS:
        return f"there are fewer than {MIN_TEXTS} texts to estimate them with"
    if validation_texts < MIN_TEXTS:
        return f"the teacher was validated on {validation_texts} texts, and {MIN_TEXTS} are wanted to estimate others"
    if min(statistics.class_prior) <= 0:
        return "the source lacks a class"
    assert statistics.validation_confidence is not None  # the caller has looked
    change = float(confidences(probabilities).mean()) - statistics.validation_confidence
    if abs(change) > MAX_CONFIDENCE_CHANGE:
        return f"no estimate holds where the teacher's mean confidence is {change:+.2f} from that on its own domain"
    return ""


def _estimates(probabilities: Floats, statistics: Statistics, label_names: Sequence[str]) -> NDArray[np.float64] | str:
    """The two estimates, (2, classes), or why they cannot be trusted."""
    source = np.array(statistics.class_prior)
    confusion = np.array(statistics.validation_confusion)
    counted = bbse_prior(probabilities.argmax(axis=1), confusion, source, label_names=label_names)
    if counted.fell_back:
        return counted.note
    likeliest = em_prior(probabilities, source)
    apart = _distance(likeliest.prior, counted.prior)
    if apart > MAX_DISAGREEMENT:
        return f"two estimates of them are {apart:.2f} apart"
    return np.stack([likeliest.prior, counted.prior])


def _shrunk(estimate: NDArray[np.float64], margin: float) -> TargetPrior:
    """The estimate, nearer to uniform by the margin."""
    classes = len(estimate)
    distance = _distance(estimate, np.full(classes, 1 / classes))
    if distance <= margin:
        how = f"the estimated ones are {distance:.2f} from them, within the margin of {margin:.2f}"
        return _uniform(classes, f"Uniform class shares: {how}.")
    shares = 1 / classes + (1 - margin / distance) * (estimate - 1 / classes)
    reason = f"Class shares estimated {distance:.2f} from uniform and moved towards it by the margin of {margin:.2f}."
    return TargetPrior(tuple(shares.tolist()), "estimated", reason)
