"""Label shift: a domain of which just so many texts stay that a given share of them is positive.

The benchmark's doing, with labels that adaptation never sees: it gets the texts that stay, without them.
"""

from __future__ import annotations

from collections.abc import Sequence

from distilshift.bench.data import Domain, rank
from distilshift.errors import DataError
from distilshift.types import Example

# The class whose share is set, and whose predicted share shows a collapse.
POSITIVE = "positive"


def largest_count(positive: int, others: int, share: float) -> int:
    """The most texts of which `share`, rounded to whole texts, can be positive; 0 where none can.

    Args:
        positive: texts of the class that there are.
        others: texts of the other classes.
        share: 0 to 1.
    """
    for count in range(positive + others, 0, -1):
        wanted = round(share * count)
        if wanted <= positive and count - wanted <= others:
            return count
    return 0


def choose(examples: Sequence[Example], share: float, count: int, seed: int) -> list[Example]:
    """`count` labelled texts of which `share` are positive, in the order that they had.

    A class's texts are taken in the order of a hash, without replacement: the same on every machine, and of two shares
    the texts that one takes of a class hold those that the other takes, or are held by them.

    Args:
        examples: labelled texts, enough of either class.
        share: 0 to 1.
        count: texts to choose.
        seed: chooses which.
    """
    positive = round(share * count)
    chosen: set[int] = set()
    for wanted, is_positive in ((positive, True), (count - positive, False)):
        rows = [row for row, item in enumerate(examples) if (item.label == POSITIVE) == is_positive]
        chosen.update(sorted(rows, key=lambda row: rank(examples[row], seed))[:wanted])
    return [examples[row] for row in sorted(chosen)]


def _most(examples: Sequence[Example], share: float) -> int:
    positive = sum(item.label == POSITIVE for item in examples)
    return largest_count(positive, len(examples) - positive, share)


def resample(domain: Domain, share: float, shares: Sequence[float], seed: int) -> Domain:
    """A domain with a share of positive texts, in training and test alike.

    All shares keep as many training texts as the most extreme of them allows, so that they differ in nothing else;
    of the test texts each keeps as many as it can. For 800 and 800 training texts and 200 and 200 test texts, shares
    of 0.1 to 0.9 keep 889 training texts each, and 222, 286, 400, 286 and 222 test texts. Texts without a label are
    left out.

    Args:
        domain: the whole domain.
        share: of the positive texts, above 0 and below 1.
        shares: all that are to be compared, `share` among them.
        seed: chooses the training texts; the test texts are the same for all seeds, so that seeds can be averaged
            text by text.

    Raises:
        DataError: it has too few texts of a class.
    """
    train = domain.labelled()
    count, test_count = min(_most(train, each) for each in shares), _most(domain.test, share)
    if min(_rarest(share, count), _rarest(share, test_count)) < 1:
        raise DataError(
            f"a domain cannot be resampled to {share:.0%} {POSITIVE} texts",
            expected=f"texts labelled {POSITIVE}, and others, in training and test",
            got=f"{count} training and {test_count} test texts at most",
            fix="take other domains or milder positive_shares",
        )
    return Domain(choose(train, share, count, seed), choose(domain.test, share, test_count, 0))


def _rarest(share: float, count: int) -> int:
    """Texts of the rarer class."""
    return min(round(share * count), count - round(share * count))
