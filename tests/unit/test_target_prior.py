"""Which class shares are expected: given, those of the labels, or those moved as far as parts of the texts bear out."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilshift.calibration import source_statistics
from distilshift.errors import ConfigError
from distilshift.part_shares import PartShare
from distilshift.target_prior import (
    LOWEST_SHARE,
    PARTS_ERROR,
    TargetPrior,
    given_prior,
    labels_prior,
    with_parts,
)

NAMES = ["negative", "positive"]


def labels_of(positive: float, texts: int = 60) -> np.ndarray:
    """Probabilities of two classes with this mean of the second, spread about it."""
    away = np.linspace(-1, 1, texts) * min(positive, 1 - positive)
    return np.stack([1 - positive - away, positive + away], axis=1)


def test_statistics_by_hand():
    """Three of four right; even log-odds of 1, 2, 3 and 4 times the temperature's inverse."""
    logits = np.array([[1, 0], [0, 2], [3, 0], [0, 4]], np.float32)
    found = source_statistics(logits, np.array([1, 1, 0, 1]), [0.25, 0.75], 0)
    assert found.validation_confusion == [[1, 0], [1, 2]]
    assert (found.class_prior, found.validation_accuracy) == ([0.25, 0.75], 0.75)
    odds = np.arange(1, 5) / found.temperature
    sure = 1 / (1 + np.exp(-odds))
    assert found.validation_confidence == pytest.approx(sure.mean(), abs=1e-7)  # logits are float32
    second = sure[1]  # three texts reach its score, as many as are right
    entropy = -(second * np.log(second) + (1 - second) * np.log(1 - second))
    assert found.atc_threshold == pytest.approx(-entropy, abs=1e-7)
    assert len(found.atc_thresholds) == 40
    assert found.atc_thresholds == sorted(found.atc_thresholds)
    assert found == source_statistics(logits, np.array([1, 1, 0, 1]), [0.25, 0.75], 0)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("0.3,0.7", (0.3, 0.7)),
        ("positive=0.7, negative=0.3", (0.3, 0.7)),
        ("negative=.3,positive=.7", (0.3, 0.7)),
        ("0.333,0.666", (1 / 3, 2 / 3)),
        ("uniform", (0.5, 0.5)),
    ],
)
def test_shares_are_read_in_order_or_by_name(text: str, shares: tuple[float, float]):
    assert given_prior(text, NAMES).shares == pytest.approx(shares, abs=1e-3)
    assert sum(given_prior(text, NAMES).shares) == pytest.approx(1, abs=1e-12)


def test_auto_is_not_given():
    assert given_prior("auto", NAMES) is None
    assert given_prior("uniform", NAMES).origin == "given"
    assert given_prior("0.3,0.7", NAMES).origin == "given"


@pytest.mark.parametrize(
    "text",
    [
        *("", "Auto", "0.3", "0.3,0.7,0", "0.3,0.8", "0,1", "-0.5,1.5", "nan,nan", "inf,0.5", "a,b"),
        *("negative=0.3,neutral=0.7", "negative=0.3,0.7", "negative=0.3,negative=0.7", "30,70", "0.3;0.7"),
    ],
)
def test_other_shares_are_refused(text: str):
    with pytest.raises(ConfigError, match=r"target_prior .* expected auto, uniform, or .*negative=0.5,positive=0.5"):
        given_prior(text, NAMES)


@pytest.mark.parametrize("classes", range(2, 13))
def test_the_example_of_the_refusal_is_accepted(classes: int):
    names = [f"class {index}" for index in range(classes)]
    for each in (names, [f"yes, {name}" for name in names]):
        with pytest.raises(ConfigError) as refused:
            given_prior("much", each)
        example = str(refused.value).split("write it as ")[1]
        assert given_prior(example, each).shares == pytest.approx([1 / classes] * classes, abs=1e-9)
        rounded = ",".join(f"{1 / classes:.2f}" for _ in names)
        assert given_prior(rounded, each).shares == pytest.approx([1 / classes] * classes, abs=1e-9)


def test_the_labels_own_shares_are_those_of_the_predicted_classes():
    two = labels_prior(np.array([[0.6, 0.4], [0.9, 0.1], [0.4, 0.6]]))
    np.testing.assert_allclose(two.shares, [3 / 5, 2 / 5])
    three = labels_prior(np.array([[0.7, 0.2, 0.1], [0.9, 0.1, 0.0], [0.4, 0.5, 0.1]]))
    np.testing.assert_allclose(three.shares, (np.array([3 / 6, 2 / 6, 1 / 6]) + 1 / 3) / 2)
    assert (two.origin, two.known) == (three.origin, three.known) == ("labels", False)
    assert two.reason == "Labels keep the class shares that they have: there is no better evidence."


