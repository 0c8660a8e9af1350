"""Losses that need no labels: pure functions of logits, unreduced unless the formula is about the batch.

`logits` are float tensors of shape (batch, classes), unnormalised; entropies are in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def entropy(logits: Tensor) -> Tensor:
    """Entropy of each prediction, H(p); shape (batch,).

    Source: Liang et al. 2020 (SHOT), the first term of eq. 3; Wang et al. 2021 (TENT), eq. 1.
    """
    log_p = F.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


def mean_log_probabilities(logits: Tensor) -> Tensor:
    """Logarithm of the batch's mean prediction, log p-bar; shape (classes,).

    Computed in log space, so that a class nobody predicts has a finite gradient.
    """
    return torch.logsumexp(F.log_softmax(logits, dim=-1), dim=0) - torch.log(
        torch.tensor(float(logits.shape[0]), dtype=logits.dtype, device=logits.device)
    )


def divergence_of_mean(log_mean: Tensor, prior: Tensor) -> Tensor:
    """KL(p-bar || prior): how far a mean prediction is from the expected class shares; a scalar.

    With a uniform prior it equals log(classes) - H(p-bar), SHOT's diversity term up to a constant
    (Liang et al. 2020, eq. 4).

    Args:
        log_mean: (classes,), log p-bar.
        prior: (classes,), positive, summing to 1.
    """
    return (log_mean.exp() * (log_mean - prior.log())).sum()


def prior_divergence(logits: Tensor, prior: Tensor) -> Tensor:
    """`divergence_of_mean` of a batch's predictions, (batch, classes); a scalar."""
    return divergence_of_mean(mean_log_probabilities(logits), prior)


def information_maximisation(logits: Tensor, prior: Tensor, diversity_weight: float = 1.0) -> Tensor:
    """The whole loss, of one process: trainings add up the same terms over several, and tests hold them against this.

    Be certain of each text, and use all classes over the batch; a scalar.

    mean H(p) + w * KL(p-bar || prior). Source: Liang et al. 2020, eq. 3 and 4 (L_ent + L_div).
    Deviation: the uniform share of each class is an argument, so that a known imbalance can be kept.
    """
    return entropy(logits).mean() + diversity_weight * prior_divergence(logits, prior)


def centroid_pseudo_labels(features: Tensor, probabilities: Tensor, rounds: int = 2, chunk: int = 16_384) -> Tensor:
    """The class whose centroid is nearest by cosine, for each text; int64 of shape (texts,).

    Centroids are first weighted by the predictions, then recomputed from the labels they give.
    A class that attracts no text keeps its centroid. Source: Liang et al. 2020, eq. 5 and 6.

    Args:
        features: (texts, width), what the frozen classifier sees; a 1 is appended before normalising.
        probabilities: (texts, classes).
        rounds: 1 stops at the weighted centroids.
        chunk: rows in memory at once, so that memory-mapped features may be larger than it.
    """
    classes = probabilities.shape[1]
    labels, centroids = probabilities.argmax(dim=1), torch.zeros(0)
    for index in range(rounds):
        sums = torch.zeros(classes, features.shape[1] + 1, dtype=probabilities.dtype)
        mass = torch.zeros(classes, dtype=probabilities.dtype)
        for start in range(0, len(features), chunk):
            rows = slice(start, start + chunk)
            weights = probabilities[rows] if index == 0 else F.one_hot(labels[rows], classes).to(probabilities.dtype)
            sums += weights.T @ _unit_rows(features[rows], probabilities.dtype)
            mass += weights.sum(dim=0)
        fresh = sums / mass.clamp_min(1e-8)[:, None]
        centroids = fresh if index == 0 else torch.where(mass[:, None] > 0, fresh, centroids)
        directions = F.normalize(centroids, dim=1)
        nearest = [_unit_rows(part, directions.dtype) @ directions.T for part in features.split(chunk)]
        labels = torch.cat([similarity.argmax(dim=1) for similarity in nearest])
    return labels


def _unit_rows(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Features with a 1 appended, scaled to length 1."""
    return F.normalize(F.pad(features.to(dtype), (0, 1), value=1.0), dim=1)
