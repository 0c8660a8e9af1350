"""What a user is told before using a student, and when no accuracy is estimated."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift import adapt, teach
from distilshift.bundle import MANIFEST, Statistics, read_manifest
from distilshift.estimates import METHOD_ERROR, no_estimate_reason
from distilshift.student_warnings import student_warnings
from distilshift.target_facts import Target
from distilshift.types import Example
from texts import make_texts

QUICK: dict[str, Any] = {"student_layers": 1, "distil_epochs": 1, "spans": 0, "precision": "fp32"}
FINE: dict[str, Any] = {
    "adaptation": "accepted",
    "teacher_agreement": 0.97,
    "predicted_shares": {"bad": 0.4, "good": 0.6},
    "int8": {"held_out": False},
}
KNOWN = Statistics([0.5, 0.5], [[40, 10], [10, 40]], 0.8, 1.0, validation_confidence=0.8)


def warned(target: Target | None = None, statistics: Statistics | None = KNOWN, **facts: Any) -> list[str]:
    return student_warnings(FINE | facts, 1000, target or Target(500), statistics)


def test_nothing_is_said_of_a_sound_student():
    assert warned() == warned(statistics=None) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"target": Target(49)}, "only 49 different target texts"),
        (
            {"target": Target(49), "adaptation": "none"},
            "too few to adapt to or to learn from. The student learned the teacher's plain labels.",
        ),
        ({"predicted_shares": {"bad": 0.04, "good": 0.96}}, "labels 96% of the target texts 'good'"),
        ({"teacher_agreement": 0.79}, "keeps only 79% of the labels that it was taught"),
        (
            {"teacher_agreement": 0.79, "int8": {"held_out": True}},
            "The student agrees with the labels of only 79% of the texts that it was not trained on.",
        ),
        (
            {"target": Target(500, unknown_share=0.126, unknown_kinds=("emoji and symbols", "CJK"))},
            "12.6% of the word pieces in the target texts are unknown to the teacher's tokenizer (emoji and symbols,",
        ),
        (
            {"statistics": dataclasses.replace(KNOWN, validation_confusion=[[0, 6], [0, 90]])},
            "The teacher never predicted 'bad' on its own held-out texts",
        ),
    ],
)
def test_each_sign_is_told(facts: dict[str, Any], said: str):
    (warning,) = warned(**facts)
    assert said in warning


def test_an_adapted_student_of_few_texts_did_not_learn_plain_labels():
    (warning,) = warned(Target(49), adaptation="accepted")
    assert "plain labels" not in warning


@pytest.mark.parametrize(
    "facts",
    [
        {"target": Target(50)},
        {"predicted_shares": {"bad": 0.06, "good": 0.94}},
        {"teacher_agreement": 0.8},
        {"target": Target(500, unknown_share=0.019, unknown_kinds=("CJK",))},
        {"statistics": dataclasses.replace(KNOWN, validation_confusion=[[1, 5], [0, 90]])},
    ],
)
def test_no_sign_is_told_below_its_bound(facts: dict[str, Any]):
    assert warned(**facts) == []


def test_classes_that_the_student_never_predicts_are_named_where_some_were_expected():
    shares = {f"topic {number}": 0.0 for number in range(10)} | {"weather": 0.5, "music": 0.5}
    (warning,) = warned(statistics=None, predicted_shares=shares)
    assert (
        "predicts 'topic 0', 'topic 1', 'topic 2', 'topic 3', 'topic 4' and 5 other classes for none of 1,000"
        in warning
    )
    rare = Statistics([0.0004] * 10 + [0.498] * 2, [[1] * 12] * 12, 0.8, 1.0, validation_confidence=0.8)
    assert warned(statistics=rare, predicted_shares=shares) == []


@pytest.mark.parametrize("classes", [3, 77])
def test_with_more_than_two_classes_no_accuracy_is_estimated(classes: int):
    assert f"there are {classes} classes" in str(no_estimate_reason(KNOWN, classes))
    assert no_estimate_reason(KNOWN, 2) is None
    assert "no statistics" in str(no_estimate_reason(None, 2))


@pytest.mark.usefixtures("quick_export")
def test_a_teacher_of_the_majority_gets_no_estimate_and_a_warning(tiny_encoder: Path, tmp_path: Path):
    """900 : 60 rows whose words do not tell the class, so that it says the larger one of everything."""
    rows = [
        Example(text, label="rare" if index % 16 == 0 else "common")
        for index, (text, _) in enumerate(make_texts(320, 1))
    ]
    teach(rows, tmp_path / "t", base_model=str(tiny_encoder), epochs=1, max_length=32, precision="fp32")
    confusion = np.array(read_manifest(tmp_path / "t").statistics.validation_confusion)  # type: ignore[union-attr]
    assert confusion.sum(axis=0)[1] == 0 < confusion.sum(axis=1)[1]
    result = adapt(tmp_path / "t", [text for text, _ in make_texts(80, 2)], tmp_path / "s", **QUICK)
    assert result.summary["estimated_accuracy"] is None
    assert result.summary["adaptation"] == "refused"
    card = (tmp_path / "s" / "README.md").read_text()
    assert f"is not estimated: {result.summary['estimated_accuracy_reason']}." in card
    said = next(each for each in result.warnings if "never predicted 'rare'" in each)
    assert card.index(said) < card.index("A small text classifier")


@pytest.mark.usefixtures("quick_export")
def test_the_command_says_warnings_first(teacher_bundle: Path, tmp_path: Path, run_cli: Any, caplog: Any):
    texts = [f"{text} \U0001f600 \U0001f680" for text, _ in make_texts(60, 2)]
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    options = ("--student-layers", 1, "--distil-epochs", 1, "--spans", 0, "--precision", "fp32")
    done = run_cli("adapt", teacher_bundle, tmp_path / "t.txt", "-o", tmp_path / "s", *options)
    assert done.code == 0
    warnings = (read_manifest(tmp_path / "s").runtime or {})["warnings"]
    assert any("unknown to the teacher's tokenizer (emoji and symbols)" in each for each in warnings)
    assert done.out.startswith(f"Student in {tmp_path / 's'}, with {len(warnings)} warning")
    assert f"Warning: {warnings[0]}" in caplog.text
    assert (tmp_path / "s" / MANIFEST).exists()


def test_the_interval_holds_the_error_of_the_method(student_bundle: Path):
    facts = read_manifest(student_bundle).runtime or {}
    low, high = facts["estimated_accuracy_interval"]
    assert high - facts["estimated_accuracy"] >= min(METHOD_ERROR, 1 - facts["estimated_accuracy"])
    assert facts["estimated_accuracy"] - low >= METHOD_ERROR
