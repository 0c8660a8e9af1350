"""`teach` on unequal or suspicious classes: what it prints, warns about and stores, and the identity of its runs."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift import evaluate, loop, teach
from distilshift.bundle import Statistics, read_manifest
from distilshift.card import teacher_card
from distilshift.errors import ConfigError, RunError
from distilshift.metrics import balanced_accuracy, class_recalls, macro_f1
from distilshift.strict import require_strict
from distilshift.supervised import BestEpoch
from distilshift.types import Example
from texts import NEGATIVE, NEUTRAL, POSITIVE


def unequal(rare: int, common: int, seed: int = 0) -> list[Example]:
    """Texts of which the rare class has one telling word among neutral ones."""
    rng = random.Random(seed)
    examples = []
    for label, words, count in (("rare", NEGATIVE, rare), ("common", POSITIVE, common)):
        for _ in range(count):
            text = [rng.choice(words), *rng.choices(NEUTRAL, k=6)]
            rng.shuffle(text)
            examples.append(Example(" ".join(text), label=label))
    return examples


@pytest.fixture
def taught(tiny_encoder: Path, tmp_path: Path, settled_heap: None) -> Callable[..., Any]:
    """A function that teaches on examples for some epochs that are too short to find a rare class."""

    def run(examples: Any, name: str = "t", **options: Any) -> Any:
        fixed = {"epochs": 4, "learning_rate": 2e-3, "max_length": 32, "precision": "fp32"}
        return teach(examples, tmp_path / name, base_model=str(tiny_encoder), **fixed | options)

    return run


@pytest.mark.parametrize("weights", ["balanced", "rare=15,common=1", {"rare": 15.0}])
def test_class_weights_let_a_rare_class_be_predicted(taught: Any, tmp_path: Path, weights: Any):
    examples, new = unequal(20, 300), unequal(50, 50, seed=1)
    enough: dict[str, Any] = {"epochs": 8, "learning_rate": 6e-3}
    plain = taught(examples, "plain", **enough)
    weighted = taught(examples, "weighted", class_weights=weights, **enough)
    assert evaluate(plain.bundle, new).class_recall[1] == 0
    assert evaluate(weighted.bundle, new).class_recall[1] > 0.5
    assert read_manifest(weighted.bundle).config["class_weights"] == weights
    require_strict(weighted.bundle)


def test_a_teacher_of_the_majority_alone_is_reported(taught: Any, caplog: pytest.LogCaptureFixture):
    """93.8 % right, but balanced accuracy and macro-F1 say it, and so do log, result and card."""
    with caplog.at_level(logging.INFO, logger="distilshift"):
        result = taught(unequal(20, 300))
    known = read_manifest(result.bundle).statistics
    assert known.validation_confusion == [[30, 0], [2, 0]]
    assert (result.balanced_accuracy, known.balanced_accuracy) == (0.5, 0.5)
    assert (result.macro_f1, known.macro_f1) == (pytest.approx(30 / 62 * 2 / 2), result.macro_f1)
    assert (known.class_recall, known.class_counts) == ([1.0, 0.0], [270, 18])
    assert [dataclasses.astuple(each) for each in result.classes] == [("common", 270, 30, 1.0), ("rare", 18, 2, 0.0)]
    (warning,) = result.warnings
    assert warning.startswith(
        "The class 'rare' is never predicted for the validation texts, 2 of which have that label"
    )
    assert caplog.messages.count(warning) == 1
    assert caplog.messages[0] == "2 classes, training texts: common 270, rare 18"
    card = (result.bundle / "README.md").read_text()
    assert f"**{warning}**" in card
    assert "| rare | 18 | 2 | 0.0% |" in card
    assert "balanced accuracy 0.500, macro-F1 0.484" in card
    require_strict(result.bundle)


def test_no_class_is_reported_where_all_are_predicted(teacher_bundle: Path):
    assert "never predicted" not in (teacher_bundle / "README.md").read_text()


@pytest.mark.parametrize("labels", [(0, 0, 1), (2, 0, 0)])
def test_the_statistics_follow_from_the_confusion(taught: Any, labels: Any):
    result = taught(unequal(40, 160), epochs=1)
    known = read_manifest(result.bundle).statistics
    confusion = np.array(known.validation_confusion)
    assert known.class_recall == class_recalls(confusion)
    assert (known.balanced_accuracy, known.macro_f1) == (balanced_accuracy(confusion), macro_f1(confusion))


def test_the_epoch_of_unequal_classes_is_chosen_by_macro_f1(taught: Any, monkeypatch: pytest.MonkeyPatch):
    chosen = {}
    finish = BestEpoch.finish

    def note(self: BestEpoch, run: Any) -> None:
        chosen[len(self.validation().labels)] = self.validation().by_macro_f1
        finish(self, run)

    monkeypatch.setattr(BestEpoch, "finish", note)
    taught(unequal(20, 300), "a", epochs=1)
    taught(unequal(100, 100), "b", epochs=1)
    assert chosen == {32: True, 20: False}


def test_the_command_prints_each_class(
    run_cli: Any, tiny_encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    lines = [json.dumps({"text": each.text, "label": each.label}) for each in unequal(20, 300)]
    lines += [json.dumps({"text": f"{word} {other} film", "label": "Rare"}) for word in POSITIVE for other in NEGATIVE]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    options = ("--base-model", tiny_encoder, "--epochs", "1", "--precision", "fp32", "--class-weights", "common=0.5")
    done = run_cli("teach", tmp_path / "a.jsonl", "-o", tmp_path / "t", *options)
    assert done.code == 0, done.err
    known = read_manifest(tmp_path / "t").statistics
    numbers = f"balanced accuracy {known.balanced_accuracy:.1%}, macro-F1 {known.macro_f1:.3f}"
    assert f"{known.validation_accuracy:.1%} on held-out source texts ({numbers})" in " ".join(done.out.split())
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.out.splitlines() if line.startswith("│")]
    assert [row[:3] for row in rows] == [["Rare", "32", "4"], ["common", "270", "30"], ["rare", "18", "2"]]
    assert caplog.messages[0] == "3 classes, training texts: Rare 32, common 270, rare 18"
    assert caplog.messages[1].startswith("The classes 'Rare' and 'rare' differ only in case")


def test_weights_of_unknown_classes_are_refused_before_training(taught: Any, tmp_path: Path):
    with pytest.raises(ConfigError, match="class_weights names unknown classes"):
        taught(unequal(20, 300), class_weights={"rear": 5})
    assert not list(tmp_path.iterdir())


def test_where_validation_begins_is_part_of_a_runs_identity(
    taught: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The same rows in the same order, but one more of them is for validation."""
    rows = [json.dumps({"text": each.text, "label": each.label}) for each in unequal(30, 30)]
    order = list(range(0, 60, 2)) + list(range(1, 60, 2))  # both classes on both sides
    rows = [rows[index] for index in order]

    def split_at(count: int) -> dict[str, str]:
        (tmp_path / "train.jsonl").write_text("\n".join(rows[:count]))
        (tmp_path / "validation.jsonl").write_text("\n".join(rows[count:]))
        return {"validation": str(tmp_path / "validation.jsonl")}

    class Stop(Exception):  # noqa: N818 - stands for a kill
        pass

    def kill(self: Any, step: int, steps: int) -> None:
        if step == 2:
            raise Stop

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(BestEpoch, "before_step", kill)
    with pytest.raises(Stop):
        taught(tmp_path / "train.jsonl", batch_size=8, **split_at(50))
    with pytest.raises(RunError, match="got a change in texts"):
        taught(tmp_path / "train.jsonl", batch_size=8, **split_at(49))


def test_the_card_of_an_older_bundle_is_as_it_was():
    """It has no numbers for each class; so its card passes `inspect --strict` unchanged."""
    old = Statistics([0.5, 0.5], [[4, 1], [1, 4]], 0.8, 1.5)
    manifest = dataclasses.replace(_manifest(), statistics=old)
    assert "recall" not in teacher_card(manifest)
    new = dataclasses.replace(old, balanced_accuracy=0.8, macro_f1=0.8, class_recall=[0.8, 0.8], class_counts=[9, 9])
    lines = teacher_card(dataclasses.replace(manifest, statistics=new)).splitlines()
    assert set(teacher_card(manifest).splitlines()) <= set(lines)
    assert "| a | 9 | 5 | 80.0% |" in lines


def _manifest() -> Any:
    from distilshift.bundle import Manifest

    return Manifest(kind="teacher", label_names=["a", "b"], base_model="tiny", max_length=32)
