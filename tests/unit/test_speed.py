"""The speed benchmark: its count of operations, its sides' losses, and its bookkeeping."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

import rates
import speed
from distilshift.config import AdaptConfig
from distilshift.encoder import load_classifier
from distilshift.first_token import first_token_only
from distilshift.frozen import frozen_layers
from distilshift.losses.distil import soft_target_divergence
from distilshift.types import Example
from encoders import make_checkpoint
from sides import SIDES, SideUnavailableError, Task, plain_trainer
from sides.measure import measure
from texts import make_texts

TEXTS = [Example(text) for text, _ in make_texts(32, 5)]
CONFIG = AdaptConfig(
    method="none", spans=0, student_layers=1, max_length=32, distil_epochs=24, distil_batch_size=8,
    distil_learning_rate=3e-3, warmup_fraction=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("speed") / "model", num_labels=3)


@pytest.fixture
def brief_rates(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rates, "RATE_SECONDS", 0.0)


def test_flops_of_a_forward_pass_by_hand():
    config = transformers.BertConfig(hidden_size=4, intermediate_size=8, num_hidden_layers=3, num_labels=2)
    # Texts of 3 and 5 tokens. A layer: 8 tokens through four 4 x 4 and two 4 x 8 maps, 2 x 8 x (64 + 64) = 2048; the
    # scores and weighted sums, 2 x 2 x 4 x (9 + 25) = 544. Once a text: pooler and head, 2 x (16 + 8) = 48.
    assert rates.transformer_flops(config, np.array([3, 5])) == 3 * (2048 + 544) + 2 * 48


def test_flops_are_what_torch_counts(checkpoint: Path):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, attn_implementation="eager")
    ids = torch.randint(5, 30, (4, 11))
    expected = rates.transformer_flops(model.config, np.full(4, 11))
    with FlopCounterMode(display=False) as forward:
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert forward.get_total_flops() == expected
    assert forward.get_total_flops() + backward.get_total_flops() == rates.TRAINING_FACTOR * expected


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_lean_flops_are_what_torch_counts(tmp_path: Path, frozen: int):
    made = make_checkpoint(tmp_path / "model", layers=4, num_labels=3)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(made, attn_implementation="eager")
    ids, lengths = torch.randint(5, 30, (4, 11)), np.full(4, 11)
    with frozen_layers(model, frozen), first_token_only(model):
        with FlopCounterMode(display=False) as forward:
            loss = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum()
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    assert forward.get_total_flops() == rates.lean_forward_flops(model.config, lengths)
    both = forward.get_total_flops() + backward.get_total_flops()
    assert both == rates.lean_training_flops(model.config, lengths, frozen)
    again = rates.lean_training_flops(model.config, lengths, frozen, epochs=2) - both
    below = rates.lean_forward_flops(model.config, lengths)
    model.config.num_hidden_layers -= frozen
    assert both - again == below - rates.lean_forward_flops(model.config, lengths)  # the frozen layers ran once


def test_matmul_rate_is_a_rate(checkpoint: Path, brief_rates: None):
    config = transformers.AutoConfig.from_pretrained(checkpoint)
    assert 1e6 < rates.matmul_flops_per_second(64, config, torch.float32) < 1e15


@pytest.mark.parametrize("rows_of", [plain_trainer.padded_rows, plain_trainer.ragged_rows])
def test_trainer_loss_is_the_library_s(checkpoint: Path, tmp_path: Path, rows_of: Any):
    teacher = load_classifier(str(checkpoint), 32)
    student = load_classifier(str(make_checkpoint(tmp_path / "student", layers=1, seed=1, num_labels=3)), 32)
    task = Task(teacher, student, TEXTS[:6], AdaptConfig(temperature=3.0, precision="fp32"), tmp_path / "scratch")
    trainer = plain_trainer.prepare(task, rows_of(task)).__self__
    student.model.eval()
    batch = trainer.data_collator(list(trainer.train_dataset))
    with torch.no_grad():
        found, outputs = trainer.compute_loss(student.model, dict(batch), return_outputs=True)
        expected = soft_target_divergence(outputs.logits, teacher.model(**batch).logits, 3.0).mean()
    assert expected > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@pytest.fixture(scope="module")
def untrained(teacher_bundle: Path) -> dict[str, Any]:
    return measure(
        "trainer-fp32", teacher_bundle, TEXTS, AdaptConfig(**CONFIG.to_dict() | {"distil_learning_rate": 1e-12})
    )


@pytest.mark.parametrize("name", [name for name in SIDES if name.endswith("fp32")] + ["textbrewer"])
def test_side_trains(name: str, teacher_bundle: Path, untrained: dict[str, Any], brief_rates: None):
    if name == "textbrewer":
        pytest.importorskip("textbrewer", reason="TextBrewer is no dependency")
    sample = measure(name, teacher_bundle, TEXTS, CONFIG)
    assert sample["seconds"] > 0
    assert sample["peak_memory_bytes"] > 1e8
    assert sample["limit_fraction"] == pytest.approx(sample["gflop_per_second"] / sample["matmul_gflop_per_second"])
    if SIDES[name].trains:
        assert sample["teacher_divergence"] < 0.5 * untrained["teacher_divergence"]


def test_one_teacher_pass_or_one_an_epoch(teacher_bundle: Path, untrained: dict[str, Any], brief_rates: None):
    classifier = load_classifier(str(teacher_bundle), CONFIG.max_length)
    lengths = classifier.tokenise(TEXTS).lengths
    lean = measure("distilshift-fp32", teacher_bundle, TEXTS, CONFIG)["gflop"]
    whole = transformers.AutoConfig.from_pretrained(teacher_bundle, num_hidden_layers=CONFIG.student_layers)
    learning = CONFIG.distil_epochs * rates.TRAINING_FACTOR * rates.transformer_flops(whole, lengths)
    teacher = CONFIG.distil_epochs * rates.transformer_flops(classifier.model.config, lengths)
    assert untrained["gflop"] == pytest.approx((teacher + learning) / 1e9)
    once = rates.lean_forward_flops(classifier.model.config, lengths)
    lean_learning = CONFIG.distil_epochs * rates.lean_training_flops(whole, lengths, 0)
    assert lean == pytest.approx((once + lean_learning) / 1e9)


def test_missing_textbrewer_is_named(teacher_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "textbrewer", None)
    with pytest.raises(SideUnavailableError, match="textbrewer"):
        measure("textbrewer", teacher_bundle, TEXTS, CONFIG)


class TestDriver:
    """Rounds, resuming and the table, with samples made up."""

    @pytest.fixture
    def taken(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        names: list[str] = []

        def take(name: str, options: argparse.Namespace) -> dict[str, Any]:
            names.append(name)
            if name == "textbrewer":
                return {"skipped": "not here"}
            rate = 20.0 if name.startswith("distilshift") else 10.0 * len(names)
            return dict.fromkeys(speed.MEASURED, 1.0) | {"texts_per_second": rate}

        monkeypatch.setattr(speed, "take", take)
        monkeypatch.setattr(speed, "header", lambda options: dict.fromkeys(speed.KEY, "same"))
        return names

    @staticmethod
    def options(out: Path, rounds: int) -> argparse.Namespace:
        sides = ["trainer-fp32", "distilshift-fp32", "textbrewer"]
        return argparse.Namespace(out=out, rounds=rounds, sides=sides)

    def test_rounds_alternate_and_resume(self, taken: list[str], tmp_path: Path):
        out = tmp_path / "results" / "speed.json"
        speed.run_all(self.options(out, 1))
        assert taken == ["trainer-fp32", "distilshift-fp32", "textbrewer"]
        taken.clear()
        result = speed.run_all(self.options(out, 2))
        assert taken == ["textbrewer", "distilshift-fp32", "trainer-fp32"]  # tried anew, then skipped
        assert result == json.loads(out.read_text())
        assert result["skipped"] == {"textbrewer": "not here"}
        assert [(s["side"], s["round"]) for s in result["samples"]] == [
            *(("trainer-fp32", 0), ("distilshift-fp32", 0), ("distilshift-fp32", 1), ("trainer-fp32", 1)),
        ]

    def test_speed_is_compared_within_a_round(self, taken: list[str], tmp_path: Path):
        result = speed.run_all(self.options(tmp_path / "speed.json", 2))
        # The Trainer made 10 texts/s as the first of five samples, 50 as the last.
        assert result["summary"]["distilshift-fp32"]["speed_over_trainer"] == {"median": 1.2, "min": 0.4, "max": 2.0}
        table = speed.summarise(result)
        assert "| distilshift-fp32 | 20.0 (20.0–20.0) | 1.20 (0.40–2.00) |" in table
        assert "textbrewer: skipped, not here" in table

    def test_other_settings_are_not_mixed(self, taken: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        speed.run_all(self.options(tmp_path / "speed.json", 1))
        monkeypatch.setattr(speed, "header", lambda options: dict.fromkeys(speed.KEY, "same") | {"hardware": "other"})
        with pytest.raises(SystemExit, match="another hardware"):
            speed.run_all(self.options(tmp_path / "speed.json", 1))
