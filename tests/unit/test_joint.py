"""Joint distillation: what the student learns from, how its feedback moves that, and copies with masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distilshift import adapt, distil, learning, pipeline
from distilshift.bench.methods import METHODS
from distilshift.config import AdaptConfig, resolve
from distilshift.distil import DistilObjective, distil_student
from distilshift.encoder import Classifier, load_classifier
from distilshift.errors import ConfigError
from distilshift.frozen_states import computed_once
from distilshift.inference import forward_all
from distilshift.joint import JointObjective, distil_jointly, turn_weights
from distilshift.losses.distil import soft_target_divergence
from distilshift.losses.joint import align_shares
from distilshift.masking import Masking, special_tokens
from distilshift.parallel import Batch
from distilshift.precision import make_accelerator
from distilshift.run import RunDirectory, open_run
from distilshift.shards import Rows
from distilshift.types import Example
from distilshift.views import LabelledView
from distilshift.vocabulary import used_rows_only
from encoders import FAMILIES, make_checkpoint

CHOSEN = [3, 0, 7]
SAID = np.random.default_rng(0).normal(size=(4, 8, 2)).astype(np.float32)
CPU = torch.device("cpu")
# Other than 1, at which a loss without temperature would be the same.
TEMPERATURE = 2.0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with open_run(tmp_path / "run", {}) as opened:
        yield opened


@pytest.fixture
def student(teacher_bundle: Path) -> Classifier:
    classifier = load_classifier(str(teacher_bundle), 32)
    classifier.model.eval()
    return classifier


def views_of(student: Classifier) -> list[LabelledView]:
    """Eight texts and two spans of each, with a teacher that says whatever."""
    texts = [Example(text) for text in ("good book", "bad film", "sad plot was it", "very nice pan") * 2]
    spans = [[Example(item.text.split()[place]) for item in texts] for place in (0, 1)]
    views = [LabelledView(student.tokenise(texts), Rows([SAID[0]]), Rows([SAID[3]]), 1.0)]
    return views + [
        LabelledView(student.tokenise(span), Rows([said]), Rows([SAID[3]]), 0.25)
        for span, said in zip(spans, SAID[1:3], strict=True)
    ]


def objective_of(student: Classifier, run: RunDirectory, **parts: Any) -> JointObjective:
    masking, expected = parts.pop("masking", None), parts.pop("expected", None)
    config = AdaptConfig(precision="fp32", temperature=TEMPERATURE, **parts)
    return JointObjective(student, views_of(student), config, make_accelerator(config), run, expected, masking)


def batch_of(objective: JointObjective, epoch: int) -> Batch:
    return Batch.share(epoch, np.array(CHOSEN), objective._accelerator)


def own_prediction(student: Classifier) -> Tensor:
    whole, first, second = (
        torch.from_numpy(forward_all(student, view.texts, CPU, torch.no_grad)["logits"]).softmax(1)
        for view in views_of(student)
    )
    return 0.5 * whole + 0.25 * first + 0.25 * second


@pytest.mark.parametrize("expected", [None, np.array([0.3, 0.7])])
def test_the_bank_begins_at_the_teacher_and_moves_to_the_student(student: Classifier, run: RunDirectory, expected: Any):
    objective = objective_of(student, run, feedback=0.4, feedback_every=2, distil_epochs=6, expected=expected)
    objective.before_step(0, 60)
    bank, own = torch.from_numpy(SAID[3]).softmax(1), own_prediction(student)
    if expected is not None:
        own = align_shares(own.log(), torch.tensor(expected, dtype=torch.float32)).exp()
        torch.testing.assert_close(own.mean(0), torch.tensor([0.3, 0.7]), atol=1e-3, rtol=0)
    for epoch in range(6):
        torch.testing.assert_close(objective.state()["bank"].exp(), bank)
        objective.before_step(10 * epoch + 9, 60)
        objective.after_epoch(epoch)
        if epoch in (1, 3):
            bank = 0.6 * bank + 0.4 * own
    torch.testing.assert_close(objective.state()["bank"].exp(), bank)


def test_a_span_learns_from_its_texts_row_and_from_what_is_said_of_it(student: Classifier, run: RunDirectory):
    objective = objective_of(student, run, feedback=0.4, feedback_every=1)
    objective.before_step(0, 60)
    objective.after_epoch(0)
    bank = objective.state()["bank"].exp()[CHOSEN]
    torch.testing.assert_close(objective.targets(batch_of(objective, 2)).softmax(1), bank)
    said = torch.from_numpy(SAID[2]).softmax(1)[CHOSEN]
    torch.testing.assert_close(objective.targets(batch_of(objective, 3)).softmax(1), 0.25 * bank + 0.75 * said)


def test_without_feedback_targets_are_those_of_plain_distillation(student: Classifier, run: RunDirectory):
    objective = objective_of(student, run)
    plain = DistilObjective(student, views_of(student), TEMPERATURE, CPU)
    for epoch in range(4):
        objective.after_epoch(epoch)
        batch = batch_of(objective, epoch)
        assert torch.equal(objective.targets(batch), plain.targets(batch))
        assert torch.equal(objective.loss(student.model, batch), plain.loss(student.model, batch))
    assert objective.state() == {}


def test_feedback_that_has_not_moved_the_bank_is_plain_distillation(student: Classifier, run: RunDirectory):
    objective = objective_of(student, run, feedback=0.9)
    plain = DistilObjective(student, views_of(student), TEMPERATURE, CPU)
    objective.before_step(0, 60)
    for epoch in range(4):
        batch = batch_of(objective, epoch)
        torch.testing.assert_close(objective.loss(student.model, batch), plain.loss(student.model, batch))


def test_a_certain_teacher_gives_finite_losses(student: Classifier, run: RunDirectory):
    objective = objective_of(student, run, feedback=0.5, feedback_every=1)
    certain = np.array([[400.0, -400.0]] * 8, np.float32)
    objective._views = [LabelledView(view.texts, Rows([certain]), Rows([certain]), 1.0) for view in views_of(student)]
    objective.before_step(0, 60)
    objective.after_epoch(0)
    loss = objective.loss(student.model, batch_of(objective, 1))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in student.model.parameters() if p.grad is not None)


def test_the_loss_with_masked_copies_by_hand(student: Classifier, run: RunDirectory):
    masking = Masking.of(special_tokens(student), 0.5)
    objective = objective_of(student, run, masked_consistency=3.0, masking=masking)
    batch, store = batch_of(objective, 0), views_of(student)[0].texts
    torch.manual_seed(0)
    got = objective.loss(student.model, batch)
    torch.manual_seed(0)
    inputs = student.inputs(store, batch.indices, CPU)
    ids = inputs["input_ids"]
    hit = (torch.rand(ids.shape) < 0.5) & (ids > 4)  # of the tiny tokenizer, 0 to 4 are special
    assert hit.any()
    targets = torch.from_numpy(SAID[3])[CHOSEN].log_softmax(1)
    whole, masked = (
        soft_target_divergence(student.model(**inputs | {"input_ids": tokens}).logits, targets, TEMPERATURE).mean()
        for tokens in (ids, torch.where(hit, 4, ids))
    )
    torch.testing.assert_close(got, whole + 3 * masked)
    assert (whole - masked).abs() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_spare_special_tokens_in_each_family_and_a_small_vocabulary(tmp_path: Path, family: str):
    classifier = load_classifier(str(make_checkpoint(tmp_path / family, family)), 32)
    store = classifier.tokenise([Example("good book it was", "bad"), Example("bad", "nice film pan and the plot")])
    before = classifier.inputs(store, np.arange(2), CPU)["input_ids"]
    special = torch.isin(before, torch.tensor(classifier.tokenizer.all_special_ids))
    with used_rows_only(classifier.model, [store, special_tokens(classifier)]) as stores:
        masking = Masking.of(stores[1], 0.999999)
        inputs = classifier.inputs(stores[0], np.arange(2), CPU)
        twice = masking.beside(inputs)
        assert {name: tuple(value.shape) for name, value in twice.items()} == {
            name: (4, value.shape[1]) for name, value in inputs.items()
        }
        assert torch.equal(twice["input_ids"][:2], inputs["input_ids"])
        masked = twice["input_ids"][2:]
        assert torch.equal(masked[special], inputs["input_ids"][special])
        assert masked[~special].unique().tolist() == [masking.mask_id]
        used = np.unique([*before.unique().tolist(), *classifier.tokenizer.all_special_ids])
        assert used[masking.mask_id] == classifier.tokenizer.mask_token_id


def test_the_student_that_hears_itself_ends_nearer_to_itself(student: Classifier, run: RunDirectory):
    """With a teacher that says whatever: the same training, with and without feedback."""
    sizes = {"distil_epochs": 30, "distil_batch_size": 4, "distil_learning_rate": 1e-3}
    config = AdaptConfig(precision="fp32", feedback=1.0, temperature=TEMPERATURE, **sizes)
    before = {name: value.clone() for name, value in student.model.state_dict().items()}
    accelerator, distances = make_accelerator(config), []
    for name in ("plain", "joint"):
        student.model.load_state_dict(before)
        with open_run(run.path.with_name(name), {}) as own:
            if name == "plain":
                distil_student(student, views_of(student), config, accelerator, own)
            else:
                distil_jointly(student, views_of(student), config, accelerator, own, None)
        labels = torch.from_numpy(SAID[3]).softmax(1)
        distances.append((own_prediction(student) - labels).abs().mean().item())
    assert distances[1] > distances[0] + 0.01


def test_a_training_that_has_ended_is_not_prepared_again(
    student: Classifier, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
):
    """A continued run takes its weights; what its frozen layers make of all texts would be for nothing."""
    config = AdaptConfig(precision="fp32", distil_epochs=2, distil_batch_size=4)
    wanted: list[int] = []

    def noting(classifier: Classifier, count: int, *rest: Any) -> Any:
        wanted.append(count)
        return computed_once(classifier, count, *rest)

    monkeypatch.setattr(distil, "computed_once", noting)
    for _ in range(2):
        distil_student(student, views_of(student), config, make_accelerator(config), run)
    assert wanted == [config.distil_frozen_layers, 0]


@pytest.mark.parametrize(("views", "weights"), [(1, [1.0]), (2, [0.5, 0.5]), (5, [0.5, *[0.125] * 4])])
def test_views_weigh_as_they_are_trained_on(views: int, weights: list[float]):
    assert turn_weights(views).tolist() == weights


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({"feedback": 0.5, "method": "dine"}, "method dine"),
        ({"masked_consistency": 1.0, "distillation": "minilmv2"}, "distillation minilmv2"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, options: dict[str, Any], got: str
):
    with pytest.raises(ConfigError, match=f"go with plain soft targets.*got.*{got}"):
        adapt(teacher_bundle, target_file, tmp_path / "s", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_without_a_mask_is_refused_before_any_work(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    load = pipeline.load_classifier

    def maskless(*arguments: Any) -> Classifier:
        classifier = load(*arguments)
        classifier.tokenizer.mask_token = None
        return classifier

    monkeypatch.setattr(pipeline, "load_classifier", maskless)
    monkeypatch.setattr(pipeline, "adapt_teacher", lambda *args: pytest.fail("the teacher was adapted"))
    with pytest.raises(ConfigError, match="a student whose tokenizer has a mask token"):
        adapt(teacher_bundle, target_file, tmp_path / "s", masked_consistency=1.0, student_layers=1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"target_prior": "0.25,0.75"}, [0.25, 0.75]),
        ({"target_prior": "uniform"}, [0.5, 0.5]),
        ({"method": "none"}, None),
    ],
)
def test_shares_that_are_known_reach_the_feedback(
    teacher_bundle: Path,
    target_file: Path,
    tmp_path: Path,
    quick_export: None,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    expected: Any,
):
    given: list[Any] = []
    monkeypatch.setattr(learning, "distil_jointly", lambda *arguments: given.append(arguments[-2]))
    sizes: dict[str, Any] = {"student_layers": 1}
    adapt(teacher_bundle, target_file, tmp_path / "s", feedback=0.5, gate=False, **sizes, **options)
    assert [None if shares is None else shares.tolist() for shares in given] == [expected]


def test_the_rows_of_the_benchmark_are_the_default_and_one_option():
    for row, changed in (("joint", {"feedback": 0.5}), ("masked", {"masked_consistency": 1.0})):
        config = resolve(AdaptConfig, METHODS[row].options)
        default = AdaptConfig().to_dict()
        assert {key: value for key, value in config.to_dict().items() if value != default[key]} == changed
