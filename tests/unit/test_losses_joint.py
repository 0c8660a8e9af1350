"""The student's own labels, their shares, and masked tokens, against plain loops and values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.losses.distil import mixture_logits
from distilshift.losses.joint import align_shares, mask_tokens, masked_piece_error, mean_log_prediction
from tensors import EXACT, random, rows, seeds, softmax

CLOSE = {"rtol": 1e-9, "atol": 1e-10}


def test_the_mean_over_views_by_hand():
    views = rows([[[0.8, 0.2], [0.5, 0.5]], [[0.4, 0.6], [1.0, 3.0]]]).log()
    got = mean_log_prediction(views, rows([0.75, 0.25])).exp()
    torch.testing.assert_close(got, rows([[0.7, 0.3], [0.4375, 0.5625]]), **EXACT)
    alone = mean_log_prediction(views[:1], rows([1.0]))
    torch.testing.assert_close(alone, views[0], **EXACT)


@given(seeds, st.integers(2, 5), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_the_mean_over_views_equals_loops(seed: int, classes: int, count: int):
    views, weights = 3 * random(count, 3, classes, seed=seed), random(count, seed=seed).softmax(0)
    wanted = [
        [
            sum(w * softmax(view[text].tolist())[k] for w, view in zip(weights.tolist(), views, strict=True))
            for k in range(classes)
        ]
        for text in range(3)
    ]
    torch.testing.assert_close(mean_log_prediction(views, weights).exp(), rows(wanted), **CLOSE)


def test_an_update_of_the_bank_by_hand():
    """Q <- (1 - m) Q + m P, in log space; two of them leave (1 - m)^2 of the teacher's."""
    bank, own = rows([[1.0, 3.0], [9.0, 1.0]]).log(), rows([[0.75, 0.25], [0.5, 0.5]]).log()
    once = mixture_logits(bank, own, 0.4)
    torch.testing.assert_close(once.exp(), rows([[0.45, 0.55], [0.74, 0.26]]), **EXACT)
    torch.testing.assert_close(
        mixture_logits(once, own, 0.4).exp()[0], rows([0.36 * 0.25 + 0.64 * 0.75, 0.43]), **EXACT
    )
    assert torch.equal(mixture_logits(bank, own, 1.0), own.log_softmax(1))


def test_one_round_of_alignment_is_remixmatch_by_hand():
    """Mean shares 0.6 and 0.4, wanted 0.3 and 0.7: the factors are 1/2 and 7/4."""
    given_rows, prior = rows([[0.8, 0.2], [0.4, 0.6]]), rows([0.3, 0.7])
    wanted = rows([[0.4 / 0.75, 0.35 / 0.75], [0.2 / 1.25, 1.05 / 1.25]])
    torch.testing.assert_close(align_shares(given_rows.log(), prior, 1).exp(), wanted, **EXACT)


