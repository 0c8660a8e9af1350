"""Losses between inner states against plain loops, values worked out by hand, and the same texts with padding."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distilshift.losses.features import (
    attention_relation_divergence,
    attention_score_error,
    hidden_cosine_distance,
    hidden_state_error,
    normalised_state_error,
    relation_divergence,
)
from tensors import EXACT, dot, random, rows, seeds, softmax

CLOSE = {"rtol": 1e-10, "atol": 1e-11}
lengths = st.lists(st.integers(0, 4), min_size=1, max_size=3)


def mask_of(sizes: list[int], length: int = 4) -> Tensor:
    return torch.tensor([[int(n < size) for n in range(length)] for size in sizes])


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def relations_by_loops(tokens: list[list[float]], heads: int) -> list[list[list[float]]]:
    """relations[head][token] is a distribution over the tokens given; all of them are real."""
    part = len(tokens[0]) // heads if tokens else 0
    cut = [[token[head * part : (head + 1) * part] for token in tokens] for head in range(heads)]
    return [[softmax([dot(a, b) / math.sqrt(part) for b in head]) for a in head] for head in cut]


def relation_divergence_by_loops(student: list[list[float]], teacher: list[list[float]], heads: int) -> float:
    pairs = zip(relations_by_loops(student, heads), relations_by_loops(teacher, heads), strict=True)
    return mean(
        [
            sum(q * math.log(q / p) for p, q in zip(ours, theirs, strict=True))
            for first, second in pairs
            for ours, theirs in zip(first, second, strict=True)
        ]
    )


@given(seeds, lengths, st.sampled_from([1, 2, 4]))
@settings(max_examples=40, deadline=None)
def test_token_losses_equal_loops_over_the_real_tokens(seed: int, sizes: list[int], heads: int):
    texts, mask = len(sizes), mask_of(sizes)
    student, teacher = random(texts, 4, 8, seed=seed), random(texts, 4, 8, seed=seed + 1)
    wide, projection = random(texts, 4, 12, seed=seed + 2), random(8, 12, seed=seed + 3)
    scores, other = random(texts, 2, 4, 4, seed=seed + 4), random(texts, 2, 4, 4, seed=seed + 5)
    distances, errors, projected, attention, relations = [], [], [], [], []
    for n, size in enumerate(sizes):
        s, t, w = student[n, :size].tolist(), teacher[n, :size].tolist(), wide[n, :size].tolist()
        distances.append(mean([1 - dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)) for a, b in zip(s, t, strict=True)]))
        errors.append(mean([(x - y) ** 2 for a, b in zip(s, t, strict=True) for x, y in zip(a, b, strict=True)]))
        columns = projection.T.tolist()
        projected.append(
            mean([(dot(a, columns[k]) - b[k]) ** 2 for a, b in zip(s, w, strict=True) for k in range(len(columns))])
        )
        gaps = [
            (scores[n, head, i, j] - other[n, head, i, j]).item() ** 2
            for head in range(2)
            for i in range(size)
            for j in range(size)
        ]
        attention.append(mean(gaps))
        relations.append(relation_divergence_by_loops(s, w, heads))
    torch.testing.assert_close(hidden_cosine_distance(student, teacher, mask), rows(distances), **CLOSE)
    torch.testing.assert_close(hidden_state_error(student, teacher, mask), rows(errors), **CLOSE)
    torch.testing.assert_close(hidden_state_error(student, wide, mask, projection), rows(projected), **CLOSE)
    torch.testing.assert_close(attention_score_error(scores, other, mask), rows(attention), **CLOSE)
    torch.testing.assert_close(relation_divergence(student, wide, mask, heads), rows(relations), **CLOSE)


def test_cosine_distance_by_hand():
    student = rows([[[1, 0], [1, 1], [5, 5]], [[2, 0], [0, 1], [0, 0]]])
    teacher = rows([[[3, 0], [1, -1], [-5, -5]], [[-1, 0], [0, 9], [1, 1]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 0]])
    torch.testing.assert_close(hidden_cosine_distance(student, teacher, mask), rows([0.5, 1.0]), **EXACT)
    torch.testing.assert_close(hidden_cosine_distance(student, teacher, mask | 1), rows([1.0, 1.0]), **EXACT)


def test_state_errors_by_hand():
    student, teacher = rows([[[3, 4], [0, 2]], [[1, 0], [1, 0]]]), rows([[[6, 8], [5, 0]], [[-2, 0], [1, 0]]])
    # Unit states: equal and orthogonal (2, squared); opposite (4) and equal. Means over 2 layers x 2 dimensions.
    torch.testing.assert_close(normalised_state_error(student, teacher), rows([0.5, 1.0]), **EXACT)
    mask = torch.tensor([[1, 0], [1, 1]])
    torch.testing.assert_close(hidden_state_error(student, teacher, mask), rows([12.5, 2.25]), **EXACT)
    projection = rows([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    target = rows([[[3, 4, 0], [0, 0, 0]], [[1, 0, 2], [1, 3, 2]]])
    torch.testing.assert_close(hidden_state_error(student, target, mask, projection), rows([12.0, 1.5]), **EXACT)


def test_attention_error_by_hand_is_not_diluted_by_padding():
    student, teacher = torch.zeros(1, 2, 3, 3, dtype=torch.float64), torch.ones(1, 2, 3, 3, dtype=torch.float64)
    teacher[0, 1] = 3.0
    for size in (1, 2, 3):
        got = attention_score_error(student, teacher, mask_of([size], 3))
        torch.testing.assert_close(got, rows([5.0]), **EXACT)  # (1 + 9) / 2


def test_relation_divergence_by_hand():
    """One head of width 4: scores are products / 2; the student's tokens are all alike, the teacher's are not."""
    student, teacher = torch.zeros(1, 2, 4, dtype=torch.float64), torch.zeros(1, 2, 4, dtype=torch.float64)
    teacher[0, 0, 0] = math.sqrt(2 * math.log(3))  # its product with itself, halved, is log 3: odds 3 to 1
    alike = 0.0  # the second token is 0: uniform in both
    wanted = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5) + alike) / 2
    assert relation_divergence(student, teacher, torch.ones(1, 2), 1).item() == pytest.approx(wanted, abs=1e-12)
    # Two heads of width 2: log 3 becomes sqrt(2) log 3, and the second head holds nothing.
    odds = 3 ** math.sqrt(2)
    share = odds / (1 + odds)
    wanted = (share * math.log(2 * share) + (1 - share) * math.log(2 * (1 - share))) / 4
    assert relation_divergence(student, teacher, torch.ones(1, 2), 2).item() == pytest.approx(wanted, abs=1e-12)


def test_relations_of_three_kinds_add_up():
    student, teacher = [random(2, 4, 8, seed=n) for n in range(3)], [random(2, 4, 6, seed=9 + n) for n in range(3)]
    mask = mask_of([4, 2])
    wanted = sum(relation_divergence(s, t, mask, 2) for s, t in zip(student, teacher, strict=True))
    torch.testing.assert_close(attention_relation_divergence(student, teacher, mask, 2), wanted, **EXACT)
    with pytest.raises(ValueError, match="zip"):
        attention_relation_divergence(student[:2], teacher, mask, 2)


def test_relation_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="a width of 6 does not divide into 4 relation heads"):
        relation_divergence(random(1, 4, 8), random(1, 4, 6), torch.ones(1, 4), 4)


def test_relations_do_not_see_a_rotation_within_a_head_and_see_one_across_heads():
    states, mask = random(2, 4, 8), mask_of([4, 3])
    turn = torch.linalg.qr(random(4, 4, seed=1)).Q
    within, across = torch.block_diag(turn, turn), torch.linalg.qr(random(8, 8, seed=2)).Q
    assert relation_divergence(states @ within, states, mask, 2).abs().max() < 1e-12
    assert relation_divergence(states @ across, states, mask, 2).min() > 1e-3


def losses() -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """Of two sets of states (batch, length, 8) and a mask."""

    def scores(states: Tensor) -> Tensor:
        return states.unsqueeze(1) @ states.unsqueeze(1).transpose(-1, -2)

    return {
        "cosine": hidden_cosine_distance,
        "hidden": hidden_state_error,
        "attention": lambda s, t, mask: attention_score_error(scores(s), scores(t), mask),
        "relation": lambda s, t, mask: relation_divergence(s, t, mask, 2),
        "relations": lambda s, t, mask: attention_relation_divergence([s] * 3, [t] * 3, mask, 4),
    }


@pytest.mark.parametrize("name", losses())
def test_padding_changes_neither_the_loss_nor_its_gradient(name: str):
    loss, sizes = losses()[name], [4, 2, 1]
    student, teacher = random(3, 4, 8), random(3, 4, 8, seed=1)
    for filler in (0.0, 1e6, math.inf, math.nan):
        padded = [
            states.clone().masked_fill(~mask_of(sizes).bool().unsqueeze(-1), filler) for states in (student, teacher)
        ]
        padded[0].requires_grad_()
        got = loss(padded[0], padded[1], mask_of(sizes))
        got.sum().backward()
        for n, size in enumerate(sizes):
            alone = student[n : n + 1, :size].clone().requires_grad_()
            wanted = loss(alone, teacher[n : n + 1, :size], torch.ones(1, size))
            wanted.sum().backward()
            torch.testing.assert_close(got[n : n + 1], wanted, **CLOSE)
            if name != "attention" or math.isfinite(filler):  # the helper's own product spreads what is not finite
                torch.testing.assert_close(padded[0].grad[n, :size], alone.grad[0], **CLOSE)
                assert (padded[0].grad[n, size:] == 0).all()


def test_infinite_attention_scores_at_padding_have_no_part():
    """Models add the mask to their scores; both sides then hold the same infinity."""
    student, teacher, mask = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1), mask_of([2, 4])
    wanted = attention_score_error(student, teacher, mask)
    hidden = ~mask.bool()[:, None, None, :]
    student, teacher = (states.masked_fill(hidden, -math.inf) for states in (student, teacher))
    student.requires_grad_()
    got = attention_score_error(student, teacher, mask)
    torch.testing.assert_close(got, wanted, **EXACT)
    got.sum().backward()
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", losses())
def test_losses_are_zero_at_the_teacher_and_above_elsewhere(name: str):
    loss, mask = losses()[name], mask_of([4, 2])
    student, teacher = random(2, 4, 8), random(2, 4, 8, seed=1)
    assert loss(teacher, teacher, mask).abs().max() < 1e-12
    assert loss(student, teacher, mask).min() > 1e-3
    assert loss(student, teacher, torch.zeros(2, 4)).tolist() == [0.0, 0.0]
    scale = 3.0 if name == "cosine" else 1.0
    assert loss(scale * teacher, teacher, mask).abs().max() < 1e-12


def test_normalised_states_ignore_length_and_are_bounded():
    student, teacher = random(3, 2, 8), random(3, 2, 8, seed=1)
    torch.testing.assert_close(
        normalised_state_error(3 * student, teacher / 7), normalised_state_error(student, teacher), **EXACT
    )
    torch.testing.assert_close(normalised_state_error(-teacher, teacher), rows([0.5] * 3), **EXACT)
    assert normalised_state_error(teacher, teacher).tolist() == [0.0] * 3


@pytest.mark.parametrize("name", losses())
def test_losses_follow_the_order_of_texts_and_ignore_that_of_tokens(name: str):
    loss, mask = losses()[name], mask_of([4, 2, 3])
    student, teacher = random(3, 4, 8), random(3, 4, 8, seed=1)
    whole, order, turn = loss(student, teacher, mask), torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(loss(student[order], teacher[order], mask[order]), whole[order], **CLOSE)
    torch.testing.assert_close(loss(student[:, turn], teacher[:, turn], mask[:, turn]), whole, **CLOSE)


@pytest.mark.parametrize("name", losses())
def test_gradients_agree_with_finite_differences(name: str):
    loss, mask = losses()[name], mask_of([3, 2], 3)
    student, teacher = random(2, 3, 8).requires_grad_(), random(2, 3, 8, seed=1)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, mask), (student,))


def test_gradients_of_projection_and_normalised_states_agree_with_finite_differences():
    student, teacher, mask = random(2, 3, 4).requires_grad_(), random(2, 3, 5, seed=1), mask_of([3, 1], 3)
    projection = random(4, 5, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, w: hidden_state_error(s, teacher, mask, w), (student, projection))
    assert torch.autograd.gradcheck(lambda s: normalised_state_error(s, teacher[:, :, :4]), (student,))


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e4])
def test_losses_and_gradients_are_finite_for_dead_and_for_huge_states(size: float):
    mask = mask_of([4, 2])
    for name, loss in losses().items():
        student = (random(2, 4, 8) * size).float().requires_grad_()
        value = loss(student, random(2, 4, 8, seed=1).float(), mask)
        value.sum().backward()
        assert torch.isfinite(value).all(), name
        assert torch.isfinite(student.grad).all(), name
        mirrored = loss(random(2, 4, 8, seed=1).float(), student.detach(), mask)
        assert torch.isfinite(mirrored).all(), name
    states = torch.zeros(1, 2, 4, requires_grad=True)
    normalised_state_error(states, torch.ones(1, 2, 4)).sum().backward()
    assert torch.isfinite(states.grad).all()


def test_relations_are_computed_in_full_precision_under_autocast():
    student, teacher, mask = 4 * random(2, 4, 32).float(), 4 * random(2, 4, 32, seed=1).float(), mask_of([4, 2])
    wanted = relation_divergence(student, teacher, mask, 2)
    with torch.autocast("cpu", torch.bfloat16):
        got = relation_divergence(student, teacher, mask, 2)
    assert got.dtype == torch.float32
    assert torch.equal(got, wanted)


def test_bfloat16_states_are_compared_in_float32():
    """1 - cos of close directions is far below what bfloat16 holds beside 1."""
    student, teacher = torch.tensor([[[1.0, 0.0]]]).bfloat16(), torch.tensor([[[1.0, 0.03125]]]).bfloat16()
    got = hidden_cosine_distance(student, teacher, torch.ones(1, 1))
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(1 - 1 / math.sqrt(1 + 0.03125**2), rel=1e-3)
    for loss in losses().values():
        assert loss(student.repeat(1, 2, 4), teacher.repeat(1, 2, 4), torch.ones(1, 2)).dtype == torch.float32
    assert normalised_state_error(student, teacher).dtype == torch.float32
