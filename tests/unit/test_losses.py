"""Losses against hand-computed values, limits, extreme logits and naive float64 loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distilshift.losses.adapt import (
    centroid_pseudo_labels,
    entropy,
    information_maximisation,
    mean_log_probabilities,
    prior_divergence,
)
from distilshift.losses.distil import soft_target_divergence
from tensors import EXACT, divergence, rows, softmax

UNIFORM = torch.full((2,), 0.5, dtype=torch.float64)
# Softmax of a row of log p is p, so goldens can be stated as probabilities.
P = torch.tensor([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]], dtype=torch.float64)
Q = torch.tensor([[0.6, 0.4], [0.5, 0.5], [0.9, 0.1]], dtype=torch.float64)

matrices = st.integers(1, 6).flatmap(
    lambda classes: st.lists(
        st.lists(st.floats(-30, 30), min_size=classes + 1, max_size=classes + 1), min_size=1, max_size=5
    )
)


def test_entropy_equals_hand_computed_values():
    wanted = [-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)), math.log(2), -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))]
    torch.testing.assert_close(entropy(P.log()), rows([wanted])[0], **EXACT)
    assert wanted[0] == pytest.approx(0.5004024235381879, abs=1e-15)


def test_entropy_limits_are_log_classes_and_zero():
    assert entropy(torch.zeros(1, 7, dtype=torch.float64)).item() == pytest.approx(math.log(7), abs=1e-14)
    assert entropy(rows([[1e4, 0.0, -1e4]])).item() == 0.0


def test_divergence_equals_hand_computed_values():
    wanted = [
        0.6 * math.log(0.6 / 0.8) + 0.4 * math.log(0.4 / 0.2),
        0.0,
        0.9 * math.log(0.9 / 0.1) + 0.1 * math.log(0.1 / 0.9),
    ]
    torch.testing.assert_close(soft_target_divergence(P.log(), Q.log()), rows([wanted])[0], **EXACT)
    assert wanted[2] == pytest.approx(0.8 * math.log(9), abs=1e-15)


def test_divergence_at_temperature_two_equals_hand_computed_value():
    # Half the logits log 4 and log 9 are log 2 and log 3: p = (2/3, 1/3), q = (3/4, 1/4).
    student, teacher = rows([[math.log(4), 0.0]]), rows([[math.log(9), 0.0]])
    wanted = 4 * (0.75 * math.log(0.75 / (2 / 3)) + 0.25 * math.log(0.25 / (1 / 3)))
    assert soft_target_divergence(student, teacher, 2.0).item() == pytest.approx(wanted, abs=1e-14)


def test_divergence_at_infinite_temperature_is_half_the_mean_squared_difference_of_centred_logits():
    student, teacher = rows([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]]), rows([[0.0, 1.0, -1.0], [2.0, 2.0, 0.0]])
    gap = student - teacher
    centred = gap - gap.mean(dim=1, keepdim=True)
    errors = [
        (soft_target_divergence(student, teacher, t) - centred.square().mean(dim=1) / 2).abs().max().item()
        for t in (10.0, 100.0, 1000.0)
    ]
    assert errors[0] > 1e-2  # at a small temperature it is another function
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)
    assert errors[2] < 2e-3


def test_divergence_from_a_one_hot_teacher_is_the_cross_entropy():
    student, teacher = rows([[0.3, -1.2, 2.0]]), rows([[0.0, 1e4, 0.0]])
    wanted = -math.log(softmax([0.3, -1.2, 2.0])[1])
    assert soft_target_divergence(student, teacher).item() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0])
def test_divergence_of_identical_or_shifted_logits_is_zero(temperature: float):
    logits = rows([[0.3, -1.2, 2.0], [1e4, 0.0, -1e4]])
    assert soft_target_divergence(logits, logits, temperature).tolist() == [0.0, 0.0]
    assert soft_target_divergence(logits + 5, logits, temperature).abs().max() < 1e-9


@given(matrices, matrices, st.floats(0.5, 10))
@settings(max_examples=60, deadline=None)
def test_divergence_equals_a_loop_and_is_never_negative(first: Any, second: Any, temperature: float):
    width, count = min(len(first[0]), len(second[0])), min(len(first), len(second))
    student, teacher = rows(first)[:count, :width], rows(second)[:count, :width]
    wanted = [
        temperature**2 * divergence(softmax(t, temperature), softmax(s, temperature))
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    got = soft_target_divergence(student, teacher, temperature)
    torch.testing.assert_close(got, rows([wanted])[0], rtol=1e-9, atol=1e-9)
    assert got.min() > -1e-12


@given(matrices)
@settings(max_examples=60, deadline=None)
def test_label_free_losses_equal_loops(values: Any):
    logits, classes = rows(values), len(values[0])
    shares = [softmax(row) for row in values]
    mean = [sum(row[k] for row in shares) / len(shares) for k in range(classes)]
    prior = [(k + 1) * 2 / (classes * (classes + 1)) for k in range(classes)]
    spread = [-sum(p * math.log(p) for p in row if p > 0) for row in shares]
    distance = divergence(mean, prior)
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(entropy(logits), rows([spread])[0], **close)
    torch.testing.assert_close(mean_log_probabilities(logits).exp(), rows([mean])[0], **close)
    torch.testing.assert_close(prior_divergence(logits, rows([prior])[0]), rows([[distance]])[0, 0], **close)
    both = sum(spread) / len(spread) + 0.7 * distance
    torch.testing.assert_close(information_maximisation(logits, rows([prior])[0], 0.7), rows([[both]])[0, 0], **close)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_prior_divergence_from_uniform_is_log_classes_minus_entropy_of_the_mean(classes: int):
    logits = torch.randn(16, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = logits.softmax(dim=1).mean(dim=0)
    got = prior_divergence(logits, torch.full((classes,), 1 / classes, dtype=torch.float64))
    torch.testing.assert_close(got, math.log(classes) + (mean * mean.log()).sum(), **EXACT)


def test_information_maximisation_prefers_certain_and_diverse_to_certain_and_collapsed():
    diverse, collapsed = rows([[50.0, 0.0], [0.0, 50.0]]), rows([[50.0, 0.0], [50.0, 0.0]])
    assert information_maximisation(diverse, UNIFORM).item() == pytest.approx(0.0, abs=1e-12)
    assert information_maximisation(collapsed, UNIFORM).item() == pytest.approx(math.log(2), abs=1e-12)
    assert information_maximisation(collapsed, UNIFORM, 0.0).item() == pytest.approx(0.0, abs=1e-12)
    skewed = torch.tensor([0.9, 0.1], dtype=torch.float64)
    assert information_maximisation(diverse, skewed) > information_maximisation(
        torch.cat([diverse[:1]] * 9 + [diverse[1:]]), skewed
    )


@pytest.mark.parametrize("size", [1e4, -1e4, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "loss",
    [
        lambda logits: entropy(logits).sum(),
        lambda logits: prior_divergence(logits, UNIFORM.to(logits.dtype)),
        lambda logits: information_maximisation(logits, UNIFORM.to(logits.dtype)),
        lambda logits: soft_target_divergence(logits, logits.detach().flip(1), 2.0).sum(),
    ],
    ids=["entropy", "prior_divergence", "information_maximisation", "soft_target_divergence"],
)
def test_values_and_gradients_are_finite_for_extreme_logits(loss: Any, dtype: torch.dtype, size: float):
    logits = torch.tensor([[size, 0.0], [size, -size], [1.0, 2.0]], dtype=dtype, requires_grad=True)
    value = loss(logits)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[2].abs().max() > 1e-3  # the ordinary row still teaches


def test_a_class_nobody_predicts_still_pulls():
    """In probability space its gradient would be 0 * inf."""
    logits = torch.tensor([[0.0, -200.0]] * 4, requires_grad=True)
    prior_divergence(logits, torch.tensor([0.5, 0.5])).backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.softmax(dim=1)[:, 1] == 0).all()


@pytest.mark.parametrize("loss", [soft_target_divergence, lambda s, t: soft_target_divergence(s, t, 3.0)])
def test_gradients_agree_with_finite_differences(loss: Any):
    student = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), (student,))
    assert torch.autograd.gradcheck(lambda s: information_maximisation(s, teacher.exp()[0]), (student,))


def test_temperature_squared_keeps_the_gradient_size():
    teacher = torch.randn(64, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sizes = []
    for temperature in (8.0, 64.0):
        student = torch.zeros(64, 3, dtype=torch.float64, requires_grad=True)
        soft_target_divergence(student, teacher, temperature).sum().backward()
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_pseudo_labels_follow_the_nearest_centroid_by_hand():
    """Two bundles of directions; the third text's prediction is wrong and its neighbours correct it."""
    features = torch.tensor([[9.0, 0.0], [8.0, 1.0], [9.0, 1.0], [0.0, 9.0], [1.0, 8.0]])
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.1, 0.9]])
    assert probabilities.argmax(dim=1).tolist() == [0, 0, 1, 1, 1]
    for count in (1, 2):
        assert centroid_pseudo_labels(features, probabilities, count).tolist() == [0, 0, 0, 1, 1]


