"""Options that the chosen method or student would ignore are errors, not silence."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from distilshift import AdaptConfig, adapt, pareto
from distilshift.bench.methods import METHODS
from distilshift.bundle import read_manifest
from distilshift.config import overlaid, require_used, resolve
from distilshift.config.rules import USES
from distilshift.errors import ConfigError

ROOT = Path(__file__).parents[2]
# Used by `adapt` whatever the method, the student and the distillation are.
ALWAYS = {
    *("text_column", "pair_column", "encoding", "max_chars", "skip_bad", "max_length", "seed", "precision", "threads"),
    *("teacher_probabilities", "max_texts", "method", "student", "size", "budget", "latency_ms", "distillation"),
    *("temperature", "distil_epochs", "distil_learning_rate", "distil_batch_size", "distil_frozen_layers", "spans"),
    *("feedback", "masked_consistency", "mlm_head", "max_windows", "dropout", "warmup_fraction", "weight_decay"),
    *("min_agreement", "quoting", "header", "delimiter", "force", "labels"),
}
# For each option of the table: a value, what it is used beside, and what it is ignored beside.
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "opinion_weight": (0.7, {}, {"method": "shot"}),
    "adapted_weight": (0.5, {}, {"teacher_probabilities": "p.csv", "method": "second-opinion"}),
    "adapt_epochs": (2, {"method": "dine"}, {"method": "tent"}),
    "adapt_learning_rate": (1e-3, {"method": "tent"}, {"adapted_weight": 0.0}),
    "adapt_frozen_layers": (1, {"method": "nrc"}, {"method": "dine"}),
    "adapt_batch_size": (8, {"method": "shot-im"}, {"method": "none"}),
    "diversity_weight": (0.5, {"method": "nrc"}, {"method": "aad"}),
    "target_prior": ("uniform", {"method": "none", "feedback": 0.5}, {"method": "none"}),
    "gate": (False, {}, {"method": "none"}),
    "pseudo_label_weight": (0.5, {"method": "shot"}, {"method": "shot-im"}),
    "neighbours": (7, {"method": "aad"}, {"method": "shot"}),
    "dispersion_decay": (1.0, {"method": "aad"}, {"method": "nrc"}),
    "mixup_weight": (0.5, {"method": "dine"}, {}),
    "student_layers": (1, {}, {"student": "static"}),
    "student_width": (32, {"student": "static"}, {"student": "minilm-l3"}),
    "span_min_words": (9, {}, {"spans": 0}),
    "span_max_words": (90, {"student": "static"}, {"spans": 0}),
    "span_text_weight": (0.1, {}, {"teacher_probabilities": "p.csv"}),
    "feedback_every": (3, {"feedback": 0.5}, {}),
    "mlm_weight": (2.0, {"mlm_head": "x"}, {"masked_consistency": 1.0}),
    "label_column": ("stars", {"labels": "l.csv"}, {}),
    "label_names": ("0=negative,1=positive", {"labels": "l.csv"}, {}),
    "mask_fraction": (0.3, {"masked_consistency": 1.0}, {}),
}


def test_every_option_is_used_always_or_has_a_condition():
    names = {entry.name for entry in fields(AdaptConfig)}
    assert ALWAYS | USES.keys() == names
    assert ALWAYS.isdisjoint(USES)
    assert CASES.keys() == USES.keys()


@pytest.mark.parametrize("option", CASES)
def test_an_option_is_refused_where_it_would_be_ignored(option: str):
    value, used, ignored = CASES[option]
    require_used(AdaptConfig(**used, **{option: value}))
    for given in (value, getattr(AdaptConfig(**ignored), option)):  # its default, too, was given by somebody
        if given is None:
            continue
        config = AdaptConfig(**ignored, **{option: given})
        with pytest.raises(
            ConfigError, match=f"{option} would be ignored: expected {option} with {USES[option].belongs}"
        ):
            require_used(config)
    require_used(AdaptConfig(**ignored))


def test_all_ignored_options_are_told_at_once(teacher_bundle: Path, target_file: Path, tmp_path: Path, run_cli: Any):
    with pytest.raises(ConfigError, match="neighbours, mixup_weight would be ignored: expected neighbours with"):
        adapt(teacher_bundle, target_file, tmp_path / "s", neighbours=5, mixup_weight=0.5)
    with pytest.raises(ConfigError, match="opinion_weight would be ignored"):
        pareto(teacher_bundle, target_file, tmp_path / "p", adapt_options={"method": "none", "opinion_weight": 0.1})
    done = run_cli("adapt", teacher_bundle, target_file, "-o", tmp_path / "s", "--method", "none", "--neighbours", "5")
    assert (done.code, "neighbours with method nrc or aad" in done.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_an_option_of_another_method_may_be_left_behind_explicitly():
    config = AdaptConfig(method="nrc", neighbours=7)
    with pytest.raises(ConfigError, match="neighbours would be ignored"):
        require_used(replace(config, method="none"))
    require_used(AdaptConfig(student="static", student_layers=None))  # None is no value


def test_the_record_of_a_bundle_is_a_config(student_bundle: Path):
    recorded = read_manifest(student_bundle).config
    config = AdaptConfig(**recorded)
    assert config.to_dict() == recorded
    require_used(config)
    require_used(overlaid(AdaptConfig, config, {"method": "none"}))


@pytest.mark.parametrize("row", METHODS)
def test_no_row_of_the_benchmark_has_an_option_without_effect(row: str):
    require_used(resolve(AdaptConfig, METHODS[row].options))
