"""Rows that differ in how much of a long text they read: where no text is long, one measurement is both's."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_data import write_domains, write_matrix
from distilshift.bench import cell
from distilshift.bench.cell import MAKERS, run_cell
from distilshift.bench.data import Domain
from distilshift.bench.job import Folders, Job, elsewhere, is_done, take_over
from distilshift.bench.matrix import Cell, make_matrix, read_matrix
from distilshift.bench.measure import measure_teacher
from distilshift.types import Example
from texts import make_texts

ROWS = ("plain-kd", "plain-kd-windows", "distilshift", "without-windows", "oracle", "oracle-windows", "teacher-windows")


def examples(count: int, seed: int) -> list[Example]:
    return [Example(text, label=label) for text, label in make_texts(count, seed)]


@pytest.fixture
def job(tmp_path: Path, teacher_bundle: Path) -> Job:
    """A cell of plain distillation, its teacher taught."""
    folders = Folders(write_domains(tmp_path / "data"), tmp_path / "results", tmp_path / "work")
    read = read_matrix(write_matrix(tmp_path / "m.toml"))
    matrix = replace(read, config=replace(read.config, methods=ROWS))
    made = Job("cell", matrix, Cell("pans", "films", "plain-kd", 0), folders)
    shutil.copytree(teacher_bundle, made.teacher)
    return made


def of_row(job: Job, method: str) -> Job:
    return replace(job, cell=replace(job.cell, method=method))


def numbers(job: Job) -> dict[str, Any]:
    """A result without what differs between two measurements of the same."""
    timed = ("seconds", "cell_seconds", "peak_memory_bytes", "measured_for")
    return {key: value for key, value in json.loads(job.result.read_text()).items() if key not in timed}


def test_twins_differ_in_windows_alone():
    matrix = make_matrix({"table": "t", "pairs": [["a", "b"]], "methods": [*ROWS, "teacher", "shot-im-kd"]})
    twins = {row: matrix.twins(Cell("a", "b", row, 0)) for row in matrix.config.methods}
    assert twins == {
        "plain-kd": ["plain-kd-windows"],
        "plain-kd-windows": ["plain-kd"],
        "distilshift": ["without-windows"],
        "without-windows": ["distilshift"],
        "oracle": ["oracle-windows"],
        "oracle-windows": ["oracle"],
        "teacher-windows": ["teacher"],
        "teacher": ["teacher-windows"],
        "shot-im-kd": [],
    }


def test_without_long_texts_a_twin_is_what_would_be_measured(job: Job):
    run_cell(job)
    twin = of_row(job, "plain-kd-windows")
    assert elsewhere(of_row(job, "distilshift")) == {}
    assert take_over(twin)
    assert is_done(twin)
    taken = numbers(twin)
    assert json.loads(twin.result.read_text())["measured_for"] == "plain-kd"
    twin.result.unlink()
    run_cell(twin)
    assert numbers(twin) == taken


@pytest.mark.parametrize("changes", [{"long_texts": 1}, {"long_texts": None}, {"teacher_sha256": "another"}])
def test_a_twin_of_long_texts_or_of_another_teacher_is_measured(job: Job, changes: dict[str, Any]):
    twin = of_row(job, "plain-kd-windows")
    row = {"config": job.matrix.student_config("plain-kd", 0).portable(), "teacher_sha256": job.teacher_sha256()}
    row |= {"long_texts": 0, **job.identity()}
    job.result.parent.mkdir(parents=True)
    job.result.write_text(json.dumps(row))
    assert elsewhere(twin)["config"]["max_windows"] > 1
    job.result.write_text(json.dumps(row | changes))
    assert elsewhere(twin) == {}


def test_a_long_text_is_counted_in_training_and_test_texts(teacher_bundle: Path):
    long = Example("very good and great book it was " * 10, label="positive")  # 70 words; the teacher reads 32 tokens
    target = Domain([*examples(20, 1), long], [*examples(20, 2), long])
    assert measure_teacher(teacher_bundle, target, 1)["long_texts"] == 2
    assert measure_teacher(teacher_bundle, Domain(target.train[:-1], target.test[:-1]), 1)["long_texts"] == 0


@pytest.mark.parametrize(("length", "counted"), [(32, 0), (16, None)])
def test_texts_are_counted_for_students_that_read_as_much_as_their_teacher(
    job: Job, length: int, counted: int | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(MAKERS, "adapt", lambda inputs, output: output)
    monkeypatch.setattr(cell, "measure", lambda *arguments: {})
    values = job.matrix.config.to_dict() | {"student": {**(job.matrix.config.student or {}), "max_length": length}}
    changed = replace(job, matrix=make_matrix(values))
    assert changed.matrix.teacher_config(0).max_length == 32
    run_cell(changed)
    assert numbers(changed)["long_texts"] == counted
