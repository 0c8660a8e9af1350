"""What each stage does on its own: adapting the encoder alone, labelling views once, the int8 gate."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from distilshift import adapt, learning, pipeline, shards, student_bundle
from distilshift.adaptation import adapt_teacher
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.data.corpus import Corpus, open_corpus
from distilshift.demo import paired_standard_error
from distilshift.distil import DistilObjective
from distilshift.encoder import Classifier, load_classifier, scale_logits
from distilshift.errors import DistilshiftError, ModelError, RunError
from distilshift.inference import bundle_logits, forward_all
from distilshift.losses.adapt import information_maximisation
from distilshift.losses.distil import soft_target_divergence
from distilshift.methods import shot
from distilshift.parallel import Batch
from distilshift.precision import make_accelerator
from distilshift.run import RunDirectory, open_run
from distilshift.shards import Rows
from distilshift.student import build_student
from distilshift.types import Example
from distilshift.views import LabelledView, label_views, view_of
from encoders import make_checkpoint, make_encoder

CONFIG = AdaptConfig(precision="fp32", adapt_epochs=4, adapt_batch_size=32, adapt_learning_rate=1e-3, span_min_words=2)

UNIFORM = np.array([0.5, 0.5])


@pytest.fixture
def teacher(teacher_bundle: Path, settled_heap: None) -> Classifier:
    return load_classifier(str(teacher_bundle), 32)


@pytest.fixture
def examples(target_file: Path) -> list[Example]:
    return [Example(line) for line in target_file.read_text().splitlines()]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with open_run(tmp_path / "run", {}) as opened:
        yield opened


def logits_of(classifier: Classifier, examples: list[Example]) -> torch.Tensor:
    accelerator = make_accelerator(CONFIG)
    store = classifier.tokenise(examples)
    return torch.from_numpy(forward_all(classifier, store, accelerator.device, accelerator.autocast)["logits"])


def corpus_of(examples: list[Example]) -> Corpus:
    return open_corpus(examples, CONFIG)


def all_rows(rows: Rows) -> np.ndarray:
    return rows[np.arange(len(rows))]


def all_ids(store: TokenStore) -> np.ndarray:
    return store.batch(np.arange(len(store)))["input_ids"]


def weights_of(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in classifier.model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], classifier: Classifier) -> set[str]:
    return {name for name, value in classifier.model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("method", ["shot-im", "shot", "nrc", "aad"])
def test_adaptation_moves_the_encoder_and_shot_keeps_the_hypothesis(
    teacher: Classifier, examples: list[Example], run: RunDirectory, method: Any
):
    uniform = torch.full((2,), 0.5)
    scale_logits(teacher.model, 0.3)  # as of another domain: it is not sure
    before, weights = information_maximisation(logits_of(teacher, examples), uniform), weights_of(teacher)
    config = AdaptConfig(**CONFIG.to_dict() | {"method": method})
    adapt_teacher(teacher, corpus_of(examples), config, make_accelerator(config), run, UNIFORM)
    moved = changed(weights, teacher)
    assert {"classifier.weight", "classifier.bias"}.isdisjoint(moved) == method.startswith("shot")
    assert any("layer.0" in name for name in moved)
    assert any("layer.1" in name for name in moved)
    assert information_maximisation(logits_of(teacher, examples), uniform) < before - 0.04
    assert all(parameter.requires_grad for parameter in teacher.model.parameters())
    assert torch.bincount(logits_of(teacher, examples).argmax(dim=1)).tolist() == [60, 60]


def test_method_none_leaves_the_teacher_alone(teacher: Classifier, examples: list[Example], run: RunDirectory):
    weights = weights_of(teacher)
    config = AdaptConfig(**CONFIG.to_dict() | {"method": "none"})
    adapt_teacher(teacher, corpus_of(examples), config, make_accelerator(config), run, UNIFORM)
    assert changed(weights, teacher) == set()
    assert run.is_empty()


@pytest.mark.parametrize(("method", "refreshes"), [("shot", 4), ("shot-im", 0)])
def test_pseudo_labels_are_made_anew_in_each_epoch(
    teacher: Classifier, examples: list[Example], run: RunDirectory, monkeypatch: Any, method: Any, refreshes: int
):
    calls = []
    inner = shot.centroid_pseudo_labels

    def count(features: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
        calls.append(features.shape)
        return inner(features, probabilities)

    monkeypatch.setattr(shot, "centroid_pseudo_labels", count)
    config = AdaptConfig(**CONFIG.to_dict() | {"method": method, "adapt_epochs": 4})
    adapt_teacher(teacher, corpus_of(examples), config, make_accelerator(config), run, UNIFORM)
    assert calls == [(120, 32)] * refreshes


@pytest.mark.parametrize(
    ("views", "order"),
    [(1, [0, 0, 0, 0]), (2, [0, 1, 0, 1, 0, 1]), (4, [0, 1, 0, 2, 0, 3, 0, 1]), (3, [0, 1, 0, 2, 0, 1, 0, 2])],
)
def test_epochs_take_whole_texts_and_spans_by_turns(views: int, order: list[int]):
    assert [view_of(epoch, views) for epoch in range(len(order))] == order


@pytest.mark.parametrize(("spans", "epochs", "views"), [(6, 6, 4), (2, 6, 3), (0, 6, 1), (6, 1, 1)])
def test_as_many_views_are_labelled_as_will_be_used_and_each_once(
    teacher: Classifier,
    examples: list[Example],
    run: RunDirectory,
    monkeypatch: Any,
    spans: int,
    epochs: int,
    views: int,
):
    passes = []
    inner = shards.forward_all
    monkeypatch.setattr(shards, "forward_all", lambda *args, **named: passes.append(1) or inner(*args, **named))
    config = AdaptConfig(**CONFIG.to_dict() | {"spans": spans, "distil_epochs": epochs})
    student = build_student(teacher, "cut", 1)
    first = label_views(teacher, student, corpus_of(examples), config, make_accelerator(config), run)
    again = label_views(teacher, student, corpus_of(examples), config, make_accelerator(config), run)
    assert len(first) == len(passes) == views
    assert {view_of(epoch, views) for epoch in range(epochs)} == set(range(views))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(all_rows(one.teacher_logits), all_rows(other.teacher_logits))
        np.testing.assert_array_equal(all_ids(one.texts), all_ids(other.texts))
    np.testing.assert_array_equal(all_rows(first[0].teacher_logits), logits_of(teacher, examples).numpy())
    lengths = {tuple(view.texts.lengths) for view in first}
    assert len(lengths) == views  # the spans of each view are others
    assert all((view.texts.lengths <= first[0].texts.lengths).all() for view in first)


def test_another_tokenizer_sees_the_same_texts(
    teacher: Classifier, examples: list[Example], run: RunDirectory, tmp_path: Path
):
    """Each side tokenises its own way; what the teacher said stays with its text."""
    other = make_encoder(tmp_path / "other", "mpnet", words="good bad")
    student = build_student(teacher, str(other), 1)
    for view in label_views(teacher, student, corpus_of(examples), CONFIG, make_accelerator(CONFIG), run)[:1]:
        np.testing.assert_array_equal(all_ids(view.texts), all_ids(student.tokenise(examples)))
        np.testing.assert_array_equal(all_rows(view.teacher_logits), logits_of(teacher, examples).numpy())


def test_the_distillation_loss_is_the_mean_divergence(teacher: Classifier, examples: list[Example]):
    store = teacher.tokenise(examples)
    wanted = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32)
    objective = DistilObjective(
        teacher, [LabelledView(store, Rows([wanted[:50], wanted[50:]]))], 3.0, torch.device("cpu")
    )
    teacher.model.eval()
    chosen = np.array([5, 2, 77])
    by_hand = soft_target_divergence(logits_of(teacher, examples)[chosen], torch.from_numpy(wanted)[chosen], 3.0).mean()
    batch = Batch.share(0, chosen, make_accelerator(CONFIG))
    assert objective.loss(teacher.model, batch).item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_a_student_reports_what_it_is(student_bundle: Path, target_file: Path):
    manifest = read_manifest(student_bundle)
    facts: dict[str, Any] = manifest.runtime or {}
    assert facts["texts"] == 120
    assert facts["teacher_agreement"] == 1.0
    assert facts["predicted_shares"] == {"negative": 0.5, "positive": 0.5}
    assert facts["default"] == ("int8" if facts["int8"]["accepted"] else "fp32")
    network = {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}[facts["default"]]
    files = [student_bundle / name for name in (network, "tokenizer.json", "config.json")]
    assert facts["size_bytes"] == sum(path.stat().st_size for path in files)
    card = (student_bundle / "README.md").read_text()
    assert "120 unlabelled texts" in card
    assert "100.0% of 120 target texts" in card


@pytest.mark.parametrize("name", ["student_layers", "student"])
def test_a_student_that_cannot_be_built_costs_no_adaptation(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: Any, name: str
):
    monkeypatch.setattr(pipeline, "adapt_teacher", lambda *args: pytest.fail("the teacher was adapted"))
    options = {"student_layers": 9} if name == "student_layers" else {"student": str(tmp_path / "nosuch")}
    with pytest.raises(DistilshiftError, match=r"student_layers is too large|got no such folder"):
        adapt(teacher_bundle, target_file, tmp_path / "s", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_adaptation_is_not_continued_with_another_teacher(
    target_file: Path, tmp_path: Path, monkeypatch: Any
):
    """Even where its weights are the same: it may cut texts elsewhere, or name its classes otherwise."""
    from distilshift import import_checkpoint

    checkpoint = str(make_checkpoint(tmp_path / "checkpoint"))
    import_checkpoint(checkpoint, tmp_path / "t", max_length=32)
    monkeypatch.setattr(learning, "distil_student", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    options = {"student_layers": 1, "precision": "fp32"}
    with pytest.raises(KeyboardInterrupt):
        adapt(tmp_path / "t", target_file, tmp_path / "s", **options)
    import_checkpoint(checkpoint, tmp_path / "t", max_length=16, overwrite=True)
    with pytest.raises(RunError, match=r"got a change in teacher\. Fix"):
        adapt(tmp_path / "t", target_file, tmp_path / "s", **options)


def test_the_paired_standard_error_by_hand():
    """Differences 1, 0, 0, -1, 1: mean 0.2, variance 0.7."""
    first, second = np.array([1, 1, 0, 0, 1], bool), np.array([0, 1, 0, 1, 0], bool)
    assert paired_standard_error(first, second) == pytest.approx(np.sqrt(0.7 / 5), abs=1e-12)
    assert paired_standard_error(first, first) == 0.0


def test_latencies_are_raw_samples_of_each_runner_on_the_same_texts():
    from distilshift.network import latency_ms

    seen: list[tuple[str, str]] = []

    def runner(name: str) -> Any:
        return SimpleNamespace(logits=lambda examples: seen.append((name, examples[0].text)))

    samples = latency_ms([runner("a"), runner("b")], [Example(str(index)) for index in range(10)], texts=7)
    assert [len(taken) for taken in samples] == [7, 7]
    assert all(value > 0 for taken in samples for value in taken)
    assert seen[10:] == [(name, str(index)) for index in range(7) for name in "ab"]


def test_a_network_that_differs_from_its_student_is_refused(teacher_bundle: Path):
    classifier = load_classifier(str(teacher_bundle), 32)
    texts = [Example("good book"), Example("awful film")]
    logits = bundle_logits(teacher_bundle, 32, texts, 2)
    network = SimpleNamespace(logits=lambda examples: logits)
    assert student_bundle._parity(classifier, texts, network) == {
        "texts": 2,
        "max_difference": 0.0,
        "agreement": 1.0,
    }
    logits = logits + np.float32(0.01)
    with pytest.raises(ModelError, match=r"differs from the student.*a difference of 0\.01"):
        student_bundle._parity(classifier, texts, network)


def test_a_teacher_that_is_read_shorter_than_it_was_taught_is_told(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    taught = read_manifest(teacher_bundle, "teacher").max_length
    short = {"max_length": taught // 2, "method": "none", "distil_epochs": 1, "size": "base", "student_layers": 1}
    with caplog.at_level(logging.WARNING, "distilshift"):
        adapt(teacher_bundle, target_file, tmp_path / "short", **short)
        assert f"taught on {taught} tokens of a text, and reads {taught // 2} here" in caplog.text
        caplog.clear()
        adapt(teacher_bundle, target_file, tmp_path / "whole", **short | {"max_length": taught})
        assert "taught on" not in caplog.text