@pytest.mark.parametrize("origin", ["given", "parts", "labels"])
def test_shares_are_known_unless_only_the_labels_tell_them(origin: str):
    assert TargetPrior((0.5, 0.5), origin, "").known == (origin != "labels")


@given(st.floats(0.03, 0.97), st.floats(0.02, 0.98), st.floats(0.0, 0.3))
def test_labels_stay_within_one_standard_error_and_else_stop_one_before_the_estimate(
    own: float, told: float, bootstrap: float
):
    error = float(np.hypot(bootstrap, PARTS_ERROR))
    labels = labels_of(own)
    found = with_parts(labels, PartShare(told, bootstrap, common=0.5))
    if abs(told - own) <= error:
        assert (found.shares, found.origin) == (labels_prior(labels).shares, "labels")
        assert f"which agrees with {own:.2f}." in found.reason
    else:
        assert found.origin == "parts"
        assert abs(told - found.shares[1]) == pytest.approx(error, abs=LOWEST_SHARE)
        assert min(own, told) < found.shares[1] + LOWEST_SHARE
        assert found.shares[1] - LOWEST_SHARE < max(own, told)
    assert sum(found.shares) == pytest.approx(1)
    assert min(found.shares) > 0


def test_the_less_sure_the_estimate_the_less_labels_move():
    """From 0.9 towards 0.3: the bootstrap's error and that of the model of parts add up as variances do."""
    errors = (0.0, 0.075, 0.24, 0.5897)
    found = [with_parts(labels_of(0.9), PartShare(0.3, error, common=0.5)) for error in errors]
    np.testing.assert_allclose([each.shares[1] for each in found], [0.41, 0.433, 0.564, 0.9], atol=1e-3)
    last = with_parts(labels_of(0.9), PartShare(0.3, 0.592, common=0.5))  # 0.6 with that of the model
    assert last.origin == "labels"


@pytest.mark.parametrize(
    ("own", "told", "bootstrap", "interval"),
    [(0.8, 0.5, 0.0, "0.28 to 0.72"), (0.8, 0.5, 0.1, "0.21 to 0.79"), (0.6, 0.1, 0.0, "0.00 to 0.32")],
)
def test_the_interval_is_of_the_whole_error_and_told(own: float, told: float, bootstrap: float, interval: str):
    found = with_parts(labels_of(own), PartShare(told, bootstrap, common=0.5))
    assert found.reason == (
        f"Labels move from {own:.2f} to {found.shares[1]:.2f}: parts of the texts tell {told:.2f} for the second class "
        f"(95 % interval {interval}), and they stop one standard error before it."
    )
    upper = with_parts(labels_of(0.4), PartShare(0.9, 0.0, common=0.5))
    assert "(95 % interval 0.68 to 1.00)" in upper.reason


@pytest.mark.parametrize("mirrored", [False, True])
def test_no_class_is_expected_to_be_all_but_absent(mirrored: bool):
    own, told = (0.999, 0.885) if mirrored else (0.001, 0.115)
    found = with_parts(labels_of(own), PartShare(told, 0.0, common=0.5))
    assert found.shares[0 if mirrored else 1] == pytest.approx(LOWEST_SHARE)
    assert found.origin == "parts"


@pytest.mark.parametrize(
    ("share", "common", "believed"), [(0.5, 0.17, False), (0.5, 0.19, True), (0.1, 0.11, False), (0.1, 0.12, True)]
)
def test_one_class_that_looks_like_two_is_not_believed(share: float, common: float, believed: bool):
    labels = labels_of(0.8)
    found = with_parts(labels, PartShare(share, 0.05, common))
    assert found.known == believed
    assert (found == labels_prior(labels)) != believed


def test_parts_that_all_look_the_same_leave_labels_alone():
    assert with_parts(labels_of(0.8), None) == labels_prior(labels_of(0.8))


def test_a_prior_survives_json():
    found = with_parts(labels_of(0.8), PartShare(0.3, 0.05, common=0.5))
    assert TargetPrior.from_json(json.loads(json.dumps(dataclasses.asdict(found)))) == found
