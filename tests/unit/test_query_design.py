"""The draw of `query`: its chances are what it says they are, over several batches too, and it covers all kinds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from distilshift.metrics import softmax
from distilshift.query_design import (
    Emphasis,
    Pool,
    batch_share,
    combined_weights,
    draw,
    effective_size,
    inclusion_probabilities,
    spread_order,
    systematic,
)
from distilshift.similarity_order import similarity_order
from distilshift.text_sketch import unit_vectors

NONE = np.zeros(0, np.int64)
NO_WEIGHTS = np.zeros(0)


def pool(size: int = 90, classes: int = 3, seed: int = 0) -> Pool:
    """Texts in as many clusters as classes; the first three are near copies, as are the next two."""
    generator = np.random.default_rng(seed)
    kinds = np.arange(size) % classes
    vectors = unit_vectors(np.eye(8)[kinds] + generator.normal(0, 0.3, (size, 8)))
    logits = 2 * np.eye(classes)[kinds] + generator.normal(0, 1, (size, classes))
    groups = np.arange(size)
    groups[:3], groups[3:5] = 0, 3
    return Pool(softmax(logits), vectors, groups)


def test_texts_are_drawn_as_often_as_their_inclusion_says():
    texts, draws = pool(), 1500
    drawn, stated = np.zeros(90), np.zeros(90)
    for seed in range(draws):
        found = draw(texts, NONE, NO_WEIGHTS, 12, seed)
        drawn[found.batch.rows] += 1
        stated[found.batch.rows] = 1 / found.weights
    assert (drawn > 0).all()
    errors = np.abs(drawn / draws - stated) / np.sqrt(stated * (1 - stated) / draws)
    # Copies take turns, and a random one is in the pool: what others are compared with differs a little.
    assert errors.max() < 4.5
    assert abs(stated.sum() - 12) < 0.1


@pytest.mark.parametrize("batches", [(10,), (6, 9), (8, 4, 20), (40, 20)])
def test_weighted_answers_are_unbiased_over_batches_that_follow_the_answers(batches: tuple[int, ...]):
    """The chances of a later batch depend on the answers to earlier ones, as with a model that learned from them."""
    texts, draws = pool(60), 400
    right = (np.random.default_rng(5).random(60) < 0.3 + 0.6 * texts.probabilities.max(axis=1)).astype(float)
    totals, sizes = [], []
    for seed in range(draws):
        asked, weights, seen = NONE, NO_WEIGHTS, texts
        for count in batches:
            found = draw(seen, asked, weights, count, seed)
            asked = np.concatenate([asked, found.batch.rows])
            weights = np.concatenate([found.asked_weights, found.weights])
            tilted = softmax(np.log(texts.probabilities) * (0.3 + 2 * right[asked].mean()))
            seen = replace(texts, probabilities=tilted)
        totals.append(weights @ right[asked])
        sizes.append(weights.sum())
        assert len(set(asked.tolist())) == len(asked)
    for values, truth in ((totals, right.sum()), (sizes, 60)):
        assert abs(np.mean(values) - truth) < 4 * np.std(values) / draws**0.5 + 1e-9


def test_the_plain_mean_of_the_same_answers_is_biased():
    """Otherwise the test above would show nothing."""
    texts = pool(60)
    right = (texts.probabilities.max(axis=1) > 0.7).astype(float)
    means = [right[draw(texts, NONE, NO_WEIGHTS, 10, seed).batch.rows].mean() for seed in range(500)]
    assert abs(np.mean(means) - right.mean()) > 8 * np.std(means) / 500**0.5


def test_near_copies_are_not_asked_together_or_after_one_another():
    texts = pool(30)
    asked, weights = NONE, NO_WEIGHTS
    for count in (10, 10, 50):
        found = draw(texts, asked, weights, count, 0)
        asked = np.concatenate([asked, found.batch.rows])
        weights = np.concatenate([found.asked_weights, found.weights])
    assert len(asked) == 27  # 30 texts, of which three and two are copies
    assert len(set(texts.groups[asked].tolist())) == 27
    counts = np.bincount(texts.groups)
    assert weights == pytest.approx(counts[texts.groups[asked]])  # everything is known


def test_weights_are_never_below_one_text():
    for batches in ((5, 20), (20, 5), (26, 1), (13, 14)):
        asked, weights = NONE, NO_WEIGHTS
        for count in batches:
            found = draw(pool(30), asked, weights, count, 3, Emphasis(uncertainty=50, equal_texts=0.01))
            asked = np.concatenate([asked, found.batch.rows])
            weights = np.concatenate([found.asked_weights, found.weights])
            assert weights.min() >= 1 - 1e-9


def test_each_predicted_class_and_each_cluster_is_asked_about():
    texts = pool(200, classes=8)
    few = texts.probabilities.copy()
    few[:, 7] *= 0.2  # a class that is seldom predicted
    texts = replace(texts, probabilities=few / few.sum(axis=1, keepdims=True))
    predicted = texts.probabilities.argmax(axis=1)
    assert 0 < (predicted == 7).sum() < 10
    for seed in range(20):
        rows = draw(texts, NONE, NO_WEIGHTS, 24, seed).batch.rows
        assert len(set(predicted[rows].tolist())) == 8
    equal = np.mean([(predicted[draw(texts, NONE, NO_WEIGHTS, 24, s).batch.rows] == 7).sum() for s in range(20)])
    by_size = Emphasis(equal_classes=0)
    sized = [(predicted[draw(texts, NONE, NO_WEIGHTS, 24, s, by_size).batch.rows] == 7).sum() for s in range(20)]
    assert equal > 1.5 * np.mean(sized)


@pytest.mark.parametrize("name", ["uncertainty", "novelty"])
def test_an_emphasis_makes_its_texts_likelier(name: str):
    texts, neutral = pool(), Emphasis(1, 1, 0, 0)
    asked, weights = (np.arange(6, 90, 12), np.full(7, 90 / 7)) if name == "novelty" else (NONE, NO_WEIGHTS)

    def mean_rank(emphasis: Emphasis) -> float:
        found = [getattr(draw(texts, asked, weights, 12, seed, emphasis).batch, name).mean() for seed in range(60)]
        return float(np.mean(found))

    assert mean_rank(replace(neutral, **{name: 6})) > mean_rank(neutral) + 0.08


def test_a_draw_spreads_over_similar_texts_better_than_chance():
    """Distances from each text to the nearest one that was drawn: smaller, if the draw covers the space."""
    texts = pool(300)
    even = Emphasis(1, 1, 0, 1)

    def uncovered(rows: NDArray[np.int64]) -> float:
        return float((1 - (texts.vectors @ texts.vectors[rows].T).max(axis=1)).mean())

    drawn = [uncovered(draw(texts, NONE, NO_WEIGHTS, 30, seed, even).batch.rows) for seed in range(30)]
    random = [uncovered(np.random.default_rng(seed).permutation(300)[:30]) for seed in range(30)]
    assert np.mean(drawn) < np.mean(random) - 2 * np.std(random) / 30**0.5


def test_the_same_seed_draws_the_same_texts():
    first, again, other = (draw(pool(), NONE, NO_WEIGHTS, 12, seed).batch.rows.tolist() for seed in (4, 4, 5))
    assert first == again
    assert first != other


@pytest.mark.parametrize("size", [1, 2, 5])
def test_few_texts_and_equal_ones_can_be_drawn(size: int):
    flat = Pool(np.full((size, 2), 0.5), np.zeros((size, 4), np.float32), np.arange(size))
    found = draw(flat, NONE, NO_WEIGHTS, 50, 0)
    assert sorted(found.batch.rows) == list(range(size))
    assert found.weights == pytest.approx(np.ones(size))


# The parts


def test_inclusion_probabilities_are_proportional_up_to_their_limits():
    ones = np.ones(4)
    assert inclusion_probabilities(np.array([1.0, 1, 2, 4]), 2, ones) == pytest.approx([0.25, 0.25, 0.5, 1])
    assert inclusion_probabilities(np.array([1.0, 1, 1, 97]), 2, ones) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    limited = inclusion_probabilities(np.array([1.0, 1, 1, 97]), 2, np.full(4, 0.6))
    assert limited == pytest.approx([1.4 / 3] * 3 + [0.6])


def test_systematic_sampling_by_hand():
    chances = np.array([0.5, 0.25, 0.25, 0.5, 0.5, 1.0])
    assert systematic(chances, 0.1).tolist() == [0, 3, 5]
    assert systematic(chances, 0.6).tolist() == [1, 4, 5]
    starts = (np.arange(4000) + 0.5) / 4000
    often = np.zeros(6)
    for start in starts:
        often[systematic(chances, start)] += 1 / 4000
    assert often == pytest.approx(chances, abs=1e-3)


def test_every_text_of_a_batch_is_equally_likely_to_be_asked_first_and_first_ones_are_spread():
    generator, places = np.random.default_rng(0), np.zeros((9, 9))
    for _ in range(3000):
        places[np.arange(9), spread_order(9, generator)] += 1 / 3000
    assert places == pytest.approx(np.full((9, 9), 1 / 9), abs=0.03)
    first = np.sort(spread_order(50, generator)[:10])
    assert np.diff(np.append(first, first[0] + 50)).max() <= 10


def test_batches_of_equal_chances_weigh_all_answers_equally():
    share = batch_share(1600, 50, 150)
    new, old = combined_weights(share, np.full(150, 1550 / 150), np.full(50, 1600 / 50), np.ones(50))
    assert new == pytest.approx(np.full(150, 1600 / 200))
    assert old == pytest.approx(np.full(50, 1600 / 200))
    assert batch_share(1600, 0, 50) == pytest.approx(1)
    assert batch_share(100, 50, 50) == pytest.approx(1)  # everything is known then


def test_the_effective_size_is_that_of_equal_weights():
    assert effective_size(np.full(7, 3.0)) == pytest.approx(7)
    assert effective_size(np.array([1.0, 3.0])) == pytest.approx(16 / 10)


def test_neighbors_in_the_order_are_similar_and_classes_stay_together():
    texts = pool(400, classes=4)
    classes = np.arange(400) % 2  # two clusters each
    order = similarity_order(texts.vectors, classes)
    assert sorted(order) == list(range(400))
    assert (np.diff(classes[order]) != 0).sum() == 1
    ordered = texts.vectors[order]
    near = (ordered[1:] * ordered[:-1]).sum(axis=1).mean()
    assert near > (ordered[7:] * ordered[:-7]).sum(axis=1).mean() > (texts.vectors @ texts.vectors.T).mean() + 0.1
