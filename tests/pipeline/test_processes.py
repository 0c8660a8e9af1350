"""Two processes do what one does: same weights up to the order of sums, and either continues the other's run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from distilshift import teach

# Sums in another order differ in the last digits. AdamW divides by the gradient's size, so a weight whose gradient is
# nothing but such digits may go a step of the learning rate the other way; hardly any do.
LARGEST, MEAN = 1e-3, 2e-6
# Odd numbers of texts and of texts a step: shares are uneven, and the last step leaves one process without any.
TRAIN = ("--precision", "fp32", "--threads", "1")
TEACH = (*TRAIN, "--epochs", "2", "--batch-size", "14")
ADAPT = (*TRAIN, "--student-layers", "1", "--distil-epochs", "4")
BATCH, EPOCHS = ("--adapt-batch-size", "33"), ("--adapt-epochs", "2")
# Those that a method uses.
ADAPTING = {"second-opinion": (), "tent": BATCH}


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder without dropout, whose draws depend on who draws them."""
    folder = tmp_path_factory.mktemp("processes") / "encoder"
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def teacher(encoder: Path, source_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher without dropout."""
    folder = tmp_path_factory.mktemp("processes") / "teacher"
    teach(source_file, folder, base_model=str(encoder), epochs=12, learning_rate=3e-3, max_length=32, precision="fp32")
    return folder


def distilshift(*arguments: str | Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "distilshift", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | variables)
    if check:
        assert finished.returncode == 0, finished.stderr
    return finished


def killed_at(step: int, *arguments: str | Path, journal: Path) -> None:
    """Start a command whose every step is saved, and kill all its processes once so many are done."""
    command = [sys.executable, "-m", "distilshift", *map(str, arguments)]
    every_step = os.environ | {"DISTILSHIFT_CHECKPOINT_SECONDS": "0"}
    with subprocess.Popen(command, env=every_step, start_new_session=True, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and running.poll() is None:
            with suppress(OSError, ValueError):
                saved = json.loads(journal.read_text())["files"]
                if "teach" in saved and saved["teach"]["facts"]["step"] >= step:
                    break
            time.sleep(0.005)
        os.killpg(running.pid, signal.SIGKILL)
    assert journal.exists(), "it was over before it could be killed"


def require_same(one: Path, two: Path, mean: float = MEAN) -> None:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    differences = np.concatenate([np.abs(first[name] - second[name]).ravel() for name in first])
    assert (differences.max() < LARGEST, differences.mean() < mean) == (True, True), (
        f"largest {differences.max():.2g}, mean {differences.mean():.2g}"
    )


def require_same_losses(one: Path, two: Path, rtol: float = 2e-3) -> None:
    first, second = (json.loads((folder / "training_log.json").read_text()) for folder in (one, two))
    assert {name: len(entry["loss"]) for name, entry in first.items()} == {
        name: len(entry["loss"]) for name, entry in second.items()
    }
    for name, entry in first.items():
        np.testing.assert_allclose(entry["loss"], second[name]["loss"], rtol=rtol, atol=1e-4)


def test_two_processes_teach_as_one(encoder: Path, source_file: Path, tmp_path: Path):
    for number in ("1", "2"):
        arguments = ("teach", source_file, "--base-model", encoder, *TEACH, "--num-processes", number)
        distilshift(*arguments, "-o", tmp_path / number)
    require_same(tmp_path / "1", tmp_path / "2")
    require_same_losses(tmp_path / "1", tmp_path / "2")


@pytest.mark.parametrize(
    ("method", "mean"),
    # The last digits may also turn the pseudo-label of a text that lies between two centroids.
    # So with the neighbours of one that lies between two.
    [("second-opinion", MEAN), ("shot-im", MEAN), ("shot", 1e-4), ("tent", MEAN), ("nrc", 1e-4), ("aad", 1e-4)],
)
def test_two_processes_adapt_as_one(teacher: Path, target_file: Path, tmp_path: Path, method: str, mean: float):
    for number in ("1", "2"):
        arguments = ("adapt", teacher, target_file, "--method", method, *ADAPT, "--num-processes", number)
        arguments += ADAPTING.get(method, BATCH + EPOCHS)
        assert distilshift(*arguments, "-o", tmp_path / number).stdout.count("Student in") == 1
    require_same(tmp_path / "1", tmp_path / "2", mean)
    require_same_losses(tmp_path / "1", tmp_path / "2", 2e-3 if mean == MEAN else 1e-2)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


def test_two_processes_distil_jointly_as_one(teacher: Path, target_file: Path, tmp_path: Path):
    """The bank is the same in both; masks are drawn by each process for its own texts, and so left out here."""
    options = ("--method", "none", "--feedback", "0.5", "--feedback-every", "1", "--target-prior", "0.4,0.6")
    for number in ("1", "2"):
        distilshift("adapt", teacher, target_file, *options, *ADAPT, "--num-processes", number, "-o", tmp_path / number)
    require_same(tmp_path / "1", tmp_path / "2")


@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_a_run_of_one_size_continues_in_another(
    encoder: Path, source_file: Path, tmp_path: Path, first: int, second: int
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = ("teach", source_file, "--base-model", encoder, *TEACH)
    distilshift(*arguments, "-o", whole)
    journal = tmp_path / "parts.run" / "journal.json"
    killed_at(5, *arguments, "-o", parts, "--num-processes", str(first), journal=journal)
    distilshift(*arguments, "-o", parts, "--num-processes", str(second))
    require_same(whole, parts)
    require_same_losses(whole, parts)


def test_an_error_is_told_once_and_ends_all(teacher_bundle: Path, tmp_path: Path):
    texts = tmp_path / "texts.txt"
    texts.write_text("one\0\ntwo\n")
    run = distilshift("adapt", teacher_bundle, texts, "-o", tmp_path / "out", "--num-processes", "2", check=False)
    assert run.returncode == 2
    assert [line for line in run.stderr.splitlines() if line.strip()] == [
        line for line in run.stderr.splitlines() if line.startswith("Error:") and "Fix:" in line
    ]
    assert run.stderr.count("Error:") == 1
    assert not (tmp_path / "out").exists()


def test_standard_input_is_for_one_process(teacher_bundle: Path, tmp_path: Path):
    run = distilshift("adapt", teacher_bundle, "-", "-o", tmp_path / "out", "--num-processes", "2", check=False)
    assert (run.returncode, "cannot share standard input" in run.stderr) == (2, True)
