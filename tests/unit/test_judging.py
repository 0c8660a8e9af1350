"""`adapt` with its gate: accepted, refused, without statistics, continued."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from applicable import applicable
from distilshift import adapt, gate, import_checkpoint, judging, learning, pipeline
from distilshift.bundle import read_manifest
from distilshift.errors import ConfigError
from distilshift.student_bundle import Distilled
from encoders import make_checkpoint

OPTIONS: dict[str, Any] = {
    "method": "shot-im",
    "student_layers": 1,
    "adapt_epochs": 2,
    "distil_epochs": 2,
    "span_min_words": 2,
}
OPTIONS |= {"precision": "fp32", "distil_learning_rate": 1e-3}


@pytest.fixture
def accepting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny teacher is too sure of its texts, and has too few, to pass as a real one."""
    monkeypatch.setattr(gate, "_unfit_target", lambda *args: iter(()))
    monkeypatch.setattr(gate, "_harm", lambda *args: iter(()))


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_harm", lambda *args: iter(["of a whim"]))
    monkeypatch.setattr(gate, "_unfit_target", lambda *args: iter(()))


def no_export(monkeypatch: pytest.MonkeyPatch) -> list[Distilled]:
    """Stop before the export; what was distilled is in the list."""
    made: list[Distilled] = []
    monkeypatch.setattr(pipeline, "write_student", lambda folder, each, *rest: made.append(each))
    monkeypatch.setattr(pipeline, "read_manifest", lambda path, kind: read_manifest(path) if path.exists() else EMPTY)
    return made


EMPTY = dataclasses.make_dataclass("Empty", [("runtime", dict)])({})


@pytest.mark.usefixtures("accepting", "quick_export")
def test_an_accepted_adaptation_is_reported(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, run_cli: Callable[..., Any]
):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    finished = run_cli("adapt", teacher_bundle, target_file, "-o", tmp_path / "s", *flags)
    assert finished.code == 0
    facts = read_manifest(tmp_path / "s").runtime
    assert facts["adaptation"] == "accepted"
    assert facts["adaptation_reason"].startswith("No sign of harm")
    assert facts["target_prior"]["positive"] == pytest.approx(0.5, abs=0.05)
    assert facts["target_prior_reason"].startswith("Labels keep the class shares that they have")
    low, high = facts["estimated_accuracy_interval"]
    assert 0 <= low <= facts["estimated_accuracy"] <= high <= 1
    assert set(facts["scores"]) == {"agreement", "unadapted", "adapted"}
    assert facts["scores"]["adapted"]["shares"] == [0.5, 0.5]
    told = finished.out
    for text in ((tmp_path / "s" / "README.md").read_text(), told):
        assert "The student learnt from the adapted teacher. No sign of harm" in text
        assert f"without labels: {facts['estimated_accuracy']:.1%}" in text


@pytest.mark.usefixtures("refusing")
def test_a_refusal_means_plain_labels_of_the_unadapted_teacher(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: Any
):
    """Its student is, bit for bit, the one of method none."""
    made = no_export(monkeypatch)
    wild = OPTIONS | {"adapt_learning_rate": 1e-2}
    for name, options in (("refused", wild), ("plain", wild | {"method": "none"}), ("used", wild | {"gate": False})):
        adapt(teacher_bundle, target_file, tmp_path / name, **applicable(options))
    refused, plain, used = ({k: v.clone() for k, v in each.student.model.state_dict().items()} for each in made)
    assert all((refused[name] == plain[name]).all() for name in plain)
    assert any((refused[name] != used[name]).any() for name in plain)  # there was something to refuse
    first, second, third = (each.judgement for each in made)
    assert (first.adaptation, second.adaptation, third.adaptation) == ("refused", "none", "accepted")
    assert first.reason == "Adaptation was refused: of a whim."
    assert second.summary(["a", "b"])["scores"] is second.summary(["a", "b"])["target_prior"] is None
    assert third.decision is None
    assert third.prior is not None


