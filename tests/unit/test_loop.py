"""The training loop: its learning rate, and that a stopped run ends as if it had not been stopped."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_pre_hook

from distilshift import adapt, loop, teach
from distilshift.config import AdaptConfig, Method
from distilshift.dine import DineObjective
from distilshift.distil import DistilObjective
from distilshift.distil_features import FeatureObjective
from distilshift.encoder import Classifier, final_linear, load_classifier
from distilshift.errors import ConfigError, ModelError, RunError
from distilshift.files import sha256_of
from distilshift.joint import JointObjective
from distilshift.loop import LoopConfig, Objective, learning_rate_at, train_once
from distilshift.methods.neighbours import AadObjective, NrcObjective
from distilshift.methods.shot import ShotObjective
from distilshift.methods.tent import TentObjective
from distilshift.parallel import Batch
from distilshift.precision import make_accelerator
from distilshift.run import open_run
from distilshift.shards import Rows
from distilshift.stage import seconds_setting
from distilshift.supervised import BestEpoch, SupervisedObjective
from distilshift.types import Example
from distilshift.views import LabelledView

# sha256 of the weights of a method's whole run, computed by the first test that needs it.
UNINTERRUPTED: dict[str, str] = {}


class KilledError(Exception):
    """Stands for a process that vanished."""


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def kill() -> None:
    raise KilledError


def rate_config(warmup: float) -> LoopConfig:
    return LoopConfig("x", 1, 1, 0.5, warmup, 0.0, 0)


@given(st.integers(1, 300), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_the_learning_rate_rises_to_its_peak_and_falls_to_a_last_step_above_zero(steps: int, warmup: float):
    rates = [learning_rate_at(step, steps, rate_config(warmup)) for step in range(steps)]
    peak = rates.index(max(rates))
    assert rates[peak] == 0.5
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in pairwise(rates[peak:]))
    assert min(rates) > 0
    assert abs(peak - warmup * steps) <= 1


def test_the_learning_rate_by_hand():
    got = [learning_rate_at(step, 6, rate_config(0.3)) for step in range(7)]
    assert got == pytest.approx([0.25, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


class Watch:
    """Notes the steps an objective of this very class takes, and calls `act` before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, objective: type) -> None:
        self.steps: list[int] = []
        self.at, self.act = -1, kill
        inner = objective.before_step

        def before_step(instance: Any, step: int, steps: int) -> None:
            if type(instance) is objective:
                self.steps.append(step)
                if step == self.at:
                    self.act()
            inner(instance, step, steps)

        monkeypatch.setattr(objective, "before_step", before_step)

    def stop(self, work: Callable[[], Any], at: int, act: Callable[[], None]) -> None:
        """Run `work` until it is stopped at that step."""
        self.at, self.act = at, act
        with pytest.raises(KeyboardInterrupt if act is interrupt else KilledError):
            work()
        self.at = -1
        self.steps.clear()


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every step."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def taught(tmp_path: Path, tiny_encoder: Path, source_file: Path, settled_heap: None) -> Callable[..., str]:
    """A function that teaches for 3 epochs of 6 steps, and gives the sha256 of the weights."""

    def run(name: str, **options: Any) -> str:
        fixed = {"epochs": 3, "learning_rate": 3e-3, "max_length": 32, "precision": "fp32"}
        teach(source_file, tmp_path / name, base_model=str(tiny_encoder), **fixed | options)
        return sha256_of(tmp_path / name / "model.safetensors")

    return run


@pytest.fixture
def adapted(tmp_path: Path, teacher_bundle: Path, target_file: Path, quick_export: None) -> Any:
    """A function that adapts for 2 epochs and distils for 3, of 4 steps each, and gives the sha256 of the weights."""

    def run(name: str, method: str, **options: Any) -> str:
        sizes = {"adapt_epochs": 2, "adapt_batch_size": 32, "distil_epochs": 3, "student_layers": 1}
        rates = {"adapt_learning_rate": 1e-3, "distil_learning_rate": 1e-3, "pseudo_label_weight": 5.0}
        output = tmp_path / name
        adapt(teacher_bundle, target_file, output, method=method, precision="fp32", **sizes | rates | options)
        return sha256_of(output / "model.safetensors")

    return run


def test_teaching_is_a_function_of_its_seed(taught: Any):
    assert taught("a") == taught("b") != taught("c", seed=1)


