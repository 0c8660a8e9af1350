"""A teacher that is known by its probabilities only: what the student learns, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift import adapt, pipeline, second_opinion
from distilshift.black_box import LOWEST, BlackBox
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig, resolve
from distilshift.data.corpus import open_corpus
from distilshift.data.probabilities import Probabilities
from distilshift.encoder import load_classifier
from distilshift.errors import ConfigError, DataError, RunError
from distilshift.files import sha256_of
from distilshift.inference import bundle_logits
from distilshift.metrics import softmax
from distilshift.run import open_run
from distilshift.types import Example
from texts import make_texts

SIZES: dict[str, Any] = {"student_layers": 1, "adapt_epochs": 2, "distil_epochs": 12, "span_min_words": 2}
RATES: dict[str, Any] = {"adapt_learning_rate": 1e-4, "distil_learning_rate": 3e-3}
MODEL: dict[str, Any] = {"precision": "fp32", "max_length": 32}


@pytest.fixture
def probabilities(teacher_bundle: Path, target_file: Path, tmp_path: Path) -> Path:
    """What a teacher says of the target texts, with its classes under other names."""
    examples = [Example(line) for line in target_file.read_text().splitlines()]
    said = softmax(bundle_logits(teacher_bundle, 32, examples, 32))
    path = tmp_path / "probs.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["down", "up"], *said.tolist()])
    return path


def adapted(texts: Path, output: Path, probabilities: Path, student: Path, **options: Any) -> dict[str, Any]:
    given = SIZES | RATES | MODEL | {"teacher_probabilities": str(probabilities), "student": str(student)}
    return adapt(None, texts, output, **given | options).summary


@pytest.mark.parametrize("options", [{}, {"method": "none"}, {"method": "none", "feedback": 0.1}])
def test_a_student_learns_what_the_file_says(
    target_file: Path,
    probabilities: Path,
    tiny_encoder: Path,
    tmp_path: Path,
    quick_export: None,
    options: dict[str, Any],
):
    summary = adapted(target_file, tmp_path / "s", probabilities, tiny_encoder, **options)
    if options.get("method") == "none":
        assert (summary["method"], summary["adaptation"]) == ("none", "none")
        assert "Nothing but its probabilities" in summary["adaptation_reason"]
    else:
        assert (summary["method"], summary["adaptation"]) == ("dine", "accepted")
        assert summary["adaptation_reason"].startswith("No sign of harm: the student keeps ")
    assert summary["feedback"] == ("accepted" if "feedback" in options else None)
    assert summary["estimated_accuracy"] is None
    manifest = read_manifest(tmp_path / "s", "student")
    assert manifest.label_names == ["down", "up"]
    assert manifest.config["teacher_probabilities"] == "probs.csv"
    test = [Example(text, label=label) for text, label in make_texts(100, 7)]
    right = {"negative": 0, "positive": 1}
    labels = bundle_logits(tmp_path / "s", 32, test, 32).argmax(axis=1)
    assert np.mean(labels == [right[str(item.label)] for item in test]) > 0.85
    assert {path.name for path in tmp_path.iterdir()} == {"s", "probs.csv"}


@pytest.mark.usefixtures("quick_export")
def test_words_are_asked_about_the_file_too(
    target_file: Path, probabilities: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(second_opinion, "MIN_TEXTS", 100)
    summary = adapted(target_file, tmp_path / "s", probabilities, tiny_encoder, method="second-opinion")
    assert (summary["method"], summary["adaptation"]) == ("second-opinion", "accepted")


@pytest.mark.parametrize("decimals", [0, 1])
@pytest.mark.parametrize("method", ["dine", "second-opinion"])
@pytest.mark.usefixtures("quick_export")
def test_hard_and_coarse_labels_of_different_texts_are_accepted(
    tiny_encoder: Path, tmp_path: Path, method: str, decimals: int
):
    """As of a large language model: hardly any different rows, though all texts differ."""
    rows = make_texts(520, 2)
    (tmp_path / "t.txt").write_text("\n".join(text for text, _ in rows) + "\n")
    up = np.array([0.97 if label == "positive" else 0.06 for _, label in rows]).round(decimals)
    np.savez(tmp_path / "p.npz", probabilities=np.stack([1 - up, up], 1), label_names=["down", "up"])
    options = {"method": method, "distil_epochs": 4, "spans": 0}
    summary = adapted(tmp_path / "t.txt", tmp_path / "s", tmp_path / "p.npz", tiny_encoder, **options)
    assert summary["adaptation"] == "accepted", summary["adaptation_reason"]
    assert "Words had no say" not in summary["adaptation_reason"]


@pytest.mark.usefixtures("quick_export")
def test_copies_of_few_texts_are_refused_whatever_their_labels(tiny_encoder: Path, tmp_path: Path):
    (tmp_path / "t.txt").write_text("\n".join([text for text, _ in make_texts(30, 2)] * 20) + "\n")
    up = np.random.default_rng(0).uniform(size=600)
    np.savez(tmp_path / "p.npz", probabilities=np.stack([1 - up, up], 1), label_names=["down", "up"])
    with pytest.raises(DataError, match="got 30 in 600 rows"):
        adapted(tmp_path / "t.txt", tmp_path / "s", tmp_path / "p.npz", tiny_encoder)


@pytest.mark.usefixtures("quick_export")
def test_words_are_read_with_the_whole_vocabulary(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The student's is trimmed to the pieces that the texts use most."""
    rows = make_texts(120, 2, neutral=("the", "film"))
    (tmp_path / "t.txt").write_text("\n".join(text for text, _ in rows) + "\n")
    up = np.array([0.9 if label == "positive" else 0.1 for _, label in rows])
    np.savez(tmp_path / "p.npz", probabilities=np.stack([1 - up, up], 1), label_names=["down", "up"])
    read, ask = [], pipeline.second_opinion

    def note(logits: Any, texts: Any, classifier: Any, *rest: Any) -> Any:
        read.append(len(classifier.tokenizer))
        return ask(logits, texts, classifier, *rest)

    monkeypatch.setattr(pipeline, "second_opinion", note)
    options = {"method": "second-opinion", "distil_epochs": 1}
    adapted(tmp_path / "t.txt", tmp_path / "s", tmp_path / "p.npz", tiny_encoder, **options)
    whole = len(load_classifier(str(tiny_encoder), 32, ["a", "b"]).tokenizer)
    assert len(load_classifier(str(tmp_path / "s"), 32).tokenizer) < whole
    assert read == [whole]


