"""What a teacher's statistics say about its classes, for its card and for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distilshift.bundle import Statistics
from distilshift.metrics import class_recalls, never_predicted
from distilshift.types import ClassRecord

# Names in a sentence.
_NAMED = 8


def class_records(names: Sequence[str], statistics: Statistics) -> tuple[ClassRecord, ...]:
    """A record for each class, in the order of the names; of older bundles too, which lack the training texts."""
    confusion = np.array(statistics.validation_confusion)
    counts: Sequence[int | None] = statistics.class_counts or [None] * len(names)
    rows = zip(names, counts, confusion.sum(axis=1).tolist(), class_recalls(confusion), strict=True)
    return tuple(ClassRecord(*row) for row in rows)


def balancing_helps(silent: Sequence[int], statistics: Statistics, class_weights: Any) -> bool:
    """Whether class_weights "balanced" would weigh these classes, by index, more than the teacher's option did."""
    counts = np.array(statistics.class_counts or np.sum(statistics.validation_confusion, axis=1))
    return class_weights == "none" and bool((counts[list(silent)] < counts.mean()).all())


def prediction_warnings(names: Sequence[str], statistics: Statistics, class_weights: Any) -> list[str]:
    """A sentence if the teacher never predicts some class that validation texts have; else nothing.

    Args:
        names: of the classes.
        statistics: of the teacher's bundle.
        class_weights: the option that it was taught with.
    """
    confusion = np.array(statistics.validation_confusion)
    silent = never_predicted(confusion)
    if not silent:
        return []
    texts, right = int(confusion[silent].sum()), statistics.validation_accuracy
    listed = ", ".join(repr(names[index]) for index in silent[:_NAMED])
    more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
    one = len(silent) == 1
    what, verb = ("The class", "is") if one else (f"{len(silent)} classes,", "are")
    have, label, it = "has" if texts == 1 else "have", "that label" if one else "these labels", "it" if one else "them"
    advice = "--class-weights balanced" if balancing_helps(silent, statistics, class_weights) else "more --epochs"
    return [
        f"{what} {listed}{more} {verb} never predicted for the validation texts, {texts} of which {have} {label}: an "
        f"accuracy of {right:.1%} says nothing about {it}. Try {advice}, or add such texts."
    ]