@pytest.mark.parametrize(("act", "first"), [(interrupt, 9), (kill, 8)], ids=["Ctrl-C", "killed"])
def test_a_stopped_teaching_ends_as_if_it_had_not_been(
    taught: Any, monkeypatch: pytest.MonkeyPatch, request: Any, tmp_path: Path, act: Any, first: int
):
    """Ctrl-C finishes its step and saves; a killed process goes back to its last checkpoint, here a step before."""
    if act is kill:
        request.getfixturevalue("checkpoints")
    watch, handler = Watch(monkeypatch, BestEpoch), signal.getsignal(signal.SIGINT)
    uninterrupted = taught("a")
    assert watch.steps == list(range(18))
    watch.stop(lambda: taught("b"), 8, act)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not (tmp_path / "b").exists()
    assert (tmp_path / "b.run").is_dir()
    assert taught("b") == uninterrupted
    assert watch.steps == list(range(first, 18))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_best_epoch_survives_a_stop_after_it(taught: Any, monkeypatch: pytest.MonkeyPatch):
    """The weights of the best epoch are part of a checkpoint."""
    after_epoch = BestEpoch.after_epoch

    def rig(scores: list[float]) -> None:
        def rigged(self: Any, epoch: int) -> None:
            one_hot = np.eye(2, dtype=np.float32)[self._held_out]
            right = np.arange(len(one_hot)) < scores[epoch] * len(one_hot)
            self._validate = lambda: np.where(right[:, None], one_hot, 1 - one_hot)
            after_epoch(self, epoch)

        monkeypatch.setattr(BestEpoch, "after_epoch", rigged)

    rig([0.1, 0.2, 0.9])
    last = taught("last")
    rig([0.1, 0.9, 0.2])
    second = taught("second")
    assert second != last
    watch = Watch(monkeypatch, BestEpoch)
    watch.stop(lambda: taught("b"), 17, interrupt)
    assert taught("b") == second
    assert watch.steps == []


@pytest.mark.parametrize(
    ("method", "objective", "at", "act"),
    [
        ("shot-im", ShotObjective, 2, interrupt),
        ("shot-im", DistilObjective, 6, kill),
        ("shot", ShotObjective, 6, kill),
        ("shot", ShotObjective, 7, interrupt),
        ("shot", DistilObjective, 0, kill),
        ("none", DistilObjective, 11, interrupt),
        ("tent", TentObjective, 2, kill),
        ("nrc", NrcObjective, 3, kill),
        ("nrc", NrcObjective, 6, interrupt),
        ("aad", AadObjective, 2, interrupt),
        ("aad", AadObjective, 6, kill),
        ("dine", DineObjective, 1, kill),
        ("dine", DineObjective, 9, interrupt),
        ("dine", ShotObjective, 0, kill),
        ("dine", ShotObjective, 3, interrupt),
    ],
)
def test_a_stopped_adaptation_ends_as_if_it_had_not_been(
    adapted: Any,
    checkpoints: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    method: str,
    objective: type,
    at: int,
    act: Any,
):
    if method not in UNINTERRUPTED:
        UNINTERRUPTED[method] = adapted("a", method)
        shutil.rmtree(tmp_path / "a")
    watch = Watch(monkeypatch, objective)
    watch.stop(lambda: adapted("b", method), at, act)
    steps = {TentObjective: 4, DistilObjective: 12, DineObjective: 12}.get(objective, 8)
    assert adapted("b", method) == UNINTERRUPTED[method]
    assert watch.steps == list(range(at + (act is interrupt), steps))
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("form", "objective", "at", "act", "steps"),
    [
        ("distilbert", FeatureObjective, 7, kill, 12),
        ("tinybert", FeatureObjective, 5, kill, 8),
        ("minilmv2", DistilObjective, 0, kill, 4),
        ("tinybert", DistilObjective, 2, interrupt, 4),
    ],
)
def test_a_stopped_distillation_of_features_ends_as_if_it_had_not_been(
    adapted: Any,
    checkpoints: None,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    objective: type,
    at: int,
    act: Any,
    steps: int,
):
    """Two of the forms take 8 steps for inner states and 4 for soft targets, in the one training and in the other."""
    whole = adapted("a", "none", distillation=form)
    watch = Watch(monkeypatch, objective)
    watch.stop(lambda: adapted("b", "none", distillation=form), at, act)
    assert adapted("b", "none", distillation=form) == whole
    assert watch.steps == list(range(at + (act is interrupt), steps))
    assert adapted("c", "none") != whole


