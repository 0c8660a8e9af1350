"""Label-free scores and accuracy estimates against loops, scipy, simulations and values worked out by hand."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from distilshift import select
from distilshift.errors import EstimateError
from distilshift.metrics import softmax
from distilshift.select import (
    AccuracyEstimate,
    atc_accuracy,
    atc_threshold,
    atc_thresholds,
    checked_probabilities,
    confidence_difference_accuracy,
    confidences,
    information_score,
    negative_entropies,
    neighbourhood_density,
    prior_drift,
)

seeds = st.integers(0, 2**32 - 1)


def predictions(texts: int, classes: int, seed: int, scale: float = 2.0) -> np.ndarray:
    return softmax(np.random.default_rng(seed).normal(size=(texts, classes)) * scale)


def density_by_loops(rows: list[list[float]], temperature: float) -> float:
    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    entropies = []
    for i, row in enumerate(rows):
        powers = [math.exp(cosine(row, other) / temperature) for j, other in enumerate(rows) if j != i]
        shares = [power / sum(powers) for power in powers]
        entropies.append(-sum(share * math.log(share) for share in shares))
    return sum(entropies) / len(entropies)


@given(seeds, st.integers(2, 12), st.integers(2, 5), st.floats(0.03, 2))
@settings(max_examples=40, deadline=None)
def test_density_equals_loops_however_it_is_cut(seed: int, texts: int, classes: int, temperature: float):
    values = predictions(texts, classes, seed)
    wanted = density_by_loops(values.tolist(), temperature)
    assert neighbourhood_density(values, temperature) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select, "CELLS", 2 * texts + 1)
        assert neighbourhood_density(values, temperature) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_density_by_hand():
    """Two tight groups of three: each text has two equal neighbours, the rest is e^-20 away."""
    groups = np.repeat([[1.0, 0.0], [0.0, 1.0]], 3, axis=0)
    far = 3 * math.exp(-20)
    wanted = math.log(2 + far) + far / (2 + far) * 20
    assert neighbourhood_density(groups) == pytest.approx(wanted, rel=1e-12)
    assert neighbourhood_density(np.full((5, 3), 1 / 3)) == pytest.approx(math.log(4), rel=1e-12)
    assert neighbourhood_density(groups[2:4]) == 0.0  # one neighbour each


def test_density_holds_no_more_similarities_than_it_may(monkeypatch: pytest.MonkeyPatch):
    values, peaks = predictions(1000, 2, 0), []
    for cells in (2**22, 20_000):  # all 8 MB at once, and twenty rows at a time
        monkeypatch.setattr(select, "CELLS", cells)
        tracemalloc.start()
        neighbourhood_density(values)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] > 8e6
    assert peaks[1] < 2e6


def test_density_needs_two_texts():
    with pytest.raises(EstimateError, match=r"two texts at least.*got 1"):
        neighbourhood_density(np.array([[0.5, 0.5]]))


def test_information_score_limits_and_by_hand():
    assert information_score(np.eye(3)) == pytest.approx(math.log(3), rel=1e-12)
    assert information_score(np.tile([[0.2, 0.8]], (4, 1))) == pytest.approx(0, abs=1e-12)
    assert information_score(np.array([[1.0, 0.0]] * 3)) == 0.0
    pair = np.array([[0.9, 0.1], [0.3, 0.7]])
    wanted = stats.entropy([0.6, 0.4]) - (stats.entropy(pair[0]) + stats.entropy(pair[1])) / 2
    assert information_score(pair) == pytest.approx(wanted, rel=1e-12)


@given(seeds, st.integers(1, 9), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_scores_are_bounded_and_follow_no_order(seed: int, texts: int, classes: int):
    values = predictions(texts, classes, seed, 5.0)
    rng = np.random.default_rng(seed)
    turned = values[rng.permutation(texts)][:, rng.permutation(classes)]
    score = information_score(values)
    assert 0 <= score <= math.log(classes) + 1e-12
    assert information_score(turned) == pytest.approx(score, abs=1e-12)
    if texts > 1:
        density = neighbourhood_density(values)
        assert 0 <= density <= math.log(texts - 1) + 1e-9
        assert neighbourhood_density(turned) == pytest.approx(density, abs=1e-9)
    assert np.allclose(negative_entropies(values), -stats.entropy(values, axis=1), rtol=1e-10, atol=1e-12)
    assert confidences(values).tolist() == pytest.approx([max(row) for row in values.tolist()], rel=1e-12)


def test_prior_drift_by_hand():
    values = np.array([[0.9, 0.1, 0.0], [0.5, 0.1, 0.4]])
    assert prior_drift(values, np.array([0.5, 0.3, 0.2])) == pytest.approx(0.2, rel=1e-12)
    assert prior_drift(values, np.array([0.7, 0.1, 0.2])) == pytest.approx(0, abs=1e-12)
    assert prior_drift(np.array([[1.0, 0.0]]), np.array([0.0, 1.0])) == pytest.approx(1, rel=1e-12)
    with pytest.raises(EstimateError, match=r"expected 3 classes, got 2"):
        prior_drift(values, np.array([0.5, 0.5]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 2)), r"no predictions"),
        (np.zeros((3, 0)), r"no predictions"),
        (np.array([0.5, 0.5]), r"got \(2,\)"),
        (np.array([[0.5, 0.5], [0.9, 0.3]]), r"row 1"),
        (np.array([[0.5, 0.5], [1.2, -0.2], [3.0, 3.0]]), r"row 1"),
        (np.array([[0.5, 0.498]]), r"row 0"),
        (np.array([[0.5, 0.5], [np.nan, 0.5]]), r"row 1"),
        (np.array([[np.inf, 0.5], [0.5, 0.5]]), r"row 0"),
    ],
)
def test_what_is_no_prediction_is_refused(values: np.ndarray, message: str):
    for score in (information_score, confidences, negative_entropies, neighbourhood_density):
        with pytest.raises(EstimateError, match=message):
            score(values)


def test_float32_rows_are_made_to_sum_to_one():
    values = predictions(50, 7, 0).astype(np.float32)
    got = checked_probabilities(values)
    assert got.dtype == np.float64
    assert np.abs(got.sum(axis=1) - 1).max() < 1e-15
    assert np.abs(got - values).max() < 1e-6
    assert checked_probabilities(np.array([[-1e-7, 1 + 1e-7]])).tolist() == [[0.0, 1.0]]


def test_negative_entropies_of_certain_texts_are_zero():
    assert negative_entropies(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])).tolist() == pytest.approx(
        [0, 0, -math.log(2)]
    )


@pytest.mark.parametrize(
    ("scores", "correct", "threshold"),
    [
        ([0.6, 0.7, 0.8, 0.9], [0, 1, 1, 1], 0.7),
        ([0.9, 0.6, 0.8, 0.7], [0, 1, 0, 1], 0.8),  # which ones are right does not matter, only how many
        ([0.6, 0.7, 0.8, 0.9], [1, 1, 1, 1], 0.6),
        ([0.6, 0.7, 0.8, 0.9], [0, 0, 0, 0], np.nextafter(0.9, 1)),
        ([0.5, 0.5, 0.5, 0.9], [0, 0, 1, 1], 0.9),  # 1 or 4 of them reach: 1 is nearer to 2
        ([0.5, 0.5, 0.9, 0.9, 0.9, 0.9], [0, 0, 0, 0, 1, 1], np.nextafter(0.9, 1)),  # 0 or 4, equally far from 2
    ],
)
def test_atc_threshold_by_hand(scores: list[float], correct: list[int], threshold: float):
    assert atc_threshold(np.array(scores), np.array(correct, bool)) == threshold


@given(seeds, st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_atc_gives_back_the_accuracy_of_the_validation_set(seed: int, texts: int):
    rng = np.random.default_rng(seed)
    scores, correct = rng.normal(size=texts), rng.random(texts) < 0.7
    threshold = atc_threshold(scores, correct)
    estimate = sure_atc(scores, threshold)
    assert estimate.accuracy == pytest.approx(correct.mean(), abs=1e-12)
    assert 0 <= estimate.low <= estimate.accuracy <= estimate.high <= 1
    assert sure_atc(scores + 1e9, threshold).accuracy == 1
    assert sure_atc(scores - 1e9, threshold).accuracy == 0


def sure_atc(scores: np.ndarray, threshold: float, level: float = 0.95) -> AccuracyEstimate:
    """ATC as if its threshold had no error of its own."""
    return atc_accuracy(scores, threshold, np.full(200, threshold), np.random.default_rng(0), level)


def shifted(seed: int, texts: int, shift: float, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of texts and whether they were predicted right; right ones score higher, a shift lowers all scores."""
    rng = np.random.default_rng(seed)
    hardness = rng.normal(size=texts) + shift
    return -hardness, hardness + noise * rng.normal(size=texts) < 1


