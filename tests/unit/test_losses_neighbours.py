"""NRC, AaD and the neighbour search against plain loops and values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distilshift.losses.adapt import prior_divergence
from distilshift.losses.neighbours import (
    attracting_dispersing,
    dispersion,
    dispersion_weight,
    expanded_neighbours,
    nearest_neighbours,
    neighbour_attraction,
    reciprocal_affinity,
    reciprocal_clustering,
)
from tensors import EXACT, dot, random, rows, seeds, softmax


def cosine(first: list[float], second: list[float]) -> float:
    return dot(first, second) / math.sqrt(dot(first, first) * dot(second, second))


def nearest_by_loops(query: list[float], bank: list[list[float]], count: int, own: int | None) -> list[int]:
    order = sorted((n for n in range(len(bank)) if n != own), key=lambda n: -cosine(query, bank[n]))
    return order[:count]


def test_nearest_neighbours_by_hand_are_by_angle_and_without_the_text_itself():
    bank = rows([[1, 0], [100, 10], [0, 1], [-1, 0.2], [0.6, 0.5]])
    assert nearest_neighbours(bank, bank, 2, own=torch.arange(5)).tolist() == [[1, 4], [0, 4], [4, 3], [2, 4], [1, 0]]
    assert nearest_neighbours(bank[:1], bank, 3).tolist() == [[0, 1, 4]]  # not in the bank: nothing is left out


def test_a_duplicate_is_a_neighbour_and_the_text_itself_is_not():
    bank = rows([[1, 2], [2, 4], [-1, 0], [1, 2]])
    found = nearest_neighbours(bank, bank, 2, own=torch.arange(4))
    assert [set(row) for row in found.tolist()][:2] == [{1, 3}, {0, 3}]
    assert all(own not in row for own, row in enumerate(found.tolist()))


@given(seeds, st.integers(1, 4), st.integers(1, 12), st.sampled_from([1, 7, 30, 2**24]))
@settings(max_examples=40, deadline=None)
def test_nearest_neighbours_equal_a_sort_however_they_are_cut(seed: int, count: int, size: int, cells: int):
    bank = random(size, 3, seed=seed)
    own = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[: max(1, size // 2)]
    queries = random(len(own), 3, seed=seed + 1)
    wanted = [
        nearest_by_loops(query, bank.tolist(), count, n)
        for query, n in zip(queries.tolist(), own.tolist(), strict=True)
    ]
    assert nearest_neighbours(queries, bank, count, own=own, cells=cells).tolist() == wanted
    everyone = [nearest_by_loops(query, bank.tolist(), count, None) for query in queries.tolist()]
    assert nearest_neighbours(queries, bank, count, cells=cells).tolist() == everyone


def test_the_search_holds_no_more_similarities_than_it_may(monkeypatch: pytest.MonkeyPatch):
    sizes, real = [], Tensor.topk

    def topk(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(self.numel())
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Tensor, "topk", topk)
    bank = random(50, 4)
    nearest_neighbours(bank, bank, 3, own=torch.arange(50), cells=120)
    assert sizes == [100] * 25
    sizes.clear()
    nearest_neighbours(bank, bank, 3, own=torch.arange(50), cells=10)  # a row at least
    assert sizes == [50] * 50


def test_the_search_gives_what_there_is_and_keeps_no_graph():
    lonely = random(1, 3)
    assert nearest_neighbours(lonely, lonely, 5, own=torch.zeros(1, dtype=torch.int64)).shape == (1, 0)
    assert nearest_neighbours(lonely[:0], lonely, 5).shape == (0, 1)
    bank = random(4, 3).requires_grad_()
    found = nearest_neighbours(bank, bank, 9, own=torch.arange(4))
    assert found.dtype == torch.int64
    assert [sorted(row) for row in found.tolist()] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert neighbour_attraction(random(1, 2), random(1, 0, 2)).tolist() == [0.0]


def test_the_search_is_exact_under_autocast():
    """The second differs from the first by a thousandth, which bfloat16 does not see."""
    bank = torch.tensor([[1.0, 0.03], [1.0, 0.02], [1.0, 0.01], [1.0, 0.0]])
    with torch.autocast("cpu", torch.bfloat16):
        assert (bank @ bank.T).dtype == torch.bfloat16
        assert nearest_neighbours(bank[3:], bank, 4).tolist() == [[3, 2, 1, 0]]
        assert nearest_neighbours(bank[3:].bfloat16(), bank, 4).tolist() == [[3, 2, 1, 0]]


def test_expanded_neighbours_and_affinity_by_hand():
    """On a line of angles 0, 10, 15, 90 degrees: 3 looks to 2, which looks elsewhere."""
    bank = rows([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in (0, 10, 15, 90)])
    own = torch.tensor([0, 3])
    near = nearest_neighbours(bank[own], bank, 2, own=own)
    assert near.tolist() == [[1, 2], [2, 1]]
    expanded = expanded_neighbours(near, bank, 2)
    assert expanded.tolist() == [[[2, 0], [1, 0]], [[1, 0], [2, 0]]]
    torch.testing.assert_close(reciprocal_affinity(own, expanded), torch.tensor([[1.0, 1.0], [0.1, 0.1]]))
    assert expanded_neighbours(near, bank, 1).tolist() == [[[2], [1]], [[1], [2]]]
    closest = expanded_neighbours(near, bank, 1)
    torch.testing.assert_close(reciprocal_affinity(own, closest, 0.3), torch.tensor([[0.3, 0.3], [0.3, 0.3]]))
    mixed = torch.tensor([[[0, 5], [7, 8]], [[9, 9], [3, 3]]])
    torch.testing.assert_close(reciprocal_affinity(own, mixed), torch.tensor([[1.0, 0.1], [0.1, 1.0]]))


def test_attraction_by_hand():
    logits = rows([[0.8, 0.2], [0.5, 0.5]]).log()
    near = rows([[[0.9, 0.1], [0.4, 0.6]], [[1.0, 0.0], [0.3, 0.7]]])
    torch.testing.assert_close(neighbour_attraction(logits, near), rows([-0.74 - 0.44, -0.5 - 0.5]), **EXACT)
    weights = rows([[1.0, 0.1], [0.0, 2.0]])
    torch.testing.assert_close(neighbour_attraction(logits, near, weights), rows([-0.74 - 0.044, -1.0]), **EXACT)


def test_dispersion_by_hand_is_over_the_rest_of_the_batch():
    logits = rows([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]).log()
    wanted = [0.5 + 0.26, 0.5 + 0.5, 0.26 + 0.5]
    torch.testing.assert_close(dispersion(logits), rows(wanted), **EXACT)
    assert dispersion(logits[:1]).item() == pytest.approx(0, abs=1e-15)  # alone there is nobody to disagree with


def test_dispersion_weight_falls_from_one():
    assert dispersion_weight(0.0) == 1.0
    assert dispersion_weight(0.1) == pytest.approx(2.0**-5, rel=1e-12)
    assert dispersion_weight(1.0) == pytest.approx(11.0**-5, rel=1e-12)
    assert dispersion_weight(0.3, 2.0) == pytest.approx(1 / 16, rel=1e-12)
    assert dispersion_weight(0.7, 0.0) == 1.0


@given(seeds, st.integers(2, 4), st.integers(2, 7), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_whole_of_nrc_equals_loops(seed: int, classes: int, texts: int, count: int, expanded_count: int):
    bank, scores = random(texts, 4, seed=seed), random(texts, classes, seed=seed + 1).softmax(dim=1)
    logits, own = 2 * random(texts, classes, seed=seed + 2), torch.arange(texts)
    near = nearest_neighbours(bank, bank, count, own=own)
    expanded = expanded_neighbours(near, bank, expanded_count)
    uniform = torch.full((classes,), 1 / classes, dtype=torch.float64)
    affinity = reciprocal_affinity(own, expanded)
    each = reciprocal_clustering(logits, scores[near], affinity, scores[expanded])
    got = each.mean() + prior_divergence(logits, uniform)

    p, features, s = [softmax(row) for row in logits.tolist()], bank.tolist(), scores.tolist()
    total = 0.0
    for i in range(texts):
        for j in nearest_by_loops(features[i], features, count, i):
            theirs = nearest_by_loops(features[j], features, expanded_count, j)
            total -= (1.0 if i in theirs else 0.1) * dot(p[i], s[j])
            total -= sum(0.1 * dot(p[i], s[m]) for m in theirs)
    mean = [sum(row[k] for row in p) / texts for k in range(classes)]
    wanted = total / texts + sum(value * math.log(value * classes) for value in mean)
    assert got.item() == pytest.approx(wanted, abs=1e-7)  # the affinity is float32
    assert each.shape == (texts,)


@given(seeds, st.integers(2, 4), st.integers(1, 6), st.floats(0, 2))
@settings(max_examples=30, deadline=None)
def test_the_whole_of_aad_equals_loops(seed: int, classes: int, texts: int, weight: float):
    logits, near = 2 * random(texts, classes, seed=seed), random(texts, 5, classes, seed=seed + 1).softmax(dim=2)
    p = [softmax(row) for row in logits.tolist()]
    wanted = [
        weight * sum(dot(p[i], p[m]) for m in range(texts) if m != i) - sum(dot(p[i], row) for row in near[i].tolist())
        for i in range(texts)
    ]
    torch.testing.assert_close(attracting_dispersing(logits, near, weight), rows(wanted), **EXACT)


def test_expanded_neighbours_weigh_a_tenth_and_as_told():
    logits, near, expanded = rows([[50.0, 0.0]]), rows([[[1.0, 0.0]]]), rows([[[[1.0, 0.0], [1.0, 0.0]]]])
    affinity = rows([[1.0]])
    assert reciprocal_clustering(logits, near, affinity, expanded).item() == pytest.approx(-1.2, abs=1e-12)
    assert reciprocal_clustering(logits, near, affinity, expanded, 0.5).item() == pytest.approx(-2.0, abs=1e-12)
    assert reciprocal_clustering(logits, near, 0.1 * affinity, expanded, 0.0).item() == pytest.approx(-0.1, abs=1e-12)


@pytest.mark.parametrize("size", [1e4, -1e4, 0.0])
def test_losses_and_gradients_are_finite_and_bounded_at_extreme_logits(size: float):
    logits = torch.tensor([[size, 0.0, -size], [0.0, size, 0.0]], requires_grad=True)
    near = torch.tensor([[[1.0, 0.0, 0.0]] * 4] * 2)
    loss = reciprocal_clustering(logits, near, torch.ones(2, 4), near.unsqueeze(2)) + dispersion(logits)
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (neighbour_attraction(logits, near) >= -4).all()
    assert (neighbour_attraction(logits, near) <= 0).all()
    assert (dispersion(logits) >= -1e-6).all()
    assert (dispersion(logits) <= 1 + 1e-6).all()


def test_gradients_agree_with_finite_differences():
    logits, near = random(3, 3).requires_grad_(), random(3, 2, 3, seed=1).softmax(dim=2)
    expanded, affinity = random(3, 2, 2, 3, seed=2).softmax(dim=3), random(3, 2, seed=3).exp()
    assert torch.autograd.gradcheck(lambda x: reciprocal_clustering(x, near, affinity, expanded), (logits,))
    assert torch.autograd.gradcheck(lambda x: attracting_dispersing(x, near, 0.7), (logits,))


def test_losses_follow_the_order_of_texts_and_ignore_that_of_neighbours():
    logits, near = random(5, 3), random(5, 4, 3, seed=1).softmax(dim=2)
    order, turn = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 0, 3, 1])
    loss = attracting_dispersing(logits, near, 0.5)
    torch.testing.assert_close(attracting_dispersing(logits[order], near[order], 0.5), loss[order], **EXACT)
    torch.testing.assert_close(attracting_dispersing(logits, near[:, turn], 0.5), loss, **EXACT)


def test_a_step_against_the_gradient_moves_towards_neighbours_and_away_from_the_batch():
    logits = rows([[0.0, 0.0], [3.0, 0.0]]).requires_grad_()
    neighbour_attraction(logits, rows([[[0.0, 1.0]], [[0.0, 1.0]]])).sum().backward()
    assert (logits.grad[:, 1] < 0).all()
    agreeing = rows([[1.0, 0.0], [3.0, 0.0]]).requires_grad_()
    dispersion(agreeing)[0].backward()
    assert (agreeing.grad[:, 0] > 0).all()  # both sides of the pair move
