"""benchmarks/edge.py: its summary and its table, from samples given."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge
import edge_processes
from distilshift.types import Example


class Fixed:
    """A side that says what it is told."""

    def __init__(self, labels: list[int]) -> None:
        self.labels, self.read = labels, []  # type: list[int], list[int]

    def logits(self, examples: list[Example]) -> np.ndarray:
        self.read.append(len(examples))
        return np.eye(2)[self.labels[: len(examples)]]


def samples() -> dict[str, dict[str, Any]]:
    taken = {"teacher, PyTorch fp32": 30.0, "teacher, ONNX int8": 6.0, "student, ONNX int8": 2.0}
    return {
        name: {"latency_ms": [ms, ms, 10 * ms], "batch_seconds": [ms / 10] * 3, "test_correct": "1101"}
        for name, ms in taken.items()
    }


def test_a_side_is_set_beside_both_of_the_teacher():
    row = edge.summary_of(samples()["student, ONNX int8"], samples())
    assert row["test_accuracy"] == 0.75
    assert row["latency_ms_p50"] == 2.0
    assert row["latency_ms_p95"] == pytest.approx(18.2)
    assert row["texts_per_second"] == 160
    assert row["times_faster"] == {"teacher, PyTorch fp32": 15.0, "teacher, ONNX int8": 3.0}


def test_the_table_has_a_row_a_side_and_what_was_skipped():
    found = samples()
    result = {
        "summary": {name: edge.summary_of(found[name], found) for name in found},
        "size_bytes": dict.fromkeys(found, 7_500_000),
        "skipped": {"model2vec": "not installed"},
    }
    lines = edge.summarise(result).splitlines()
    assert lines[4] == "| student, ONNX int8 | 75.0 | 7.5 MB | 2.00 ms | 18.20 ms | 160.0 | 15.0 | 3.0 |"
    assert lines[-1] == "model2vec: not installed"


def test_right_labels_and_batches_by_turns():
    side, other = Fixed([0, 1, 1]), Fixed([0] * 64)
    texts = [Example("a", label="n"), Example("b", label="p"), Example("c", label="n")]
    assert edge.correct(side, texts, ["n", "p"]) == "110"
    taken = edge.throughput({"a": other, "b": other}, [Example("a")] * 64, 2)
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 2, "b": 2}
    assert other.read == [32] * 4


def test_texts_are_read_one_at_a_time_in_blocks_by_turns():
    side, other = Fixed([0]), Fixed([0])
    taken = edge.latencies({"a": side, "b": other}, [Example("a")] * 45)
    assert [len(each) for each in taken.values()] == [45, 45]
    assert side.read == other.read == [1] * (45 + 3)  # one before each block does not count


def test_students_are_bundles_or_made_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(edge, "load", lambda target, part: [Example("a", label="n")])
    monkeypatch.setattr(edge, "adapt", lambda teacher, texts, bundle, **options: asked.append((bundle.name, options)))

    def found(*names: str) -> dict[str, Path]:
        given = ["--teacher", "t", "--work", str(tmp_path), *(["--students", *names] if names else [])]
        return edge.students(edge.parser().parse_args(given))

    made = tmp_path / "edge-t-kitchen-static"
    assert found("own=some/bundle", "static") == {"own": Path("some/bundle"), "static": made}
    assert asked == [("edge-t-kitchen-static", {"student": "static"})]
    assert list(found()) == list(edge.STUDENTS)
    with pytest.raises(SystemExit, match="no student 'large'"):
        found("large")


def test_cold_start_and_memory_are_of_the_process_alone(student_bundle: Path):
    """Not of this one, which has loaded PyTorch."""
    asked = {"bundles": {"s": str(student_bundle)}, "starts": 1, "rows": [3], "text": "good film", "install": False}
    command = [sys.executable, edge_processes.__file__, json.dumps(asked)]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert set(made["first_label"]) == {"s, command line", "s, Python"}
    for starts in made["first_label"].values():
        assert 0 < starts[0]["seconds"] < 60
        assert 20e6 < starts[0]["peak_memory_bytes"] < 150e6
    assert made["stream_peak_memory_bytes"]["3"] < 150e6
    assert made["install"] == {"skipped": "not asked for"}