def box_of(rows: list[list[float]]) -> BlackBox:
    return BlackBox(Probabilities("probs.csv", ["a", "b"], np.array(rows, np.float32), "0"))


def test_spans_have_their_texts_labels_and_zeros_a_logarithm(tiny_encoder: Path, tmp_path: Path):
    config = AdaptConfig(spans=2, distil_epochs=6, span_min_words=1, max_length=32)
    box = box_of([[0.2, 0.8], [1.0, 0.0]])
    student = load_classifier(str(tiny_encoder), 32, ["a", "b"])
    corpus = open_corpus(["good book it was", "bad film"], config)
    with open_run(tmp_path / "run", {}) as run:
        views = box.views(student, corpus, box.reading().whole, config, run)
    assert len(views) == 3
    assert views[1].texts.lengths[0] <= views[0].texts.lengths[0]
    for view in views:
        said = view.targets(np.arange(2)).softmax(dim=1).numpy()
        np.testing.assert_allclose(said, [[0.2, 0.8], [1.0, LOWEST]], atol=2e-6)
    assert np.isfinite(box.reading().beginnings[np.arange(2)]).all()


def test_the_files_encoding_is_heeded(tmp_path: Path, tiny_encoder: Path):
    (tmp_path / "p.csv").write_bytes("schlecht,schön\n0.5,0.5\n".encode("latin-1"))
    (tmp_path / "t.txt").write_text("good\n")
    options = {"teacher_probabilities": str(tmp_path / "p.csv"), "student": str(tiny_encoder)}
    with pytest.raises(DataError, match=r"a byte is not utf-8.*name its encoding \(--encoding\); none of its rows"):
        BlackBox.open(AdaptConfig(**options))
    assert BlackBox.open(AdaptConfig(**options, encoding="latin-1")).said.label_names == ["schlecht", "schön"]


