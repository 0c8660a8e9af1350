"""Runs that share a folder ask a teacher once; whatever decides what it says decides which file is read."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from applicable import applicable
from distilshift import adapt, shards
from distilshift.config import AdaptConfig
from distilshift.encoder import Classifier, load_classifier
from distilshift.errors import OutputError
from distilshift.files import sha256_of
from distilshift.output_cache import keep_outputs, kept_outputs, key_of
from distilshift.precision import make_accelerator
from distilshift.run import ALONE, open_run
from distilshift.shards import outputs
from distilshift.types import Example
from encoders import make_checkpoint
from texts import make_texts

TEXTS = [Example(text) for text, _ in make_texts(20, 4)]
ALL = slice(0, len(TEXTS))
VALUES = {"logits": np.arange(6, dtype=np.float32).reshape(3, 2)}


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path / "checkpoint", "bert")), 32)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts of each pass of a model that `outputs` makes."""
    seen: list[int] = []
    inner = shards.forward_all

    def forward_all(classifier: Classifier, store: Any, *args: Any, **options: Any) -> Any:
        seen.append(len(store))
        return inner(classifier, store, *args, **options)

    monkeypatch.setattr(shards, "forward_all", forward_all)
    return seen


def test_a_key_tells_weights_texts_span_and_precision(classifier: Classifier):
    store = classifier.tokenise(TEXTS)
    first = key_of(classifier, store, ALL, "fp32")
    assert first == key_of(classifier, classifier.tokenise(TEXTS), ALL, "fp32")
    changed = {
        key_of(classifier, store, ALL, "bf16"),
        key_of(classifier, store, slice(0, 10), "fp32"),
        key_of(classifier, classifier.tokenise(TEXTS[::-1]), ALL, "fp32"),
        key_of(replace(classifier, max_length=8), replace(classifier, max_length=8).tokenise(TEXTS), ALL, "fp32"),
    }
    with torch.no_grad():
        next(classifier.model.parameters())[0, 0] += 1
    changed.add(key_of(classifier, store, ALL, "fp32"))
    assert len(changed | {first}) == 6


def test_another_run_reads_what_one_has_kept(classifier: Classifier, tmp_path: Path, passes: list[int]):
    store, accelerator, found, told = (
        classifier.tokenise(TEXTS),
        make_accelerator(AdaptConfig(precision="fp32")),
        [],
        [],
    )
    for name in ("a", "b", "alone"):
        with open_run(tmp_path / name, {}) as run:
            run.shared = None if name == "alone" else tmp_path / "cache"
            told.append(0)

            def advance(texts: int) -> None:
                told[-1] += texts

            found.append(outputs(classifier, store, run, "whole", accelerator, advance)[np.arange(len(TEXTS))])
    assert passes == [20, 20]
    assert told == [20, 20, 20]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_outputs_of_another_precision_are_others(classifier: Classifier, tmp_path: Path, passes: list[int]):
    store = classifier.tokenise(TEXTS)
    for precision, name in (("no", "a"), ("bf16", "b"), ("bf16", "c")):
        stand_in: Any = SimpleNamespace(mixed_precision=precision, device=torch.device("cpu"), autocast=nullcontext)
        with open_run(tmp_path / name, {}) as run:
            run.shared = tmp_path / "cache"
            outputs(classifier, store, run, "whole", stand_in)
    assert passes == [20, 20]


def test_a_number_that_has_changed_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    keep_outputs(tmp_path, "key", VALUES, ALONE)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x80
    path.write_bytes(content)
    assert kept_outputs(tmp_path, "key", ALONE) is None
    assert "damaged" in caplog.text


def headed(header: str) -> bytes:
    return len(header).to_bytes(8, "little") + header.encode()


DAMAGES = {
    "empty": b"",
    "no header": headed("nonsense"),
    "cut off": None,
    "a length of 2^64 - 1": b"\xff" * 8 + b"{}",
    "a length of 2^50": (2**50).to_bytes(8, "little") + b"{}",
    "no offsets": headed('{"logits": {"dtype": "F32", "shape": [1], "data_offsets": []}}'),
    "deep": headed('{"logits": ' + "[" * 100_000),
    "a shape beyond any": headed('{"logits": {"dtype": "F32", "shape": [1%s], "data_offsets": [0, 4]}}' % ("0" * 30)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes | None):
    assert kept_outputs(tmp_path, "key", ALONE) is None
    keep_outputs(tmp_path, "key", VALUES, ALONE)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4] if damage is None else damage)
    assert kept_outputs(tmp_path, "key", ALONE) is None
    assert "damaged" in caplog.text
    keep_outputs(tmp_path, "key", VALUES, ALONE)
    kept = kept_outputs(tmp_path, "key", ALONE)
    assert kept
    np.testing.assert_array_equal(kept["logits"], VALUES["logits"])


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        keep_outputs(tmp_path / "file" / "cache", "key", VALUES, ALONE)


def test_students_of_one_teacher_ask_it_once_and_are_those_of_a_run_alone(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None, passes: list[int]
):
    """With another method, too: an adapted teacher is another one, and is asked."""

    def student(name: str, cache: Path | None, **options: Any) -> str:
        fixed: dict[str, Any] = {
            "precision": "fp32",
            "student_layers": 1,
            "distil_epochs": 2,
            "spans": 1,
            "adapt_epochs": 1,
        }
        adapt(teacher_bundle, target_file, tmp_path / name, cache=cache, **applicable(fixed | options))
        return sha256_of(tmp_path / name / "model.safetensors")

    cache = tmp_path / "cache"
    first = student("first", cache)
    asked = len(passes)
    assert student("again", cache) == first
    other = student("other", cache, distil_epochs=3)
    assert len(passes) == asked
    assert other != first
    adapted = student("adapted", cache, method="shot-im", gate=False)
    assert len(passes) > asked
    assert student("alone", None) == first
    assert student("adapted-alone", None, method="shot-im", gate=False) == adapted


def test_a_cache_that_is_a_file_is_refused_before_any_work(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, passes: list[int]
):
    (tmp_path / "cache").touch()
    with pytest.raises(OutputError, match="cannot write"):
        adapt(teacher_bundle, target_file, tmp_path / "s", cache=tmp_path / "cache")
    assert passes == []
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
