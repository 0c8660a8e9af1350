"""Losses between a text and its neighbours in a bank: pure functions, unreduced.

A bank holds the feature and the prediction of each target text as they were when it was last seen, one row a text.
Predictions of the batch enter as logits, those of the bank as probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Similarities held at a time: 64 MB in float32, however large the bank.
CELLS = 2**24


def nearest_neighbours(
    features: Tensor, bank: Tensor, count: int, own: Tensor | None = None, cells: int = CELLS
) -> Tensor:
    """The rows of the bank nearest to each feature by cosine, nearest first; int64 of shape (batch, neighbours).

    There are `count` neighbours, or fewer where the bank holds no more. The order of exact ties is not defined.
    Computed in the bank's precision also under autocast, whose three digits would reorder close neighbours.
    Source: Yang et al. 2021 (NRC) and 2022 (AaD), who search one more and drop the first.
    Deviation: a text is left out by its own row, since a duplicate of it may come first instead.

    Args:
        features: (batch, width), of any length; no gradient flows.
        bank: (texts, width), of any length.
        count: K.
        own: (batch,), the row of the bank that is the text itself; None where the texts are not in the bank.
        cells: similarities held at a time, which bounds the memory.
    """
    count = max(0, min(count, len(bank) - (own is not None)))
    rows = max(1, cells // max(1, len(bank)))
    found = []
    with torch.no_grad(), torch.autocast(bank.device.type, enabled=False):
        unit = F.normalize(bank, dim=1)
        for start in range(0, len(features), rows):
            cosines = F.normalize(features[start : start + rows].to(bank.dtype), dim=1) @ unit.T
            if own is not None:
                cosines.scatter_(1, own[start : start + rows, None], -torch.inf)
            found.append(cosines.topk(count, dim=1).indices)
    return torch.cat(found) if found else torch.zeros(0, count, dtype=torch.int64, device=bank.device)


def expanded_neighbours(neighbours: Tensor, bank: Tensor, count: int, cells: int = CELLS) -> Tensor:
    """The neighbours of each neighbour; int64 of shape (batch, neighbours, expanded).

    A neighbour is not its own neighbour, but the text itself may be, and repeats are kept: the more often a text
    is met, the more it weighs. Source: Yang et al. 2021 (NRC), whose published code keeps the text in place of
    the paper's separate self-regularisation.

    Args:
        neighbours: (batch, neighbours), rows of the bank.
        bank: (texts, width).
        count: M.
        cells: as of `nearest_neighbours`.
    """
    flat = neighbours.flatten()
    found = nearest_neighbours(bank[flat], bank, count, own=flat, cells=cells)
    return found.view(*neighbours.shape, found.shape[1])


def reciprocal_affinity(own: Tensor, expanded: Tensor, other: float = 0.1) -> Tensor:
    """1 for a neighbour that has the text among its own neighbours, else `other`; float of shape (batch, neighbours).

    Source: Yang et al. 2021 (NRC), the affinity A_ij with r = 0.1.

    Args:
        own: (batch,), the row of the bank that is the text itself.
        expanded: (batch, neighbours, expanded), the neighbours of its neighbours.
        other: r, the weight of a neighbour that is not reciprocal.
    """
    mutual = (expanded == own[:, None, None]).any(dim=-1)
    return torch.where(mutual, 1.0, other)


def neighbour_attraction(logits: Tensor, neighbour_probabilities: Tensor, weights: Tensor | None = None) -> Tensor:
    """-sum_j w_j p . p_j over the neighbours j of each text: agree with them; shape (batch,).

    Source: Yang et al. 2021 (NRC), the term of the nearest neighbours; without weights the first term of
    Yang et al. 2022 (AaD).

    Args:
        logits: (batch, classes).
        neighbour_probabilities: (batch, neighbours, classes), from the bank; gradients flow unless detached.
        weights: (batch, neighbours); None is 1 for each.
    """
    agreements = (logits.softmax(dim=-1).unsqueeze(1) * neighbour_probabilities).sum(dim=-1)
    return -(agreements if weights is None else agreements * weights).sum(dim=-1)


def reciprocal_clustering(
    logits: Tensor,
    neighbour_probabilities: Tensor,
    affinity: Tensor,
    expanded_probabilities: Tensor,
    expanded_weight: float = 0.1,
) -> Tensor:
    """Agree with the neighbours by affinity, and a little with theirs; shape (batch,).

    -sum_j A_j p . p_j - r sum_j sum_m p . p_m. With `prior_divergence` of the batch added to the mean, which for a
    uniform prior is their diversity term, it is the loss of Yang et al. 2021 (NRC).

    Args:
        logits: (batch, classes).
        neighbour_probabilities: (batch, neighbours, classes), from the bank.
        affinity: (batch, neighbours), of `reciprocal_affinity`.
        expanded_probabilities: (batch, neighbours, expanded, classes), from the bank.
        expanded_weight: r.
    """
    near = neighbour_attraction(logits, neighbour_probabilities, affinity)
    return near + expanded_weight * neighbour_attraction(logits, expanded_probabilities.flatten(1, 2))


def dispersion(logits: Tensor) -> Tensor:
    """sum_{m != i} p_i . p_m over the rest of the batch: disagree with texts taken at random; shape (batch,).

    A sum, as the authors have it, so that it grows with the batch. With two classes half of the rest is of the
    text's own class, and is pushed away too: weigh it less. Source: Yang et al. 2022 (AaD), the second term.

    Args:
        logits: (batch, classes); gradients flow through both sides of each pair.
    """
    probabilities = logits.softmax(dim=-1)
    return (probabilities * (probabilities.sum(dim=0) - probabilities)).sum(dim=-1)


def dispersion_weight(progress: float, decay: float = 5.0) -> float:
    """alpha_t = (1 + 10 t)^-beta, from 1 downwards. Source: Yang et al. 2022 (AaD).

    Args:
        progress: t, the share of the training that is done, 0 to 1.
        decay: beta; 0 keeps the weight at 1.
    """
    return float((1 + 10 * progress) ** -decay)


def attracting_dispersing(logits: Tensor, neighbour_probabilities: Tensor, weight: float) -> Tensor:
    """The whole loss, of one process: trainings add up the same terms over several, and tests hold them against this.

    -sum_j p . p_j + alpha_t sum_{m != i} p . p_m of each text; shape (batch,).

    Source: Yang et al. 2022 (AaD), the whole loss.

    Args:
        logits: (batch, classes).
        neighbour_probabilities: (batch, neighbours, classes), from the bank.
        weight: alpha_t, of `dispersion_weight`.
    """
    return neighbour_attraction(logits, neighbour_probabilities) + weight * dispersion(logits)
