"""`reference.json`: aggregates alone, whole and in their ranges, or the bundle is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift import inspect
from distilshift.bundle import read_manifest
from distilshift.drift import Outputs, make_reference, read_reference, reference_json
from distilshift.errors import BundleError, LeakError, UnsafeError
from distilshift.projection import project
from distilshift.scan.drift_reference import MAX_REFERENCE_BYTES
from distilshift.types import Example
from forged import make_teacher, reseal
from texts import make_texts

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def bundle(student_bundle: Path, tmp_path: Path) -> Path:
    """A student whose reference has all parts."""
    folder = tmp_path / "b"
    shutil.copytree(student_bundle, folder)
    examples = [Example(text) for text, _ in make_texts(300, 5)]
    probabilities = np.random.default_rng(0).dirichlet([1, 1], 80)
    reference = make_reference(project(examples), np.arange(300) < 3, Outputs.of(probabilities), 2)
    assert reference is not None
    (folder / "reference.json").write_text(json.dumps(reference_json(reference)))
    reseal(folder)
    return folder


def test_what_is_written_is_what_is_read(bundle: Path):
    found = read_reference(bundle, read_manifest(bundle))
    assert (found.texts, found.unknown, found.mean.shape) == (300, 3, (64,))
    np.testing.assert_array_equal(found.covariance, found.covariance.T)
    content = json.loads((bundle / "reference.json").read_text())
    assert reference_json(found) == content
    assert inspect(bundle, strict=True).reference_texts == 300


def test_adapt_writes_one_and_inspect_shows_it(student_bundle: Path, run_cli: Any):
    assert "reference.json" in read_manifest(student_bundle).files
    content = json.loads((student_bundle / "reference.json").read_text())
    assert (content["texts"], content["outputs"], len(content["words"]["mean"])) == (120, None, 30)
    done = run_cli("inspect", student_bundle)
    assert "aggregates of 120 target texts, for distilshift drift" in done.out


def test_it_has_no_text_and_fewer_numbers_than_its_texts_have(bundle: Path):
    raw = (bundle / "reference.json").read_text()
    words = {word for text, _ in make_texts(300, 5) for word in text.split() if len(word) > 2}
    assert len(words) > 10
    assert not [word for word in words if re.search(rf"\b{word}\b", raw)]
    assert len(raw) < 32_000


def without(name: str) -> Change:
    return lambda content: content.pop(name)


def put(value: Any, *path: str | int) -> Change:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


FORGED: dict[str, tuple[Change, str]] = {
    "an entry more": (put("a review of a kettle", "note"), "expected length, outputs, texts, unknown"),
    "an entry less": (without("unknown"), "expected length, outputs, texts, unknown"),
    "another version": (put(2, "version"), "version 2"),
    "few texts": (put(49, "texts"), "texts 49"),
    "texts without an end": (put(10**12, "texts"), "texts 10+"),
    "texts of another type": (put("300", "texts"), "texts '300'"),
    "more unknown than texts": (put(301, "unknown"), "unknown 301"),
    "words that are a list": (put([1.0], "words"), "words \\[1.0\\]"),
    "no mean": (put([], "words", "mean"), "words.mean"),
    "a long mean": (put([0.1] * 65, "words", "mean"), "expected 1 to 64 numbers"),
    "a short covariance": (put([0.1] * 9, "words", "covariance"), "expected 2,080 to 2,080 numbers"),
    "a text in the mean": (put("a text", "words", "mean", 0), "words.mean"),
    "truth in the mean": (put(True, "words", "mean", 0), "words.mean"),
    "too many digits": (put(0.123456, "words", "mean", 0), "at most 5 digits"),
    "a huge number": (put(10**400, "words", "mean", 0), "words.mean"),
    "too large a number": (put(2e6, "words", "covariance", 5), "words.covariance"),
    "edges that descend": (put(99.0, "length", "edges", 0), "expected ascending"),
    "many edges": (put([*map(float, range(10))], "length", "edges"), "length.edges"),
    "counts for other edges": (put([300], "length", "counts"), "length.counts"),
    "counts of other texts": (put(7, "length", "counts", 0), "expected counts of 300 texts"),
    "a negative count": (put(-1, "outputs", "classes", 0), "outputs.classes"),
    "a broken count": (put(1.5, "outputs", "classes", 0), "outputs.classes"),
    "classes without an end": (put([0] * 10_001, "outputs", "classes"), "outputs.classes"),
    "few outputs": (put(9, "outputs", "texts"), "outputs.texts 9"),
    "outputs of another type": (put([], "outputs"), "outputs \\[\\]"),
    "a confidence less": (put({"edges": [0.5]}, "outputs", "confidence"), "expected counts, edges"),
}


@pytest.mark.parametrize(("change", "text"), FORGED.values(), ids=FORGED)
def test_a_forged_reference_is_refused(bundle: Path, change: Change, text: str):
    content = json.loads((bundle / "reference.json").read_text())
    change(content)
    (bundle / "reference.json").write_text(json.dumps(content))
    reseal(bundle)
    manifest = read_manifest(bundle)
    for look in (lambda: read_reference(bundle, manifest), lambda: inspect(bundle)):
        with pytest.raises(UnsafeError, match=text) as caught:
            look()
        assert " is refused before it is loaded: " in str(caught.value)
        assert len(str(caught.value)) < 600


def test_a_long_file_and_one_that_is_not_json_are_refused(bundle: Path):
    for data in (b"[1, 2]", b"{" + b" " * MAX_REFERENCE_BYTES + b"}"):
        (bundle / "reference.json").write_bytes(data)
        reseal(bundle)
        with pytest.raises(UnsafeError):
            inspect(bundle)


def test_classes_of_another_student_are_refused(bundle: Path):
    content = json.loads((bundle / "reference.json").read_text())
    content["outputs"]["classes"].append(0)
    (bundle / "reference.json").write_text(json.dumps(content))
    reseal(bundle)
    with pytest.raises(BundleError, match="does not fit its bundle: got 3 classes"):
        inspect(bundle)


def test_a_teacher_has_no_reference(bundle: Path, tmp_path: Path):
    teacher = make_teacher(tmp_path / "teacher")
    shutil.copy(bundle / "reference.json", teacher)
    reseal(teacher)
    with pytest.raises(LeakError, match=r"the file reference\.json"):
        inspect(teacher, strict=True)
