"""DINE (Liang et al. 2022): distilling a teacher of which only probabilities are known, through a bank of targets.

Pure functions of tensors. The bank P starts as the teacher's smoothed probabilities and drifts to the student's.
The third term of their loss is `information_maximisation` with a uniform prior.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def smooth_top_classes(probabilities: Tensor, count: int = 1) -> Tensor:
    """Keep the `count` largest probabilities and spread the rest evenly; shape as given, rows still sum to 1.

    With two classes, or with at least as many kept as there are, nothing changes. Among equal probabilities the
    first classes are kept. Source: Liang et al. 2022 (DINE), adaptive label smoothing; they keep 1.

    Args:
        probabilities: (texts, classes).
        count: r, at least 1.
    """
    classes = probabilities.shape[-1]
    if count >= classes:
        return probabilities
    top = probabilities.argsort(dim=-1, descending=True, stable=True)[..., :count]
    kept = torch.zeros_like(probabilities, dtype=torch.bool).scatter(-1, top, True)
    rest = probabilities.masked_fill(kept, 0.0).sum(dim=-1, keepdim=True) / (classes - count)
    return torch.where(kept, probabilities, rest)


def momentum_update(bank: Tensor, probabilities: Tensor, momentum: float = 0.6) -> Tensor:
    """The bank after the student's new predictions, gamma P + (1 - gamma) p; (texts, classes).

    Source: Liang et al. 2022 (DINE); done at every tenth of the training, over all target texts.

    Args:
        bank: P, (texts, classes).
        probabilities: p, (texts, classes), of the student without dropout.
        momentum: gamma, 0 to 1.
    """
    return momentum * bank + (1 - momentum) * probabilities


def bank_divergence(logits: Tensor, targets: Tensor) -> Tensor:
    """KL(P || p) of each text, in nats; shape (batch,). A target of 0 is allowed.

    Source: Liang et al. 2022 (DINE), the distillation term.

    Args:
        logits: (batch, classes), the student's.
        targets: P, (batch, classes), rows of the bank, summing to 1.
    """
    log_p = F.log_softmax(logits, dim=-1)
    return (torch.xlogy(targets, targets) - targets * log_p).sum(dim=-1)


def mixup_divergence(mixed_logits: Tensor, logits: Tensor, partner_logits: Tensor, share: Tensor | float) -> Tensor:
    """KL(sg[lambda p + (1 - lambda) p'] || p(mixed)) of each text, in nats; shape (batch,).

    p and p' are the predictions of a text and its partner, p(mixed) that of the input made of lambda times the one
    and (1 - lambda) times the other; no gradient flows into p and p'. Source: Liang et al. 2022 (DINE), the
    interpolation consistency term, lambda ~ Beta(0.3, 0.3) for each batch. Deviation: token ids cannot be mixed, so
    that for text the embeddings are.

    Args:
        mixed_logits: (batch, classes).
        logits: (batch, classes).
        partner_logits: (batch, classes), of the same batch in another order.
        share: lambda, 0 to 1; a number, or (batch,) for one each.
    """
    share = share.unsqueeze(-1) if isinstance(share, Tensor) and share.ndim == 1 else share
    with torch.no_grad():
        targets = share * logits.softmax(dim=-1) + (1 - share) * partner_logits.softmax(dim=-1)
    return bank_divergence(mixed_logits, targets)
