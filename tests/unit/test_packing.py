"""`pack`: the files that a device needs, as a bundle that verifies and predicts as the student does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import distilshift
from distilshift.bundle import read_manifest
from distilshift.errors import BundleError, ConfigError, LeakError, OutputError
from distilshift.network import ONNX_FILES
from distilshift.predict import Predictor
from forged import edit_onnx, make_teacher, reseal

TEXTS = ["good film", "the worst plot", "i love it"]


@pytest.mark.parametrize("choice", ["fp32", "int8"])
@pytest.mark.parametrize("kind", ["student_bundle", "static_bundle"])
def test_a_packed_student_predicts_the_same(kind: str, choice: Any, tmp_path: Path, request: pytest.FixtureRequest):
    bundle = request.getfixturevalue(kind)
    device = distilshift.pack(bundle, tmp_path / "device", model=choice)
    files = {path.relative_to(device).as_posix() for path in device.rglob("*") if path.is_file()}
    assert files == {"distilshift.json", "config.json", "tokenizer.json", "reference.json", ONNX_FILES[choice]}
    found = distilshift.inspect(device, strict=True)
    assert (found.kind, found.unlisted, found.edited) == ("student", (), ())
    expected = Predictor.load(bundle, model=choice).probabilities(TEXTS)
    np.testing.assert_array_equal(Predictor.load(device).probabilities(TEXTS), expected)


def test_the_recommended_network_is_the_default(student_bundle: Path, tmp_path: Path):
    for choice in ("int8", "fp32"):
        bundle = tmp_path / choice
        shutil.copytree(student_bundle, bundle)
        reseal(bundle, runtime=read_manifest(bundle).runtime | {"default": choice})
        device = distilshift.pack(bundle, tmp_path / f"device-{choice}")
        assert (device / ONNX_FILES[choice]).is_file()
        again = distilshift.pack(device, tmp_path / f"again-{choice}")
        assert read_manifest(again) == read_manifest(device)


def test_the_command_line_packs_inspects_and_predicts(student_bundle: Path, tmp_path: Path, run_cli: Any):
    device = tmp_path / "device"
    done = run_cli("pack", student_bundle, "-o", device, "--model", "int8")
    assert done.code == 0
    assert f"Device files in {device}" in done.out
    assert run_cli("inspect", device).code == 0
    assert "Strict check passed" in run_cli("inspect", device, "--strict").out
    assert run_cli("predict", device, "good film").code == 0
    assert run_cli("pack", student_bundle, "-o", device).code == 2
    assert run_cli("pack", student_bundle, "-o", device, "--overwrite").code == 0


def test_a_text_in_a_packed_network_is_found(student_bundle: Path, tmp_path: Path):
    device = distilshift.pack(student_bundle, tmp_path / "device", model="fp32")
    bank = numpy_helper.from_array(np.zeros((200, 300), np.float32), "bank")
    edit_onnx(lambda model: model.graph.initializer.append(bank))(device)
    reseal(device)
    with pytest.raises(LeakError, match=r"the constant bank \[200, 300\]"):
        distilshift.inspect(device, strict=True)


def test_what_cannot_be_packed_is_an_error(student_bundle: Path, tmp_path: Path):
    with pytest.raises(BundleError, match="expected a student, got a teacher"):
        distilshift.pack(make_teacher(tmp_path / "t"), tmp_path / "d")
    with pytest.raises(ConfigError, match="expected auto or fp32 or int8, got int4"):
        distilshift.pack(student_bundle, tmp_path / "d", model="int4")  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="would change"):
        distilshift.pack(student_bundle, student_bundle / "device")
    damaged = tmp_path / "damaged"
    shutil.copytree(student_bundle, damaged)
    onnx.save(onnx.ModelProto(), damaged / ONNX_FILES["fp32"])
    with pytest.raises(BundleError, match="its sha256 is not the manifest's"):
        distilshift.pack(damaged, tmp_path / "d", model="fp32")
    device = distilshift.pack(student_bundle, tmp_path / "int8", model="int8")
    for use in (Predictor.load, lambda bundle, model: distilshift.pack(bundle, tmp_path / "d", model=model)):
        with pytest.raises(BundleError, match="int8 has no fp32 network"):
            use(device, model="fp32")
    assert {path.name for path in tmp_path.iterdir()} == {"t", "damaged", "int8"}
