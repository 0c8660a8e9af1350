"""The built wheel, installed with its base dependencies only, predicts without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBE = """
import importlib.util, json, sys
from distilshift import Predictor
prediction = Predictor.load(sys.argv[1]).predict(["good great love the book"])[0]
absent = all(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "accelerate", "sklearn"))
print(json.dumps({"label": prediction.label, "sum": sum(prediction.probabilities.values()), "torch_absent": absent}))
"""


def _run(*command: str, cwd: Path | None = None) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with nothing but the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("device")
    _run(sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT))
    (wheel,) = folder.glob("distilshift-*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        str(ROOT / "constraints.txt"),
        str(wheel),
    ]
    result = subprocess.run(install, capture_output=True, text=True, check=False, timeout=600)
    if result.returncode and "No matching distribution" in result.stderr:
        pytest.skip("no package index is reachable")
    assert result.returncode == 0, result.stderr[-2000:]
    return python


@pytest.mark.network
def test_python_predicts_without_torch(device: Path, student_bundle: Path):
    answer = json.loads(_run(str(device), "-c", PROBE, str(student_bundle)))
    assert answer["torch_absent"]
    assert answer["label"] in {"negative", "positive"}
    assert answer["sum"] == pytest.approx(1.0)


@pytest.mark.network
def test_command_predicts_as_the_full_install_does(device: Path, student_bundle: Path, target_file: Path):
    from distilshift import Predictor

    rows = _run(str(device.with_name("distilshift")), "predict", str(student_bundle), str(target_file)).splitlines()
    texts = target_file.read_text().splitlines()
    here = Predictor.load(student_bundle).predict(texts)
    there = [json.loads(row) for row in rows]
    assert [row["label"] for row in there] == [prediction.label for prediction in here]


@pytest.mark.network
def test_training_verbs_say_what_is_missing(device: Path, target_file: Path):
    command = [str(device.with_name("distilshift")), "teach", str(target_file), "-o", "teacher"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=target_file.parent)
    assert result.returncode == 2
    assert "pip install '.[train]' in the checkout" in result.stderr
    assert "Traceback" not in result.stderr
