"""The tests behind `drift`: the right p-values, and no more false alarms than promised."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from distilshift.drift import holm
from distilshift.shift_tests import counts_p_value, f_tail, incomplete_beta, mean_p_value


@pytest.mark.parametrize("first", [1, 3, 12, 64])
@pytest.mark.parametrize("second", [1, 8, 38, 1536, 10**6])
@pytest.mark.parametrize("value", [0.0, 0.2, 0.97, 1.0, 1.3, 4.0, 60.0])
def test_the_f_tail_is_that_of_scipy(value: float, first: int, second: int):
    assert f_tail(value, first, second) == pytest.approx(scipy.stats.f.sf(value, first, second), rel=1e-8, abs=1e-290)


def test_the_incomplete_beta_function_at_its_ends_and_where_it_is_known():
    assert (incomplete_beta(0, 2, 3), incomplete_beta(1, 2, 3)) == (0, 1)
    assert incomplete_beta(0.3, 1, 1) == pytest.approx(0.3)
    assert incomplete_beta(0.5, 7, 7) == pytest.approx(0.5)


def test_counts_of_a_small_table_have_the_p_value_of_fishers_exact_test():
    reference, now = np.array([95, 5]), np.array([42, 8])
    exact = scipy.stats.fisher_exact([reference, now]).pvalue
    found = counts_p_value(reference, now, np.random.default_rng(0))
    assert found == pytest.approx(exact, abs=0.015)


def test_counts_have_the_p_value_of_the_chi_squared_test_where_they_are_large():
    reference, now = np.array([400, 300, 300]), np.array([160, 180, 160])
    expected = scipy.stats.chi2_contingency([reference, now]).pvalue
    assert counts_p_value(reference, now, np.random.default_rng(0)) == pytest.approx(expected, abs=0.01)


def test_counts_that_cannot_differ_do_not():
    assert counts_p_value(np.array([80, 0]), np.array([50, 0]), np.random.default_rng(0)) == 1


def test_equal_shares_are_a_tie_with_themselves():
    assert counts_p_value(np.array([50, 50]), np.array([50, 50]), np.random.default_rng(0)) == 1


def test_very_many_bins_take_fewer_tables():
    reference = np.full(3_000, 5)
    now = np.zeros(3_000, np.int64)
    now[:60] = 1
    assert 0 < counts_p_value(reference, now, np.random.default_rng(0)) <= 1


@pytest.mark.parametrize("size", [60, 400])
def test_means_raise_as_many_false_alarms_as_promised_with_few_reference_texts_too(size: int):
    generator, p_values = np.random.default_rng(0), []
    mixing = generator.normal(size=(15, 15))
    for _ in range(400):
        reference, now = generator.normal(size=(size, 15)) @ mixing, generator.normal(size=(100, 15)) @ mixing
        p_values.append(mean_p_value(reference.mean(axis=0), np.cov(reference.T), size, now))
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01


def test_a_moved_mean_is_found():
    generator = np.random.default_rng(0)
    reference, now = generator.normal(size=(400, 15)), generator.normal(size=(100, 15)) + 0.5
    assert mean_p_value(reference.mean(axis=0), np.cov(reference.T), 400, now) < 1e-6


def test_texts_that_are_all_alike_can_be_tested():
    rows = np.ones((60, 4))
    assert mean_p_value(rows.mean(axis=0), np.cov(rows.T), 60, rows) == 1
    assert mean_p_value(rows.mean(axis=0), np.cov(rows.T), 60, -rows) < 1e-6


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.004, 0.9, 0.008], [True, False, True]),  # 0.008 > 0.01 / 3, but the smallest is rejected first
        ([0.004, 0.9, 0.02], [False, False, False]),
        ([0.003, 0.006, 0.006], [True, False, False]),
    ],
)
def test_holms_method_by_hand(p_values: list[float], expected: list[bool]):
    level = 0.016 if expected[2] else 0.01
    assert holm(p_values, level) == expected
