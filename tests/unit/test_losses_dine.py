"""DINE and the masked view against plain loops and values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.losses.dine import bank_divergence, mixup_divergence, momentum_update, smooth_top_classes
from tensors import EXACT, divergence, random, rows, seeds, softmax


def test_smoothing_by_hand_keeps_the_largest_and_spreads_the_rest():
    given_rows = rows([[0.1, 0.6, 0.0, 0.3], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 1.0, 0.0]])
    wanted = rows([[0.4 / 3, 0.6, 0.4 / 3, 0.4 / 3], [0.25] * 4, [0.0, 0.0, 1.0, 0.0]])
    torch.testing.assert_close(smooth_top_classes(given_rows), wanted, **EXACT)
    two = smooth_top_classes(given_rows, 2)
    torch.testing.assert_close(two, rows([[0.05, 0.6, 0.05, 0.3], [0.25] * 4, [0.0, 0.0, 1.0, 0.0]]), **EXACT)
    assert torch.equal(smooth_top_classes(given_rows, 4), given_rows)
    assert torch.equal(smooth_top_classes(given_rows, 9), given_rows)


def test_smoothing_keeps_the_first_of_equals_and_changes_nothing_with_two_classes():
    torch.testing.assert_close(smooth_top_classes(rows([[0.4, 0.2, 0.4]])), rows([[0.4, 0.3, 0.3]]), **EXACT)
    pair = random(6, 2).softmax(dim=1)
    torch.testing.assert_close(smooth_top_classes(pair), pair, **EXACT)


@given(seeds, st.integers(2, 6), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_smoothing_equals_loops_and_rows_still_sum_to_one(seed: int, classes: int, count: int):
    probabilities = (3 * random(4, classes, seed=seed)).softmax(dim=1)
    wanted = []
    for row in probabilities.tolist():
        top = sorted(range(classes), key=lambda k: -row[k])[:count]
        left = 1 - sum(row[k] for k in top)
        wanted.append([row[k] if k in top else left / (classes - count) for k in range(classes)])
    got = smooth_top_classes(probabilities, count)
    torch.testing.assert_close(got, rows(wanted), **EXACT)
    torch.testing.assert_close(got.sum(dim=1), torch.ones(4, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(got.max(dim=1).values, probabilities.max(dim=1).values, **EXACT)


def test_momentum_update_by_hand():
    bank, fresh = rows([[1.0, 0.0], [0.5, 0.5]]), rows([[0.0, 1.0], [0.9, 0.1]])
    torch.testing.assert_close(momentum_update(bank, fresh), rows([[0.6, 0.4], [0.66, 0.34]]), **EXACT)
    assert torch.equal(momentum_update(bank, fresh, 1.0), bank)
    assert torch.equal(momentum_update(bank, fresh, 0.0), fresh)


def test_bank_divergence_by_hand_also_with_zeros():
    logits, targets = rows([[0.8, 0.2], [0.8, 0.2], [0.5, 0.5]]).log(), rows([[0.6, 0.4], [1.0, 0.0], [0.5, 0.5]])
    wanted = [0.6 * math.log(0.6 / 0.8) + 0.4 * math.log(0.4 / 0.2), -math.log(0.8), 0.0]
    torch.testing.assert_close(bank_divergence(logits, targets), rows(wanted), **EXACT)


@given(seeds, st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_divergences_equal_loops_and_are_never_negative(seed: int, classes: int):
    first, second, third = (3 * random(4, classes, seed=seed + n) for n in range(3))
    p, q, r = ([softmax(row) for row in logits.tolist()] for logits in (first, second, third))
    close = {"rtol": 1e-9, "atol": 1e-10}
    plain = [divergence(b, a) for a, b in zip(p, q, strict=True)]
    torch.testing.assert_close(bank_divergence(first, second.softmax(dim=1)), rows(plain), **close)
    shares = [0.0, 0.2, 0.9, 1.0]
    mixed = [
        divergence([s * x + (1 - s) * y for x, y in zip(b, c, strict=True)], a)
        for a, b, c, s in zip(p, q, r, shares, strict=True)
    ]
    torch.testing.assert_close(mixup_divergence(first, second, third, rows(shares)), rows(mixed), **close)
    for index, share in enumerate(shares):
        one = mixup_divergence(first, second, third, share)[index].item()
        assert one == pytest.approx(mixed[index], rel=1e-9, abs=1e-10)
        assert mixup_divergence(first, second, third, rows(share))[index].item() == one
    assert bank_divergence(first, second.softmax(dim=1)).min() > -1e-12


def test_mixup_is_zero_for_the_text_alone_and_right_way_round():
    logits, partner = random(3, 4), random(3, 4, seed=1)
    assert mixup_divergence(logits, logits, partner, 1.0).abs().max() < 1e-12
    assert mixup_divergence(partner, logits, partner, 0.0).abs().max() < 1e-12
    assert mixup_divergence(logits, logits, partner, 0.0).min() > 1e-3


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_and_gradients_are_finite_at_extreme_logits(size: float, dtype: torch.dtype):
    logits = torch.tensor([[size, 0.0, -size]], dtype=dtype, requires_grad=True)
    full, hard = torch.tensor([[-size, 0.0, size]], dtype=dtype), torch.tensor([[0.0, 1.0, 0.0]], dtype=dtype)
    loss = bank_divergence(logits, hard) + mixup_divergence(logits, full, -full, 0.3)
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_gradients_agree_with_finite_differences_and_stop_where_they_should():
    first, second, third = (random(3, 4, seed=n).requires_grad_() for n in range(3))
    targets = second.detach().softmax(dim=1)
    assert torch.autograd.gradcheck(lambda x: bank_divergence(x, targets), (first,))
    assert torch.autograd.gradcheck(lambda x: mixup_divergence(x, second, third, 0.3), (first,))
    mixup_divergence(first, second, third, 0.3).sum().backward()
    assert first.grad.abs().max() > 1e-3
    assert second.grad is None
    assert third.grad is None


def test_losses_follow_the_order_of_texts_and_classes():
    first, second, third = (random(5, 4, seed=n) for n in range(3))
    order, names = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 3, 1, 0])
    targets = second.softmax(dim=1)
    alone, mixed = bank_divergence(first, targets), mixup_divergence(first, second, third, 0.5)
    assert alone.shape == mixed.shape == (5,)
    torch.testing.assert_close(bank_divergence(first[order], targets[order]), alone[order], **EXACT)
    torch.testing.assert_close(mixup_divergence(first[order], second[order], third[order], 0.5), mixed[order], **EXACT)
    torch.testing.assert_close(bank_divergence(first[:, names], targets[:, names]), alone, **EXACT)
    smoothed = smooth_top_classes(first.softmax(dim=1), 2)
    torch.testing.assert_close(smooth_top_classes(first.softmax(dim=1)[:, names], 2), smoothed[:, names], **EXACT)
