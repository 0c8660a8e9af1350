"""benchmarks/query.py: answers are worth something, weights remove the bias, and what was measured is kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import query


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A teacher that takes one of six clusters for the other class, and is unsure there."""
    generator = np.random.default_rng(0)
    clusters = generator.integers(0, 6, 400)
    labels = clusters % 2
    logits = 3 * np.eye(2)[labels]
    logits[clusters == 5] = [0.4, 0]
    stored = {
        "labels": labels,
        "whole": logits + generator.normal(0, 0.2, (400, 2)),
        "features": (3 * np.eye(12)[clusters] + generator.normal(0, 0.5, (400, 12))).astype(np.float16),
        "texts": np.array([" ".join(f"w{word}" for word in generator.integers(0, 900, 12)) for _ in range(400)]),
        "pairs": np.array([""] * 400),
        "statistics": json.dumps({"temperature": 1.0}),
    }
    path = tmp_path / "made-up.npz"
    np.savez(path, **stored)
    return path


def test_answers_are_worth_something_and_weights_remove_the_bias(lab: Path):
    found = query.measure(lab, 30, ["random", "query"], lambda text: None)
    assert found["query 50"]["corrected"] > found["teacher"] + 10
    assert abs(found["query 50"]["accuracy_error"]) < 2
    assert found["query 50"]["accuracy_rmse"] < found["random 50"]["accuracy_rmse"]
    assert query.means({"made-up": found})["query 50"]["gain"] > 10


def test_what_was_measured_is_not_measured_again(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    output = lab.with_name("query.json")
    options = ["--draws", "1", "--designs", "random", "query", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["query.py", str(lab), *options])
    query.main()
    first = json.loads(output.read_text())
    assert "made-up 10 query" in capsys.readouterr().out
    query.main()
    assert "made-up 10 query" not in capsys.readouterr().out
    assert json.loads(output.read_text()) == first
    assert set(first["means"]) == {f"{name} {n}" for name in ("random", "query", "query, words") for n in (10, 50, 200)}
