"""Drift detection: aggregates of a student's target texts, and the test of new texts against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.bundle import Manifest, verify
from distilshift.errors import BundleError, DataError
from distilshift.projection import DIMENSIONS, Projected
from distilshift.scan.drift_reference import MIN_TEXTS, REFERENCE, VERSION, check_reference, rounded
from distilshift.shift_tests import counts_p_value, mean_p_value
from distilshift.types import Drift, Statistic

# Reference texts required per dimension of the projection, to estimate its covariance.
_TEXTS_PER_DIMENSION = 4
# Seed of the Monte Carlo tests: the same texts always give the same result.
_SEED = 0


@dataclass(frozen=True)
class Outputs:
    """A student's predictions for texts.

    Attributes:
        classes: (texts,) predicted class numbers.
        confidence: (texts,) largest probability, 0 to 1.
    """

    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @classmethod
    def of(cls, probabilities: NDArray[np.float64]) -> Outputs:
        """Return those of class probabilities, (texts, classes)."""
        return cls(probabilities.argmax(axis=1), probabilities.max(axis=1))


@dataclass(frozen=True)
class Histogram:
    """Counts of texts between quantiles of a value.

    Attributes:
        edges: ascending; a value that equals an edge lies below it.
        counts: (edges + 1,).
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any]) -> Histogram:
        """Return the histogram of values, (texts,), between their deciles."""
        deciles = np.quantile(values, np.arange(1, 10) / 10, method="inverted_cdf")
        edges = np.unique([rounded(float(value)) for value in deciles])
        return cls(edges, _binned(values, edges))

    @property
    def median(self) -> float:
        """The edge that at least half of the texts do not exceed."""
        at = int(np.searchsorted(np.cumsum(self.counts), self.counts.sum() / 2))
        return float(self.edges[min(at, len(self.edges) - 1)])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"edges": self.edges.tolist(), "counts": self.counts.tolist()}


def _binned(values: NDArray[Any], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)


@dataclass(frozen=True)
class Reference:
    """Aggregates of a student's target texts; no text, and no number of a single text.

    Attributes:
        texts: how many were read.
        mean: (d,) of the first d dimensions of `projection.project`.
        covariance: (d, d) of these, unbiased.
        length: words of the texts.
        unknown: texts with a piece that the student's tokenizer does not know.
        classes: (classes,) texts by predicted class, or None where no text was held out from training.
        confidence: of the same predictions, or None.
    """

    texts: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    length: Histogram
    unknown: int
    classes: NDArray[np.int64] | None
    confidence: Histogram | None