def nearest_by_loops(features: Tensor, probabilities: Tensor, rounds: int) -> tuple[list[int], bool]:
    """Pseudo-labels by plain loops, and whether some class had no text on the way."""
    unit = []
    for row in features.tolist():
        size = math.sqrt(sum(value**2 for value in [*row, 1.0]))
        unit.append([value / size for value in [*row, 1.0]])
    weights, centroids, labels, empty = probabilities.tolist(), [[0.0]] * probabilities.shape[1], [0], False
    for _ in range(rounds):
        for k in range(len(centroids)):
            mass = sum(row[k] for row in weights)
            empty |= mass == 0
            if mass > 0:
                columns = zip(*unit, strict=True)
                centroids[k] = [sum(w[k] * x for w, x in zip(weights, column, strict=True)) for column in columns]
        scores = [[sum(a * b for a, b in zip(u, c, strict=True)) / math.hypot(*c) for c in centroids] for u in unit]
        labels = [row.index(max(row)) for row in scores]
        weights = [[float(k == label) for k in range(len(centroids))] for label in labels]
    return labels, empty


def test_pseudo_labels_equal_loops_also_where_a_class_loses_all_its_texts():
    seen = set()
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        features = 3 * torch.randn(6, 2, generator=generator)
        probabilities = torch.randn(6, 4, generator=generator).softmax(dim=1)
        for count in (1, 2, 3):
            wanted, empty = nearest_by_loops(features, probabilities, count)
            assert centroid_pseudo_labels(features, probabilities, count).tolist() == wanted
            seen.add((count, empty))
    assert seen == {(1, False), (2, False), (2, True), (3, False), (3, True)}


def test_an_empty_class_keeps_its_centroid_and_makes_no_nan():
    features = torch.tensor([[5.0, 0.0], [4.0, 0.1], [0.0, 5.0]])
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.05, 0.9, 0.05]])
    labels = centroid_pseudo_labels(features, probabilities, rounds=4)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 0, 1]  # class 2 attracts no text, and nothing is NaN
    never = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert centroid_pseudo_labels(features, never, rounds=2).tolist() == [0, 0, 1]


def test_pseudo_labels_do_not_depend_on_the_names_of_the_classes():
    generator = torch.Generator().manual_seed(5)
    features, probabilities = torch.randn(30, 4, generator=generator), torch.rand(30, 3, generator=generator)
    order = torch.tensor([2, 0, 1])
    labels = centroid_pseudo_labels(features, probabilities)
    assert labels.unique().tolist() == [0, 1, 2]
    assert torch.equal(order[centroid_pseudo_labels(features, probabilities[:, order])], labels)
