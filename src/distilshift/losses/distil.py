"""Losses between a student's and a teacher's predictions: pure functions, unreduced."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_target_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T^2 * KL(q_T || p_T) of each text, in nats; shape (batch,).

    q_T and p_T are the teacher's and the student's softmax of logits / T. The factor keeps the gradient's
    size about the same at every T. Source: Hinton et al. 2015, section 2. Deviation: KL instead of the
    cross-entropy, which differs by the teacher's entropy, a constant, so that a perfect student scores 0.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes); gradients flow into it unless it is detached.
        temperature: T, above 0.
    """
    log_p = F.log_softmax(student_logits / temperature, dim=-1)
    log_q = F.log_softmax(teacher_logits / temperature, dim=-1)
    return (log_q.exp() * (log_q - log_p)).sum(dim=-1) * temperature**2


def mixture_logits(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """Logits of a weighted mean of two predictions: log((1 - w) softmax(first) + w softmax(second)).

    Args:
        first: (batch, classes).
        second: (batch, classes).
        weight: w, of the second, 0 to 1.
    """
    if weight in (0.0, 1.0):
        return F.log_softmax(second if weight else first, dim=-1)
    parts = F.log_softmax(first, dim=-1) + math.log1p(-weight), F.log_softmax(second, dim=-1) + math.log(weight)
    return torch.logaddexp(*parts)
