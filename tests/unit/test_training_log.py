"""Training losses: known step by step, the same after a stop, recorded in the bundle, and stopped when they diverge."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from distilshift import adapt, loop, progress, teach
from distilshift.dine import SECOND_STAGE
from distilshift.encoder import load_classifier
from distilshift.errors import LeakError, ModelError
from distilshift.loop import optimizer_groups
from distilshift.run import open_run
from distilshift.strict import require_strict
from distilshift.supervised import SupervisedObjective
from distilshift.training_log import TRAINING_LOG, foreign_value, log_entry
from forged import make_teacher, reseal


def log_of(bundle: Path) -> Any:
    return json.loads((bundle / TRAINING_LOG).read_text())


@pytest.fixture
def taught(tmp_path: Path, tiny_encoder: Path, source_file: Path, settled_heap: None) -> Any:
    """A function that teaches for 3 epochs of 6 steps."""

    def run(name: str, **options: Any) -> Path:
        fixed = {"epochs": 3, "learning_rate": 3e-3, "max_length": 32, "precision": "fp32"}
        return teach(source_file, tmp_path / name, base_model=str(tiny_encoder), **fixed | options).bundle

    return run


def test_the_loss_of_each_step_is_in_the_bundle(taught: Any, monkeypatch: pytest.MonkeyPatch):
    losses, plain = [], SupervisedObjective.loss

    def note(self: Any, model: Any, batch: Any) -> Any:
        losses.append(plain(self, model, batch))
        return losses[-1]

    monkeypatch.setattr(SupervisedObjective, "loss", note)
    bundle = taught("t")
    assert log_of(bundle) == {"teach": {"steps_per_value": 1, "loss": [float(f"{loss.item():.4g}") for loss in losses]}}
    assert len(losses) == 18
    require_strict(bundle)


@pytest.mark.parametrize("at", [1, 8, 17])
def test_the_losses_survive_a_stop(taught: Any, monkeypatch: pytest.MonkeyPatch, at: int):
    """Byte for byte: those of the steps before it are in the checkpoint."""
    whole = (taught("a") / TRAINING_LOG).read_bytes()
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patched:

        def kill(self: Any, step: int, steps: int) -> None:
            if step == at:
                raise InterruptedError

        patched.setattr(SupervisedObjective, "before_step", kill)
        with pytest.raises(InterruptedError):
            taught("b")
    assert (taught("b") / TRAINING_LOG).read_bytes() == whole


@pytest.mark.parametrize(
    ("method", "trainings"), [("shot-im", {"adapt", "distil"}), ("dine", {"distil", SECOND_STAGE})]
)
def test_a_student_records_all_its_trainings(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None, method: str, trainings: set[str]
):
    epochs = {"adapt_epochs": 1, "distil_epochs": 1, "student_layers": 1}
    adapt(teacher_bundle, target_file, tmp_path / "s", method=method, precision="fp32", gate=False, **epochs)
    log = log_of(tmp_path / "s")
    assert log.keys() == trainings
    assert len(log["distil"]["loss"]) == 4
    assert foreign_value(log) is None
    require_strict(tmp_path / "s")


def test_a_training_that_diverges_stops_at_once_and_keeps_its_checkpoint(
    taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """At step 5 of 18, the loss becomes infinite; the checkpoint of step 4 is not replaced."""
    steps, plain = [], SupervisedObjective.loss

    def explode(self: Any, model: Any, batch: Any) -> Any:
        steps.append(len(steps) + 1)
        return plain(self, model, batch) * (math.inf if len(steps) == 5 else 1)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(SupervisedObjective, "loss", explode)
    with pytest.raises(
        ModelError, match=r"'teach' has diverged: .*got the loss inf at step 5, .* Fix: lower the learn"
    ):
        taught("t")
    assert steps == [1, 2, 3, 4, 5]
    journal = json.loads((tmp_path / "t.run" / "journal.json").read_text())
    assert journal["files"]["teach"]["facts"]["step"] == 4


@pytest.mark.parametrize(
    ("steps", "batch_size", "stride", "sizes"),
    [
        (5, 32, 1, [1, 1, 1, 1, 1]),
        (9, 3, 3, [3, 3, 3]),
        (10, 3, 3, [3, 3, 4]),
        (2, 1, 8, [2]),
        (1, 8, 1, [1]),
        (8193, 8, 3, None),
    ],
)
def test_a_value_is_of_eight_texts_or_more_and_there_are_not_too_many(
    steps: int, batch_size: int, stride: int, sizes: list[int] | None
):
    losses = [float(step) for step in range(steps)]
    entry = log_entry(losses, batch_size)
    assert entry["steps_per_value"] == stride
    if sizes is None:
        assert len(entry["loss"]) == 2731
        return
    wanted, start = [], 0
    for size in sizes:
        wanted.append(float(f"{sum(losses[start : start + size]) / size:.4g}"))
        start += size
    assert (entry["loss"], start) == (wanted, steps)


@pytest.mark.parametrize(
    "entry",
    [
        [0.5],
        {"steps_per_value": 1},
        {"steps_per_value": 1, "loss": [0.5], "texts": ["a"]},
        {"steps_per_value": "1", "loss": [0.5]},
        {"steps_per_value": 1, "loss": ["a text"]},
        {"steps_per_value": 1, "loss": [0.12345]},
        {"steps_per_value": 1, "loss": [[0.5]]},
        {"steps_per_value": 1, "loss": [0.5] * 4097},
    ],
)
def test_strict_finds_what_is_not_a_loss(tmp_path: Path, entry: Any):
    bundle = make_teacher(tmp_path / "t")
    (bundle / TRAINING_LOG).write_text(json.dumps({"teach": {"steps_per_value": 1, "loss": [0.5, 1e-7, 12.0]}}))
    reseal(bundle)
    require_strict(bundle)
    (bundle / TRAINING_LOG).write_text(json.dumps({"teach": entry}))
    reseal(bundle)
    with pytest.raises(LeakError, match=r"training_log\.json: an entry that is not losses"):
        require_strict(bundle)


def test_the_bar_shows_the_mean_of_the_last_losses(monkeypatch: pytest.MonkeyPatch, taught: Any):
    notes: list[str] = []

    class Bar:
        def __enter__(self) -> Any:
            return lambda units, note="": notes.append(note)

        def __exit__(self, *error: Any) -> None:
            """Nothing to close."""

    monkeypatch.setattr(progress, "stage", lambda name, total, done=0: Bar())
    losses = log_of(taught("t"))["teach"]["loss"]
    assert len(notes) == 18
    assert notes[:1] == [f"loss {losses[0]:.3f}"]
    assert notes[-1] == f"loss {sum(losses) / 18:.3f}"


def test_the_line_of_a_finished_training_says_its_loss(taught: Any, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", logger="distilshift"):
        taught("t", epochs=1)
    (line,) = [line for line in caplog.messages if line.startswith("teach: 6 in ")]
    assert ", loss 0." in line


def test_weight_decay_is_for_matrices_alone(teacher_bundle: Path):
    model = load_classifier(str(teacher_bundle), 32).model
    model.base_model.embeddings.position_embeddings.weight.requires_grad_(False)
    decayed, others = optimizer_groups(model, 0.3)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    matrices = {names.pop(id(parameter)) for parameter in decayed["params"]}
    assert all(names.pop(id(parameter)) for parameter in others["params"])
    assert names == {}
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
    assert not any(name.endswith("bias") or name in norms for name in matrices)
    assert len(norms) == 5
    assert "bert.embeddings.word_embeddings.weight" in matrices


class Idle(SupervisedObjective):
    """Gives every parameter a gradient of zero, so that weight decay alone moves it."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(model.parameters())

    def lengths(self, epoch: int) -> Any:
        return torch.ones(4).numpy()

    def loss(self, model: Any, batch: Any) -> Any:
        return sum((0.0 * parameter).sum() for parameter in self._parameters)


def test_decay_leaves_biases_and_normalization_weights_as_they_are(teacher_bundle: Path, tmp_path: Path):
    from distilshift.config import TeachConfig
    from distilshift.precision import make_accelerator

    model = load_classifier(str(teacher_bundle), 32).model
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    config = loop.LoopConfig("x", 3, 4, 0.1, 0.0, 0.5, 0)
    with open_run(tmp_path / "run", {}) as run:
        loop.train(model, Idle(model), config, make_accelerator(TeachConfig(precision="fp32")), run)
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name, value in before.items() if value.ndim > 1 and value.any()}
