"""Targets that no adaptation can help with: it is refused with the reason, and the student is that of plain labels."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import degenerate
from distilshift import adapt, pipeline
from distilshift.bundle import read_manifest
from distilshift.student_bundle import Distilled
from distilshift.types import Example
from texts import NEUTRAL, make_texts

OPTIONS: dict[str, Any] = {
    **{"student_layers": 1, "adapt_epochs": 2, "distil_epochs": 1, "spans": 0, "precision": "fp32"},
    "distil_learning_rate": 1e-3,
}
TEXTS = 240


def ordinary() -> list[str]:
    return [text for text, _ in make_texts(TEXTS, 2)]


def noise(rng: random.Random) -> str:
    return " ".join("".join(rng.choices("bcdfghjklmnpqrstvwxz", k=rng.randint(1, 9))) for _ in range(8))


def mostly_noise() -> list[str]:
    rng = random.Random(0)
    return [noise(rng) if index % 10 else text for index, text in enumerate(ordinary())]


def off_topic() -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(NEUTRAL, k=rng.randint(3, 12))) for _ in range(TEXTS)]


def other_language() -> list[str]:
    rng, letters = random.Random(0), "αβγδεζηθικλμνξοπρστυφχψω"
    return [" ".join("".join(rng.choices(letters, k=5)) for _ in range(rng.randint(4, 12))) for _ in range(TEXTS)]


# Each with a reason that the gate may give.
KINDS: dict[str, tuple[Callable[[], list[str]], str]] = {
    "one class": (
        lambda: [text for text, label in make_texts(2 * TEXTS, 2) if label == "positive"],
        "refused: ",
    ),
    "another language": (other_language, "refused: "),
    "noise": (mostly_noise, "refused: "),
    "off topic": (off_topic, "refused: "),
}
EMPTY = dataclasses.make_dataclass("Empty", [("runtime", dict)])({})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Distilled]:
    """What was distilled; the export is left out."""
    found: list[Distilled] = []
    monkeypatch.setattr(pipeline, "write_student", lambda folder, each, *rest: found.append(each))
    monkeypatch.setattr(pipeline, "read_manifest", lambda path, kind: read_manifest(path) if path.exists() else EMPTY)
    return found


def test_an_ordinary_target_is_not_refused(teacher_bundle: Path, tmp_path: Path, made: list[Distilled]):
    """The positive control: the same teacher, options and number of texts."""
    adapt(teacher_bundle, ordinary(), tmp_path / "s", **OPTIONS)
    assert made[0].judgement.adaptation == "accepted", made[0].judgement.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_degenerate_target_is_refused_and_does_no_harm(
    teacher_bundle: Path, tmp_path: Path, made: list[Distilled], kind: str
):
    texts, reason = KINDS[kind][0](), KINDS[kind][1]
    for name, options in (("adapted", OPTIONS), ("plain", OPTIONS | {"method": "none"})):
        adapt(teacher_bundle, texts, tmp_path / name, **options)
    adapted, plain = made
    assert adapted.judgement.adaptation == "refused", adapted.judgement
    assert reason in adapted.judgement.reason
    weights = plain.student.model.state_dict()
    assert all((value == weights[name]).all() for name, value in adapted.student.model.state_dict().items())


def test_the_benchmarks_targets_are_what_they_are_called():
    train = [Example(text, label=label) for text, label in make_texts(200, 1)]
    test = [Example(text, label=label) for text, label in make_texts(40, 2)]
    made = {name: make(train, test, 160) for name, make in degenerate.KINDS.items() if name != "off-topic"}
    assert len(made["thirty-texts"].texts) == 30
    assert {item.label for item in [*made["one-class"].texts, *made["one-class"].test]} == {"negative"}
    assert len(made["one-class"].texts) == 100
    assert len({item.text for item in made["duplicates"].texts}) == 4
    assert len(made["duplicates"].texts) == len(made["noise"].texts) == 160
    letters = "".join(item.text for item in made["other-language"].texts)
    assert not any(character.isascii() and character.isalpha() for character in letters)
    kept = sum(new.text == old.text for new, old in zip(made["noise"].texts, train, strict=False))
    assert 5 < kept < 40
    assert made["other-language"].test == []


def test_a_cell_that_is_measured_is_not_run_again(
    teacher_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [Example(text, label=label) for text, label in make_texts(100, 1)]
    seen: list[list[Example]] = []

    class Result:
        summary: ClassVar = {"adaptation": "refused", "adaptation_reason": "too few"}

    def fake(teacher: Path, texts: list[Example], student: Path, *rest: Any, **options: Any) -> Any:
        assert teacher == teacher_bundle
        seen.append(texts)
        student.mkdir()
        (student / "model.safetensors").write_bytes(b"same")
        return Result

    monkeypatch.setattr(degenerate, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(degenerate, "load", lambda domain, split=None: rows)
    monkeypatch.setattr(degenerate, "adapt", fake)
    monkeypatch.setattr(degenerate, "evaluate", lambda *args, **options: SimpleNamespace(accuracy=0.5))
    for count in (30, 30, 20):
        choice = ["thirty-texts", "--work", str(tmp_path), "--teacher", str(teacher_bundle), "--texts", str(count)]
        degenerate.main(choice)
    assert len(seen) == 3  # one a method: thirty texts are thirty
    assert all(item.label is None for texts in seen for item in texts)
    for method in degenerate.METHODS:
        row = json.loads((tmp_path / "results" / f"thirty-texts-{method}.json").read_text())
        assert (row["texts"], row["test_texts"], row["accuracy"]) == (30, 100, 0.5)
        assert (row["adaptation"], row["reason"]) == ("refused", "too few")
    with pytest.raises(SystemExit, match="is of electronics and books"):  # the table's cell, which is not to be lost
        degenerate.main([*choice, "--target", "dvd"])
    assert len(seen) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
