"""What is said of classes that a teacher never predicts: the advice can help, and cards of earlier versions pass."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from distilshift.bundle import Statistics, read_manifest
from distilshift.card import teacher_card
from distilshift.strict import findings
from distilshift.student_warnings import student_warnings
from distilshift.target_facts import Target
from distilshift.teacher_report import prediction_warnings
from forged import make_teacher, reseal

NAMES = ["a", "b", "c"]


def statistics(*rows: list[int], counts: list[int] | None = None) -> Statistics:
    scores: dict[str, Any] = {"balanced_accuracy": 0.3, "macro_f1": 0.2, "class_counts": counts}
    return Statistics([1 / 3] * 3, list(rows), 0.5, 1.0, validation_confidence=0.6, **scores)


RARE = statistics([9, 0, 0], [1, 0, 0], [0, 0, 9])
COMMON = statistics([4, 0, 0], [0, 0, 9], [0, 0, 4])
TWO = statistics([0, 9, 0], [0, 9, 0], [0, 9, 0])


@pytest.mark.parametrize(
    ("known", "weights", "helps"),
    [
        (RARE, "none", True),
        (RARE, "balanced", False),
        (RARE, "b=5", False),
        (RARE, {"b": 5.0}, False),
        (COMMON, "none", False),
        (TWO, "none", False),
        (statistics([9, 0, 0], [1, 0, 0], [0, 0, 9], counts=[20, 90, 20]), "none", False),
    ],
)
def test_balancing_is_advised_only_where_it_can_change_something(known: Statistics, weights: Any, helps: bool):
    summary = {"adaptation": "none", "teacher_agreement": 1.0, "int8": {"held_out": False}}
    summary["predicted_shares"] = {"a": 0.4, "b": 0.3, "c": 0.3}
    of_student = student_warnings(summary, 10, Target(500), known, weights)
    for (warning,) in (prediction_warnings(NAMES, known, weights), of_student):
        assert ("--class-weights balanced" in warning) == helps
        assert ("epochs" in warning) != helps


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (RARE, ", 1 of which has that label: an accuracy of 50.0% says nothing about it."),
        (COMMON, ", 9 of which have that label: an accuracy of 50.0% says nothing about it."),
        (TWO, "2 classes, 'a', 'c' are never predicted for the validation texts, 18 of which have these labels: an"),
        (TWO, "says nothing about them."),
    ],
)
def test_the_sentence_is_in_the_right_number(known: Statistics, said: str):
    (warning,) = prediction_warnings(NAMES, known, "none")
    assert said in warning


@pytest.mark.parametrize("known", [RARE, COMMON, TWO])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_wording_of_earlier_cards_passes(tmp_path: Path, known: Statistics, weights: str):
    bundle = make_teacher(tmp_path / "t")
    reseal(bundle, label_names=NAMES, statistics=asdict(known), config={"class_weights": weights})
    manifest = read_manifest(bundle)
    card = teacher_card(manifest)
    (line,) = (line for line in card.splitlines() if "never predicted" in line)
    start, rest = line.split(" never predicted for the validation texts, ")
    number, right = rest.split(" ")[0], "50.0%"
    earlier = (
        f"{start} never predicted for the validation texts, {number} of which have that label: an accuracy of {right} "
        "says nothing about it. Try --class-weights balanced, or add such texts.**"
    )
    for written in (card, card.replace(line, earlier)):
        (bundle / "README.md").write_text(written)
        reseal(bundle)
        assert [found for found in findings(bundle, read_manifest(bundle)) if "README" in found] == []
