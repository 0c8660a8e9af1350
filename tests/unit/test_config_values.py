"""Options as Python values: checked when a config is made, and remembered as given when it is changed."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift import AdaptConfig, EvaluateConfig, ParetoConfig, TeachConfig
from distilshift.bench.matrix import MatrixConfig
from distilshift.config import PredictConfig, StageConfig, overlaid, resolve
from distilshift.errors import ConfigError


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        ({"distil_epochs": 6}, {"size": "tiny"}, {"distil_epochs": 6, "distil_learning_rate": 3e-4}),
        ({"spans": 3}, {"student": "static"}, {"spans": 3, "distil_epochs": 20}),
        ({"method": "second-opinion"}, {"teacher_probabilities": "p.csv"}, {"method": "second-opinion"}),
        ({"size": "small"}, {"budget": "8MB"}, {"size": "small"}),
        ({"size": "tiny"}, {"distil_epochs": 6}, {"distil_epochs": 6}),
    ],
)
def test_a_given_value_equal_to_the_default_is_kept(first: dict, then: dict, kept: dict):
    config = AdaptConfig(**first)
    both = (overlaid(AdaptConfig, config, then), replace(config, **then), resolve(AdaptConfig, first, then))
    for made in both:
        assert made == AdaptConfig(**first, **then)
        assert {name: getattr(made, name) for name in kept} == kept


@pytest.mark.parametrize("options", [{"size": "tiny"}, {"student": "static"}, {"latency_ms": 2.0}, {"budget": "8MB"}])
def test_replacing_an_option_means_what_constructing_with_it_means(options: dict):
    assert replace(AdaptConfig(), **options) == AdaptConfig(**options) != AdaptConfig()
    back = {name: getattr(AdaptConfig(), name) for name in options}
    assert replace(AdaptConfig(**options), **back) == AdaptConfig(**back)


def test_a_value_replaced_by_itself_counts_as_given():
    tiny = replace(AdaptConfig(size="tiny"), distil_epochs=20)
    assert replace(tiny, size="small").distil_epochs == 20
    assert replace(AdaptConfig(size="tiny"), size="small").distil_epochs == AdaptConfig().distil_epochs == 6


def test_copies_of_a_config_remember_what_was_given():
    config = AdaptConfig(size="tiny", seed=3)
    recorded = AdaptConfig(**config.to_dict())  # as a bundle's provenance has it
    for made in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config), copy.copy(config), recorded):
        assert made == config
        assert made.chosen() == {"size": "tiny", "seed": 3}
        assert replace(made, size="small") == AdaptConfig(seed=3)
    assert "given" not in {*config.to_dict(), *(entry.name for entry in fields(config))}
    assert hash(AdaptConfig(size="small")) == hash(AdaptConfig())
    assert AdaptConfig(size="small") == AdaptConfig()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (AdaptConfig, {"lerning_rate": 1}, "lerning_rate is unknown. Fix: known options are adapt_batch_size"),
        (AdaptConfig, {"method": "magic"}, "method input should be 'none', .* or 'dine', got 'magic'"),
        (TeachConfig, {"epochs": 0}, "epochs input should be greater than or equal to 1, got 0"),
        (TeachConfig, {"validation_fraction": 1.0}, "validation_fraction input should be less than 1, got 1.0"),
        (TeachConfig, {"learning_rate": "fast"}, "learning_rate input should be a number, got 'fast'"),
        (TeachConfig, {"learning_rate": None}, "learning_rate input should be a number, got None"),
        (TeachConfig, {"seed": 1.5}, "seed input should be a whole number, got 1.5"),
        (TeachConfig, {"seed": True}, "seed input should be a whole number, got True"),
        (TeachConfig, {"text_column": b"text"}, "text_column input should be a string, got b'text'"),
        (EvaluateConfig, {"skip_bad": "yes"}, "skip_bad input should be true or false, got 'yes'"),
        (PredictConfig, {"batch_size": 0}, "batch_size input should be greater than or equal to 1, got 0"),
        (AdaptConfig, {"budget": "8XB"}, "budget input should be a number and a unit, such as 8MB.*, got '8XB'"),
        (AdaptConfig, {"budget": 0}, "budget input should be a number and a unit"),
        (
            AdaptConfig,
            {"target_prior": {"a": -0.3, "b": 1.3}},
            "target_prior input should be auto, uniform, or a share",
        ),
        (AdaptConfig, {"target_prior": [0.5, 0]}, "target_prior input should be auto"),
        (AdaptConfig, {"target_prior": "evenly"}, "target_prior input should be auto"),
        (AdaptConfig, {"span_min_words": 30, "span_max_words": 20}, "span_min_words <= span_max_words, got 30 > 20"),
        (TeachConfig, {"class_weights": "equal"}, "class_weights input should be none, balanced, or a positive number"),
        (TeachConfig, {"class_weights": {"a": -1}}, "class_weights input should be none, balanced"),
        (TeachConfig, {"class_weights": "a=nan,b=1"}, "class_weights input should be none, balanced"),
        (PredictConfig, {"delimiter": ";;"}, "delimiter input should be one character"),
        (EvaluateConfig, {"encoding": "utf8x"}, "encoding input should be an encoding such as utf-8"),
        (MatrixConfig, {"pairs": [["a", "b", "c"]]}, "pairs input should be a list of 2"),
        (MatrixConfig, {"seeds": 0.5}, "seeds input should be a list, got 0.5"),
    ],
)
def test_a_config_is_checked_however_it_is_made(kind: type[StageConfig], options: dict, message: str):
    for make in (lambda: kind(**options), lambda: resolve(kind, options), lambda: replace(kind(), **options)):
        with pytest.raises(ConfigError, match=message):
            make()


def test_all_problems_of_a_config_are_told_at_once():
    with pytest.raises(ConfigError, match=r"2 invalid option\(s\): seed .*; temperature input should be a finite"):
        AdaptConfig(seed=-1, temperature=float("nan"))


@pytest.mark.parametrize(
    ("kind", "name", "value", "stored"),
    [
        (AdaptConfig, "target_prior", {"negative": 0.3, "positive": 0.7}, "negative=0.3,positive=0.7"),
        (AdaptConfig, "target_prior", {"a=b": np.float64(0.25), "c": 0.75}, "a=b=0.25,c=0.75"),
        (AdaptConfig, "target_prior", (0.3, 0.7), "0.3,0.7"),
        (AdaptConfig, "target_prior", np.array([0.5, 0.5]), "0.5,0.5"),
        (AdaptConfig, "budget", 8_000_000, "8000000"),
        (AdaptConfig, "budget", 8e6, "8000000"),
        (AdaptConfig, "mlm_head", Path("some/head"), "some/head"),
        (AdaptConfig, "seed", np.int64(3), 3),
        (AdaptConfig, "temperature", 2, 2.0),
        (AdaptConfig, "gate", np.False_, False),
        (ParetoConfig, "students", ["base", "tiny"], "base,tiny"),
        (TeachConfig, "label_names", {0: "negative", 1: "positive"}, "0=negative,1=positive"),
        (EvaluateConfig, "label_names", ["negative", "positive"], "0=negative,1=positive"),
        (TeachConfig, "validation", Path("held/out.csv"), "held/out.csv"),
        (MatrixConfig, "pairs", [["a", "b"]], (("a", "b"),)),
    ],
)
def test_options_are_taken_as_python_values(kind: type[StageConfig], name: str, value: Any, stored: Any):
    found = getattr(kind(**{name: value}), name)
    assert (found, type(found)) == (stored, type(stored))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_prior": {"a,b": 0.5, "c": 0.5}}, "target_prior input should have names without ','"),
        ({"target_prior": {"a": "half"}}, "target_prior input should have numbers as shares"),
        ({"budget": True}, "budget input should be a string, got True"),
        ({"budget": 1.5}, "budget input should be a string, got 1.5"),
    ],
)
def test_python_values_without_meaning_are_refused(options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        AdaptConfig(**options)
    with pytest.raises(ConfigError, match="label_names input should have names without '='"):
        TeachConfig(label_names={"a=b": "c"})


def test_checking_a_config_imports_no_library_beyond_the_annotations():
    code = "import sys; from distilshift.config import PredictConfig; PredictConfig(batch_size=4); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"annotated_types", "distilshift.config.values"} <= set(done.stdout.split())
    assert {"pydantic", "pydantic_core", "numpy"}.isdisjoint(done.stdout.split())
