"""A student that learns from its own predictions: refused where it strays, and then that of plain labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from applicable import applicable
from distilshift import adapt, gate, judging, learning, pipeline
from distilshift.bundle import read_manifest
from distilshift.student_bundle import Distilled

OPTIONS: dict[str, Any] = {
    **{"student_layers": 1, "adapt_epochs": 1, "distil_epochs": 2, "spans": 0, "precision": "fp32"},
    **{"distil_learning_rate": 1e-3, "method": "none", "feedback_every": 1},
}
# Each with the function that trains, and what the reasons call it.
KINDS = {
    "dine": ({"method": "dine"}, "dine_student", "Adaptation"),
    "feedback": ({"feedback": 0.5}, "distil_jointly", "Feedback"),
}
EMPTY = dataclasses.make_dataclass("Empty", [("runtime", dict)])({})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Distilled]:
    """What was distilled; the export is left out. The tiny target would not pass as fit."""
    found: list[Distilled] = []
    monkeypatch.setattr(pipeline, "write_student", lambda folder, each, *rest: found.append(each))
    monkeypatch.setattr(pipeline, "read_manifest", lambda path, kind: read_manifest(path) if path.exists() else EMPTY)
    monkeypatch.setattr(gate, "_unfit_target", lambda *args: iter(()))
    return found


def collapsing(inner: Callable[..., None], trained: list[str]) -> Callable[..., None]:
    """Training after which the student gives every text the first class."""

    def train(student: Any, *rest: Any) -> None:
        inner(student, *rest)
        trained.append("once")
        with torch.no_grad():
            student.model.classifier.bias.add_(torch.tensor([50.0, -50.0]))

    return train


def same_weights(first: Distilled, second: Distilled) -> bool:
    other = second.student.model.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.student.model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_that_collapses_is_replaced_by_that_of_plain_labels(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, made: list[Distilled], monkeypatch: Any, kind: str
):
    options, function, name = KINDS[kind]
    monkeypatch.setattr(learning, function, collapsing(getattr(learning, function), []))
    adapt(teacher_bundle, target_file, tmp_path / "guarded", **applicable(OPTIONS | options))
    adapt(teacher_bundle, target_file, tmp_path / "plain", **applicable(OPTIONS))
    adapt(teacher_bundle, target_file, tmp_path / "unguarded", gate=False, **applicable(OPTIONS | options))
    guarded, plain, unguarded = made
    assert same_weights(guarded, plain)
    assert not same_weights(unguarded, plain)
    facts = guarded.judgement.summary(["negative", "positive"])
    what = "adaptation" if kind == "dine" else "feedback"
    assert facts[what] == "refused"
    assert facts[f"{what}_reason"].startswith(f"{name} was refused: the student is 0.")
    assert "The gate is off" in unguarded.judgement.summary(["negative", "positive"])[f"{what}_reason"]
    assert plain.judgement.summary(["negative", "positive"])["feedback"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_continued_run_decides_the_same(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, made: list[Distilled], monkeypatch: Any, kind: str
):
    options, function, _ = KINDS[kind]
    trained: list[str] = []
    monkeypatch.setattr(learning, function, collapsing(getattr(learning, function), trained))
    with monkeypatch.context() as stopped:
        stopped.setattr(learning, "distil_student", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            adapt(teacher_bundle, target_file, tmp_path / "s", **applicable(OPTIONS | options))
    monkeypatch.setattr(judging, "decide_labels", lambda *args: pytest.fail("it decided again"))
    adapt(teacher_bundle, target_file, tmp_path / "s", **applicable(OPTIONS | options))
    adapt(teacher_bundle, target_file, tmp_path / "plain", **applicable(OPTIONS))
    assert same_weights(made[0], made[1])
    assert not list(tmp_path.glob("*.run"))


@pytest.mark.usefixtures("quick_export")
def test_the_card_says_what_became_of_it(teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(gate, "_unfit_target", lambda *args: iter(()))
    adapt(teacher_bundle, target_file, tmp_path / "dine", **applicable(OPTIONS | {"method": "dine"}))
    adapt(teacher_bundle, target_file, tmp_path / "feedback", **applicable(OPTIONS | {"feedback": 0.5}))
    cards = {name: (tmp_path / name / "README.md").read_text() for name in KINDS}
    assert "The student learnt from the teacher as it came, and adapted itself. No sign of harm: " in cards["dine"]
    assert "It learnt from its own predictions, too. No sign of harm: the student keeps " in cards["feedback"]
    monkeypatch.setattr(gate, "_moved", lambda *args: iter(["of a whim"]))
    adapt(teacher_bundle, target_file, tmp_path / "refused", **applicable(OPTIONS | {"feedback": 0.5}))
    assert "Feedback was refused: of a whim." in (tmp_path / "refused" / "README.md").read_text()
