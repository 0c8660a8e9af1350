"""Fixtures of the unit suite: an adaptation without its slow export."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest

from distilshift.bundle import read_manifest
from forged import reseal


@pytest.fixture(scope="session")
def settled_heap(student_bundle: Path) -> None:
    """Let the garbage collector pass over what the libraries have loaded: each training calls it twice."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def pair_bundle(student_bundle: Path, tmp_path: Path) -> Path:
    """A student that says it was made from pairs, whose second texts were in the column `other`."""
    bundle = tmp_path / "of-pairs"
    shutil.copytree(student_bundle, bundle)
    reseal(bundle, config=read_manifest(bundle).config | {"pair_column": "other"})
    return bundle


@pytest.fixture
def quick_export(monkeypatch: pytest.MonkeyPatch, student_bundle: Path, settled_heap: None) -> None:
    """Let `adapt` take the ONNX files of a ready student: exporting takes seconds, and parity tests look at it."""
    from distilshift import student_bundle as bundling
    from distilshift.quantise import Quantised, Speed, Trial

    def export(student: object, path: Path) -> None:
        shutil.copy(student_bundle / "onnx" / "model.onnx", path)

    def quantise(source: Path, target: Path, *measured_on: object) -> Quantised:
        shutil.copy(student_bundle / "onnx" / "model_quantized.onnx", target)
        speeds = (Speed(1, 1.0, 1.0, 1.0), Speed(0, 1.0, 1.0, 1.0))
        trial = Trial("copied", target.stat().st_size, 1.0, 0.0, 1, "not faster", speeds, speeds)
        return Quantised((trial,), trial, source.stat().st_size)

    monkeypatch.setattr(bundling, "export_onnx", export)
    monkeypatch.setattr(bundling, "quantise", quantise)
    # It would find, rightly, that they are of another student; test_stages has its test.
    equal = {"texts": 1, "max_difference": 0.0, "agreement": 1.0}
    monkeypatch.setattr(bundling, "_parity", lambda student, texts, network: equal)
