"""`adapt --labels`: what labels of target texts change in the student's lesson, the run, the manifest and the card."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from applicable import applicable
from distilshift import adapt, learning
from distilshift.bundle import read_manifest
from distilshift.card import student_card
from distilshift.config import AdaptConfig
from distilshift.errors import ConfigError, DataError, RunError
from distilshift.relabelling import REPEATS
from distilshift.views import LabelledView
from texts import make_texts

OPTIONS: dict[str, Any] = {"student_layers": 1, "distil_epochs": 2, "spans": 1, "precision": "fp32"}
TEXTS, LABELS = 120, 20


def label_file(path: Path, *, swap: bool = False, extra: list[tuple[str, str]] | None = None) -> Path:
    """Labels of the first target texts: their true ones, or with `swap` the other one each."""
    other = {"negative": "positive", "positive": "negative"}
    rows = [(text, other[label] if swap else label) for text, label in make_texts(TEXTS, 2)[:LABELS]]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows, *(extra or [])])
    return path


Lessons = Callable[..., list[LabelledView]]


@pytest.fixture
def lesson(teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lessons:
    """A function that runs `adapt` up to the student's training, and gives the views that it would learn from."""

    def given(teacher: Path | None = teacher_bundle, **options: Any) -> list[LabelledView]:
        seen: list[LabelledView] = []

        def stop(student: Any, views: Any, *rest: Any) -> None:
            seen.extend(views)
            raise KeyboardInterrupt

        monkeypatch.setattr(learning, "distil_student", stop)
        with pytest.raises(KeyboardInterrupt):
            adapt(teacher, target_file, tmp_path / f"s{len(list(tmp_path.iterdir()))}", **OPTIONS | options)
        return seen

    return given


def taught(view: LabelledView, count: int) -> np.ndarray:
    return view.targets(np.arange(count)).softmax(dim=1).numpy()


@pytest.mark.parametrize("swap", [False, True])
def test_labelled_texts_are_taught_their_labels_and_more_often(lesson: Lessons, tmp_path: Path, swap: bool):
    whole, spans = lesson(labels=str(label_file(tmp_path / "l.csv", swap=swap)))
    size = TEXTS + (REPEATS - 1) * LABELS
    assert len(whole.texts) == len(spans.texts) == size
    classes = np.array([(label == "positive") != swap for _, label in make_texts(TEXTS, 2)[:LABELS]], int)
    assert (taught(whole, size)[:LABELS].argmax(axis=1) == classes).all()
    np.testing.assert_allclose(taught(whole, size)[TEXTS:], np.repeat(taught(whole, LABELS), REPEATS - 1, axis=0))
    np.testing.assert_array_equal(whole.texts.lengths[TEXTS:], np.repeat(whole.texts.lengths[:LABELS], REPEATS - 1))


def test_labels_move_the_texts_that_have_none_and_their_spans(lesson: Lessons, tmp_path: Path):
    """Swapped labels say that the teacher has its classes the wrong way round."""
    plain = lesson()
    found = lesson(labels=str(label_file(tmp_path / "l.csv", swap=True)))
    for view, before in zip(found, plain, strict=True):
        kept = taught(view, TEXTS).argmax(axis=1) == taught(before, TEXTS).argmax(axis=1)
        assert kept[LABELS:].mean() < 0.8


def test_labelled_texts_that_are_new_are_learned_from_too(lesson: Lessons, tmp_path: Path):
    new = [(f"an entirely new text {index}", "positive") for index in range(3)]
    whole, _ = lesson(labels=str(label_file(tmp_path / "l.csv", extra=new)))
    assert len(whole.texts) == TEXTS + 3 + (REPEATS - 1) * (LABELS + 3)
    assert taught(whole, TEXTS + 3)[TEXTS:].argmax(axis=1).tolist() == [1, 1, 1]


def test_a_black_box_s_probabilities_are_corrected_too(
    lesson: Lessons, tiny_encoder: Path, target_file: Path, tmp_path: Path
):
    (tmp_path / "p.csv").write_text("\n".join(["negative,positive", *["0.4,0.6"] * TEXTS]))
    given = {"teacher_probabilities": str(tmp_path / "p.csv"), "student": str(tiny_encoder), "max_length": 32}
    options = applicable(OPTIONS | given | {"method": "none"})
    whole, _ = lesson(None, labels=str(label_file(tmp_path / "l.csv")), **options)
    classes = [int(label == "positive") for _, label in make_texts(TEXTS, 2)[:LABELS]]
    assert taught(whole, TEXTS)[:LABELS].argmax(axis=1).tolist() == classes
    new = label_file(tmp_path / "new.csv", extra=[("an entirely new text", "positive")])
    with pytest.raises(DataError, match="1 of the 21 labelled texts"):
        adapt(None, target_file, tmp_path / "refused", labels=str(new), **options)
    with pytest.raises(ConfigError, match="max_texts may leave out"):
        adapt(None, target_file, tmp_path / "refused", labels=str(new), max_texts=60, **options)


@pytest.mark.usefixtures("quick_export")
def test_the_measured_accuracy_takes_the_estimate_s_place(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    labels = label_file(tmp_path / "labels.csv")
    result = adapt(teacher_bundle, target_file, tmp_path / "s", labels=str(labels), **OPTIONS)
    found = result.summary["measured"]
    assert found["labels"] == LABELS
    assert 0 <= found["low"] <= found["accuracy"] <= found["high"] <= 1
    assert found["high"] - found["low"] > 0.1
    assert result.summary["estimated_accuracy"] is None
    card = (tmp_path / "s" / "README.md").read_text(encoding="utf-8")
    assert f"Measured accuracy on the target texts: {found['low']:.1%} to {found['high']:.1%}" in card
    assert f"The labels that the student was taught have {found['accuracy']:.1%}" in card
    assert f"120 texts, {LABELS} of them labelled" in card
    assert "No label was used" not in card
    curve = result.summary["abstention"]
    assert "without labels" not in (curve["reason"] or "")
    assert bool(curve["accuracy"]) == (found["low"] > 0.5)  # more than chance
    assert "is not estimated" not in card
    manifest = read_manifest(tmp_path / "s")
    assert manifest.config["labels"] == "labels.csv"
    assert card == student_card(manifest, manifest.runtime or {})  # as `inspect --strict` wants it


def test_a_stopped_run_is_continued_with_the_same_labels_only(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(learning, "distil_student", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    labels = label_file(tmp_path / "l.csv")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            adapt(teacher_bundle, target_file, tmp_path / "s", labels=str(labels), **OPTIONS)
    label_file(tmp_path / "l.csv", swap=True)
    with pytest.raises(RunError, match="content of labels"):
        adapt(teacher_bundle, target_file, tmp_path / "s", labels=str(labels), **OPTIONS)


def test_unusable_labels_stop_a_run_before_it_begins(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    (tmp_path / "l.csv").write_text("text,label\ngood,positive\n")
    with pytest.raises(DataError, match="too few labels"):
        adapt(teacher_bundle, target_file, tmp_path / "s", labels=str(tmp_path / "l.csv"), **OPTIONS)
    assert not (tmp_path / "s.run").exists()


def test_options_of_the_file_of_labels_go_with_it(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="label_column would be ignored"):
        adapt(teacher_bundle, target_file, tmp_path / "s", label_column="stars")
    assert AdaptConfig().labels is None