def test_atc_finds_a_drop_that_the_score_shows():
    scores, correct = shifted(0, 4000, 0.0)
    target, hits = shifted(1, 4000, 0.8)
    estimate = sure_atc(target, atc_threshold(scores, correct))
    assert correct.mean() - hits.mean() > 0.2  # there is a drop to find
    assert estimate.accuracy == pytest.approx(hits.mean(), abs=0.02)
    thresholds = atc_thresholds(scores, correct, np.random.default_rng(2))
    wide = atc_accuracy(target, atc_threshold(scores, correct), thresholds, np.random.default_rng(3))
    assert wide.accuracy == estimate.accuracy
    assert wide.low < hits.mean() < wide.high
    assert wide.high - wide.low > estimate.high - estimate.low  # the threshold's own error is in it


def test_bootstrap_intervals_hold_the_limit_as_often_as_they_say():
    """The limit is what endless texts would give; without the error of the threshold the interval is too narrow."""
    limit, inside, narrow = stats.norm.cdf(1 / math.sqrt(2) - 0.5), 0, 0
    for seed in range(120):
        scores, correct = shifted(3 * seed, 80, 0.0, noise=1.0)
        target, _ = shifted(3 * seed + 1, 100, 0.5)
        rng = np.random.default_rng(3 * seed + 2)
        thresholds = atc_thresholds(scores, correct, rng, 100)
        estimate = atc_accuracy(target, atc_threshold(scores, correct), thresholds, rng, level=0.9)
        inside += estimate.low <= limit <= estimate.high
        target_only = sure_atc(target, atc_threshold(scores, correct), level=0.9)
        narrow += target_only.low <= limit <= target_only.high
    assert 0.85 <= inside / 120 <= 0.97
    assert narrow / 120 < 0.8


