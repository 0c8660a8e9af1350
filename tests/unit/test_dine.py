"""DINE: what the student learns from, how the bank moves, and texts that are mixed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distilshift import adapt, dine, pipeline
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.dine import DineObjective, mixed_inputs
from distilshift.encoder import Classifier, load_classifier
from distilshift.inference import forward_all
from distilshift.losses.adapt import information_maximisation
from distilshift.losses.dine import bank_divergence
from distilshift.methods.base import Material, uniform_prior
from distilshift.parallel import Batch
from distilshift.precision import make_accelerator
from distilshift.run import RunDirectory, open_run
from distilshift.shards import Rows
from distilshift.types import Example
from distilshift.views import LabelledView
from encoders import FAMILIES, make_checkpoint

CHOSEN = [3, 0, 7]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with open_run(tmp_path / "run", {}) as opened:
        yield opened


@pytest.fixture
def student(teacher_bundle: Path) -> Classifier:
    classifier = load_classifier(str(teacher_bundle), 32)
    classifier.model.eval()
    return classifier


def objective_of(student: Classifier, run: RunDirectory, **options: Any) -> DineObjective:
    """Of eight texts and of spans of them, with a teacher that says whatever."""
    texts = [Example(text) for text in ("good book", "bad film", "sad plot was it", "very nice pan") * 2]
    spans = [Example(item.text.split()[0]) for item in texts]
    said = np.random.default_rng(0).normal(size=(3, 8, 2)).astype(np.float32)
    stores = [student.tokenise(texts), student.tokenise(spans)]
    views = [LabelledView(stores[0], Rows([said[0]]), Rows([said[2]]), 1.0)]
    views.append(LabelledView(stores[1], Rows([said[1]]), Rows([said[2]]), 0.25))
    config = AdaptConfig(method="dine", precision="fp32", **options)
    accelerator = make_accelerator(config)
    return DineObjective(Material(student, stores, uniform_prior(2, accelerator), config, accelerator, run), views)


def batch_of(objective: DineObjective, epoch: int) -> Batch:
    return Batch.share(epoch, np.array(CHOSEN), objective._material.accelerator)


def predictions(student: Classifier, store: Any) -> Tensor:
    logits = forward_all(student, store, torch.device("cpu"), torch.no_grad)["logits"]
    return torch.from_numpy(logits).softmax(dim=1)


def test_the_bank_begins_at_the_teacher_and_drifts_to_the_student(student: Classifier, run: RunDirectory):
    objective = objective_of(student, run)
    said = np.random.default_rng(0).normal(size=(3, 8, 2)).astype(np.float32)
    bank = torch.from_numpy(said[2]).softmax(dim=1)  # of the texts, read whole
    own = predictions(student, objective._material.views[0])
    for step in range(40):
        objective.before_step(step, 40)
        if step and step % 4 == 0:
            bank = 0.6 * bank + 0.4 * own
        torch.testing.assert_close(objective.state()["bank"], bank)
    torch.testing.assert_close(bank, own, atol=0.02, rtol=0)


@pytest.mark.parametrize(("steps", "moves"), [(3, 2), (10, 9), (11, 5), (19, 9), (20, 9), (29, 9), (300, 9)])
def test_the_bank_moves_at_tenths_however_short_the_training(
    student: Classifier, run: RunDirectory, steps: int, moves: int
):
    objective, banks = objective_of(student, run), []
    for step in range(steps):
        objective.before_step(step, steps)
        banks.append(objective.state()["bank"])
    changed = sum(first is not second for first, second in pairwise(banks))
    assert changed == moves


def test_a_span_learns_from_its_texts_row_and_from_what_is_said_of_it(student: Classifier, run: RunDirectory):
    objective = objective_of(student, run)
    objective.before_step(0, 40)
    bank = objective.state()["bank"]
    said = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 8, 2)).astype(np.float32)[1]).softmax(dim=1)
    torch.testing.assert_close(objective.targets(batch_of(objective, 0)), bank[CHOSEN])
    torch.testing.assert_close(objective.targets(batch_of(objective, 1)), 0.25 * bank[CHOSEN] + 0.75 * said[CHOSEN])


def test_the_loss_by_hand_without_and_with_mixing(student: Classifier, run: RunDirectory):
    plain = objective_of(student, run, mixup_weight=0.0, diversity_weight=0.5)
    plain.before_step(0, 40)
    logits = predictions(student, plain._material.views[0])[CHOSEN].log()
    wanted = bank_divergence(logits, plain.state()["bank"][CHOSEN]).mean()
    wanted = wanted + information_maximisation(logits, torch.full((2,), 0.5), 0.5)
    torch.testing.assert_close(plain.loss(student.model, batch_of(plain, 0)), wanted)
    mixing = objective_of(student, run, mixup_weight=3.0, diversity_weight=0.5)
    mixing.before_step(0, 40)
    extras = []
    for seed in range(6):  # shares and partners of several batches
        torch.manual_seed(seed)
        extras.append(mixing.loss(student.model, batch_of(mixing, 0)) - wanted)
        torch.manual_seed(seed)
        consistency = mixing._consistency(student.model, batch_of(mixing, 0), logits).mean()
        torch.testing.assert_close(extras[-1], 3 * consistency, atol=1e-5, rtol=1e-5)
    assert max(extras) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_inputs_are_the_text_itself_at_one_and_its_partner_at_zero(tmp_path: Path, family: str):
    """And between them are predictions that are neither's, in each family."""
    classifier = load_classifier(str(make_checkpoint(tmp_path / family, family)), 32)
    model = classifier.model.eval()
    store = classifier.tokenise([Example(text) for text in ("good book", "bad film was it", "sad plot and the")])
    inputs = classifier.inputs(store, np.arange(3), torch.device("cpu"))
    partners = torch.tensor([1, 2, 0])

    def logits(share: float, rows: Tensor) -> Tensor:
        mixed = mixed_inputs(model, inputs, rows, share)
        return model(**mixed).logits

    itself, whole = torch.arange(3), model(**inputs).logits
    torch.testing.assert_close(logits(0.3, itself), whole, rtol=1e-4, atol=1e-5)
    # The shorter text of a pair is followed by nothing, in the place of padding, which attention then sees.
    torch.testing.assert_close(logits(1.0, partners)[1:2], whole[1:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(0.0, partners)[:2], whole[1:], rtol=1e-4, atol=1e-5)
    between = logits(0.5, partners)
    assert min((between - whole).abs().max(), (between - whole[partners]).abs().max()) > 1e-3


def test_gradients_of_a_mixed_text_reach_the_embeddings_of_both(student: Classifier):
    store = student.tokenise([Example("good"), Example("bad")])
    inputs = student.inputs(store, np.arange(2), torch.device("cpu"))
    mixed = mixed_inputs(student.model, inputs, torch.tensor([1, 0]), 0.7)
    student.model(**mixed).logits[0, 0].backward()
    moved = student.model.get_input_embeddings().weight.grad.abs().sum(dim=1) > 0
    assert set(moved.nonzero().flatten().tolist()) == set(inputs["input_ids"].unique().tolist()) - {0}


def test_dine_leaves_the_teacher_as_it_is_and_refines_the_student(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None, monkeypatch: pytest.MonkeyPatch
):
    losses: dict[str, list[float]] = {}
    for kind in (dine.DineObjective, dine.ShotObjective):

        def loss(self: Any, model: Any, batch: Batch, inner: Any = kind.loss) -> Tensor:
            value: Tensor = inner(self, model, batch)
            losses.setdefault(type(self).__name__, []).append(value.item())
            return value

        monkeypatch.setattr(kind, "loss", loss)
    teachers: list[bool] = []
    inner = pipeline.label_views

    def label_views(teacher: Classifier, *rest: Any) -> Any:
        fresh = load_classifier(str(teacher_bundle), 32).model.base_model.state_dict()
        teachers.append(all(torch.equal(v, fresh[k]) for k, v in teacher.model.base_model.state_dict().items()))
        return inner(teacher, *rest)

    monkeypatch.setattr(pipeline, "label_views", label_views)
    sizes: dict[str, Any] = {"student_layers": 1, "adapt_epochs": 2, "distil_epochs": 8, "span_min_words": 2}
    rates = {"adapt_learning_rate": 1e-4, "distil_learning_rate": 2e-3, "precision": "fp32"}
    result = adapt(teacher_bundle, target_file, tmp_path / "s", method="dine", **sizes, **rates)
    assert teachers == [True]
    assert {name: len(values) for name, values in losses.items()} == {"DineObjective": 32, "ShotObjective": 4}
    assert np.mean(losses["DineObjective"][-4:]) < np.mean(losses["DineObjective"][:4]) - 0.03
    assert result.summary["teacher_agreement"] > 0.9
    assert read_manifest(tmp_path / "s", "student").config["method"] == "dine"
