"""Files of a teacher's probabilities: every format gives the same, and whatever is wrong is named with its row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift.data.probabilities import read_probabilities
from distilshift.errors import DataError
from distilshift.files import sha256_of

NAMES = ["bad", "good"]
NESTED = '{"probabilities": {"a": 0.5, "b": 0.5}}'
ROWS = [[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]


def write_csv(path: Path, delimiter: str = ",") -> None:
    lines = [NAMES, *ROWS]
    path.write_text("".join(delimiter.join(map(str, line)) + "\n" for line in lines))


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in ROWS))


def write_packed(path: Path) -> None:
    path.write_bytes(gzip.compress(b"bad,good\n" + b"".join(f"{a},{b}\n".encode() for a, b in ROWS)))


def write_npz(path: Path) -> None:
    np.savez(path, probabilities=np.array(ROWS), label_names=NAMES)


def write_parquet(path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"id": [1, 2, 3]} | dict(zip(NAMES, np.array(ROWS).T.tolist(), strict=True))
    parquet.write_table(arrow.table(columns), path)


def write_predictions_csv(path: Path) -> None:
    """As `predict` writes them."""
    rows = [f'"a, text",good,{a},{b},\n' for a, b in ROWS]
    path.write_text("text,label,bad,good,problem\n" + "".join(rows))


def write_predictions_jsonl(path: Path) -> None:
    rows = [
        {"text": "a text", "label": "good", "probabilities": dict(zip(NAMES, row, strict=True)), "pair": "b"}
        for row in ROWS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("p.csv", write_csv),
        ("p.tsv", lambda path: write_csv(path, "\t")),
        ("p.csv.gz", write_packed),
        ("p.jsonl", write_jsonl),
        ("p.npz", write_npz),
        ("p.parquet", write_parquet),
        ("q.csv", write_predictions_csv),
        ("q.jsonl", write_predictions_jsonl),
    ],
)
def test_every_format_gives_the_same(tmp_path: Path, name: str, write: Callable[[Path], None]):
    path = tmp_path / name
    write(path)
    found = read_probabilities(path)
    assert (found.label_names, found.rows.tolist(), found.rows.dtype) == (NAMES, ROWS, np.float32)
    assert found.sha256 == sha256_of(path)


@pytest.mark.parametrize(
    "row", ['{"probabilities": {"probabilities": 0.25, "b": 0.75}}', '{"probabilities": 0.25, "b": 0.75}']
)
def test_a_class_may_be_called_as_what_holds_them(tmp_path: Path, row: str):
    path = tmp_path / "p.jsonl"
    path.write_text(row + "\n")
    found = read_probabilities(path)
    assert (found.label_names, found.rows.tolist()) == (["probabilities", "b"], [[0.25, 0.75]])


def test_rounded_rows_are_scaled_to_sum_to_one(tmp_path: Path):
    path = tmp_path / "p.csv"
    path.write_text("a,b,c\n0.333,0.333,0.333\n0.2,0.3,0.5005\n")
    rows = read_probabilities(path).rows
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(rows[0], 1 / 3, atol=1e-6)


@pytest.mark.parametrize(
    ("row", "got"),
    [
        ("0.5,0.502", "row 2: not probabilities.*sum 1.002"),
        ("0.5,0.498", "row 2.*sum 0.998"),
        ("1.2,-0.2", "row 2.*1.2, -0.2"),
        ("nan,1", "row 2.*nan"),
        ("inf,-inf", "row 2.*inf"),
        ("25,75", "row 2.*not logits or percentages"),
        ("0.5,", "line 3 .row 2.: not probabilities"),
        ("0.5,half", "line 3 .row 2.: not probabilities.*half"),
        ("0.5", "line 3 .row 2.: wrong number of cells"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: str, got: str):
    path = tmp_path / "p.csv"
    path.write_text(f"a,b\n0.5,0.5\n{row}\n0.1,0.9\n")
    with pytest.raises(DataError, match=got):
        read_probabilities(path)


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("p.csv", "", "the file is empty"),
        ("p.csv", "a,b\n", "no row"),
        ("p.csv", "a,a\n0.5,0.5\n", "duplicate column"),
        ("p.csv", "good\n1\n", "no classes"),
        ("p.csv", "text,label\nhello,good\n", "no classes.*got none"),
        ("p.csv", "a,\n0.5,0.5\n", "no classes"),
        ("p.txt", "0.5,0.5\n", "plain text has no"),
        ("p.json", "[]", "not a JSON object"),
        ("p.jsonl", "[0.5, 0.5]\n", "not a JSON object"),
        ("p.jsonl", '{"a": 0.5, "b": 0.5}\n{"a": 0.5}\n', "line 2: no b column"),
        ("p.jsonl", '{"a": 0.5, "b": null}\n', "line 1: not probabilities"),
        (
            "p.jsonl",
            '{"probabilities": {"a": 0.5, "b": 0.5}}\n{"probabilities": {"a": 1}}\n',
            "line 2: not probabilities",
        ),
        ("p.jsonl", '{"probabilities": {"a": 0.5, "b": 0.5}}\n{"probabilities": null}\n', "line 2: not probabilities"),
        ("p.jsonl", "[" * 100_000, "not a JSON object"),
        ("p.jsonl", '{"a": 0.5, "b": 1' + "0" * 400 + "}\n", "line 1: not probabilities"),
        ("p.csv", "a" * 140_000 + ",b\n0.5,0.5\n", "line 1: not a header"),
        ("p.npz", "no zip", "cannot be read"),
        ("p.npz", "", "cannot be read"),
        ("p.parquet", "no parquet", "cannot be read"),
        ("missing.csv", None, "missing.csv"),
        ("missing.npz", None, "missing.npz"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: str | None, got: str):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=got):
        read_probabilities(tmp_path / name)


def test_a_damaged_archive_is_named(tmp_path: Path):
    np.savez_compressed(tmp_path / "p.npz", probabilities=np.random.default_rng(0).random((50, 2)), label_names=NAMES)
    content = bytearray((tmp_path / "p.npz").read_bytes())
    for at in range(60, 200, 3):
        content[at] ^= 0xFF
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"p\.npz: cannot be read"):
        read_probabilities(tmp_path / "p.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {"probabilities": np.array(ROWS)},
        {"probabilities": np.array(ROWS), "label_names": ["a", "b", "c"]},
        {"probabilities": np.array(ROWS)[0], "label_names": NAMES},
        {"probabilities": np.array(ROWS, object), "label_names": NAMES},
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any]):
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(DataError, match=r"p\.npz: (cannot be read|sizes differ)"):
        read_probabilities(tmp_path / "p.npz")


@pytest.mark.parametrize(
    ("rows", "sums"),
    [
        ("0.3,0.3,0.3\n0.1,0.2,0.7\n", (0.9, 1.0)),  # one decimal
        ("0.33,0.33,0.33\n0.34,0.34,0.33\n", (0.99, 1.01)),  # two
        ("1,0,0\n0,0,1\n", (1, 1)),  # labels without probabilities
    ],
)
def test_coarse_probabilities_are_taken(tmp_path: Path, rows: str, sums: tuple[float, float]):
    (tmp_path / "p.csv").write_text(f"a,b,c\n{rows}")
    found = read_probabilities(tmp_path / "p.csv").rows
    assert np.loadtxt(tmp_path / "p.csv", delimiter=",", skiprows=1).sum(axis=1).tolist() == pytest.approx(sums)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_coarse_probabilities_in_single_precision_are_taken(tmp_path: Path):
    rows = np.array([[0.3, 0.3, 0.3], [0.2, 0.2, 0.6]], np.float32)
    np.savez(tmp_path / "p.npz", probabilities=rows, label_names=["a", "b", "c"])
    np.testing.assert_allclose(read_probabilities(tmp_path / "p.npz").rows[0], 1 / 3, atol=1e-6)


@pytest.mark.parametrize("rows", ["1,1,0\n0,0,1\n", "0.3,0.3,0.2\n", "0.33,0.33,0.3\n", "30,30,40\n", "0,0,0\n"])
def test_what_rounding_does_not_explain_is_refused(tmp_path: Path, rows: str):
    (tmp_path / "p.csv").write_text(f"a,b,c\n{rows}")
    with pytest.raises(DataError, match="not probabilities"):
        read_probabilities(tmp_path / "p.csv")
