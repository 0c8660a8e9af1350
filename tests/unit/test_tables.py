"""Tables and texts as Python objects: read by column, and refused with what works where they cannot be read."""

from __future__ import annotations

import io
from collections import deque, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from distilshift import Predictor, evaluate, teach
from distilshift.config import AdaptConfig, LabelledInputConfig
from distilshift.data.corpus import open_corpus
from distilshift.data.given import examples_of
from distilshift.data.labelled import read_any_labelled
from distilshift.errors import DataError
from distilshift.types import Example

TEXTS, LABELS, NUMBERS = ["a good film", "a bad film", "good"], ["positive", "negative", "positive"], [1, 0, 1]
COLUMNS = {"id": [7, 8, 9], "review": TEXTS, "sentiment": LABELS}
Row = namedtuple("Row", ["review", "sentiment"])
CLASSES = datasets.Features(
    {"review": datasets.Value("string"), "sentiment": datasets.ClassLabel(names=["negative", "positive"])}
)


def class_labels(numbers: list[int] = NUMBERS) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"review": TEXTS, "sentiment": numbers}, features=CLASSES)


TABLES: dict[str, Callable[[], Any]] = {
    "dict": lambda: COLUMNS,
    "dict of Series": lambda: {name: pd.Series(values, index=[5, 5, 1]) for name, values in COLUMNS.items()},
    "pandas": lambda: pd.DataFrame(COLUMNS, index=["x", "x", "y"]),
    "pandas categories": lambda: pd.DataFrame(COLUMNS).astype({"sentiment": "category"}),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "pyarrow": lambda: pa.table(COLUMNS),
    "pyarrow batch": lambda: pa.table(COLUMNS).to_batches()[0],
    "numpy": lambda: np.array([*zip(TEXTS, LABELS, strict=True)], dtype=[("review", "U20"), ("sentiment", "U20")]),
    "datasets": lambda: datasets.Dataset.from_dict(COLUMNS),
    "datasets, sliced": lambda: datasets.Dataset.from_dict(COLUMNS)[:300],
    "datasets, iterable": lambda: datasets.Dataset.from_dict(COLUMNS).to_iterable_dataset(),
    "datasets, class numbers": class_labels,
    "rows": lambda: [{"review": text, "sentiment": label} for text, label in zip(TEXTS, LABELS, strict=True)],
    "generated rows": lambda: ({"review": t, "sentiment": label} for t, label in zip(TEXTS, LABELS, strict=True)),
    "named tuples": lambda: [Row(*row) for row in zip(TEXTS, LABELS, strict=True)],
}
SERIES: dict[str, Callable[[], Any]] = {
    "array": lambda: np.array(TEXTS),
    "object array": lambda: np.array(TEXTS, object),
    "Series": lambda: pd.Series(TEXTS, index=[3, 3, 0]),
    "polars": lambda: pl.Series(TEXTS),
    "pyarrow": lambda: pa.chunked_array([TEXTS]),
    "datasets": lambda: datasets.Dataset.from_dict(COLUMNS)["review"],
    "generator": lambda: (text for text in TEXTS),
    "deque": lambda: deque(TEXTS),
    "values": lambda: dict(enumerate(TEXTS)).values(),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_read_by_its_columns(kind: str):
    make = TABLES[kind]
    names = {"text_column": "review", "label_column": "sentiment"}
    found = read_any_labelled(make(), LabelledInputConfig(**names))[1]
    assert found == [Example(text, None, label) for text, label in zip(TEXTS, LABELS, strict=True)]
    assert [item.text for item in examples_of(make(), "review", None)] == TEXTS
    corpus = open_corpus(make(), AdaptConfig(text_column="review"))
    assert [*corpus] == [*corpus] == [Example(text) for text in TEXTS]
    with pytest.raises(DataError, match=r"no text column: expected a column 'text', .* name it, as in text_column="):
        open_corpus(make(), AdaptConfig())


@pytest.mark.parametrize("kind", SERIES)
def test_a_series_holds_texts(kind: str):
    found = [item.text for item in examples_of(SERIES[kind](), "text", None)]
    assert found == [item.text for item in open_corpus(SERIES[kind](), AdaptConfig())] == TEXTS
    assert {type(text) for text in found} == {str}


@pytest.mark.parametrize("kind", ["pandas", "polars", "datasets, iterable", "rows"])
def test_pairs_are_read_from_two_columns(kind: str):
    found = examples_of(TABLES[kind](), "review", "sentiment")
    assert [(item.text, item.pair) for item in found] == [*zip(TEXTS, LABELS, strict=True)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"good", "got a bytes. Fix: decode it"),
        ([b"good"], r"\[text.decode\(\) for text in texts\]"),
        (np.array([b"good"]), r"numpy.char.decode\(texts\)"),
        (np.array([["a", "b"]]), r"texts.ravel\(\)"),
        (np.array("a"), "of one dimension"),
        ([["a", "b"]], "pairs of texts as tuples"),
        ({"a", "b"}, r"its order is not fixed: pass sorted\(texts\)"),
        (io.StringIO("a\nb"), "pass the file's path"),
        (io.BytesIO(b"a\nb"), "pass the file's path"),
        (datasets.DatasetDict({"test": class_labels()}), r"its splits, as in data\['test'\]"),
        (pl.DataFrame(COLUMNS).lazy(), r".collect\(\)"),
        (pd.DataFrame(COLUMNS).style, r"pass a dict of columns"),
        (pd.DataFrame(COLUMNS).groupby("sentiment"), "cannot be used"),
        (pd.DataFrame({"text": TEXTS, "label": LABELS}).iloc[0], r"one row: pass its text, as \[row\['text'\]\]"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "duplicate column 'text'"),
        ({"good film": "positive"}, "got columns 'good film'"),
        ({"text": "one text"}, r"'text' is not a column: .* got a str"),
        ({"text": {"a", "b"}}, "'text' is not a column"),
        ([{"text": "a"}, "b"], "the rows are of several kinds: expected mappings alone, got 'b' at index 1"),
        (["a", {"text": "b"}], "got {'text': 'b'} at index 1"),
        (["a", None], "got a missing value at index 1"),
        (pd.Series(["a", pd.NA], dtype="string"), "got a missing value at index 1"),
        (pd.DataFrame({"text": ["a", float("nan")]}), r"the DataFrame, row 1 \(counted from 0\)"),
        (pl.DataFrame({"text": ["a", None]}), r"the DataFrame, row 1 \(counted from 0\)"),
        ([{"text": "a"}, {"txt": "b"}], r"row 1 \(counted from 0\): no text column"),
        (pd.DataFrame({"text": []}), "is empty|got none"),
        (None, "expected a table, or a list of examples, got null"),
    ],
)
def test_what_is_no_text_is_refused_with_what_works(given: Any, message: str, student_bundle: Path):
    with pytest.raises(DataError, match=message):
        open_corpus(given, AdaptConfig())
    if not hasattr(given, "empty") or len(given):  # no texts give no predictions
        with pytest.raises(DataError, match=message.split("|")[0]):
            list(Predictor.load(student_bundle).stream(given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((TEXTS, ["positive"]), "columns of unequal length: expected one length, got 3 in 'text', 1 in 'label'"),
        ((TEXTS, "positive"), "'labels' is not a column"),
        ((TEXTS, ["positive", None, "negative"]), r"row 1 \(counted from 0\): blank label"),
        (pd.DataFrame({"text": TEXTS, "label": [1.0, 0.0, np.nan]}), "the DataFrame, row 2 .* blank label"),
        ((TEXTS, np.array(NUMBERS)), "labels are numbers"),
        (TEXTS, r"or pass \(texts, labels\)"),
        (
            class_labels([1, 0, -1]).rename_columns({"review": "text", "sentiment": "label"}),
            "row 2 .* `--ignore-label -1`",
        ),
    ],
)
def test_labels_that_cannot_be_used_name_their_row(given: Any, message: str):
    with pytest.raises(DataError, match=message):
        read_any_labelled(given, LabelledInputConfig())