@pytest.mark.parametrize(("at", "act"), [(3, kill), (5, kill), (9, interrupt)])
def test_a_stopped_joint_distillation_ends_as_if_it_had_not_been(
    adapted: Any, checkpoints: None, monkeypatch: pytest.MonkeyPatch, at: int, act: Any
):
    """The student's feedback changes the bank after 4 and 8 of the 12 steps; masks are drawn at each."""
    options = {"feedback": 0.5, "feedback_every": 1, "masked_consistency": 1.0, "target_prior": "0.3,0.7"}
    if "joint" not in UNINTERRUPTED:
        UNINTERRUPTED["joint"] = adapted("a", "none", **options)
    watch = Watch(monkeypatch, JointObjective)
    watch.stop(lambda: adapted("b", "none", **options), at, act)
    assert adapted("b", "none", **options) == UNINTERRUPTED["joint"]
    assert watch.steps == list(range(at + (act is interrupt), 12))


@pytest.mark.parametrize(("at", "act"), [(5, kill), (9, interrupt)])
def test_a_stopped_masked_language_modelling_ends_as_if_it_had_not_been(
    adapted: Any, tiny_language_model: Path, checkpoints: None, monkeypatch: pytest.MonkeyPatch, at: int, act: Any
):
    options = {"mlm_head": str(tiny_language_model)}
    if "mlm" not in UNINTERRUPTED:
        UNINTERRUPTED["mlm"] = adapted("a", "none", **options)
    watch = Watch(monkeypatch, JointObjective)
    watch.stop(lambda: adapted("b", "none", **options), at, act)
    assert adapted("b", "none", **options) == UNINTERRUPTED["mlm"] != adapted("c", "none")
    assert watch.steps == list(range(at + (act is interrupt), 12))


def test_each_joint_option_reaches_the_weights(adapted: Any, tiny_language_model: Path):
    masked: dict[str, Any] = {"masked_consistency": 1.0}
    every: dict[str, Any] = {"feedback": 0.5, "feedback_every": 1}
    language: dict[str, Any] = {"mlm_head": str(tiny_language_model)}
    others = [every, every | {"target_prior": "0.3,0.7"}, {"feedback": 0.5}, masked, masked | {"mask_fraction": 0.5}]
    others += [language, language | {"mlm_weight": 2.0}]
    students = [adapted(str(number), "none", **options) for number, options in enumerate([{}, *others, every | masked])]
    assert len(set(students)) == len(students)


def test_methods_and_seeds_give_students_of_their_own(adapted: Any):
    """The positive control of the tests above: each of these choices reaches the weights, no gate in its way."""
    choices = [*((method, 0) for method in get_args(Method)), ("shot", 1)]
    students = {adapted(f"{method}-{seed}", method, seed=seed, gate=False) for method, seed in choices}
    assert len(students) == len(choices)


def test_a_stop_during_distillation_does_not_adapt_again(adapted: Any, monkeypatch: pytest.MonkeyPatch):
    distilling, adapting = Watch(monkeypatch, DistilObjective), Watch(monkeypatch, ShotObjective)
    distilling.stop(lambda: adapted("b", "shot-im"), 3, interrupt)
    assert adapting.steps == list(range(8))
    adapted("b", "shot-im")
    assert adapting.steps == list(range(8))
    assert distilling.steps == list(range(4, 12))


def test_a_stopped_run_is_not_continued_with_other_options(taught: Any, monkeypatch: pytest.MonkeyPatch):
    watch = Watch(monkeypatch, BestEpoch)
    watch.stop(lambda: taught("b"), 8, interrupt)
    with pytest.raises(RunError, match=r"got a change in batch_size, learning_rate\. Fix: .*--fresh"):
        taught("b", learning_rate=1e-3, batch_size=16)
    assert watch.steps == []
    taught("b", learning_rate=1e-3, batch_size=16, fresh=True)
    assert watch.steps == list(range(36))


