"""The classes of labelled texts: their order, suspicious names, and their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift import evaluate, teach
from distilshift.bundle import read_manifest
from distilshift.config import TeachConfig
from distilshift.data.classes import class_counts, class_weights, is_unequal, name_warnings
from distilshift.data.labels import class_order, sorted_labels
from distilshift.data.probabilities import read_probabilities
from distilshift.errors import ConfigError
from distilshift.types import Example


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ([str(number) for number in range(12)], [str(number) for number in range(12)]),
        (["10", "9", "-10", "-9", "0"], ["-10", "-9", "0", "9", "10"]),
        (["1.5", "10.0", "2", "-0.5", "1e1"], ["-0.5", "1.5", "2", "10.0", "1e1"]),
        (["10", "9", "other"], ["10", "9", "other"]),
        (["b", "a", "b"], ["a", "b"]),
        ([], []),
    ],
)
def test_labels_that_are_all_numbers_are_in_order_of_value(labels: list[str], wanted: list[str]):
    assert sorted_labels(labels) == sorted_labels(reversed(labels)) == wanted


@given(st.lists(st.integers(-(10**6), 10**6), unique=True))
@settings(max_examples=50, deadline=None)
def test_integer_labels_are_in_integer_order(numbers: list[int]):
    assert [int(label) for label in sorted_labels(map(str, numbers))] == sorted(numbers)


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        (None, ["neutral", "no", "yes"]),
        ("as-is", ["neutral", "no", "yes"]),
        ("10=neutral,9=yes,0=no", ["no", "yes", "neutral"]),
        ("n=no,y=yes,x=neutral", ["neutral", "no", "yes"]),
    ],
)
def test_classes_named_by_number_keep_the_order_of_the_numbers(option: str | None, wanted: list[str]):
    assert class_order(["yes", "no", "neutral", "no"], option) == wanted
    assert class_order(["yes", "no"], option) == [name for name in wanted if name != "neutral"]


@pytest.mark.parametrize("label", [str, lambda number: f"{number / 4 - 1}"], ids=["integers", "floats"])
def test_numeric_classes_have_the_order_of_their_numbers_from_end_to_end(
    tiny_encoder: Path, tmp_path: Path, run_cli: Any, label: Any
):
    """13 classes: in string order 10 comes before 2, and -0.25 before -1.0."""
    names = [label(number) for number in range(13)]
    examples = [Example(f"text {word} of {name}", label=name) for word in ("good", "bad", "sad") for name in names]
    teach(examples, tmp_path / "t", base_model=str(tiny_encoder), epochs=1, label_names="as-is", precision="fp32")
    assert read_manifest(tmp_path / "t").label_names == names
    assert evaluate(tmp_path / "t", examples).label_names == tuple(names)
    config = json.loads((tmp_path / "t" / "config.json").read_text())
    assert [config["id2label"][str(index)] for index in range(13)] == names


@pytest.mark.parametrize("names", [["10", "9", "-1"], ["2.5", "10.5", "0.5"]])
def test_columns_of_a_black_box_that_are_numbers_are_in_order_of_value(tmp_path: Path, names: list[str]):
    (tmp_path / "p.csv").write_text(f"{','.join(names)}\n0.1,0.2,0.7\n0.6,0.3,0.1\n")
    np.savez(tmp_path / "p.npz", probabilities=[[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], label_names=names)
    for file in ("p.csv", "p.npz"):
        found = read_probabilities(tmp_path / file)
        assert found.label_names == sorted(names, key=float)
        by_name = dict(zip(found.label_names, found.rows.T, strict=True))
        np.testing.assert_allclose(np.stack([by_name[name] for name in names]).T, [[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])


@pytest.mark.parametrize(
    "names",
    [
        ["Positive", "positive"],
        ["very good", "very  good", "bad"],
        ["caf\u00e9", "cafe\u0301"],
        ["\uff21", "a"],  # full width
        ["stra\u00dfe", "STRASSE"],
        ["new\u00a0york", "New York"],
    ],
)
def test_two_spellings_of_one_name_are_reported(names: list[str]):
    (found,) = name_warnings(names)
    assert "differ only in case, white space or Unicode form" in found
    assert all(repr(name) in found for name in names[:2])


@pytest.mark.parametrize(
    "name", ["nan", "NaN", "None", "null", "NULL", "n/a", "N/A", "NA", "<NA>", "NaT", "''", "-", "...", "[]", "?", "-1"]
)
@pytest.mark.parametrize("others", [("negative", "positive"), ("0", "1")])
def test_names_of_missing_labels_are_reported(name: str, others: tuple[str, str]):
    (found,) = name_warnings([others[0], name, others[1]])
    assert found.startswith(f"The class {name!r} may stand for a missing label".replace("\"''\"", "\"''\""))


@pytest.mark.parametrize(
    "names",
    [
        ["negative", "positive"],
        ["-1", "1"],
        ["1", "1.0"],
        ["+", "-"],
        ["\U0001f600", "\U0001f622"],
        ["nano", "na\u00efve"],
    ],
)
def test_other_names_are_not_reported(names: list[str]):
    assert name_warnings(names) == []


@pytest.mark.parametrize(
    ("counts", "unequal"),
    [([50, 50], False), ([75, 25], False), ([76, 24], True), ([10, 10, 4], False), ([11, 10, 4], True), ([3, 0], True)],
)
def test_classes_are_unequal_below_half_an_even_share(counts: list[int], unequal: bool):
    assert is_unequal(counts) == unequal


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [90, 6, 24])
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights("balanced", ["a", "b", "c"], [90, 6, 24]), wanted, rtol=1e-6)


@pytest.mark.parametrize("option", ["none", "balanced", "rare=5,common=1", " rare = 5 ", {"rare": 5}])
def test_the_mean_weight_of_a_training_text_is_one(option: Any):
    weights = class_weights(option, ["common", "rare"], [90, 6])
    assert weights @ [90, 6] == pytest.approx(96, rel=1e-6)
    assert weights[1] / weights[0] == pytest.approx({"none": 1, "balanced": 15}.get(str(option), 5), rel=1e-6)


@pytest.mark.parametrize(
    "option", ["rare=0,common=1", {"rare": -1.0}, {"rare": float("inf")}, "rare=much", "equal", ""]
)
def test_unusable_weights_are_refused(option: Any):
    with pytest.raises(ConfigError, match="class_weights input should be none, balanced, or a positive number"):
        TeachConfig(class_weights=option)


def test_weights_of_unknown_classes_are_refused():
    with pytest.raises(ConfigError, match="expected some of 'common', 'rare', got 'rear'"):
        class_weights("rear=5", ["common", "rare"], [90, 6])


def test_counts_are_in_the_order_of_the_names():
    examples = [Example("a", label="x"), Example("b", label="y"), Example("c", label="y")]
    assert class_counts(["y", "x", "z"], examples) == [2, 1, 0]