def test_numbers_are_named_as_those_of_a_file_are():
    for given in ((TEXTS, np.array(NUMBERS)), pl.DataFrame({"text": TEXTS, "label": NUMBERS})):
        found = read_any_labelled(given, LabelledInputConfig(label_names={0: "negative", 1: "positive"}))[1]
        assert [item.label for item in found] == LABELS
    columns: dict[str, Any] = {"text_column": "review", "label_column": "sentiment"}
    found = read_any_labelled(class_labels(), LabelledInputConfig(**columns, label_names="0=bad,1=good"))[1]
    assert [item.label for item in found] == ["good", "bad", "good"]  # the option wins over the names of the data set


def test_texts_and_labels_may_be_of_pairs():
    pairs = [(text, "other") for text in TEXTS]
    found = read_any_labelled((pairs, LABELS), LabelledInputConfig())[1]
    assert found == [Example(text, "other", label) for text, label in zip(TEXTS, LABELS, strict=True)]


def test_rows_that_cannot_be_used_are_left_out_of_a_table_too():
    frame = pd.DataFrame({"text": [*TEXTS, None, " "]})
    assert len(open_corpus(frame, AdaptConfig(skip_bad=True))) == 3


def test_predictions_of_a_table_are_those_of_its_texts(student_bundle: Path):
    predictor = Predictor.load(student_bundle)
    wanted = predictor.predict(TEXTS)
    for kind in ("pandas", "polars", "datasets", "datasets, sliced", "dict", "generated rows"):
        assert predictor.predict(TABLES[kind](), text_column="review") == wanted
    assert [item for _, item in predictor.stream(TABLES["pandas"](), text_column="review")] == wanted
    assert predictor.probabilities(pd.DataFrame({"text": TEXTS})).shape == (3, 2)
    with pytest.raises(DataError, match="no text column"):
        predictor.predict(TABLES["pandas"]())


def test_a_bundle_of_pairs_knows_its_second_column(pair_bundle: Path):
    predictor = Predictor.load(pair_bundle)
    frame = pd.DataFrame({"text": TEXTS, "other": LABELS})
    wanted = predictor.predict([*zip(TEXTS, LABELS, strict=True)])
    assert predictor.predict(frame) == wanted
    assert predictor.predict(frame.rename(columns={"other": "second"}), pair_column="second") == wanted


def test_teach_and_evaluate_take_tables(tiny_encoder: Path, teacher_bundle: Path, source_file: Path, tmp_path: Path):
    frame = pd.read_json(source_file, lines=True)
    options: dict[str, Any] = {"base_model": tiny_encoder, "epochs": 1, "max_length": 32, "precision": "fp32"}
    teach((frame["text"], frame["label"]), tmp_path / "t", **options)
    wanted = evaluate(teacher_bundle, source_file)
    renamed = frame.rename(columns={"text": "review"})
    assert evaluate(teacher_bundle, renamed, text_column="review") == wanted
    assert evaluate(teacher_bundle, (frame["text"].tolist(), frame["label"].to_numpy())) == wanted
