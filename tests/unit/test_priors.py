"""Class shares of the target: simulated label shift, values worked out by hand, and inputs that tell nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from distilshift.errors import EstimateError
from distilshift.metrics import confusion_matrix, softmax
from distilshift.priors import PriorEstimate, bbse_prior, em_prior

seeds = st.integers(0, 2**32 - 1)


def label_shift(seed: int, texts: int, shares: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn by `shares`, and exact source posteriors of texts from unit normal classes 2 apart."""
    rng = np.random.default_rng(seed)
    centres = 2 * np.arange(len(shares))
    labels = rng.choice(len(shares), texts, p=shares)
    points = rng.normal(centres[labels])
    return labels, softmax(np.log(source) - (points[:, None] - centres) ** 2 / 2)


def log_likelihood(shares: np.ndarray, probabilities: np.ndarray, source: np.ndarray) -> float:
    return float(np.log((probabilities / source * shares).sum(axis=1)).sum())


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [0.15, 0.85]])
def test_both_find_a_simulated_label_shift(shares: list[float]):
    source, target = np.array([0.6, 0.4]), np.array(shares)
    labels, validation = label_shift(0, 4000, source, source)
    confusion = confusion_matrix(labels, validation.argmax(axis=1), 2)
    _, probabilities = label_shift(1, 4000, target, source)
    by_em = em_prior(probabilities, source)
    by_bbse = bbse_prior(probabilities.argmax(axis=1), confusion, source)
    for estimate in (by_em, by_bbse):
        assert estimate.prior == pytest.approx(target, abs=0.03)
        assert not estimate.fell_back
        assert estimate.note == ""
    counted = np.bincount(probabilities.argmax(axis=1), minlength=2) / 4000
    if shares != [0.5, 0.5]:
        assert abs(counted - target).max() > 0.03  # counting predictions alone would be wrong


def test_both_find_the_shares_of_three_classes():
    source, target = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])
    labels, validation = label_shift(0, 6000, source, source)
    _, probabilities = label_shift(1, 6000, target, source)
    confusion = confusion_matrix(labels, validation.argmax(axis=1), 3)
    assert em_prior(probabilities, source).prior == pytest.approx(target, abs=0.03)
    assert bbse_prior(probabilities.argmax(axis=1), confusion, source).prior == pytest.approx(target, abs=0.05)


@given(seeds, st.floats(0.1, 0.9), st.floats(0.1, 0.9))
@settings(max_examples=30, deadline=None)
def test_em_is_the_maximum_of_the_likelihood(seed: int, share: float, source_share: float):
    source = np.array([source_share, 1 - source_share])
    _, probabilities = label_shift(seed, 60, np.array([share, 1 - share]), source)
    got = em_prior(probabilities, source, pseudo_texts=0.0, tolerance=1e-10, rounds=20_000).prior
    best = optimize.minimize_scalar(
        lambda x: -log_likelihood(np.array([x, 1 - x]), probabilities, source),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert got[0] == pytest.approx(best.x, abs=1e-3)
    assert got.sum() == pytest.approx(1, abs=1e-12)


def test_one_round_of_em_by_hand():
    probabilities, source = np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0.5, 0.5])
    first = em_prior(probabilities, source, pseudo_texts=0.0, rounds=1)
    assert first.prior == pytest.approx([0.7, 0.3], abs=1e-12)
    assert first.note == "not settled after 1 rounds: the last one moved a share by 2.0e-01"
    second = em_prior(probabilities, source, pseudo_texts=0.0, rounds=2).prior[0]
    wanted = (0.8 * 0.7 / (0.8 * 0.7 + 0.2 * 0.3) + 0.6 * 0.7 / (0.6 * 0.7 + 0.4 * 0.3)) / 2
    assert second == pytest.approx(wanted, abs=1e-12)
    # Ratios to the source's shares: with shares 0.8 and 0.2 the second text speaks for the second class.
    skewed = em_prior(probabilities, np.array([0.8, 0.2]), pseudo_texts=0.0, rounds=2).prior
    one = np.array([0.7, 0.3]) / [0.8, 0.2]
    rows = [np.array(row) * one / (np.array(row) * one).sum() for row in probabilities]
    assert skewed == pytest.approx(sum(rows) / 2, abs=1e-12)
    counted = em_prior(probabilities, np.array([0.8, 0.2]), pseudo_texts=3.0, rounds=1).prior
    assert counted == pytest.approx([(1.4 + 2.4) / 5, (0.6 + 0.6) / 5], abs=1e-12)


