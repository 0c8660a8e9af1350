"""A benchmark whose runner is killed outright continues its cell, and ends with what an uninterrupted one measures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench_data import write_domains, write_matrix

TIME_LIMIT = 900.0


def start(matrix: Path, folder: Path, data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "distilshift", "bench", str(matrix), "--only", "pans-films", "--only", "plain-kd"]
    places = ["--data", str(data), "--results", str(folder / "results"), "--work", str(folder / "work")]
    return subprocess.Popen(
        [*command, *places, "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"DISTILSHIFT_CHECKPOINT_SECONDS": "0"},
    )


def finish(process: subprocess.Popen[str]) -> dict:
    out, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 0, out + err
    return {"out": out, "err": err}


def wait_for(condition) -> None:
    deadline = time.monotonic() + TIME_LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def measured(folder: Path) -> dict:
    (path,) = (folder / "results" / "tiny").glob("pans-*.json")
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_killed_benchmark_continues_its_cell(tmp_path: Path, tiny_encoder: Path):
    data, whole, cut = write_domains(tmp_path / "data", train=400), tmp_path / "whole", tmp_path / "cut"
    matrix = write_matrix(tmp_path / "m.toml", tiny_encoder)
    finish(start(matrix, whole, data))

    killed = start(matrix, cut, data)
    wait_for(lambda: any("distil" in path.name for path in cut.glob("work/cells/*.run/distil.*")))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (run,) = cut.glob("work/cells/*.run")
    done = finish(start(matrix, cut, data))
    assert "1 cells measured" in done["out"]
    first, second = measured(whole), measured(cut)
    for name in ("test_correct", "all_accuracy", "test_accuracy_int8", "teacher_sha256", "config_sha256"):
        assert first[name] == second[name], name
    assert not run.exists()
    assert list(cut.glob("work/cells/*")) == []
    # Nothing is left to do.
    assert "0 cells measured" in finish(start(matrix, cut, data))["out"]
