"""Draw the texts to ask a person about: useful to train on, and a probability sample to measure with.

Every text has a known, positive chance of being drawn, so answers weighted by its inverse estimate accuracy and class
shares without bias. The chance is larger for uncertain texts, and each predicted class gets its part.
Texts are laid in a row in which similar ones are neighbors, and drawn at equal steps of accumulated chance from a
random start (systematic sampling with unequal probabilities: Madow 1949; Tillé 2006, chapter 7). So every kind of text
is covered, and two neighbors are hardly ever drawn together. Dense regions get as many draws as they have texts; a
larger chance for typical texts made estimates worse and corrected labels no better (benchmarks/LOG.md).

Later batches are drawn from the rest, with any chances; weights are combined as in `combined_weights`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilshift.similarity_order import similarity_order

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Fractional parts of its multiples are spread evenly over the unit interval, however many are taken.
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Emphasis:
    """What makes a text likelier to be drawn; chosen in benchmarks/query.py.

    Attributes:
        uncertainty, novelty: by what factor the most uncertain text is likelier to be drawn than the surest one, and
            the one least like any asked text than the one most like them.
        equal_classes: part of the draw that is shared equally by the predicted classes, rather than by their texts.
        equal_texts: part of the draw that goes to all texts alike: no weight exceeds the mean by more than its inverse
            (defensive importance sampling: Hesterberg 1995).
    """

    uncertainty: float = 4.0
    novelty: float = 2.0
    equal_classes: float = 0.5
    equal_texts: float = 0.25


@dataclass(frozen=True)
class Pool:
    """What is known of the texts without labels.

    Attributes:
        probabilities: (texts, classes), of the model.
        vectors: (texts, width) float32; the cosine of two says how similar the texts are.
        groups: (texts,) the same number for near copies, of which one is asked about.
    """

    probabilities: Floats
    vectors: NDArray[np.float32]
    groups: Indices


@dataclass(frozen=True)
class Candidates:
    """One text of each group that was not asked about yet, with what makes it useful.

    Attributes:
        rows: (candidates,) indices of the texts.
        copies: (candidates,) texts of its group, itself included.
        uncertainty, novelty: (candidates,) ranks from 0, least, to 1.
        scarcity: (candidates,) by what its predicted class is drawn more often than by its texts' number.
        sizes: (candidates,) to which chances of being drawn are proportional.
    """

    rows: Indices
    copies: Indices
    uncertainty: Floats
    novelty: Floats
    scarcity: Floats
    sizes: Floats

    def only(self, chosen: Indices) -> Candidates:
        """These candidates, in this order."""
        return Candidates(**{name: values[chosen] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Draw:
    """A batch.

    Attributes:
        batch: the texts drawn, in the order in which to ask.
        weights: (batch,) how many texts each stands for, given all batches.
        asked_weights: (asked,) the same for the texts of earlier batches.
        groups: number of groups of near copies, asked ones included.
    """

    batch: Candidates
    weights: Floats
    asked_weights: Floats
    groups: int


def draw(
    pool: Pool, asked: Indices, asked_weights: Floats, count: int, seed: int, emphasis: Emphasis = Emphasis()
) -> Draw:
    """Draw a batch from the texts that were not asked about.

    Args:
        pool: all texts.
        asked: (asked,) texts of earlier batches.
        asked_weights: (asked,) how many texts each stands for, given these batches.
        count: texts to draw; fewer are drawn where there are no more groups.
        seed: of every random choice; the batches of one file differ in what was asked.
        emphasis: what makes a text likelier to be drawn.
    """
    generator = np.random.default_rng([seed, len(asked)])
    numbers, copies = np.unique(pool.groups, return_inverse=True, return_counts=True)[1:]
    rows = _one_of_each(numbers, np.unique(numbers[asked]), generator)
    count = min(count, len(rows))
    share = batch_share(len(copies), len(copies) - len(rows), count)
    order = similarity_order(pool.vectors[rows], pool.probabilities[rows].argmax(axis=1))
    candidates = _candidates(pool, rows, copies[numbers[rows]], asked, emphasis)
    inclusion = inclusion_probabilities(candidates.sizes, count, np.minimum(1.0, share * candidates.copies))
    drawn = order[systematic(inclusion[order], generator.random())]
    drawn = drawn[spread_order(len(drawn), generator)]
    batch = candidates.only(drawn)
    weights, kept = combined_weights(share, batch.copies / inclusion[drawn], asked_weights, copies[numbers[asked]])
    return Draw(batch, weights, kept, len(copies))


def _one_of_each(groups: Indices, without: Indices, generator: np.random.Generator) -> Indices:
    """A random text of each group but some, ascending."""
    shuffled = generator.permutation(len(groups))
    found, first = np.unique(groups[shuffled], return_index=True)
    return np.sort(shuffled[first[~np.isin(found, without)]])


def _candidates(pool: Pool, rows: Indices, copies: Indices, asked: Indices, emphasis: Emphasis) -> Candidates:
    probabilities, vectors = pool.probabilities[rows], pool.vectors[rows]
    ranks = {
        "uncertainty": _ranks(-probabilities.max(axis=1)),
        "novelty": _ranks(-_nearest(vectors, pool.vectors[asked])),
    }
    useful = copies.astype(np.float64)
    for name, ranked in ranks.items():
        useful *= 1 + (getattr(emphasis, name) - 1) * ranked
    scarcity = _scarcity(probabilities.argmax(axis=1), useful, probabilities.shape[1], emphasis.equal_classes)
    wanted, equal = useful * scarcity / useful.sum(), copies / copies.sum()
    sizes = (1 - emphasis.equal_texts) * wanted + emphasis.equal_texts * equal
    return Candidates(rows, copies, **ranks, scarcity=scarcity, sizes=sizes)


def _ranks(values: Floats) -> Floats:
    """Ranks from 0 to 1; equal values have equal ones, and where all are equal they are 0."""
    different, places = np.unique(values, return_inverse=True)
    return places / max(1, len(different) - 1)


def _nearest(vectors: NDArray[np.float32], asked: NDArray[np.float32]) -> Floats:
    """Cosine with the most similar asked text; 0 where there is none."""
    nearest = np.full(len(vectors), -1.0 if len(asked) else 0.0)
    for text in asked:
        np.maximum(nearest, vectors @ text, out=nearest)
    return nearest


def _scarcity(predicted: Indices, useful: Floats, classes: int, equal: float) -> Floats:
    """By what to multiply sizes so that a part of the draw, `equal`, is shared equally by the classes."""
    parts = np.bincount(predicted, useful, classes) / useful.sum()
    present = parts > 0
    wanted = (1 - equal) * parts + equal * present / present.sum()
    return (wanted / np.where(present, parts, 1.0))[predicted]


def inclusion_probabilities(sizes: Floats, count: int, limits: Floats) -> Floats:
    """Chances of being drawn that are proportional to sizes, except where they would exceed a limit.

    Args:
        sizes: (texts,) above 0.
        count: their sum; at most the limits' sum.
        limits: (texts,) from 0 to 1.
    """
    found, free = np.zeros(len(sizes)), np.ones(len(sizes), bool)
    while free.any():
        found[free] = sizes[free] * ((count - limits[~free].sum()) / sizes[free].sum())
        over = free & (found > limits)
        if not over.any():
            break
        found[over], free = limits[over], free & ~over
    return found


def systematic(inclusion: Floats, start: float) -> Indices:
    """Positions drawn at equal steps of accumulated chance, ascending; two neighbors whose sum is below 1 never both.

    Args:
        inclusion: (texts,) from 0 to 1, with a whole number as sum, which is how many are drawn.
        start: 0 to 1, random.
    """
    certain = inclusion > 1 - 1e-9
    others = np.flatnonzero(~certain)
    ends = np.cumsum(inclusion[others])
    points = start + np.arange(round(inclusion.sum()) - certain.sum())
    drawn = np.minimum(np.searchsorted(ends, points, side="right"), len(others) - 1)
    return np.union1d(np.flatnonzero(certain), others[drawn])


def spread_order(count: int, generator: np.random.Generator) -> Indices:
    """An order in which any first few of `count` positions are spread over all of them.

    Each position is equally likely to be at each place: whoever stops early has a smaller sample of the same kind.
    """
    return np.roll(np.argsort(np.arange(count) * _GOLDEN % 1), generator.integers(max(1, count)))


def batch_share(groups: int, asked: int, count: int) -> float:
    """The part of the estimate that comes from a batch of `count` groups, where `asked` of all were asked before.

    With equal chances, it gives all answers the same weight.
    """
    return groups * count / ((groups - asked) * (asked + count))


def combined_weights(
    share: float, batch: Floats, asked_weights: Floats, asked_copies: Indices
) -> tuple[Floats, Floats]:
    """Weights of a batch and of the texts asked before, after this batch.

    Given what was asked before, the asked texts' own values plus the batch's weighted ones are an unbiased estimate of
    the total (Raj 1956), whatever the chances depended on: answers, a new model. The mean of such estimates, one per
    batch, is unbiased too; in active testing this is the estimator of Farquhar, Gal and Rainforth (2021).

    Args:
        share: `batch_share`.
        batch: (batch,) inverse chances, times copies.
        asked_weights: (asked,) from earlier batches.
        asked_copies: (asked,) texts that each stands for where all are asked.
    """
    return share * batch, (1 - share) * asked_weights + share * asked_copies


def effective_size(weights: Floats) -> float:
    """Answers of equal weight that would measure as precisely (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())