def test_bf16_trains_otherwise_and_saves_fp32(taught: Any, tmp_path: Path):
    from safetensors.torch import load_file

    assert taught("bf16", precision="bf16", epochs=1) != taught("fp32", epochs=1)
    weights = load_file(tmp_path / "bf16" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_every_training_of_a_model_runs_in_the_wanted_precision(tmp_path: Path, teacher_bundle: Path):
    classifier = load_classifier(str(teacher_bundle), 32)
    views = [LabelledView(classifier.tokenise([Example("good book")] * 4), Rows([np.zeros((4, 2), np.float32)]))]
    accelerator = make_accelerator(AdaptConfig(precision="bf16"))
    seen: list[torch.dtype] = []
    final_linear(classifier.model).register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    for name in ("first", "second"):
        objective = DistilObjective(classifier, views, 2.0, accelerator.device)
        loop = LoopConfig(name, 1, 4, 1e-4, 0.1, 0.0, 0)
        with open_run(tmp_path / name, {"stage": name}) as run:
            train_once(classifier.model, objective, loop, accelerator, run)
    assert seen == [torch.bfloat16, torch.bfloat16]
    assert "forward" not in vars(classifier.model)


class Steep(Objective):
    """Asks a model of two texts for logits far away, and notes what two passes of a step say."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.store = classifier, classifier.tokenise([Example("good book"), Example("bad film")])
        self.passes: list[torch.Tensor] = []

    def lengths(self, epoch: int) -> np.ndarray:
        return self.store.lengths

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        inputs = self.classifier.inputs(self.store, batch.indices, torch.device("cpu"))
        self.passes += [model(**inputs).logits.detach(), logits := model(**inputs).logits]
        return batch.mean(1e4 * (logits - 50).square().sum(dim=1))


@pytest.mark.parametrize("dropout", [True, False])
def test_gradients_are_clipped_and_units_dropped_where_they_are_to_be(
    tmp_path: Path, teacher_bundle: Path, dropout: bool
):
    objective = Steep(load_classifier(str(teacher_bundle), 32))
    model, norms = objective.classifier.model, []

    def note(optimizer: torch.optim.Optimizer, *rest: Any) -> None:
        norms.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item())

    with register_optimizer_step_pre_hook(note), open_run(tmp_path / "run", {}) as run:
        accelerator = make_accelerator(AdaptConfig(precision="fp32"))
        train_once(model, objective, LoopConfig("x", 2, 2, 1e-5, 0.1, 0.0, 0, dropout), accelerator, run)
    assert norms == pytest.approx([1.0, 1.0], rel=1e-3)
    assert torch.equal(*objective.passes[:2]) == (not dropout)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_teaching_by_hand(teacher_bundle: Path, smoothing: float):
    classifier, labels = load_classifier(str(teacher_bundle), 32), np.array([0, 0])
    store, place = classifier.tokenise([Example("good book"), Example("bad film")]), torch.device("cpu")
    objective = SupervisedObjective(classifier, store, labels, smoothing, place)
    classifier.model.eval()
    batch = Batch.share(0, np.array([0, 1]), make_accelerator(AdaptConfig(precision="fp32")))
    with torch.no_grad():
        logs = classifier.model(**classifier.inputs(store, batch.indices, place)).logits.log_softmax(dim=1)
        loss = objective.loss(classifier.model, batch)
    wanted = (1 - smoothing) * -logs[:, 0] + smoothing * -logs.mean(dim=1)
    assert loss.item() == pytest.approx(wanted.mean().item(), abs=1e-6)


def test_a_training_that_diverges_is_told(taught: Any, tmp_path: Path):
    with pytest.raises(ModelError, match=r"'teach' has diverged: .*learning rate of 1e\+30\. Fix: lower the learning"):
        taught("b", learning_rate=1e30)
    assert not (tmp_path / "b").exists()


def test_threads_are_the_callers_again_afterwards(taught: Any):
    before = torch.get_num_threads()
    taught("b", epochs=1, threads=before + 1)
    assert torch.get_num_threads() == before


def test_an_interrupt_after_the_last_step_is_not_lost():
    looks = []
    with suppress(KeyboardInterrupt):
        with loop._deferred_interrupt() as interrupted:
            looks.append(interrupted())
            interrupt()
            looks.append(interrupted())
        looks.append("went on")
    assert looks == [False, True]


def test_a_duration_is_read_from_the_environment_or_refused(monkeypatch: pytest.MonkeyPatch):
    assert seconds_setting("DISTILSHIFT_TEST_SECONDS", 60.0) == 60.0
    monkeypatch.setenv("DISTILSHIFT_TEST_SECONDS", "0.5")
    assert seconds_setting("DISTILSHIFT_TEST_SECONDS", 60.0) == 0.5
    for wrong in ("soon", "-1", "nan"):
        monkeypatch.setenv("DISTILSHIFT_TEST_SECONDS", wrong)
        with pytest.raises(ConfigError, match=f"expected seconds, 0 or more, got '{wrong}'"):
            seconds_setting("DISTILSHIFT_TEST_SECONDS", 60.0)
