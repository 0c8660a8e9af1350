"""What a teacher's statistics say about its classes, for its card and for the command line."""

from __future__ import annotations

from collections.abc import Sequence

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


def prediction_warnings(names: Sequence[str], statistics: Statistics) -> list[str]:
    """A sentence if the teacher never predicts some class that validation texts have; else nothing."""
    confusion = np.array(statistics.validation_confusion)
    silent = never_predicted(confusion)
    if not silent:
        return []
    texts, right = int(confusion[silent].sum()), statistics.validation_accuracy
    listed = ", ".join(repr(names[index]) for index in silent[:_NAMED])
    more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
    what = "The class" if len(silent) == 1 else f"{len(silent)} classes,"
    verb = "is" if len(silent) == 1 else "are"
    return [
        f"{what} {listed}{more} {verb} never predicted for the validation texts, {texts} of which have that label: an "
        f"accuracy of {right:.1%} says nothing about it. Try --class-weights balanced, or add such texts."
    ]