def test_bootstrap_thresholds_repeat_with_the_seed_and_surround_the_estimate():
    scores, correct = shifted(0, 200, 0.0, noise=1.0)
    drawn = [atc_thresholds(scores, correct, np.random.default_rng(seed), 50) for seed in (5, 5, 6)]
    assert drawn[0].shape == (50,)
    assert drawn[0].tolist() == drawn[1].tolist() != drawn[2].tolist()
    assert drawn[0].min() < atc_threshold(scores, correct) < drawn[0].max()
    assert len(atc_thresholds(scores, correct, np.random.default_rng(5))) == 200
    assert set(atc_thresholds(np.array([0.5]), np.array([True]), np.random.default_rng(5))) == {0.5}
    estimate = atc_accuracy(np.array([0.3, 0.6]), 0.6, np.array([0.1]), np.random.default_rng(0))
    assert estimate == AccuracyEstimate(0.5, 0.5, 1.0, 0.95)  # the bounds hold the estimate in any case


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_with_a_sure_threshold_the_bootstrap_is_the_targets_binomial(level: float):
    scores, thresholds = np.linspace(0, 1, 400, endpoint=False), np.full(4000, 0.4)
    estimate = atc_accuracy(scores, 0.4, thresholds, np.random.default_rng(0), level)
    low, high = stats.binom.ppf([(1 - level) / 2, (1 + level) / 2], 400, 0.6) / 400
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1.01 / 400)
    assert (estimate.accuracy, estimate.level) == (0.6, level)


def test_atc_accuracy_counts_a_score_at_the_threshold():
    estimate = sure_atc(np.array([0.5, 0.7, 0.7, 0.9]), 0.7, level=0.9)
    assert (estimate.accuracy, estimate.level) == (0.75, 0.9)
    assert sure_atc(np.array([0.5]), 0.7).level == 0.95


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: atc_threshold(np.array([]), np.array([], bool)), r"validation scores cannot be used"),
        (lambda: atc_threshold(np.array([0.1, np.nan]), np.array([True, True])), r"not finite"),
        (lambda: atc_threshold(np.array([0.1, 0.2]), np.array([True])), r"expected 2 of each, got \(1,\)"),
        (lambda: atc_thresholds(np.array([0.1, 0.2]), np.array([True]), np.random.default_rng(0)), r"2 of each"),
        (lambda: sure_atc(np.array([[0.1]]), 0.5), r"target scores cannot be used"),
        (lambda: sure_atc(np.array([np.inf]), 0.5), r"not finite"),
        (lambda: confidence_difference_accuracy(0.9, 1.2, 0.8), r"from 0 to 1"),
        (lambda: confidence_difference_accuracy(0.9, math.nan, 0.8), r"from 0 to 1"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str):
    with pytest.raises(EstimateError, match=message):
        call()


def test_confidence_difference_by_hand():
    assert confidence_difference_accuracy(0.9, 0.92, 0.85) == pytest.approx(0.83, abs=1e-12)
    assert confidence_difference_accuracy(0.9, 0.8, 0.85) == pytest.approx(0.95, abs=1e-12)
    assert confidence_difference_accuracy(0.99, 0.6, 0.9) == 1.0
    assert confidence_difference_accuracy(0.1, 0.9, 0.6) == 0.0
    assert confidence_difference_accuracy(0.0, 1.0, 1.0) == 0.0
