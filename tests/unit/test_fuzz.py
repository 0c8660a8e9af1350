"""Random files: what reads them gives a result or an error of ours, and nothing else.

    DISTILSHIFT_FUZZ_CASES=20000 python -m pytest tests/unit/test_fuzz.py

A case that fails is printed by hypothesis; it then becomes a test of its own below or in test_hostile.py.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilshift.bundle import MANIFEST, read_manifest, verify
from distilshift.config import InputConfig, LabelledInputConfig
from distilshift.data.read import read_examples, read_labelled
from distilshift.errors import DistilshiftError
from distilshift.predict import Predictor
from distilshift.scan.manifest import wrong_value
from distilshift.scan.model_config import check_model_config
from distilshift.scan.onnx import check_onnx
from distilshift.scan.tensors import tensor_shapes
from distilshift.scan.tokenizer import check_tokenizer
from forged import make_student, reseal

# Of each fuzz test; `make soak` asks for more.
CASES = int(os.environ.get("DISTILSHIFT_FUZZ_CASES", "40"))
many = settings(
    max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)
few = settings(many, max_examples=max(10, CASES // 10))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=6,
)
SPLICES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=12)), min_size=1, max_size=4)
TABLE = b'text,label\n"a ""good"" film",x\nbad,y\n'
LINES = b'{"text": "good", "label": "x"}\n{"text": "b\\u00e4d", "label": 1}\n'
SOURCES = {
    "a.csv": TABLE,
    "a.tsv": TABLE.replace(b",", b"\t"),
    "a.jsonl": LINES,
    "a.txt": "good film\nschlecht, süß\r\n".encode(),
}
ENCODINGS = st.sampled_from(["utf-8", "utf-16", "latin-1", "utf-8-sig", "cp1252", "utf-7"])


def spliced(data: bytes, splices: list[tuple[float, int, bytes]]) -> bytes:
    """The data with some bytes replaced, put in or left out."""
    for place, removed, put in splices:
        at = int(place * len(data))
        data = data[:at] + put + data[at + removed :]
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def student(folder: Path) -> Path:
    return make_student(folder / "student")


def quiet(call: Any, *arguments: Any) -> Any:
    """What the call gives, or None for an error of ours, on one printable line."""
    try:
        return call(*arguments)
    except DistilshiftError as error:
        line = str(error)
    assert line.isprintable()
    return None


def check_read(path: Path, encoding: str, skip_bad: bool, labelled: bool) -> None:
    kind: Any = LabelledInputConfig if labelled else InputConfig
    read: Any = read_labelled if labelled else read_examples
    texts = quiet(read, path, kind(encoding=encoding, skip_bad=skip_bad, max_chars=200))
    for example in texts.examples if texts else ():
        assert example.text.strip()
        assert len(example.text) <= 200
        example.text.encode("utf-8")
        assert not labelled or example.label.strip()


@pytest.mark.parametrize("name", SOURCES)
@given(splices=SPLICES, encoding=ENCODINGS, skip_bad=st.booleans(), labelled=st.booleans())
@many
def test_damaged_texts(folder: Path, name: str, splices: Any, encoding: str, skip_bad: bool, labelled: bool):
    path = folder / name
    path.write_bytes(spliced(SOURCES[name], splices))
    check_read(path, encoding, skip_bad, labelled)


@pytest.mark.parametrize("name", SOURCES)
@given(data=st.binary(max_size=300), encoding=ENCODINGS, skip_bad=st.booleans(), labelled=st.booleans())
@many
def test_random_texts(folder: Path, name: str, data: bytes, encoding: str, skip_bad: bool, labelled: bool):
    path = folder / name
    path.write_bytes(data)
    check_read(path, encoding, skip_bad, labelled)


@given(splices=SPLICES, name=st.sampled_from(sorted(SOURCES)), skip_bad=st.booleans())
@many
def test_damaged_gzip(folder: Path, splices: Any, name: str, skip_bad: bool):
    path = folder / f"{name}.gz"
    path.write_bytes(spliced(gzip.compress(SOURCES[name]), splices))
    check_read(path, "utf-8", skip_bad, False)


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["good film", "bad"], "label": ["x", "y"]}), file)
    return file.getvalue()


PARQUET = parquet()


@given(splices=SPLICES, skip_bad=st.booleans(), labelled=st.booleans())
@many
def test_damaged_parquet(folder: Path, splices: Any, skip_bad: bool, labelled: bool):
    path = folder / "a.parquet"
    path.write_bytes(spliced(PARQUET, splices))
    check_read(path, "utf-8", skip_bad, labelled)


@given(values=st.lists(JSON, max_size=4), skip_bad=st.booleans(), labelled=st.booleans())
@many
def test_any_json_line(folder: Path, values: list[Any], skip_bad: bool, labelled: bool):
    path = folder / "b.jsonl"
    rows = [{"text": value, "label": value} for value in values] + values
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    check_read(path, "utf-8", skip_bad, labelled)


@given(splices=SPLICES)
@many
def test_damaged_manifest(folder: Path, student: Path, splices: Any):
    copy = folder / "manifest"
    copy.mkdir(exist_ok=True)
    (copy / MANIFEST).write_bytes(spliced((student / MANIFEST).read_bytes(), splices))
    quiet(read_manifest, copy)


KEYS = (
    "label_names",
    "max_length",
    "statistics",
    "runtime",
    "files",
    "config",
    "versions",
    "seed",
    "base_model",
    "kind",
)


@given(key=st.sampled_from(KEYS), value=JSON, part=st.none() | st.sampled_from(["temperature", "default", "a"]))
@many
def test_any_value_in_a_manifest(folder: Path, student: Path, key: str, value: Any, part: str | None):
    """Sealed with hashes that fit, as by somebody who wants it to be read."""
    copy = folder / "values"
    copy.mkdir(exist_ok=True)
    shutil.copy(student / MANIFEST, copy)
    reseal(copy, **{key: value if part is None else {part: value}})
    manifest = quiet(read_manifest, copy)
    if manifest is not None:
        quiet(verify, copy, manifest)


@given(content=st.dictionaries(st.sampled_from(KEYS), JSON))
@many
def test_manifest_types_never_fail(content: dict[str, Any]):
    assert wrong_value(content) is None or isinstance(wrong_value(content), str)


SCANS = {
    "config.json": check_model_config,
    "tokenizer.json": check_tokenizer,
    "model.safetensors": tensor_shapes,
    "onnx/model.onnx": check_onnx,
}


@pytest.mark.parametrize("name", SCANS)
@given(splices=SPLICES)
@many
def test_scanners_meet_damage(folder: Path, student: Path, name: str, splices: Any):
    path = folder / Path(name).name
    path.write_bytes(spliced((student / name).read_bytes(), splices))
    quiet(SCANS[name], path)


@pytest.mark.parametrize("name", SCANS)
@given(data=st.binary(max_size=200))
@many
def test_scanners_meet_anything(folder: Path, name: str, data: bytes):
    path = folder / Path(name).name
    path.write_bytes(data)
    quiet(SCANS[name], path)


def somewhere(content: Any, path: list[int], value: Any) -> Any:
    """A copy with the value at a place that the path leads to, as far as it leads."""
    if not path or not isinstance(content, dict | list) or not content:
        return value
    if isinstance(content, list):
        at = path[0] % len(content)
        return [*content[:at], somewhere(content[at], path[1:], value), *content[at + 1 :]]
    key = sorted(content)[path[0] % len(content)]
    return content | {key: somewhere(content[key], path[1:], value)}


PATHS = st.lists(st.integers(0, 200), min_size=1, max_size=5)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@given(path=PATHS, value=JSON)
@many
def test_any_value_in_a_config(folder: Path, student: Path, name: str, path: list[int], value: Any):
    file = folder / f"value-{name}"
    content = somewhere(json.loads((student / name).read_text()), path, value)
    file.write_text(json.dumps(content))
    quiet(SCANS[name], file)


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=3)


def predict_or_refuse(bundle: Path, texts: list[str]) -> None:
    predictor = quiet(Predictor.load, bundle)
    rows = quiet(predictor.probabilities, texts) if predictor else None
    if rows is not None:
        assert np.isfinite(rows).all()
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)


@given(path=PATHS, value=JSON, name=st.sampled_from(["config.json", "tokenizer.json"]), texts=TEXTS)
@few
def test_a_predictor_with_any_value_in_its_files(
    folder: Path, student: Path, path: list[int], value: Any, name: str, texts: list[str]
):
    copy = folder / "predictor"
    shutil.copytree(student, copy, dirs_exist_ok=True)
    content = somewhere(json.loads((copy / name).read_text()), path, value)
    (copy / name).write_text(json.dumps(content))
    reseal(copy)
    predict_or_refuse(copy, texts)


@given(splices=SPLICES, texts=TEXTS)
@few
def test_a_predictor_with_a_damaged_network(folder: Path, student: Path, splices: Any, texts: list[str]):
    copy = folder / "network"
    shutil.copytree(student, copy, dirs_exist_ok=True)
    path = copy / "onnx" / "model.onnx"
    path.write_bytes(spliced(path.read_bytes(), splices))
    reseal(copy)
    predict_or_refuse(copy, texts)


@pytest.fixture(scope="module")
def predictor(student: Path) -> Predictor:
    return Predictor.load(student)


@given(texts=st.lists(st.text(max_size=300), min_size=1, max_size=4))
@many
def test_a_sound_predictor_takes_any_text(predictor: Predictor, texts: list[str]):
    assert predictor.probabilities(texts).shape == (len(texts), 2)