def make_reference(
    projected: Projected, unknown: NDArray[np.bool_], outputs: Outputs | None, classes: int
) -> Reference | None:
    """Aggregate the target texts of a student.

    Args:
        projected: of the texts.
        unknown: (texts,) whether each text has a piece that the tokenizer does not know.
        outputs: predictions for texts on which the student is no better than on new ones; fewer than 50 count as None.
        classes: number of classes.

    Returns:
        the reference; None if there are fewer than 50 texts.
    """
    texts = len(unknown)
    if texts < MIN_TEXTS:
        return None
    if outputs is not None and len(outputs.classes) < MIN_TEXTS:
        outputs = None
    words = projected.words[:, : min(DIMENSIONS, texts // _TEXTS_PER_DIMENSION)]
    return Reference(
        texts,
        words.mean(axis=0),
        np.cov(words, rowvar=False),
        Histogram.of(projected.lengths),
        int(unknown.sum()),
        None if outputs is None else np.bincount(outputs.classes, minlength=classes),
        None if outputs is None else Histogram.of(outputs.confidence),
    )


def reference_json(reference: Reference) -> dict[str, Any]:
    """Return the content of `reference.json`."""
    outputs = None
    if reference.classes is not None and reference.confidence is not None:
        counts = reference.classes
        outputs = {
            "texts": int(counts.sum()),
            "classes": counts.tolist(),
            "confidence": reference.confidence.to_json(),
        }
    lower = reference.covariance[np.tril_indices(len(reference.mean))]
    return {
        "version": VERSION,
        "texts": reference.texts,
        "words": {"mean": [*map(rounded, reference.mean.tolist())], "covariance": [*map(rounded, lower.tolist())]},
        "length": reference.length.to_json(),
        "unknown": reference.unknown,
        "outputs": outputs,
    }


def read_reference(bundle: Path, manifest: Manifest) -> Reference:
    """Read the reference of a student bundle, its hash and its content checked.

    Raises:
        BundleError: the bundle has none, or it is damaged or does not fit the bundle.
    """
    if REFERENCE not in manifest.files:
        raise BundleError(
            f"{bundle} has no {REFERENCE}, with which drift compares texts",
            fix=f"make the student again with this version of distilshift, from at least {MIN_TEXTS} target texts",
        )
    verify(bundle, manifest, only=(REFERENCE,), scan=False)  # check_reference looks at it
    content = check_reference(bundle / REFERENCE)
    mean, outputs = np.array(content["words"]["mean"], np.float64), content["outputs"]
    lower = np.zeros((len(mean), len(mean)))
    lower[np.tril_indices(len(mean))] = content["words"]["covariance"]
    if outputs and len(outputs["classes"]) != len(manifest.label_names):
        raise _unfit(bundle / REFERENCE, f"{len(outputs['classes'])} classes")
    return Reference(
        content["texts"],
        mean,
        lower + np.tril(lower, -1).T,
        _histogram(content["length"]),
        content["unknown"],
        np.array(outputs["classes"], np.int64) if outputs else None,
        _histogram(outputs["confidence"]) if outputs else None,
    )


def _histogram(part: dict[str, Any]) -> Histogram:
    return Histogram(np.array(part["edges"], np.float64), np.array(part["counts"], np.int64))


def _unfit(path: Path, got: str) -> BundleError:
    return BundleError(f"{path} does not fit its bundle", got=got, fix="make the student again")


def compare(
    reference: Reference,
    projected: Projected,
    unknown: NDArray[np.bool_],
    outputs: Outputs,
    label_names: Sequence[str],
    level: float,
) -> Drift:
    """Test whether new texts come from the same domain as the reference.

    Each statistic has a test of its own; Holm's method over all of them keeps the probability of any false alarm at
    `level`, however they depend on each other.

    Args:
        reference: of the student.
        projected: of the new texts.
        unknown: of the new texts, as of `make_reference`.
        outputs: of the new texts.
        label_names: of the classes.
        level: probability of a false alarm.

    Raises:
        DataError: fewer than 50 texts.
        BundleError: the reference is not one that `make_reference` made.
    """
    texts = len(unknown)
    if texts < MIN_TEXTS:
        raise DataError(
            "there are too few texts to tell drift from chance",
            expected=f"at least {MIN_TEXTS}",
            got=str(texts),
            fix="collect more texts, those of several days for example",
        )
    tests = [_of_words(reference, projected), *_of_texts(reference, projected, unknown)]
    if reference.classes is not None and reference.confidence is not None:
        tests += _of_outputs(reference.classes, reference.confidence, outputs, label_names)
    moved = holm([p_value for *_, p_value in tests], level)
    statistics = tuple(Statistic(*test, moved=each) for test, each in zip(tests, moved, strict=True))
    least = min(test.p_value for test in statistics)
    return Drift(any(moved), min(1.0, len(tests) * least), level, texts, reference.texts, statistics)


_Test = tuple[str, float, float, float]


def _of_words(reference: Reference, projected: Projected) -> _Test:
    words = projected.words[:, : len(reference.mean)]
    try:
        p_value = mean_p_value(reference.mean, reference.covariance, reference.texts, words)
    except np.linalg.LinAlgError:
        raise _unfit(Path(REFERENCE), "a covariance that no texts have") from None
    by_chance = np.sqrt(np.trace(reference.covariance) * (1 / reference.texts + 1 / len(words)))
    return "words", float(by_chance), float(np.linalg.norm(words.mean(axis=0) - reference.mean)), p_value


def _of_texts(reference: Reference, projected: Projected, unknown: NDArray[np.bool_]) -> list[_Test]:
    length, found = reference.length, int(unknown.sum())
    before = np.array([reference.texts - reference.unknown, reference.unknown])
    now = np.array([len(unknown) - found, found])
    return [
        ("length", length.median, float(np.median(projected.lengths)), _test(length, projected.lengths)),
        ("unknown pieces", reference.unknown / reference.texts, found / len(unknown), _p_value(before, now)),
    ]


def _of_outputs(
    classes: NDArray[np.int64], confidence: Histogram, outputs: Outputs, label_names: Sequence[str]
) -> list[_Test]:
    """Return the tests of the predictions, named after the class whose share moved most."""
    now = np.bincount(outputs.classes, minlength=len(classes))
    shares, shares_now = classes / classes.sum(), now / now.sum()
    most = int(np.abs(shares_now - shares).argmax())
    name = f"share of {label_names[most]!r}"
    median = float(np.median(outputs.confidence))
    return [
        (name, float(shares[most]), float(shares_now[most]), _p_value(classes, now)),
        ("confidence", confidence.median, median, _test(confidence, outputs.confidence)),
    ]


def _test(reference: Histogram, values: NDArray[Any]) -> float:
    return _p_value(reference.counts, _binned(values, reference.edges))


def _p_value(before: NDArray[np.int64], now: NDArray[np.int64]) -> float:
    return counts_p_value(before, now, np.random.default_rng(_SEED))


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Return which hypotheses Holm's step-down method rejects; any false rejection has probability `level` at most."""
    order, rejected = np.argsort(p_values, kind="stable"), [False] * len(p_values)
    for place, index in enumerate(order):
        if p_values[index] > level / (len(p_values) - place):
            break
        rejected[index] = True
    return rejected
