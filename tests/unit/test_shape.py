"""The shapes a student can have, what they are estimated to take, and the search for the first that fits."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from distilshift.config import AdaptConfig, overlaid, resolve
from distilshift.config.parsers import parse_bytes
from distilshift.errors import ConfigError
from distilshift.shape import (
    LEVELS,
    SIZES,
    Frame,
    StudentShape,
    candidate_shapes,
    device_bytes_of,
    megabytes,
    require_feasible,
    search,
    shape_at,
)

WHOLE = StudentShape(layers=3, inner=1536, pieces=30_522, positions=512)
# MiniLM-L6 and a few thousand reviews.
FRAME = Frame(WHOLE, width=384, embedding_width=384, piece_bytes=23.3, min_positions=128, used_pieces=9_400)


def no_latency(shape: StudentShape) -> float:
    raise AssertionError("nothing asked for it")


@pytest.mark.parametrize(
    ("text", "size"),
    [("8MB", 8_000_000), ("500 kB", 500_000), ("7.5MiB", 7_864_320), ("1234", 1234), (" 2gb ", 2_000_000_000)],
)
def test_sizes_are_read(text: str, size: int):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "8 parsecs", "0MB", "1e3", "8 MB MB"])
def test_what_is_no_size_is_told(text: str):
    with pytest.raises(ConfigError, match=r"budget input should be a number and a unit, such as 8MB"):
        AdaptConfig(budget=text)


def test_the_estimate_is_the_sum_of_its_parts():
    """One layer of width 2 and inner width 3, five pieces of 10 bytes each in the tokenizer, four positions."""
    frame = Frame(StudentShape(1, 3, 5, 4), 2, 2, 10.0, 4, None)
    layer = (4 * 2 * 2 + 2 * 2 * 3) + 8 * (5 * 2 + 3) + 16 * 2
    pooler, tables, tokenizer = 2 * 2 + 8 * 2, 5 * (2 + 4) + 4 * (2 + 4), 50
    assert device_bytes_of(frame.whole, frame) == layer + pooler + tables + tokenizer + 30_000


def test_a_static_student_has_neither_layers_nor_positions():
    frame = Frame(StudentShape(1, 3, 5, 4), 2, 2, 10.0, 4, None, static=True)
    assert device_bytes_of(frame.whole, frame) == 5 * (2 + 4) + 50 + 30_000


def test_every_level_is_smaller_than_whole_and_no_dearer_than_those_before_with_its_layers():
    sizes = [device_bytes_of(shape_at(level, FRAME), FRAME) for level in LEVELS]
    assert sizes == sorted(sizes, reverse=True)


def test_named_sizes_keep_what_they_promise_for_the_packaged_encoder():
    shapes = {name: shape_at(level, FRAME) for name, level in SIZES.items()}
    # Less what embeddings of 4 bits save, the first form that is tried: of each row 8 - 5 bits a number, and a scale.
    saved = FRAME.embedding_width * 3 / 8 + 4
    costs = {name: device_bytes_of(shape, FRAME) - shape.pieces * saved for name, shape in shapes.items()}
    assert costs["small"] <= 8_000_000
    assert costs["tiny"] <= 3_000_000


def test_the_page_has_the_named_sizes():
    page = (Path(__file__).parents[2] / "docs" / "edge.md").read_text(encoding="utf-8")
    shares = {1.0: "whole", 0.5: "half", 0.25: "a quarter"}
    for name, level in SIZES.items():
        row = re.search(rf"^\| `{name}`(?: \(default\))? \| (\d) \| ([a-z ]+) \| (.*?) \|", page, flags=re.M)
        assert row, name
        pieces = "whole" if level.pieces is None else f"at most {level.pieces:,} pieces"
        assert row.groups() == (str(level.layers), shares[level.inner], pieces)


def test_base_is_the_student_untouched():
    assert candidate_shapes(FRAME, AdaptConfig(size="base")) == [WHOLE]
    four = replace(FRAME, whole=replace(WHOLE, layers=4))  # four layers were asked for
    assert candidate_shapes(four, AdaptConfig(size="base", student_layers=4)) == [four.whole]


def test_a_shallow_encoder_and_few_pieces_in_use_bound_the_shape():
    frame = replace(FRAME, whole=replace(WHOLE, layers=1), used_pieces=2_100)
    (shape,) = candidate_shapes(frame, AdaptConfig(size="small"))
    assert (shape.layers, shape.pieces, shape.positions) == (1, 2_100, 128)


def test_pieces_that_must_stay_count_whatever_the_level_says():
    """A vocabulary of 7,000 characters: no level has fewer than these, twice."""
    frame = replace(FRAME, used_pieces=16_000, required_pieces=14_600)
    assert {shape_at(level, frame).pieces for level in LEVELS if level.pieces} == {14_600}
    assert shape_at(SIZES["small"], replace(FRAME, required_pieces=2_000)).pieces == SIZES["small"].pieces


def test_a_vocabulary_that_cannot_be_trimmed_stays_while_the_rest_shrinks():
    (shape,) = candidate_shapes(replace(FRAME, used_pieces=None), AdaptConfig(size="tiny"))
    assert (shape.pieces, shape.layers, shape.positions) == (30_522, 1, 128)


def test_layers_that_were_asked_for_are_those_of_every_candidate():
    frame = replace(FRAME, whole=replace(WHOLE, layers=2))
    found = candidate_shapes(frame, resolve(AdaptConfig, {"budget": "1MB", "student_layers": 2}))
    assert {shape.layers for shape in found} == {2}
    assert len(found) == len(set(found)) > 3


def test_the_first_that_fits_wins_and_the_reasons_are_kept():
    config = resolve(AdaptConfig, {"budget": "8MB"})
    found = search(FRAME, config, no_latency, candidate_shapes(FRAME, config))
    assert [each.fits for each in found] == [False] * (len(found) - 1) + [True]
    assert all(each.reason.endswith(" MB > 8 MB") for each in found[:-1])
    assert require_feasible(found) is found[-1]
    assert found[-1].estimated_bytes <= 8_000_000 < found[-2].estimated_bytes
    assert found[-1].shape.layers == 3  # pieces go before layers: benchmarks/LOG.md


def test_both_budgets_hold_and_only_what_is_small_enough_is_timed():
    timed: list[StudentShape] = []

    def latency(shape: StudentShape) -> float:
        timed.append(shape)
        return 1.5 * shape.layers

    config = resolve(AdaptConfig, {"budget": "8MB", "latency_ms": 2.0})
    found = search(FRAME, config, latency, candidate_shapes(FRAME, config))
    assert found[-1].shape.layers == 1
    assert found[-1].latency_ms == 1.5
    assert timed == [each.shape for each in found if each.latency_ms is not None]
    assert "3.00 ms > 2 ms" in {each.reason for each in found}


def test_an_impossible_budget_names_the_smallest_student():
    config = resolve(AdaptConfig, {"budget": "100kB"})
    found = search(FRAME, config, no_latency, candidate_shapes(FRAME, config))
    smallest = megabytes(min(each.estimated_bytes for each in found))
    pattern = rf"no student is within the budget: expected at least {smallest}, got .* > 0\.1 MB\. Fix: allow that"
    with pytest.raises(ConfigError, match=pattern):
        require_feasible(found)
    # What the message names is possible.
    config = resolve(AdaptConfig, {"budget": smallest})
    assert require_feasible(search(FRAME, config, no_latency, candidate_shapes(FRAME, config)))


def test_an_impossible_latency_names_the_fastest():
    config = resolve(AdaptConfig, {"latency_ms": 0.5})
    found = search(FRAME, config, lambda shape: float(shape.layers), candidate_shapes(FRAME, config))
    with pytest.raises(ConfigError, match=r"and the fastest 1\.00 ms, got 1\.00 ms > 0\.5 ms"):
        require_feasible(found)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({}, "small"),
        ({"budget": "8MB"}, "base"),
        ({"latency_ms": 3.0}, "base"),
        ({"distillation": "tinybert"}, "base"),
        ({"distillation": "soft-targets"}, "small"),
        ({"budget": "8MB", "size": "tiny"}, "tiny"),
        ({"budget": None, "latency_ms": None}, "small"),
    ],
)
def test_the_size_that_nobody_named(given: dict, size: str):
    assert resolve(AdaptConfig, given).size == size


def test_one_layer_learns_longer_unless_it_was_told():
    tiny = resolve(AdaptConfig, {"size": "tiny"})
    assert (tiny.distil_epochs, tiny.distil_learning_rate) == (20, 3e-4)
    assert resolve(AdaptConfig, {"size": "tiny", "distil_epochs": 2}).distil_epochs == 2
    assert resolve(AdaptConfig, {}).distil_epochs == AdaptConfig().distil_epochs


@pytest.mark.parametrize(
    "given",
    [
        *({"size": "tiny"}, {"size": "tiny", "distil_epochs": 6}, {"student": "static"}, {"budget": "8MB"}),
        *({"teacher_probabilities": "p.csv"}, {"distillation": "pkd", "size": "small"}, {}),
    ],
)
def test_a_config_means_what_the_same_options_mean(given: dict):
    """In Python, on the command line, and as single options over a config."""
    assert AdaptConfig(**given) == resolve(AdaptConfig, given) == overlaid(AdaptConfig, None, given)
    assert overlaid(AdaptConfig, AdaptConfig(**given), {}) == AdaptConfig(**given)
    assert overlaid(AdaptConfig, AdaptConfig(seed=1), given) == AdaptConfig(**given, seed=1)
    assert replace(AdaptConfig(**given), seed=1) == AdaptConfig(**given, seed=1)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"size": "tiny"}, {"size": "small"}),
        ({"student": "static"}, {"student": "cut"}),
        ({"student": "static", "spans": 2}, {"student": "cut"}),
        ({"budget": "8MB"}, {"budget": None}),
        ({"student": "static"}, {"seed": 3}),
        ({"size": "tiny"}, {"student": "static"}),
        ({"size": "small", "budget": "8MB"}, {"latency_ms": 2.0}),
        ({"size": "small", "budget": "8MB"}, {"budget": None}),
    ],
)
def test_what_an_option_implied_goes_with_it(first: dict, then: dict):
    assert overlaid(AdaptConfig, AdaptConfig(**first), then) == AdaptConfig(**{**first, **then})


@pytest.mark.parametrize("option", ["weight_decay", "latency_ms", "temperature"])
def test_no_option_is_endless(option: str):
    with pytest.raises(ConfigError, match=f"{option} .*finite number"):
        resolve(AdaptConfig, {option: float("inf")})


def test_what_an_option_implies_gives_way_to_what_a_config_says():
    found = overlaid(AdaptConfig, AdaptConfig(distil_epochs=9), {"size": "tiny"})
    assert (found.distil_epochs, found.distil_learning_rate) == (9, 3e-4)
