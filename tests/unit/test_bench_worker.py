"""A job and its process: one that dies early, and what a kill leaves of a finished cell."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench_data import write_domains, write_matrix
from distilshift.bench import worker
from distilshift.bench.job import Folders, Job
from distilshift.bench.matrix import Cell, read_matrix


@pytest.fixture
def job(tmp_path: Path) -> Job:
    matrix = read_matrix(write_matrix(tmp_path / "m.toml"))
    folders = Folders(write_domains(tmp_path / "data"), tmp_path / "results", tmp_path / "work")
    return Job("cell", matrix, Cell("pans", "films", "plain-kd", 0), folders)


def test_a_worker_that_is_dead_before_it_has_its_job_is_a_failed_job(job: Job, monkeypatch: pytest.MonkeyPatch):
    late = Job.to_json
    monkeypatch.setattr(worker, "COMMAND", ("sh", "-c", "exec 0<&-; exit 3"))
    monkeypatch.setattr(Job, "to_json", lambda job: time.sleep(0.3) or late(job))
    with worker.claimed(job) as lock:
        assert lock is not None
        assert worker.work(job, lock) == "exit code 3 without a word: the disk of its log may be full"


def test_a_ctrl_c_in_a_terminal_reaches_the_runner_alone(job: Job, monkeypatch: pytest.MonkeyPatch):
    """It goes to a group of processes; a worker that had it too would be told twice, and stop without a checkpoint."""
    told = "import os, sys; print(os.getpgrp() == os.getpid()); sys.exit(3)"
    monkeypatch.setattr(worker, "COMMAND", (sys.executable, "-c", told))
    with worker.claimed(job) as lock:
        assert lock is not None
        assert worker.work(job, lock) == "True"


WAITS = """
import signal, sys, threading, time
from distilshift.bench import worker
signal.signal(signal.SIGINT, signal.{})
threading.Thread(target=worker._stop_with_the_runner, daemon=True).start()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("handler", "number"), [("SIG_IGN", signal.SIGTERM), ("SIG_DFL", signal.SIGINT)], ids=["nohup", "else"]
)
def test_a_worker_stops_with_its_runner(handler: str, number: signal.Signals):
    command = [sys.executable, "-c", WAITS.format(handler)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.wait(timeout=30) == -number


def test_what_a_kill_left_of_a_cell_is_swept_unless_somebody_works_there(job: Job):
    cells = job.folders.work / "cells"
    left = [f"{job.unfinished}-{'0' * 12}{suffix}" for suffix in ("", ".run", "-teacher")]
    elsewhere = replace(job, folders=replace(job.folders, results=job.folders.results / "others"))
    another = replace(job, cell=replace(job.cell, seed=1))
    kept = [*(f"{other.unfinished}-{'0' * 12}" for other in (elsewhere, another)), "tiny-pans-films-plain-kd-0"]
    for name in [*left, *kept]:
        (cells / name).mkdir(parents=True)
    (cells / f"{left[0]}.seconds").write_text("1")
    with worker.claimed(job):
        worker.sweep(job)
    assert len([*cells.iterdir()]) == 7
    worker.sweep(job)
    assert {path.name for path in cells.iterdir()} == set(kept)
