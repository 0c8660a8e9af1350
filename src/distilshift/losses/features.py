"""Losses between a student's and a teacher's inner states: pure functions, one number a text.

`mask` has the shape (batch, length) and is nonzero at real tokens. Padding has no part in any loss, whatever it
holds, infinities included; a text without a real token has loss 0. Student and teacher must see the same tokens.
Each text weighs the same, however long it is, where the papers' code averages over all tokens of the batch.
Gradients flow into the teacher unless it is detached.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def _wide(states: Tensor) -> Tensor:
    """States in float32 at least: differences of close bfloat16 states have no digits left."""
    return states.to(torch.promote_types(states.dtype, torch.float32))


def _without_padding(states: Tensor, real: Tensor) -> Tensor:
    """Wide states with zeros at the padding, (batch, length, width)."""
    return _wide(states).masked_fill(~real.unsqueeze(-1), 0.0)


def _mean_over_tokens(values: Tensor, real: Tensor) -> Tensor:
    """Mean of (batch, length) over the real tokens of each text; shape (batch,)."""
    return values.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1).clamp_min(1)


def hidden_cosine_distance(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean of 1 - cos(h_S, h_T) over the tokens of each text, 0 to 2; shape (batch,).

    Source: Sanh et al. 2019 (DistilBERT), the cosine embedding loss, on the last layer.

    Args:
        student: (batch, length, width).
        teacher: (batch, length, width).
        mask: (batch, length).
    """
    real = mask.bool()
    cosine = F.cosine_similarity(_without_padding(student, real), _without_padding(teacher, real), dim=-1)
    return _mean_over_tokens(1 - cosine, real)


def normalised_state_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of unit [CLS] states, over layers and width; shape (batch,).

    Source: Sun et al. 2019 (BERT-PKD), eq. 7, for chosen layers and never the last, which the logits teach already.
    It is at most 4 / width. Deviation: the mean, as in the authors' code, where eq. 7 sums, so that the weights they
    report (10 to 1000) keep their meaning.

    Args:
        student: (batch, layers, width), the state of [CLS] after each chosen layer.
        teacher: (batch, layers, width).
    """
    gap = F.normalize(_wide(student), dim=-1) - F.normalize(_wide(teacher), dim=-1)
    return gap.square().mean(dim=(1, 2))


def hidden_state_error(student: Tensor, teacher: Tensor, mask: Tensor, projection: Tensor | None = None) -> Tensor:
    """Mean of (h_S W - h_T)^2 over the tokens and the teacher's width, of each text; shape (batch,).

    Source: Jiao et al. 2020 (TinyBERT), eq. 8. Deviation: padding is left out.

    Args:
        student: (batch, length, student width).
        teacher: (batch, length, teacher width).
        mask: (batch, length).
        projection: W, (student width, teacher width), learned with the student; None where the widths are equal.
    """
    real = mask.bool()
    student = _without_padding(student, real)
    gap = (student if projection is None else student @ projection) - _without_padding(teacher, real)
    return _mean_over_tokens(gap.square().mean(dim=-1), real)


def attention_score_error(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of attention scores, over heads and pairs of real tokens; shape (batch,).

    Source: Jiao et al. 2020 (TinyBERT), eq. 7; the scores are those before the softmax. Deviation: pairs with
    padding are left out, where the authors' code counts them as equal and so dilutes the mean.

    Args:
        student: (batch, heads, length, length), queries first, scaled, of one layer.
        teacher: (batch, heads, length, length); as many heads.
        mask: (batch, length).
    """
    real = mask.bool()
    pairs = (real[:, :, None] & real[:, None, :]).unsqueeze(1)
    gap = (_wide(student) - _wide(teacher)).masked_fill(~pairs, 0.0)
    return gap.square().mean(dim=1).sum(dim=(1, 2)) / real.sum(dim=1).square().clamp_min(1)


def _log_relations(states: Tensor, real: Tensor, heads: int) -> Tensor:
    """Log-softmax over the real tokens of the scaled products of token states; (batch, heads, length, length)."""
    batch, length, width = states.shape
    if width % heads:
        raise ValueError(f"a width of {width} does not divide into {heads} relation heads")
    # Products of states reach hundreds, and their softmax needs the units, which bfloat16 does not keep.
    with torch.autocast(states.device.type, enabled=False):
        split = _without_padding(states, real).view(batch, length, heads, width // heads).transpose(1, 2)
        scores = split @ split.transpose(-1, -2) / (width // heads) ** 0.5
        # Half the smallest number rather than -inf: differences of its logarithms stay finite.
        scores = scores.masked_fill(~real[:, None, None, :], torch.finfo(scores.dtype).min / 2)
        return F.log_softmax(scores, dim=-1)


def relation_divergence(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Mean KL(R_T || R_S) over relation heads and tokens of each text, in nats; shape (batch,).

    R = softmax(A A^T / sqrt(d)) for each relation head, A being the queries, the keys or the values of one layer with
    their attention heads side by side, cut anew into `heads` parts of width d. Widths and attention heads of student
    and teacher may differ. Source: Wang et al. 2021 (MiniLMv2), eq. 5 to 8, one pair of relations.

    Args:
        student: (batch, length, student width).
        teacher: (batch, length, teacher width).
        mask: (batch, length).
        heads: relation heads, a divisor of both widths.

    Raises:
        ValueError: `heads` does not divide a width.
    """
    real = mask.bool()
    log_p, log_q = _log_relations(student, real, heads), _log_relations(teacher, real, heads)
    divergences = (log_q.exp() * (log_q - log_p)).sum(dim=-1)
    return _mean_over_tokens(divergences.mean(dim=1), real)


def attention_relation_divergence(
    student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor, heads: int
) -> Tensor:
    """Sum of `relation_divergence` of queries, keys and values; shape (batch,).

    Source: Wang et al. 2021 (MiniLMv2), eq. 5 with the weight 1 for Q-Q, K-K and V-V.

    Args:
        student: the queries, keys and values of its last layer, each (batch, length, student width).
        teacher: those of one of its upper layers, each (batch, length, teacher width).
        mask: (batch, length).
        heads: relation heads, a divisor of both widths.
    """
    pairs = zip(student, teacher, strict=True)
    return torch.stack([relation_divergence(first, second, mask, heads) for first, second in pairs]).sum(dim=0)