@pytest.mark.usefixtures("refusing", "quick_export")
def test_a_refusal_is_told(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    facts = adapt(teacher_bundle, target_file, tmp_path / "s", **OPTIONS).summary
    card = (tmp_path / "s" / "README.md").read_text()
    assert facts["adaptation"] == "refused"
    assert "The student learnt from the teacher as it came. Adaptation was refused: of a whim." in card
    assert "distilled on 120 unlabelled texts" in card
    assert "A small text classifier, distilled on texts of its domain" in card


def test_an_adaptation_that_collapses_is_refused(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: Any
):
    """Without a diversity term and at a wild rate all texts come out as one class; the real gate sees it."""
    made = no_export(monkeypatch)

    def collapse(teacher: Any, *args: Any) -> None:
        teacher.model.classifier.bias.data[1] += 50

    monkeypatch.setattr(pipeline, "adapt_teacher", collapse)
    adapt(teacher_bundle, target_file, tmp_path / "s", **OPTIONS)
    (found,) = made
    assert found.judgement.adaptation == "refused"
    assert "from the expected class shares" in found.judgement.reason
    assert found.judgement.decision.adapted.shares == (0.0, 1.0)
    labels = found.whole.targets(np.arange(120)).argmax(dim=1)
    assert np.bincount(labels).tolist() == [60, 60]  # those of the teacher as it came


@pytest.mark.usefixtures("quick_export")
def test_an_imported_teacher_has_no_estimate(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    import_checkpoint(str(teacher_bundle), tmp_path / "t", max_length=32)
    facts = adapt(tmp_path / "t", target_file, tmp_path / "s", **OPTIONS).summary
    assert facts["estimated_accuracy"] is facts["estimated_accuracy_interval"] is None
    assert "there is no better evidence" in facts["target_prior_reason"]
    assert facts["adaptation"] in {"accepted", "refused"}
    assert "is not estimated" in (tmp_path / "s" / "README.md").read_text()


def test_three_classes_and_given_shares(target_file: Path, tmp_path: Path, monkeypatch: Any):
    made, seen = no_export(monkeypatch), []
    inner = pipeline.adapt_teacher
    monkeypatch.setattr(pipeline, "adapt_teacher", lambda *args: (seen.append(args[-1].tolist()), inner(*args)))
    import_checkpoint(str(make_checkpoint(tmp_path / "checkpoint", num_labels=3)), tmp_path / "t", max_length=32)
    adapt(tmp_path / "t", target_file, tmp_path / "s", **OPTIONS, target_prior="0.5,0.3,0.2")
    assert seen == [[0.5, 0.3, 0.2]]
    assert made[0].judgement.prior.origin == "given"
    assert len(made[0].judgement.decision.adapted.shares) == 3


def test_unusable_shares_cost_nothing(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"for each of negative, positive"):
        adapt(teacher_bundle, target_file, tmp_path / "s", **OPTIONS, target_prior="1,2,3")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("refusing")
def test_a_continued_run_decides_the_same(teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: Any):
    made = no_export(monkeypatch)
    adapt(teacher_bundle, target_file, tmp_path / "whole", **OPTIONS)
    with monkeypatch.context() as stopped:
        stopped.setattr(learning, "distil_student", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            adapt(teacher_bundle, target_file, tmp_path / "s", **OPTIONS)
    journal = json.loads((tmp_path / "s.run" / "journal.json").read_text())
    assert {"target-prior", "adapted-gate"} <= journal["files"].keys()
    monkeypatch.setattr(judging, "decide", lambda *args: pytest.fail("it decided again"))
    monkeypatch.setattr(judging, "labels_prior", lambda *args: pytest.fail("it estimated again"))
    adapt(teacher_bundle, target_file, tmp_path / "s", **OPTIONS)
    whole, continued = made
    assert continued.judgement == whole.judgement
    states = (each.student.model.state_dict() for each in made)
    assert all((first == second).all() for first, second in zip(*(state.values() for state in states), strict=True))
