"""Two-sample tests of new texts against the reference of a student: numpy only, both samples' errors included."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# Random tables of a Monte Carlo test: its smallest p-value is 1 / (_TABLES + 1).
_TABLES = 9_999
# Random counts drawn at once, and in all for a table of very many classes.
_COUNTS_AT_ONCE, _MOST_COUNTS = 1_000_000, 5_000_000
# Added to the variance of each dimension (about 1), so that directions without variance can be tested.
_RIDGE = 0.01


def counts_p_value(reference: NDArray[np.int64], now: NDArray[np.int64], generator: np.random.Generator) -> float:
    """Test whether two rows of counts are draws of the same shares, by Pearson's chi-squared statistic.

    Monte Carlo: given the sum of both rows, the row `now` is compared with random draws of as many texts without
    replacement. This is exact for small counts, too.

    Args:
        reference: (bins,) counts.
        now: (bins,) counts.
        generator: of the random draws.

    Returns:
        the p-value, 1 / 10,000 at least.
    """
    both, size = reference + now, int(now.sum())
    used = both > 0
    both, now = both[used], now[used]
    if len(both) < 2:
        return 1.0
    expected = both * (size / both.sum())

    def statistic(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(((counts - expected) ** 2 / expected).sum(axis=-1))

    observed = float(statistic(now)) * (1 - 1e-9)  # a tie is a tie, whatever the order of the sum
    tables = min(_TABLES, max(999, _MOST_COUNTS // len(both)))
    step, extreme = max(1, _COUNTS_AT_ONCE // len(both)), 0
    for start in range(0, tables, step):
        drawn = generator.multivariate_hypergeometric(both, size, min(step, tables - start), method="marginals")
        extreme += int((statistic(drawn) >= observed).sum())
    return (1 + extreme) / (1 + tables)


def mean_p_value(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], texts: int, now: NDArray[np.float64]
) -> float:
    """Test whether the mean of new rows is that of the reference: Hotelling's T-squared.

    The reference's covariance stands for both samples: T² (n - d) / (d (n - 1)) is F-distributed with d and n - d
    degrees of freedom, n being the reference's texts, so that few of them make the test careful.

    Args:
        mean: (d,) of the reference.
        covariance: (d, d) of the reference, unbiased.
        texts: of the reference, more than d.
        now: (new texts, d).

    Raises:
        LinAlgError: the covariance is not positive semidefinite.
    """
    size = len(mean)
    factor = np.linalg.cholesky(covariance + _RIDGE * np.eye(size))
    distance = np.linalg.solve(factor, now.mean(axis=0) - mean)
    squared = float(distance @ distance) / (1 / texts + 1 / len(now))
    return f_tail(squared * (texts - size) / (size * (texts - 1)), size, texts - size)


def f_tail(value: float, first: float, second: float) -> float:
    """Return the probability that an F-distributed number exceeds `value`.

    Args:
        value: 0 or more.
        first: degrees of freedom of the numerator.
        second: degrees of freedom of the denominator.
    """
    return incomplete_beta(second / (second + first * value), second / 2, first / 2)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b), by its continued fraction (Lentz's method).

    Source: Press et al., Numerical Recipes, 3rd edition, section 6.4.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny, value, below, above = 1e-300, 1.0, 0.0, 1.0
    for step in range(100_000):
        half = step // 2
        if step == 0:
            term = 1.0
        elif step % 2:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        below = 1 / ((1 + term * below) or tiny)
        above = (1 + term / above) or tiny
        value *= below * above
        if step and abs(below * above - 1) < 1e-15:
            break
    # The first step has made value = 1 + 1 = 2: the fraction is 1 / (1 + ...), written as value - 1.
    return math.exp(log_front) * (value - 1) / a