@given(seeds, st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_alignment_reaches_the_shares_by_one_factor_a_class(seed: int, classes: int):
    log_q = (2 * random(40, classes, seed=seed)).log_softmax(1)
    prior = (0.5 * random(classes, seed=seed + 1)).softmax(0)
    aligned = align_shares(log_q, prior, 500)
    torch.testing.assert_close(aligned.exp().mean(0), prior, rtol=0, atol=1e-4)
    torch.testing.assert_close(aligned.exp().sum(1), torch.ones(40, dtype=torch.float64), **EXACT)
    factors = (aligned - log_q) - (aligned - log_q)[:, :1]
    torch.testing.assert_close(factors, factors[:1].expand_as(factors), **CLOSE)
    torch.testing.assert_close(align_shares(aligned, aligned.exp().mean(0)), aligned, rtol=0, atol=1e-9)


def test_alignment_equals_a_plain_loop():
    q, prior, factors = (2 * random(6, 3)).softmax(1).tolist(), [0.2, 0.5, 0.3], [1.0] * 3
    for _ in range(7):
        scaled = [[a * f for a, f in zip(row, factors, strict=True)] for row in q]
        means = [sum(row[k] / sum(row) for row in scaled) / 6 for k in range(3)]
        factors = [f * share / mean for f, share, mean in zip(factors, prior, means, strict=True)]
    scaled = [[a * f for a, f in zip(row, factors, strict=True)] for row in q]
    wanted = rows([[a / sum(row) for a in row] for row in scaled])
    torch.testing.assert_close(align_shares(rows(q).log(), rows(prior), 7).exp(), wanted, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_predictions_stay_finite(dtype: torch.dtype):
    """All of one class beyond doubt: fifty rounds give the other class less than its share, and no infinity."""
    certain = torch.tensor([[900.0, -900.0]] * 4, dtype=dtype).log_softmax(1)
    aligned = align_shares(certain, torch.tensor([0.5, 0.5], dtype=dtype))
    assert torch.isfinite(aligned).all()
    own = mean_log_prediction(torch.stack([certain, certain]), torch.tensor([0.5, 0.5], dtype=dtype))
    assert torch.isfinite(own).all()


def test_gradients_agree_with_finite_differences():
    views, weights = random(2, 3, 4).requires_grad_(), rows([0.3, 0.7])
    assert torch.autograd.gradcheck(lambda x: mean_log_prediction(x, weights), (views,))
    assert torch.autograd.gradcheck(
        lambda x: align_shares(x, rows([0.1, 0.2, 0.3, 0.4]), 3), (views[0].detach().requires_grad_(),)
    )


def test_masks_fall_where_a_draw_is_low_and_the_token_may_go():
    ids, maskable = torch.tensor([[2, 7, 8, 3, 0]]), torch.tensor([[False, True, True, False, False]])
    draws = torch.tensor([[0.0, 0.14, 0.15, 0.0, 0.0]])
    assert mask_tokens(ids, maskable, 4, draws, 0.15).tolist() == [[2, 4, 8, 3, 0]]
    assert mask_tokens(ids, maskable, 4, draws, 0.0).tolist() == ids.tolist()
    assert mask_tokens(ids, maskable, 4, draws, 1.0).tolist() == [[2, 4, 4, 3, 0]]


def test_as_many_masks_as_the_fraction_says():
    draws = torch.rand(200, 50, generator=torch.Generator().manual_seed(0))
    masked = mask_tokens(torch.ones(200, 50), torch.ones(200, 50, dtype=torch.bool), 4, draws, 0.15)
    assert (masked == 4).float().mean().item() == pytest.approx(0.15, abs=0.015)


def test_the_error_of_masked_pieces_by_hand():
    """Each text's mean: -log(1/4); -log(1/2) and -log(1/8); nothing."""
    logits = rows([[0.25, 0.75], [0.5, 0.5], [0.125, 0.875]]).log().requires_grad_()
    masked = torch.tensor([[True, False, False], [True, False, True], [False] * 3])
    got = masked_piece_error(logits, torch.tensor([0, 1, 0]), masked)
    torch.testing.assert_close(got, rows([2, (1 + 3) / 2, 0]) * math.log(2), **EXACT)
    got.sum().backward()
    assert torch.isfinite(logits.grad).all()


@given(seeds, st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_the_error_of_masked_pieces_equals_loops(seed: int, width: int):
    generator = torch.Generator().manual_seed(seed)
    masked = torch.rand(4, 5, generator=generator) < 0.4
    pieces = torch.randint(width, (4, 5), generator=generator)
    logits = 3 * random(20, width, seed=seed).reshape(4, 5, width)
    wanted = []
    for text in range(4):
        errors = [
            -math.log(softmax(logits[text, place].tolist())[pieces[text, place]])
            for place in range(5)
            if masked[text, place]
        ]
        wanted.append(sum(errors) / len(errors) if errors else 0.0)
    torch.testing.assert_close(masked_piece_error(logits[masked], pieces[masked], masked), rows(wanted), **CLOSE)


def test_nothing_masked_is_no_error_and_no_break_in_the_graph():
    logits = torch.zeros(0, 7, requires_grad=True)
    got = masked_piece_error(logits, torch.zeros(0, dtype=torch.long), torch.zeros(3, 4, dtype=torch.bool))
    assert got.tolist() == [0, 0, 0]
    got.sum().backward()
    assert logits.grad is not None
