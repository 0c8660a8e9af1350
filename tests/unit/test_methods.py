"""The methods that adapt a teacher, TENT, NRC and AaD: what moves, what the bank holds, and the loss by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distilshift.adaptation import OBJECTIVES, _loop, adapt_teacher
from distilshift.config import AdaptConfig
from distilshift.data.corpus import open_corpus
from distilshift.encoder import Classifier, head_inputs, load_classifier, scale_logits
from distilshift.inference import forward_all
from distilshift.loop import LoopConfig, learning_rate_at, train
from distilshift.losses.adapt import entropy, prior_divergence
from distilshift.losses.neighbours import attracting_dispersing
from distilshift.methods.base import Material, uniform_prior
from distilshift.methods.neighbours import AadObjective, NeighbourObjective, NrcObjective
from distilshift.methods.tent import TentObjective
from distilshift.parallel import Batch
from distilshift.precision import make_accelerator
from distilshift.run import RunDirectory, open_run
from distilshift.types import Example
from encoders import FAMILIES, make_checkpoint

OPTIONS: dict[str, Any] = {
    "precision": "fp32",
    "adapt_epochs": 4,
    "adapt_batch_size": 32,
    "adapt_learning_rate": 1e-3,
    "span_min_words": 2,
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with open_run(tmp_path / "run", {}) as opened:
        yield opened


@pytest.fixture
def teacher(teacher_bundle: Path) -> Classifier:
    classifier = load_classifier(str(teacher_bundle), 32)
    scale_logits(classifier.model, 0.3)  # as of another domain: it is not sure
    return classifier


@pytest.fixture
def examples(target_file: Path) -> list[Example]:
    return [Example(line) for line in target_file.read_text().splitlines()]


def adapted(teacher: Classifier, examples: list[Example], run: RunDirectory, **options: Any) -> set[str]:
    """Adapt in place; the names of the weights that moved."""
    config = AdaptConfig(**OPTIONS | options)
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    adapt_teacher(teacher, open_corpus(examples, config), config, make_accelerator(config), run, np.array([0.5, 0.5]))
    return {name for name, value in teacher.model.state_dict().items() if not torch.equal(value, before[name])}


def mean_entropy(teacher: Classifier, examples: list[Example]) -> float:
    accelerator, store = make_accelerator(AdaptConfig(precision="fp32")), teacher.tokenise(examples)
    logits = forward_all(teacher, store, accelerator.device, accelerator.autocast)["logits"]
    return entropy(torch.from_numpy(logits)).mean().item()


def test_tent_moves_nothing_but_layer_norms(teacher: Classifier, examples: list[Example], run: RunDirectory):
    before = mean_entropy(teacher, examples)
    moved = adapted(teacher, examples, run, method="tent", adapt_learning_rate=0.1)
    norms = {name for name in teacher.model.state_dict() if "LayerNorm" in name}
    assert moved == norms
    assert len(norms) == 10
    assert mean_entropy(teacher, examples) < before - 0.02
    assert all(parameter.requires_grad for parameter in teacher.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_tent_finds_the_layer_norms_of_every_family(
    tmp_path: Path, examples: list[Example], run: RunDirectory, family: str
):
    classifier = load_classifier(str(make_checkpoint(tmp_path / family, family)), 32)
    moved = adapted(classifier, examples[:40], run, method="tent")
    assert len(moved) == 10
    assert all("norm" in name.lower() for name in moved)


def test_tent_makes_one_pass_over_whole_texts(
    teacher: Classifier, examples: list[Example], run: RunDirectory, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[int, int]] = []
    inner = TentObjective.loss

    def loss(self: Any, model: Any, batch: Batch) -> Tensor:
        seen.append((self.view(batch.epoch), len(batch.indices)))
        return inner(self, model, batch)

    monkeypatch.setattr(TentObjective, "loss", loss)
    adapted(teacher, examples, run, method="tent", adapt_epochs=6, spans=3)
    assert sorted(seen) == [(0, 24)] + [(0, 32)] * 3


def material(classifier: Classifier, examples: list[Example], run: RunDirectory, **options: Any) -> Material:
    config = AdaptConfig(**OPTIONS | options)
    accelerator = make_accelerator(config)
    whole, halves = examples, [Example(" ".join(item.text.split()[:3])) for item in examples]
    views = [classifier.tokenise(whole), classifier.tokenise(halves)]
    return Material(classifier, views, uniform_prior(2, accelerator), config, accelerator, run)


def batch_of(objective_material: Material, epoch: int, indices: list[int]) -> Batch:
    return Batch.share(epoch, np.array(indices), objective_material.accelerator)


def started(kind: type[NeighbourObjective], given: Material) -> NeighbourObjective:
    """An objective before its first step, its model in evaluation mode so that passes can be compared."""
    objective = kind(given)
    objective.before_step(0, 10)
    given.classifier.model.eval()
    return objective


def test_the_bank_is_what_the_model_says_of_the_whole_texts(
    teacher: Classifier, examples: list[Example], run: RunDirectory
):
    given = material(teacher, examples, run)
    bank = started(NrcObjective, given).state()
    wanted = forward_all(
        teacher, given.views[0], given.accelerator.device, given.accelerator.autocast, features=True, batch_size=7
    )
    torch.testing.assert_close(bank["features"], torch.from_numpy(wanted["features"]))
    torch.testing.assert_close(bank["probabilities"], torch.from_numpy(wanted["logits"]).softmax(dim=1))
    again = NrcObjective(given)
    again.load_state(bank)
    assert all(torch.equal(value, again.state()[name]) for name, value in bank.items())


def test_a_step_over_whole_texts_refreshes_its_rows_and_one_over_spans_none(
    teacher: Classifier, examples: list[Example], run: RunDirectory
):
    given = material(teacher, examples, run)
    objective = started(AadObjective, given)
    before = {name: value.clone() for name, value in objective.state().items()}
    with torch.no_grad():
        teacher.model.bert.embeddings.LayerNorm.weight.mul_(1.5)  # what a step would do
    chosen = [3, 0, 77]
    objective.loss(teacher.model, batch_of(given, 1, chosen))
    assert all(torch.equal(value, before[name]) for name, value in objective.state().items())
    objective.loss(teacher.model, batch_of(given, 0, chosen))
    with torch.no_grad(), head_inputs(teacher.model) as seen:
        logits = teacher.model(**teacher.inputs(given.views[0], np.array(chosen), torch.device("cpu"))).logits
    after = objective.state()
    torch.testing.assert_close(after["features"][chosen], seen[0])
    torch.testing.assert_close(after["probabilities"][chosen], logits.softmax(dim=1))
    assert not torch.allclose(after["probabilities"][chosen], before["probabilities"][chosen])
    others = [row for row in range(120) if row not in chosen]
    assert all(torch.equal(after[name][others], before[name][others]) for name in after)


def test_the_loss_of_aad_by_hand(teacher: Classifier, examples: list[Example], run: RunDirectory):
    given = material(teacher, examples, run, neighbours=3, dispersion_decay=2.0)
    objective, chosen = started(AadObjective, given), [5, 2, 60, 9]
    objective.before_step(3, 10)  # alpha = (1 + 3) ** -2
    loss = objective.loss(teacher.model, batch_of(given, 0, chosen))
    bank = objective.state()
    unit = torch.nn.functional.normalize(bank["features"], dim=1)
    cosines = unit[chosen] @ unit.T
    cosines[range(4), chosen] = -2
    near = bank["probabilities"][cosines.topk(3).indices]
    logits = bank["probabilities"][chosen].log()
    torch.testing.assert_close(loss, attracting_dispersing(logits, near, 1 / 16).mean())


def test_the_loss_of_nrc_by_hand(teacher: Classifier, examples: list[Example], run: RunDirectory):
    given = material(teacher, examples, run, neighbours=3)
    objective, chosen = started(NrcObjective, given), [5, 2, 60, 9]
    loss = objective.loss(teacher.model, batch_of(given, 0, chosen)).item()
    bank = objective.state()
    unit = torch.nn.functional.normalize(bank["features"], dim=1)
    nearest = (unit @ unit.T).fill_diagonal_(-2).topk(3).indices.tolist()
    said = bank["probabilities"].double()
    mutual = [[text in nearest[near] for near in nearest[text]] for text in chosen]
    assert any(map(any, mutual))
    assert not all(map(all, mutual))
    wanted = 0.0
    for text, returned in zip(chosen, mutual, strict=True):
        for near, is_mutual in zip(nearest[text], returned, strict=True):
            wanted -= (1.0 if is_mutual else 0.1) * (said[text] @ said[near]).item() / 4
            wanted -= 0.1 * sum((said[text] @ said[far]).item() for far in nearest[near]) / 4
    wanted += prior_divergence(said[chosen].log(), torch.tensor([0.5, 0.5])).item()
    assert loss == pytest.approx(wanted, abs=1e-5)


CHOSEN = [5, 2, 60, 9]


def loss_of(teacher: Classifier, examples: list[Example], folder: Path, shares: Any, **options: Any) -> float:
    """Of a first step over four whole texts, in evaluation mode."""
    with open_run(folder, {}) as own:
        given = replace(material(teacher, examples, own, **options), prior=torch.tensor(shares))
        objective = OBJECTIVES[options["method"]](given)
        objective.before_step(0, 10)
        teacher.model.eval()
        return objective.loss(teacher.model, batch_of(given, 0, CHOSEN)).item()


@pytest.mark.parametrize("method", ["shot-im", "shot", "nrc"])
def test_expected_class_shares_reach_the_loss(
    teacher: Classifier, examples: list[Example], tmp_path: Path, method: str
):
    """What a loss gains by other shares is what their divergence from the mean prediction does."""
    store = teacher.tokenise(examples)
    teacher.model.eval()
    with torch.no_grad():
        logits = teacher.model(**teacher.inputs(store, np.array(CHOSEN), torch.device("cpu"))).logits
    equal, others = (0.5, 0.5), (0.9, 0.1)
    options: dict[str, Any] = {"method": method, "diversity_weight": 2.0}
    found = [loss_of(teacher, examples, tmp_path / method, shares, **options) for shares in (equal, others)]
    wanted = [2.0 * prior_divergence(logits, torch.tensor(shares)).item() for shares in (equal, others)]
    assert found[1] - found[0] == pytest.approx(wanted[1] - wanted[0], abs=1e-4)
    assert abs(wanted[1] - wanted[0]) > 0.01


def test_pseudo_labels_have_their_weight(teacher: Classifier, examples: list[Example], tmp_path: Path):
    none, some, more = (
        loss_of(teacher, examples, tmp_path / "run", (0.5, 0.5), method="shot", pseudo_label_weight=weight)
        for weight in (0.3, 0.6, 1.2)
    )
    assert more - some == pytest.approx(2 * (some - none), rel=1e-3)
    assert some - none > 0.01


@pytest.mark.parametrize("kind", [NrcObjective, AadObjective])
def test_spans_are_drawn_to_the_neighbours_of_their_texts(
    teacher: Classifier, examples: list[Example], run: RunDirectory, kind: type[NeighbourObjective]
):
    given = material(teacher, examples, run, neighbours=2)
    objective = started(kind, given)
    rows: list[Tensor] = []
    inner = objective.agreement
    objective.agreement = lambda *args: rows.append(args[-1]) or inner(*args)  # type: ignore[method-assign]
    losses = [objective.loss(teacher.model, batch_of(given, epoch, [1, 4, 30])) for epoch in (0, 1)]
    assert torch.equal(rows[0], rows[1])
    assert losses[0] != losses[1]


@pytest.mark.parametrize("method", sorted(OBJECTIVES))
def test_the_loss_falls(teacher: Classifier, examples: list[Example], run: RunDirectory, method: Any):
    given = material(teacher, examples, run, method=method, dispersion_decay=0.0)
    objective = OBJECTIVES[method](given)
    losses: list[float] = []
    inner = objective.loss

    def loss(model: Any, batch: Batch) -> Tensor:
        value = inner(model, batch)
        losses.append(value.item())
        return value

    objective.loss = loss  # type: ignore[method-assign]
    train(teacher.model, objective, LoopConfig("adapt", 8, 40, 1e-3, 0.1, 0.0, 0), given.accelerator, run)
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) - 0.02


@pytest.mark.parametrize("method", ["nrc", "aad"])
@pytest.mark.parametrize("texts", [1, 2, 4])
def test_fewer_texts_than_neighbours_will_do(
    teacher: Classifier, examples: list[Example], run: RunDirectory, method: Any, texts: int
):
    assert adapted(teacher, examples[:texts], run, method=method)


@pytest.mark.parametrize("method", sorted(OBJECTIVES))
def test_each_method_adapts_in_bfloat16(teacher: Classifier, examples: list[Example], run: RunDirectory, method: Any):
    assert adapted(teacher, examples[:40], run, method=method, precision="bf16")
    assert all(torch.isfinite(value).all() for value in teacher.model.state_dict().values())


@pytest.mark.parametrize("method", sorted(OBJECTIVES))
def test_the_last_linear_map_learns_where_the_authors_train_it(
    teacher: Classifier, examples: list[Example], run: RunDirectory, method: Any
):
    moved = adapted(teacher, examples[:40], run, method=method)
    assert ("classifier.weight" in moved) == (method in {"nrc", "aad"})


@pytest.mark.parametrize(("method", "share"), [("aad", 1.0), ("nrc", 0.1)])
def test_aad_begins_at_the_full_rate(method: Any, share: float):
    config = AdaptConfig(method=method)
    assert learning_rate_at(0, 100, _loop(config)) == pytest.approx(share * config.adapt_learning_rate)
