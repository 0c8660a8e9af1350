"""What `adapt` hands on: the labels that were decided on reach the student, and damage is seen before it is used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from applicable import applicable
from distilshift import Predictor, adapt, distil, evaluate, learning, pipeline, student_bundle
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.distil import DistilObjective
from distilshift.encoder import load_classifier, scale_logits
from distilshift.errors import BundleError, RunError
from distilshift.inference import bundle_logits
from distilshift.judging import Judge, Judgement
from distilshift.metrics import softmax
from distilshift.precision import make_accelerator
from distilshift.run import open_run
from distilshift.second_opinion import SecondOpinion
from distilshift.shards import Rows
from distilshift.target_prior import TargetPrior
from distilshift.types import Example
from distilshift.views import LabelledView
from encoders import make_checkpoint

OPTIONS: dict[str, Any] = {"student_layers": 1, "distil_epochs": 2, "spans": 1, "precision": "fp32"}
BIAS = np.array([1.5, -1.5], np.float32)
TEXTS = 120

Views = Callable[..., list[LabelledView]]


@pytest.fixture
def views(teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Views:
    """A function that runs `adapt` up to the student's training, and gives what that would learn from."""

    def given(**options: Any) -> list[LabelledView]:
        seen: list[LabelledView] = []

        def stop(student: Any, views: Any, *rest: Any) -> None:
            seen.extend(replace(view, teacher_logits=Rows([view.teacher_logits[np.arange(TEXTS)]])) for view in views)
            raise KeyboardInterrupt

        monkeypatch.setattr(learning, "distil_student", stop)
        with pytest.raises(KeyboardInterrupt):
            adapt(teacher_bundle, target_file, tmp_path / f"s{len(list(tmp_path.iterdir()))}", **OPTIONS, **options)
        return seen

    return given


def labels(view: LabelledView) -> np.ndarray:
    return view.targets(np.arange(TEXTS)).softmax(dim=1).numpy()


@pytest.fixture
def opinion(monkeypatch: pytest.MonkeyPatch) -> SecondOpinion:
    """What words say, whatever the texts."""
    said = np.random.default_rng(0).normal(size=(TEXTS, 2)).astype(np.float32)
    found = SecondOpinion(Rows([said]), BIAS, 0.5, 0.5, TEXTS)
    monkeypatch.setattr(pipeline, "second_opinion", lambda *_: found)
    return found


def test_labels_of_two_opinions_reach_the_student(views: Views, opinion: SecondOpinion):
    whole, spans = views(gate=False)
    said = torch.from_numpy(opinion.whole[np.arange(TEXTS)]).softmax(dim=1).numpy()
    np.testing.assert_allclose(labels(whole), said, atol=1e-6)
    everything = np.arange(TEXTS)
    moved = spans.own(everything).numpy() - spans.teacher_logits[everything]
    np.testing.assert_allclose(moved, np.tile(BIAS, (TEXTS, 1)), atol=1e-6)


def test_of_a_refused_opinion_nothing_reaches_the_student(
    views: Views, opinion: SecondOpinion, monkeypatch: pytest.MonkeyPatch
):
    plain = [labels(view) for view in views(method="none")]
    refused = Judgement("refused", "So it shall be.", TargetPrior((0.5, 0.5), "labels", ""))
    monkeypatch.setattr(Judge, "judge_opinion", lambda *_: refused)
    for view, wanted in zip(views(), plain, strict=True):
        assert view.bias is None
        np.testing.assert_allclose(labels(view), wanted, atol=1e-6)


def test_what_an_adapted_teacher_says_reaches_the_student(views: Views, monkeypatch: pytest.MonkeyPatch):
    """One that has come to say the opposite."""
    plain = [labels(view) for view in views(method="none")]
    monkeypatch.setattr(pipeline, "adapt_teacher", lambda teacher, *_: scale_logits(teacher.model, -1.0))
    for view, before in zip(views(method="shot-im", gate=False), plain, strict=True):
        np.testing.assert_allclose(labels(view), before[:, ::-1], atol=1e-5)


def test_a_student_s_logits_are_put_on_the_calibrated_scale(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None, monkeypatch: pytest.MonkeyPatch
):
    taught: list[torch.Tensor] = []

    def keep(student: Any, *rest: Any) -> None:
        taught.append(student.model.classifier.weight.detach().clone())

    monkeypatch.setattr(learning, "distil_student", keep)
    adapt(teacher_bundle, target_file, tmp_path / "s", **OPTIONS)
    temperature = (read_manifest(tmp_path / "s", "student").runtime or {})["temperature"]
    assert abs(temperature - 1) > 0.01
    saved = load_classifier(str(tmp_path / "s"), 32).model.classifier.weight
    torch.testing.assert_close(saved, taught[0] / temperature)


