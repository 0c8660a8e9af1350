"""Values of other columns that `predict` cannot write as they are: rows come out all the same, as valid JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

DAY = 10_000_000  # of the year 29349


def strict_rows(text: str) -> list[dict[str, Any]]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("column", "carried"),
    [
        (pa.array([DAY], pa.date32()), "29349-01-26"),
        (pa.array([10**18], pa.duration("s")), "1000000000000000000"),
        (pa.array([0], pa.timestamp("ms", "Mars/Base")), None),
        (pa.array([[DAY]], pa.list_(pa.date32())), None),
        (pa.array([7], pa.date32()), "1970-01-08"),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
@pytest.mark.parametrize("options", [[], ["--id-column", "when"], ["--text-column", "absent"]])
def test_a_value_that_python_lacks_is_carried_as_text(
    run_cli: Any, student_bundle: Path, tmp_path: Path, column: Any, carried: str | None, options: list[str]
):
    pq.write_table(pa.table({"text": pa.array(["good"]), "when": column}), tmp_path / "a.parquet")
    done = run_cli("predict", student_bundle, tmp_path / "a.parquet", *options)
    if "absent" in options:
        assert (done.code, "--text-column" in done.err) == (2, True)
        return
    assert done.code == 0, done.err
    assert [row["when"] for row in strict_rows(done.out)] == [carried]


@pytest.mark.parametrize("value", ["NaN", "[-Infinity, 1]", '{"a": [Infinity]}', "1e999"])
def test_numbers_that_json_lacks_are_carried_as_null(run_cli: Any, student_bundle: Path, tmp_path: Path, value: str):
    (tmp_path / "a.jsonl").write_text(f'{{"text": "good", "score": {value}}}\n')
    (row,) = strict_rows(run_cli("predict", student_bundle, tmp_path / "a.jsonl").out)
    wanted = {"NaN": None, "1e999": None, "[-Infinity, 1]": [None, 1]}
    assert row["score"] == wanted.get(value, {"a": [None]})
    table = run_cli("predict", student_bundle, tmp_path / "a.jsonl", "--format", "csv").out
    (cell,) = [row["score"] for row in csv.DictReader(io.StringIO(table))]
    if cell.startswith(("[", "{")):
        strict_rows(cell)


def test_numbers_of_parquet_that_json_lacks_are_carried_as_null(run_cli: Any, student_bundle: Path, tmp_path: Path):
    pairs = pa.array([[("a", float("nan"))]], pa.map_(pa.string(), pa.float64()))
    pq.write_table(pa.table({"text": ["good"], "score": [float("inf")], "map": pairs}), tmp_path / "a.parquet")
    (row,) = strict_rows(run_cli("predict", student_bundle, tmp_path / "a.parquet").out)
    assert (row["score"], row["map"]) == (None, [["a", None]])


@pytest.mark.parametrize(
    "field", [r'"emoji": "\ud83d"', r'"\ude00": "x"', r'"tags": ["\ud83d!"]', r'"o": {"\udfff": 1}']
)
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_half_a_surrogate_stops_nothing(run_cli: Any, student_bundle: Path, tmp_path: Path, field: str, form: str):
    line = f'{{"text": "good", {field}}}'
    (tmp_path / "a.jsonl").write_text(line + "\n")
    for options in ([], ["-o", tmp_path / "out"]):
        done = run_cli("predict", student_bundle, tmp_path / "a.jsonl", "--format", form, *options)
        assert done.code == 0, done.err
    written = (tmp_path / "out").read_text(encoding="utf-8")
    if form == "csv":
        assert "\\ud" in written
    else:
        (row,) = strict_rows(written)
        assert json.loads(line).items() <= row.items()
