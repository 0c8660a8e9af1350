"""The shares of two classes, without labels and whatever the teacher leans to, from parts of the same texts.

A teacher's lean and the target's class shares both move its predictions, so that from those for whole texts one
cannot be told from the other. Parts of a text can tell them apart: they have its class in common, and what the
teacher gets wrong in one part it does not, as a rule, get wrong in the next. With numpy alone.

What the teacher says of part j of text i is taken to be

    s_ij = m_j + d z_i + u_i + e_ij

z_i is 1 for a text of the second class, with probability q, and 0 else; d is how far the classes are apart; m_j the
lean; u_i how strongly a text speaks, normally distributed; e_ij all else, independent from part to part. The joint
cumulants of different parts are free of m (they are cumulants), of e (it is independent), and from the third on of u
(it is normal):

    third:   q (1 - q) (1 - 2q) d^3
    fourth:  q (1 - q) (1 - 6q (1 - q)) d^4

Two equations for q and d. That three views that are independent given a class identify its share is Lazarsfeld's latent
structure analysis (1950); by moments: Anandkumar, Hsu and Kakade 2012. The fourth cumulant, in the place of the second,
is ours: texts of one class do not all speak as strongly, which the second takes for distance between the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from distilshift.metrics import Floats

# Shares that are looked at.
GRID = np.linspace(0.02, 0.98, 481)
RESAMPLES = 200


@dataclass(frozen=True)
class PartShare:
    """An estimate.

    Attributes:
        share: of the second class, 0.02 to 0.98.
        error: its standard error by the bootstrap over texts.
        common: the mean correlation of two parts; it is small where there is one class.
    """

    share: float
    error: float
    common: float


def part_share(signals: Floats, seed: int = 0) -> PartShare | None:
    """The second class's share of the texts; None where all parts look the same.

    Args:
        signals: (texts, parts), at least four parts; higher for the second class. Of two probabilities the second less
            the first.
        seed: of the bootstrap.
    """
    values = np.asarray(signals, np.float64)
    share = _share(values)
    if share is None:
        return None
    rng = np.random.default_rng(seed)
    draws = (_share(values[rng.integers(0, len(values), len(values))]) for _ in range(RESAMPLES))
    error = float(np.std([draw for draw in draws if draw is not None]))
    return PartShare(share, error, _common(values))


def _share(signals: NDArray[np.float64]) -> float | None:
    third, fourth = joint_cumulants(signals)
    mixed = GRID * (1 - GRID)
    thirds, fourths = mixed * (1 - 2 * GRID), mixed * (1 - 6 * mixed)
    possible = fourths * fourth > 0
    if not possible.any():
        return None
    distances = (fourth / np.where(possible, fourths, fourth)) ** 0.25
    misfit = np.where(possible, np.abs(thirds * distances**3 - third), np.inf)
    return float(GRID[misfit.argmin()])


def _common(signals: NDArray[np.float64]) -> float:
    covariances = np.cov(signals.T)
    parts, own = len(covariances), float(np.trace(covariances))
    return (float(covariances.sum()) - own) / (parts - 1) / own


def joint_cumulants(signals: NDArray[np.float64]) -> tuple[float, float]:
    """The third and the fourth joint cumulant of different parts: means over all triples and all quadruples of them.

    By power sums of each text's parts (Newton's identities) instead of a loop over quadruples.

    Args:
        signals: (texts, parts).
    """
    parts = signals.shape[1]
    centred = signals - signals.mean(axis=0)
    one, two, three, four = ((centred**power).sum(axis=1) for power in range(1, 5))
    triples = (one**3 - 3 * one * two + 2 * three).mean() / 6
    quadruples = (one**4 - 6 * one**2 * two + 3 * two**2 + 8 * one * three - 6 * four).mean() / 24
    return float(triples / comb(parts, 3)), float((quadruples - _paired(centred)) / comb(parts, 4))


def _paired(centred: NDArray[np.float64]) -> float:
    """Of all quadruples, the products of the covariances of two pairs, summed over the three ways to pair them."""
    covariances = centred.T @ centred / len(centred)
    np.fill_diagonal(covariances, 0.0)
    squares, rows = (covariances**2).sum(), covariances.sum(axis=1)
    sharing = (rows**2).sum() - squares  # ordered products of two pairs that have one part in common
    return float((covariances.sum() ** 2 / 4 - squares / 2 - sharing) / 2)
