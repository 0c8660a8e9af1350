"""What some true labels make of predictions: they correct errors, leave alone what is right, and measure honestly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from distilshift.few_labels import Similarity, _fit, fit_correction
from distilshift.measured import effective_number, label_gap, weighted_accuracy
from distilshift.metrics import softmax
from distilshift.target_labels import TargetLabels

TEXTS, GROUPS = 400, 8


def labels_of(rows: NDArray[np.int64], truth: NDArray[np.int64]) -> TargetLabels:
    return TargetLabels(rows, truth[rows], np.ones(len(rows)))


def world(wrong_groups: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Logits, features and true classes of texts in groups; those of the first groups are predicted wrong."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, GROUPS, TEXTS)
    centers = rng.normal(size=(GROUPS, 16))
    features = centers[group] + 0.3 * rng.normal(size=(TEXTS, 16))
    truth = group % 4
    predicted = np.where(group < wrong_groups, (truth + 1) % 4, truth)
    return 2.0 * np.eye(4)[predicted] + 0.3 * rng.normal(size=(TEXTS, 4)), features, truth


def corrected(
    logits: NDArray[np.float64], features: NDArray[np.float64], truth: NDArray[np.int64], count: int, seed: int = 0
) -> tuple[float, float, float]:
    """Accuracy of the texts without labels before and after, and the weight of no correction at all."""
    rows = np.random.default_rng(seed).permutation(TEXTS)[:count]
    similarity = Similarity(features, features[rows])
    fitted = fit_correction({"in use": logits[rows]}, similarity(features[rows]), labels_of(rows, truth), seed)
    rest = np.setdiff1d(np.arange(TEXTS), rows)
    found = fitted.apply({"in use": logits[rest]}, similarity(features[rest]))
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-9)
    before, after = ((z.argmax(axis=1) == truth[rest]).mean() for z in (logits[rest], found))
    plain = [not (option.bias or option.strength) for option in fitted.options]
    return float(before), float(after), float(fitted.weights[plain].sum())


def test_errors_are_corrected_in_texts_like_those_that_are_labelled():
    before, after, _ = corrected(*world(wrong_groups=2), count=50)
    assert before < 0.8
    assert after > before + 0.15


def test_labels_that_confirm_the_predictions_change_nothing_for_the_worse():
    for seed in range(5):
        before, after, _ = corrected(*world(wrong_groups=0, seed=seed), count=10, seed=seed)
        assert after >= before - 0.005


def test_labels_that_the_features_do_not_explain_leave_predictions_alone():
    rng = np.random.default_rng(0)
    logits, features, truth = world(wrong_groups=0)
    noisy = np.where(rng.random(TEXTS) < 0.2, rng.integers(0, 4, TEXTS), truth)
    before, after, unchanged = corrected(logits, rng.normal(size=features.shape), noisy, count=100)
    assert after >= before - 0.01
    assert unchanged > 0.3


def test_a_leaning_teacher_is_put_right_by_the_class_prior():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, TEXTS)
    signal = np.where(truth == 1, 1.0, -1.0) + rng.normal(size=TEXTS)
    logits = np.stack([np.zeros(TEXTS), signal - 1.5], axis=1)
    before, after, _ = corrected(logits, rng.normal(size=(TEXTS, 16)), truth, count=50)
    assert after > before + 0.04


def test_the_better_of_two_candidates_is_found():
    bad, features, truth = world(wrong_groups=6)
    good, _, _ = world(wrong_groups=0)
    rows = np.arange(30)
    candidates = {"in use": bad, "unadapted": good}
    known = {name: logits[rows] for name, logits in candidates.items()}
    similarity = Similarity(features, features[rows])
    fitted = fit_correction(known, similarity(features[rows]), labels_of(rows, truth), 0)
    weight = {
        name: sum(w for o, w in zip(fitted.options, fitted.weights, strict=True) if o.candidate == name)
        for name in known
    }
    assert weight["unadapted"] > 0.95


def test_few_labels_keep_what_is_in_use():
    """Two candidates that are right equally often."""
    logits, features, truth = world(wrong_groups=0)
    rows = np.arange(10)
    known = {"in use": logits[rows], "unadapted": logits[rows] + 0.01}
    fitted = fit_correction(known, Similarity(features, features[rows])(features[rows]), labels_of(rows, truth), 0)
    assert sum(w for o, w in zip(fitted.options, fitted.weights, strict=True) if o.candidate == "in use") > 0.5


def test_a_text_is_measured_without_its_own_label():
    """Labels at random cannot be predicted: a measure that saw them would say otherwise."""
    rng = np.random.default_rng(0)
    rows, features = np.arange(200), rng.normal(size=(200, 8))
    logits, truth = np.zeros((200, 2)), rng.integers(0, 2, 200)
    similarity = Similarity(features, features)
    fitted = fit_correction({"in use": logits}, similarity(features), labels_of(rows, truth), 0)
    assert abs((fitted.held_out.argmax(axis=1) == truth).mean() - 0.5) < 0.12
    again = fit_correction({"in use": logits}, similarity(features), labels_of(rows, truth), 0)
    np.testing.assert_array_equal(again.held_out, fitted.held_out)


def test_the_fit_is_the_mode_of_the_posterior():
    rng = np.random.default_rng(0)
    logits, classes = rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    points = rng.normal(size=(12, 2))
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=2)) + 0.5

    def loss(dual: NDArray[np.float64]) -> float:
        moved = kernel @ dual
        likelihood = np.log(softmax(logits + moved)[np.arange(12), classes]).sum()
        return float((dual * moved).sum() / 2 - likelihood)

    found = _fit(kernel[None], logits[None], classes)[0]
    for scale in (1e-2, 1e-1):
        for _ in range(20):
            assert loss(found + scale * rng.normal(size=found.shape)) > loss(found) - 1e-3


def test_an_accuracy_of_equal_weights_has_the_clopper_pearson_interval():
    right = np.array([True] * 45 + [False] * 5)
    found = weighted_accuracy(right, np.ones(50))
    assert found.accuracy == pytest.approx(0.9)
    assert (found.low, found.high) == (pytest.approx(0.7819, abs=1e-3), pytest.approx(0.9667, abs=1e-3))
    assert (found.labels, found.effective) == (50, pytest.approx(50))


@pytest.mark.parametrize(("right", "low", "high"), [([True] * 10, 0.6915, 1.0), ([False] * 10, 0.0, 0.3085)])
def test_an_accuracy_at_the_edge_has_an_interval_too(right: list[bool], low: float, high: float):
    found = weighted_accuracy(np.array(right), np.ones(10))
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def test_unequal_weights_count_each_text_for_those_it_stands_for_and_widen_the_interval():
    right, weights = np.array([True, False] * 20), np.array([1.0, 4.0] * 20)
    found = weighted_accuracy(right, weights)
    assert found.accuracy == pytest.approx(0.2)
    assert effective_number(weights) == pytest.approx(found.effective) == pytest.approx(40 * 25 / 34)
    equal = weighted_accuracy(np.array([True] * 8 + [False] * 32), np.ones(40))
    assert found.high - found.low > equal.high - equal.low


def test_the_interval_holds_as_often_as_it_promises():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        easy = rng.random(60) < 0.5  # texts drawn a quarter as often are right more often
        right = rng.random(60) < np.where(easy, 0.95, 0.6)
        weights = np.where(easy, 4.0, 1.0)
        found = weighted_accuracy(right, weights / weights.mean())
        held += found.low <= (4 * 0.95 + 0.6) / 5 <= found.high
    assert held / 400 >= 0.94


def test_a_student_that_says_what_its_labels_say_is_no_further_from_them():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    assert label_gap(probabilities, np.array([0, 1, 1])) == 0
    assert label_gap(probabilities, np.array([0, 0, 1])) == pytest.approx(0.2 / 3)
    wider = weighted_accuracy(np.array([True] * 40 + [False] * 10), np.ones(50)).widened(0.3)
    assert (wider.accuracy, wider.high) == (0.8, 1.0)
