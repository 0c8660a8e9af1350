"""A student built to a budget: chosen once, explained, trained, and still a bundle that everything loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from distilshift import Predictor, adapt, budget
from distilshift.budget import plan_student
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig, resolve
from distilshift.data.corpus import Corpus, open_corpus
from distilshift.encoder import Classifier, load_classifier
from distilshift.errors import ConfigError
from distilshift.pieces import Pieces
from distilshift.run import open_run
from distilshift.strict import require_strict
from distilshift.student import build_student
from distilshift.types import Example
from encoders import FAMILIES, make_checkpoint
from texts import make_texts

FAST: dict[str, Any] = {"method": "none", "spans": 0, "distil_epochs": 2, "distil_learning_rate": 1e-3}
FAST |= {"precision": "fp32"}


@pytest.fixture
def teacher(teacher_bundle: Path, settled_heap: None) -> Classifier:
    return load_classifier(str(teacher_bundle), 32)


# Five words of the tiny encoder's, so that there is something to leave out.
WORDS = ("good", "bad", "plot", "book", "film")
NARROW = [f"{a} {b} {c} film" for a in WORDS for b in WORDS for c in WORDS]


@pytest.fixture
def corpus() -> Corpus:
    return open_corpus(NARROW, AdaptConfig())


@pytest.fixture
def narrow_file(tmp_path: Path) -> Path:
    path = tmp_path / "narrow.txt"
    path.write_text("\n".join(NARROW) + "\n")
    return path


def planned(teacher: Classifier, corpus: Corpus, folder: Path, **options: Any) -> budget.Plan:
    config = resolve(AdaptConfig, options)
    with open_run(folder / "run", {}) as run:
        return plan_student(build_student(teacher, "cut", None), corpus, config, run)


def test_base_changes_nothing(teacher: Classifier, corpus: Corpus, tmp_path: Path):
    plan = planned(teacher, corpus, tmp_path, size="base")
    student = build_student(teacher, "cut", None)
    assert plan.build(student) is student
    assert plan.kept is None
    assert plan.summary["vocabulary"] is None


def test_small_keeps_what_the_texts_use_and_says_how_they_split(teacher: Classifier, corpus: Corpus, tmp_path: Path):
    plan = planned(teacher, corpus, tmp_path, size="small")
    student = plan.build(build_student(teacher, "cut", None))
    config, vocabulary = student.model.config, plan.summary["vocabulary"]
    assert plan.kept is not None
    assert config.vocab_size == len(plan.kept) == len(student.tokenizer) == vocabulary["pieces"]
    assert config.vocab_size < vocabulary["whole_pieces"]
    assert config.max_position_embeddings == 32 == student.tokenizer.model_max_length
    assert vocabulary["held_out_texts"] == 12
    assert vocabulary["unknown_share"] == 0
    assert vocabulary["pieces_per_word"] >= vocabulary["whole_pieces_per_word"] >= 1
    # The teacher is as it was.
    assert len(teacher.tokenizer) == vocabulary["whole_pieces"]
    assert teacher.model.config.max_position_embeddings == 64


def test_a_vocabulary_that_is_all_in_use_stays_and_that_is_said(teacher: Classifier, target_file: Path, tmp_path: Path):
    plan = planned(teacher, open_corpus(target_file, AdaptConfig()), tmp_path, size="small")
    assert plan.kept is None
    assert plan.summary["vocabulary"] == {"reason": "The vocabulary is whole: there is room for all of it."}


def test_the_merges_of_bpe_are_left_alone(teacher: Classifier, corpus: Corpus, tmp_path: Path):
    pieces = Pieces.of(teacher.tokenizer)
    pieces.rules["model"]["type"] = "BPE"
    assert budget._why_whole(teacher, pieces) == "The vocabulary is whole: only WordPiece can be trimmed."


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_can_be_shaped_and_says_the_same_where_nothing_it_needs_is_gone(family: str, tmp_path: Path):
    teacher = load_classifier(str(make_checkpoint(tmp_path / "checkpoint", family)), 32)
    texts = [Example("good book film plot")] * 9 + [Example("the book was very awful")]
    plan = planned(teacher, open_corpus(texts, AdaptConfig()), tmp_path, size="small")
    student = plan.build(build_student(teacher, "cut", None))
    assert student.model.config.vocab_size < teacher.model.config.vocab_size
    sides = []
    for side in (teacher, student):
        side.model.eval()
        store = side.tokenise([Example("good plot book")])
        with torch.no_grad():
            sides.append(side.model(**side.inputs(store, np.array([0]), torch.device("cpu"))).logits.numpy())
    np.testing.assert_allclose(sides[0], sides[1], atol=1e-5)


def test_a_choice_is_made_once(teacher: Classifier, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Latencies differ from one time to the next; a run that continues must not build another student."""
    latencies = iter([5.0, 1.0])
    monkeypatch.setattr(budget, "untrained_latency_ms", lambda *_: next(latencies))
    config, plans = resolve(AdaptConfig, {"latency_ms": 2.0}), []
    student = build_student(teacher, "cut", None)
    with suppress(KeyboardInterrupt), open_run(tmp_path / "run", {}) as run:
        plans.append(plan_student(student, corpus, config, run))
        raise KeyboardInterrupt
    monkeypatch.setattr(budget, "untrained_latency_ms", lambda *_: 100.0)
    with open_run(tmp_path / "run", {}) as run:
        plans.append(plan_student(student, corpus, config, run))
    assert plans[0].shape == plans[1].shape
    assert plans[0].summary == plans[1].summary
    assert [each["latency_ms"] for each in plans[0].summary["considered"]] == [5.0, 1.0]