def test_the_temperature_that_was_asked_for_is_the_training_s(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    objectives: list[DistilObjective] = []

    def stop(model: Any, objective: DistilObjective, *rest: Any) -> None:
        objectives.append(objective)
        raise KeyboardInterrupt

    monkeypatch.setattr(distil, "train_once", stop)
    with pytest.raises(KeyboardInterrupt):
        adapt(teacher_bundle, target_file, tmp_path / "s", temperature=3.0, **OPTIONS)
    assert objectives[0]._temperature == 3.0


def test_a_student_is_measured_against_the_teacher_as_users_see_it(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None, monkeypatch: pytest.MonkeyPatch
):
    compared: list[tuple[np.ndarray, np.ndarray]] = []
    asked: list[float] = []
    quantise = student_bundle.quantise

    def estimate(student: np.ndarray, unadapted: np.ndarray, statistics: Any) -> None:
        compared.append((student, unadapted))

    def note(source: Path, target: Path, texts: Any, logits: Any, least: float, *rest: Any) -> Any:
        asked.append(least)
        return quantise(source, target, texts, logits, least, *rest)

    monkeypatch.setattr(student_bundle, "student_estimate", estimate)
    monkeypatch.setattr(student_bundle, "quantise", note)
    adapt(teacher_bundle, target_file, tmp_path / "s", **OPTIONS, min_agreement=0.93)
    assert asked == [0.93]
    examples = [Example(line) for line in target_file.read_text().splitlines()]
    order = np.random.default_rng(0).permutation(TEXTS)
    ((student, unadapted),) = compared
    said = softmax(bundle_logits(teacher_bundle, 32, examples, 32))[order]
    np.testing.assert_allclose(unadapted, said, atol=1e-5)
    own = Predictor.load(tmp_path / "s", model="fp32").probabilities([examples[index].text for index in order])
    np.testing.assert_allclose(student, own, atol=1e-5)
    assert np.abs(student - unadapted).max() > 0.01


def test_what_words_say_of_a_file_s_labels_reaches_the_student(
    target_file: Path, tiny_encoder: Path, tmp_path: Path, opinion: SecondOpinion, monkeypatch: pytest.MonkeyPatch
):
    learnt: list[np.ndarray] = []

    def stop(student: Any, views: Any, *rest: Any) -> None:
        learnt.extend(labels(view) for view in views)
        raise KeyboardInterrupt

    (tmp_path / "p.csv").write_text("\n".join(["negative,positive", *["0.4,0.6"] * TEXTS]))
    monkeypatch.setattr(learning, "distil_student", stop)
    given = {"teacher_probabilities": str(tmp_path / "p.csv"), "student": str(tiny_encoder), "max_length": 32}
    said = softmax(opinion.whole[np.arange(TEXTS)])
    for method, wanted in (("none", np.tile([0.4, 0.6], (TEXTS, 1))), ("second-opinion", said)):
        learnt.clear()
        options = applicable(OPTIONS | given | {"method": method, "gate": False})
        with pytest.raises(KeyboardInterrupt):
            adapt(None, target_file, tmp_path / method, **options)
        for found in learnt:
            np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert learnt


@pytest.mark.parametrize(("asked", "held"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_so_many_layers_of_a_student_are_held_as_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int, held: int
):
    student = load_classifier(str(make_checkpoint(tmp_path / "checkpoint", layers=4)), 16)
    layers, moving = student.model.bert.encoder.layer, []
    monkeypatch.setattr(
        distil, "train_once", lambda *_: moving.extend(next(layer.parameters()).requires_grad for layer in layers)
    )
    config = AdaptConfig(distil_epochs=1, precision="fp32", distil_frozen_layers=asked)
    view = LabelledView(student.tokenise([Example("good book")]), Rows([np.zeros((1, 2), np.float32)]))
    with open_run(tmp_path / "run", {}) as run:
        distil.distil_student(student, [view], config, make_accelerator(config), run)
    assert moving == [False] * held + [True] * (4 - held)


def test_a_stopped_run_is_not_continued_with_other_texts(
    teacher_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(learning, "distil_student", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    texts = [f"a good thing number {index}" for index in range(60)]
    with pytest.raises(KeyboardInterrupt):
        adapt(teacher_bundle, texts, tmp_path / "s", **OPTIONS)
    with pytest.raises(RunError, match="got a change in texts"):
        adapt(teacher_bundle, [*texts[:-1], "a bad thing"], tmp_path / "s", **OPTIONS)


@pytest.mark.parametrize("name", ["onnx/model.onnx", "onnx/model_quantized.onnx", "tokenizer.json", "config.json"])
def test_a_file_that_has_changed_is_read_by_nobody(student_bundle: Path, source_file: Path, tmp_path: Path, name: str):
    bundle = tmp_path / "b"
    shutil.copytree(student_bundle, bundle)
    path = bundle / name
    path.write_bytes(path.read_bytes().replace(b"}", b" }", 1) if name.endswith(".json") else path.read_bytes() + b"\0")
    choice: Any = "int8" if "quantized" in name else "fp32"
    with pytest.raises(BundleError, match=r"damaged|changed"):
        Predictor.load(bundle, model=choice)
    with pytest.raises(BundleError, match=r"damaged|changed"):
        evaluate(bundle, source_file, model=choice)


def test_a_teacher_that_has_changed_is_not_measured(teacher_bundle: Path, source_file: Path, tmp_path: Path):
    bundle = tmp_path / "t"
    shutil.copytree(teacher_bundle, bundle)
    weights = bytearray((bundle / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "model.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match="damaged"):
        evaluate(bundle, source_file)
