"""Adapting and distilling at once: pure functions of what the student itself says of its texts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_log_prediction(logits: Tensor, weights: Tensor) -> Tensor:
    """Logarithm of each text's mean prediction over its views, log sum_v w_v softmax(z_v); (texts, classes).

    Computed in log space, so that a class nobody predicts stays above 0. Source: Laine & Aila 2017, temporal
    ensembling. Deviation: over views of a text at one time, and not over augmentations at many times.

    Args:
        logits: (views, texts, classes).
        weights: w, (views,), above 0, summing to 1.
    """
    return torch.logsumexp(F.log_softmax(logits, dim=-1) + weights.log()[:, None, None], dim=0)


def align_shares(log_probabilities: Tensor, prior: Tensor, rounds: int = 50) -> Tensor:
    """Log-probabilities whose mean prediction is the prior: p_i proportional to q_i * r, (texts, classes).

    One factor a class, r, found by `rounds` of r <- r * prior / mean(p); rows sum to 1 after each. One round is
    distribution alignment (Berthelot et al. 2020, ReMixMatch, section 3.1) and, but for where the shares come from,
    the correction of Saerens et al. 2002, eq. 2.4. More of them are Sinkhorn's iteration. Where predictions are so
    certain that no moderate factor does it, the mean ends between its own value and the prior.

    Args:
        log_probabilities: log q, (texts, classes), finite.
        prior: (classes,), above 0, summing to 1.
        rounds: at least 1.
    """
    factors = torch.zeros_like(prior)
    for _ in range(rounds):
        aligned = F.log_softmax(log_probabilities + factors, dim=-1)
        log_mean = torch.logsumexp(aligned, dim=0) - torch.log(torch.full_like(prior, len(aligned)))
        factors = factors + prior.log() - log_mean
    return F.log_softmax(log_probabilities + factors, dim=-1)


def mask_tokens(ids: Tensor, maskable: Tensor, mask_id: int, draws: Tensor, fraction: float) -> Tensor:
    """Token ids with the mask where a token may be masked and its draw is below the fraction; shape of `ids`.

    Source: Feng et al. 2023 (arXiv 2304.09820). Deviation: always the mask, as they have it in self-supervised
    distillation, and never a random piece or the piece itself, as in BERT's training.

    Args:
        ids: (batch, length), integers.
        maskable: (batch, length) bool; false at special tokens and padding.
        mask_id: the mask.
        draws: (batch, length), uniform in [0, 1).
        fraction: 0 to 1.
    """
    return torch.where(maskable & (draws < fraction), mask_id, ids)


def masked_piece_error(logits: Tensor, pieces: Tensor, masked: Tensor) -> Tensor:
    """Cross-entropy of the masked word pieces, in nats, the mean over those of each text; 0 without any. (batch,).

    Source: Devlin et al. 2019, section 3.1; beside a classifier's loss on a target domain, Karouzos et al. 2021
    (UDALM), section 3. Deviations: the mean of a text, not of the batch, so that each text weighs the same whatever its
    length; see `mask_tokens` for what stands in the pieces' place.

    Args:
        logits: (pieces, rows), of the masked ones, text by text.
        pieces: (pieces,), integers below `rows`: what was there.
        masked: (batch, length) bool; true at these pieces.
    """
    counts = masked.sum(dim=1)
    texts = torch.arange(len(masked), device=masked.device).repeat_interleave(counts)
    errors = F.cross_entropy(logits, pieces, reduction="none")
    return errors.new_zeros(len(masked)).index_add(0, texts, errors) / counts.clamp(min=1)
