"""Samples have the size asked for and the mix of the whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.data.sample import confidence_strata_mask, random_mask


@given(st.integers(1, 200), st.integers(0, 250), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_random_mask_has_its_size(size: int, count: int, seed: int):
    mask = random_mask(size, count, seed)
    assert (len(mask), mask.sum()) == (size, min(size, count))


@given(st.integers(1, 200), st.integers(1, 250), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_stratified_mask_has_its_size(size: int, count: int, seed: int):
    probabilities = np.random.default_rng(seed).dirichlet([1.0, 1.0, 1.0], size)
    mask = confidence_strata_mask(probabilities, count, seed)
    assert (len(mask), mask.sum()) == (size, min(size, count))


def test_every_stratum_keeps_its_share_to_one_text():
    """A rare class, and within each class every tenth of confidence, is sampled in proportion."""
    rng = np.random.default_rng(0)
    positive = np.where(rng.random(2000) < 0.05, rng.uniform(0.5, 1, 2000), rng.uniform(0, 0.5, 2000))
    probabilities = np.stack([1 - positive, positive], axis=1)
    mask = confidence_strata_mask(probabilities, 200, 1)
    for label in (0, 1):
        confidence = probabilities.max(axis=1)
        members = probabilities.argmax(axis=1) == label
        edges = np.quantile(confidence[members], np.linspace(0, 1, 11))
        for low, high in pairwise(edges):
            stratum = members & (confidence >= low) & (confidence < high)
            assert mask[stratum].sum() == pytest.approx(stratum.sum() / 10, abs=1)


def test_seeds_differ():
    probabilities = np.random.default_rng(0).dirichlet([1.0, 1.0], 100)
    first, again, other = (confidence_strata_mask(probabilities, 10, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_texts_with_equal_probabilities_are_chosen_at_random():
    """A corpus whose period is the step: in its order, systematic sampling would choose one kind only."""
    hard = np.tile([[1.0, 0.0]], (400, 1))
    chosen = np.flatnonzero(confidence_strata_mask(hard, 100, 0)) % 4
    assert np.bincount(chosen, minlength=4).min() > 10