def test_predictions_that_say_nothing_leave_the_source_prior():
    source = np.array([0.7, 0.2, 0.1])
    assert em_prior(np.tile(source, (30, 1)), source).prior == pytest.approx(source, abs=1e-12)


def test_a_target_of_one_class_comes_out_as_one_and_never_at_zero():
    source = np.array([0.5, 0.5])
    sure, unsure = np.tile([1.0, 0.0], (50, 1)), np.tile([0.9, 0.1], (50, 1))
    assert em_prior(sure, source, pseudo_texts=0.0).prior == pytest.approx([1, 0], abs=1e-5)
    assert em_prior(unsure, source, pseudo_texts=0.0).prior == pytest.approx([1, 0], abs=1e-5)
    for estimate in (em_prior(sure, source), bbse_prior(np.zeros(50, int), np.diag([9, 9]), source)):
        assert estimate.prior == pytest.approx([50.5 / 51, 0.5 / 51], abs=1e-5)
        assert estimate.note == ""


def test_a_task_of_one_class_is_certain():
    assert em_prior(np.ones((3, 1)), np.array([1.0])).prior.tolist() == [1.0]
    assert bbse_prior(np.zeros(3, int), np.array([[4]]), np.array([1.0])).prior.tolist() == pytest.approx([1.0])


def test_em_stays_finite_where_a_share_vanishes():
    probabilities = np.tile([1 - 1e-300, 1e-300], (5, 1))
    estimate = em_prior(probabilities, np.array([1e-300, 1 - 1e-300]), pseudo_texts=0.0)
    assert np.isfinite(estimate.prior).all()
    assert estimate.prior == pytest.approx([1, 0], abs=1e-12)


def test_bbse_by_hand():
    """Class 0 is taken for 1 in a fifth, class 1 for 0 in a tenth: 0.45 predicted 0 is a share of one half."""
    confusion = [[8, 2], [4, 36]]
    predicted = np.array([0] * 45 + [1] * 55)
    estimate = bbse_prior(predicted, np.array(confusion), np.array([0.2, 0.8]), pseudo_texts=0.0)
    assert estimate.prior == pytest.approx([0.5, 0.5], abs=1e-12)
    assert (estimate.fell_back, estimate.note) == (False, "")
    drawn = bbse_prior(predicted, np.array(confusion), np.array([0.2, 0.8]), pseudo_texts=100.0).prior
    assert drawn == pytest.approx([0.35, 0.65], abs=1e-12)


def test_bbse_tells_of_a_share_below_zero():
    confusion = np.array([[80, 20], [30, 70]])
    estimate = bbse_prior(np.array([0] * 95 + [1] * 5), confusion, np.array([0.5, 0.5]), pseudo_texts=0.0)
    assert estimate.prior.tolist() == [1.0, 0.0]
    assert estimate.note == "class 1 came out at -0.300 and was set to 0"
    assert not estimate.fell_back


def test_bbse_with_three_classes_sets_the_negative_one_to_zero_and_scales_the_rest():
    rates = np.array([[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.0, 0.2, 0.8]])
    counts = np.array([70, 5, 25])
    solved = np.linalg.solve(rates.T, counts / 100)
    assert solved.min() < -0.01
    estimate = bbse_prior(np.repeat([0, 1, 2], counts), rates * 100, np.full(3, 1 / 3), pseudo_texts=0.0)
    kept = np.maximum(solved, 0)
    assert estimate.prior == pytest.approx(kept / kept.sum(), abs=1e-12)


