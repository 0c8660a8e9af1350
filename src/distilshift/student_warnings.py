"""Signs that a student is of little use, in sentences for the command line, the card and `AdaptResult.warnings`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distilshift.bundle import Statistics
from distilshift.gate import MIN_DISTINCT
from distilshift.metrics import never_predicted
from distilshift.target_facts import Target
from distilshift.teacher_report import balancing_helps

# A student that gives this share of the texts one label is of use only if they have hardly any other class.
MAX_ONE_LABEL = 0.95
# Share of the labels that it was taught which a student must keep.
MIN_KEPT_LABELS = 0.8
# Share of unknown word pieces from which on it is worth a remark.
MAX_UNKNOWN_REMARK = 0.02
# Texts that a class would be expected to have before its absence from the predictions means anything.
EXPECTED_TEXTS = 5
# Classes that are named at most.
NAMED = 5


def student_warnings(
    summary: dict[str, Any], sampled: int, target: Target, statistics: Statistics | None, class_weights: Any = "none"
) -> list[str]:
    """Return what a user must know before using the student; empty if nothing is wrong.

    Args:
        summary: of the student, with agreement and predicted shares of a sample of the target texts.
        sampled: number of texts in that sample.
        target: facts about the target texts.
        statistics: of the teacher's bundle.
        class_weights: the option that the teacher was taught with.
    """
    found = [
        _too_few(target, summary["adaptation"] == "accepted"),
        _one_label(summary["predicted_shares"]),
        _forgotten(summary["teacher_agreement"], summary["int8"]["held_out"]),
        _unknown(target),
        _never_by_teacher(summary["predicted_shares"], statistics, class_weights),
        _never_by_student(summary["predicted_shares"], sampled, statistics),
    ]
    return [each for each in found if each]


def _too_few(target: Target, adapted: bool) -> str:
    if target.distinct is None or target.distinct >= MIN_DISTINCT:
        return ""
    learned = "" if adapted else " The student learned the teacher's plain labels."
    return (
        f"There are only {target.distinct} different target texts, fewer than {MIN_DISTINCT}: too few to adapt to or "
        f"to learn from.{learned}"
    )


def _one_label(shares: dict[str, float]) -> str:
    name, share = max(shares.items(), key=lambda entry: entry[1])
    if share < MAX_ONE_LABEL:
        return ""
    return (
        f"The student labels {share:.0%} of the target texts {name!r}. Unless nearly all of them are, it has not "
        "learned to tell the classes apart."
    )


def _forgotten(kept: float, held_out: bool) -> str:
    if kept >= MIN_KEPT_LABELS:
        return ""
    fact = (
        f"agrees with the labels of only {kept:.0%} of the texts that it was not trained on"
        if held_out
        else f"keeps only {kept:.0%} of the labels that it was taught"
    )
    return f"The student {fact}. Give more texts, raise --distil-epochs, or choose a larger --size."


def _unknown(target: Target) -> str:
    if target.unknown_share < MAX_UNKNOWN_REMARK:
        return ""
    kinds = ", ".join(target.unknown_kinds)
    return (
        f"{target.unknown_share:.1%} of the word pieces in the target texts are unknown to the teacher's tokenizer "
        f"({kinds}), and all unknown pieces look the same to it. If they matter, replace them by words (such as "
        "':smile:' for an emoji), or use an encoder with a vocabulary for them."
    )


def _never_by_teacher(shares: dict[str, float], statistics: Statistics | None, class_weights: Any) -> str:
    never = never_predicted(np.array(statistics.validation_confusion)) if statistics else []
    if not never or statistics is None:
        return ""
    advice = "with --class-weights balanced" if balancing_helps(never, statistics, class_weights) else "for more epochs"
    names = [list(shares)[index] for index in never]
    return (
        f"The teacher never predicted {_named(names)} on its own held-out texts, and "
        f"neither it nor its student can be trusted to. Teach it with more rows of that kind, or {advice}."
    )


def _never_by_student(shares: dict[str, float], sampled: int, statistics: Statistics | None) -> str:
    usual = np.array(statistics.class_prior) if statistics else np.full(len(shares), 1 / len(shares))
    never = (np.array(list(shares.values())) == 0) & (usual * sampled >= EXPECTED_TEXTS)
    if not never.any():
        return ""
    names = [name for name, absent in zip(shares, never, strict=True) if absent]
    return f"The student predicts {_named(names)} for none of {sampled:,} target texts."


def _named(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(map(repr, names[:NAMED])) + (f" and {rest} other classes" if rest > 0 else "")