def test_a_budget_keeps_texts_and_rows_together():
    generator = np.random.default_rng(0)
    first = generator.uniform(size=40)
    box = box_of(np.stack([first, 1 - first], axis=1).tolist())
    corpus = open_corpus([f"text {value:.6f}" for value in first], AdaptConfig())
    smaller, chosen = box.within_budget(corpus, AdaptConfig(max_texts=10))
    assert len(chosen) == len(smaller.said.rows) == 10
    for example, row in zip(chosen, smaller.said.rows, strict=True):
        assert float(example.text.split()[1]) == pytest.approx(row[0], abs=1e-5)
    assert box.within_budget(corpus, AdaptConfig(max_texts=40)) == (box, corpus)


def test_another_number_of_rows_is_refused(target_file: Path, probabilities: Path, tiny_encoder: Path, tmp_path: Path):
    lines = probabilities.read_text().splitlines()
    probabilities.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match=r"expected 120 rows, one for each text .*, got 119"):
        adapted(target_file, tmp_path / "s", probabilities, tiny_encoder)
    assert [path.name for path in tmp_path.iterdir()] == ["probs.csv"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"student": "cut"}, "cannot be cut"),
        ({"method": "shot-im"}, "method shot-im needs the teacher itself"),
        ({"method": "none", "distillation": "minilmv2"}, "distillation minilmv2 needs the teacher itself"),
    ],
)
def test_what_needs_the_teacher_itself_is_refused(tmp_path: Path, options: dict[str, Any], problem: str):
    with pytest.raises(ConfigError, match=problem):
        adapt(None, ["text"], tmp_path / "s", **{"teacher_probabilities": "p.csv", "student": "minilm-l3"} | options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("teacher", "options"), [(None, {}), ("teacher", {"teacher_probabilities": "p.csv"})])
def test_a_teacher_comes_in_one_way(tmp_path: Path, teacher: str | None, options: dict[str, Any]):
    with pytest.raises(ConfigError, match="expected one of teacher and teacher_probabilities"):
        adapt(teacher, ["text"], tmp_path / "s", **options)


def test_dine_is_implied_by_probabilities_alone():
    assert resolve(AdaptConfig, {"teacher_probabilities": "p.csv"}).method == "dine"
    assert resolve(AdaptConfig, {"teacher_probabilities": "p.csv"}, {"method": "none"}).method == "none"
    assert resolve(AdaptConfig, {"teacher_probabilities": None}).method == AdaptConfig().method


def test_a_run_knows_its_file_and_continues_with_that_one_only(
    target_file: Path,
    probabilities: Path,
    tiny_encoder: Path,
    tmp_path: Path,
    quick_export: None,
    monkeypatch: pytest.MonkeyPatch,
):
    def adapt_to(name: str) -> str:
        adapted(target_file, tmp_path / name, probabilities, tiny_encoder, distil_epochs=2)
        return sha256_of(tmp_path / name / "model.safetensors")

    whole, write = adapt_to("whole"), pipeline.write_student
    monkeypatch.setattr(pipeline, "write_student", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        adapt_to("s")
    monkeypatch.setattr(pipeline, "write_student", write)
    content = probabilities.read_bytes()
    probabilities.write_bytes(content.replace(b"down,up", b"up,down"))
    with pytest.raises(RunError, match="a change in teacher"):
        adapt_to("s")
    probabilities.write_bytes(content)
    assert adapt_to("s") == whole


def test_the_command_takes_the_file_in_the_place_of_a_teacher(
    run_cli: Any,
    target_file: Path,
    probabilities: Path,
    tiny_encoder: Path,
    teacher_bundle: Path,
    tmp_path: Path,
    quick_export: None,
):
    options = ("--student", tiny_encoder, "--student-layers", 1, "--distil-epochs", 1, "--adapt-epochs", 1)
    given = ("--teacher-probabilities", probabilities, *options, "-o", tmp_path / "s", "--precision", "fp32")
    done = run_cli("adapt", target_file, *given)
    assert (done.code, "Student in" in done.out) == (0, True)
    for inputs, problem in [
        (("adapt", teacher_bundle, target_file, *given), "takes the place of TEACHER"),
        (("adapt", *given), "Missing argument '[TEACHER] TEXTS...'"),
        (("adapt", target_file, "-o", "x"), "Missing argument 'TEXTS'"),
        (("adapt", teacher_bundle, target_file, "third.txt", "-o", "x"), "third.txt: no such file"),
    ]:
        done = run_cli(*inputs)
        assert (done.code, problem in done.err) == (2, True), done.err