@pytest.mark.parametrize(
    ("confusion", "note"),
    [
        ([[5, 5], [5, 5]], "smallest singular value 0.000"),
        ([[10, 0], [10, 0]], "smallest singular value 0.000"),
        ([[54, 46], [46, 54]], "smallest singular value 0.080"),
        ([[10, 0], [0, 0]], "class 1 has no validation text"),
        ([[0, 0], [0, 0]], "class 0 has no validation text"),
    ],
)
def test_bbse_falls_back_and_says_why(confusion: Any, note: str):
    source = np.array([0.3, 0.7])
    estimate = bbse_prior(np.array([0, 1, 1]), np.array(confusion), source)
    assert estimate.prior == pytest.approx(source, abs=1e-15)
    assert estimate.fell_back
    assert note in estimate.note
    assert not bbse_prior(np.array([0, 1, 1]), np.array([[56, 44], [44, 56]]), source).fell_back


@given(seeds, st.integers(2, 4), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_estimates_are_distributions_without_a_zero(seed: int, classes: int, texts: int):
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(size=(texts, classes)) * 5)
    source = rng.dirichlet(np.ones(classes)) * 0.9 + 0.1 / classes
    confusion = rng.integers(0, 6, (classes, classes))
    for estimate in (em_prior(probabilities, source), bbse_prior(probabilities.argmax(axis=1), confusion, source)):
        assert isinstance(estimate, PriorEstimate)
        assert estimate.prior.sum() == pytest.approx(1, abs=1e-9)
        assert estimate.prior.min() > 0


def test_estimates_do_not_depend_on_the_names_of_the_classes():
    source, order = np.array([0.2, 0.3, 0.5]), np.array([2, 0, 1])
    labels, probabilities = label_shift(0, 200, np.array([0.5, 0.3, 0.2]), source)
    found = em_prior(probabilities, source).prior
    assert em_prior(probabilities[:, order], source[order]).prior == pytest.approx(found[order], abs=1e-9)
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), 3)
    solved = bbse_prior(probabilities.argmax(axis=1), confusion, source).prior
    renamed = confusion[order][:, order]
    got = bbse_prior(probabilities[:, order].argmax(axis=1), renamed, source[order]).prior
    assert got == pytest.approx(solved[order], abs=1e-9)


HALVES = np.array([0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: em_prior(np.zeros((0, 2)), HALVES), r"no predictions"),
        (lambda: em_prior(np.array([[2.0, 1.0]]), HALVES), r"not probabilities"),
        (lambda: em_prior(np.array([[0.5, 0.5]]), np.array([1.0, 0.0])), r"the source does not have"),
        (lambda: em_prior(np.array([[0.5, 0.5]]), np.array([0.2, 0.3, 0.5])), r"expected 2 classes, got 3"),
        (lambda: em_prior(np.array([[0.5, 0.5]]), np.array([0.9, 0.9])), r"not probabilities"),
        (lambda: bbse_prior(np.array([], int), np.eye(2), HALVES), r"cannot be counted"),
        (lambda: bbse_prior(np.array([0, 2]), np.eye(2), HALVES), r"class index below 2"),
        (lambda: bbse_prior(np.array([-1]), np.eye(2), HALVES), r"class index below 2"),
        (lambda: bbse_prior(np.array([0.0, 1.0]), np.eye(2), HALVES), r"cannot be counted"),
        (lambda: bbse_prior(np.array([0]), np.ones((2, 3)), HALVES), r"not a confusion matrix"),
        (lambda: bbse_prior(np.array([0]), np.zeros((0, 0)), HALVES), r"not a confusion matrix"),
        (lambda: bbse_prior(np.array([0]), np.array([[1, -1], [0, 1]]), HALVES), r"not a confusion matrix"),
        (lambda: bbse_prior(np.array([0]), np.array([[1, np.nan], [0, 1]]), HALVES), r"not a confusion matrix"),
        (lambda: bbse_prior(np.array([0]), np.eye(2), np.array([0.0, 1.0])), r"the source does not have"),
        (lambda: bbse_prior(np.array([0]), np.eye(2), np.full(3, 1 / 3)), r"expected 2 classes, got 3"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str):
    with pytest.raises(EstimateError, match=message):
        call()