def test_a_choice_that_failed_is_made_again(
    teacher: Classifier, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, student = resolve(AdaptConfig, {"latency_ms": 2.0}), build_student(teacher, "cut", None)
    monkeypatch.setattr(budget, "untrained_latency_ms", lambda *_: 100.0)
    with pytest.raises(ConfigError, match=r"the fastest 100\.00 ms"), open_run(tmp_path / "run", {}) as run:
        plan_student(student, corpus, config, run)
    monkeypatch.setattr(budget, "untrained_latency_ms", lambda *_: 1.0)
    with open_run(tmp_path / "run", {}) as run:
        assert plan_student(student, corpus, config, run).shape


def test_latency_is_measured(teacher: Classifier, corpus: Corpus, tmp_path: Path):
    plan = planned(teacher, corpus, tmp_path, latency_ms=10_000.0)
    assert plan.summary["size"] == "base"
    assert 0 < plan.summary["estimated_latency_ms"] < 10_000
    assert plan.summary["layers"] == 2


def test_an_impossible_budget_costs_no_training(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no student is within the budget: expected at least 0\.0\d+ MB, got"):
        adapt(teacher_bundle, target_file, tmp_path / "s", budget="1kB", **FAST)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", [{"size": "small"}, {"budget": "8MB"}, {"size": "base", "latency_ms": 3.0}])
def test_inner_states_need_the_whole_vocabulary(given: dict, teacher_bundle: Path, target_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"distillation pkd compares token by token.*pass --size base"):
        adapt(teacher_bundle, target_file, tmp_path / "s", distillation="pkd", **given)


def test_a_bundle_of_a_small_student(
    run_cli: Callable[..., Any], teacher_bundle: Path, narrow_file: Path, tmp_path: Path
):
    output = tmp_path / "student"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in FAST.items()]
    done = run_cli("adapt", teacher_bundle, narrow_file, "-o", output, "--budget", "55kB", "--fresh", *options)
    assert done.code == 0, done.err
    manifest = require_strict(output)
    shape = (manifest.runtime or {})["shape"]
    assert "word pieces, 32 positions; estimated at 0.1 MB" in done.out
    assert "target texts that the vocabulary was not chosen by, a word is split into" in done.out
    assert len(shape["considered"]) > 1
    assert "MB > 0.055 MB" in (output / "README.md").read_text()
    config = json.loads((output / "config.json").read_text())
    assert (config["vocab_size"], config["intermediate_size"]) == (shape["pieces"], shape["inner"])
    assert shape["budget_bytes"] == 55_000
    assert shape["estimated_bytes"] <= 55_000
    if (manifest.runtime or {})["size_bytes"] > 55_000:
        assert "on the device, budget 0.055 MB" in shape["missed"][0]
    assert "\n" not in (output / "tokenizer.json").read_text().strip()
    assert_loads_everywhere(output)


def assert_loads_everywhere(bundle: Path) -> None:
    texts = [text for text, _ in make_texts(8, 5)] + ["good " * 60, "zebra ☃ unheard-of"]
    classify = pipeline("text-classification", str(bundle), truncation=True)
    found = [each["label"] for each in classify(texts)]
    predictor = Predictor.load(bundle, model="fp32", max_windows=1)
    assert [each.label for each in predictor.predict(texts)] == found
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    model = AutoModelForSequenceClassification.from_pretrained(bundle)
    assert len(tokenizer) == model.config.vocab_size


def test_an_encoder_of_its_own_is_trimmed_too(
    teacher_bundle: Path, tiny_encoder: Path, narrow_file: Path, tmp_path: Path
):
    adapt(teacher_bundle, narrow_file, tmp_path / "s", student=str(tiny_encoder), **FAST | {"distil_epochs": 1})
    shape = (read_manifest(tmp_path / "s").runtime or {})["shape"]
    assert shape["pieces"] < shape["vocabulary"]["whole_pieces"]
