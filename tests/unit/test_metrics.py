"""Metrics against scikit-learn, and calibration against an example worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax as scipy_softmax

from distilshift.metrics import (
    accuracy,
    agreement,
    calibration_error,
    confusion_matrix,
    macro_f1,
    negative_log_likelihood,
    softmax,
)

CLASSES = 4
pairs = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)


@given(pairs)
@settings(max_examples=80, deadline=None)
def test_counts_accuracy_and_f1_equal_scikit_learns(items: list[tuple[int, int]]):
    labels, predictions = (np.array(column) for column in zip(*items, strict=True))
    confusion = confusion_matrix(labels, predictions, CLASSES)
    assert confusion.tolist() == oracle.confusion_matrix(labels, predictions, labels=range(CLASSES)).tolist()
    assert accuracy(confusion) == pytest.approx(oracle.accuracy_score(labels, predictions), abs=1e-15)
    assert macro_f1(confusion) == pytest.approx(oracle.f1_score(labels, predictions, average="macro"), abs=1e-15)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 20))
@settings(max_examples=40, deadline=None)
def test_likelihood_equals_scikit_learns(seed: int, scale: float):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(20, CLASSES)) * scale, rng.integers(0, CLASSES, 20)
    probabilities = np.maximum(softmax(logits), 1e-12)
    wanted = oracle.log_loss(labels, probabilities / probabilities.sum(axis=1, keepdims=True), labels=range(CLASSES))
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(wanted, rel=1e-9)


def test_likelihood_of_an_impossible_label_is_floored():
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12), rel=1e-12)


def test_softmax_equals_scipys_and_stays_finite():
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [0.1, 0.2, 0.3]], np.float32)
    got = softmax(logits)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, scipy_softmax(logits.astype(np.float64), axis=1), rtol=1e-14, atol=0)
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=0, atol=1e-15)
    assert got[0].tolist() == [1.0, 0.0, 0.0]


def test_calibration_error_by_hand():
    """Five bins of width 0.2: (0.6, 0.65) has accuracy 1/2, (0.9, 0.95, 1.0) has 2/3; the rest are empty."""
    confidence = np.array([0.60, 0.65, 0.90, 0.95, 1.00])
    correct = np.array([True, False, True, True, False])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.where(correct, 0, 1)
    wanted = 2 / 5 * abs(1 / 2 - 0.625) + 3 / 5 * abs(2 / 3 - 0.95)
    assert calibration_error(probabilities, labels, bins=5) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    ("confidence", "labels", "wanted"), [(1.0, [0] * 4, 0.0), (1.0, [1] * 4, 1.0), (0.75, [0, 0, 0, 1], 0.0)]
)
def test_calibration_error_limits(confidence: float, labels: list[int], wanted: float):
    probabilities = np.tile([confidence, 1 - confidence], (4, 1))
    assert calibration_error(probabilities, np.array(labels)) == pytest.approx(wanted, abs=1e-12)


def test_agreement_is_the_share_of_equal_argmaxes():
    first, second = np.array([[1, 2], [3, 0], [0, 1], [5, 4]]), np.array([[0, 9], [1, 2], [1, 3], [8, 1]])
    assert agreement(first, second) == 0.75
    assert agreement(first, first) == 1.0
