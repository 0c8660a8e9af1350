"""The demo's own path, with the real model and real texts, on a small share of them."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from distilshift import demo_data
from distilshift.cli.main import main
from distilshift.errors import DownloadError
from distilshift.packages import packaged_encoder

pytestmark = pytest.mark.network


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's data, cut down; skips where it cannot be had."""
    from distilshift import demo

    try:
        packaged_encoder("minilm-l6")
        sentences = demo_data.movie_sentences()
        split = demo_data.split_domain(demo_data.vader_domain("products"))
    except DownloadError as error:
        pytest.skip(f"the demo's packages cannot be had: {error}")
    small = dataclasses.replace(split, train_texts=split.train_texts[:96], test=split.test[:100])
    monkeypatch.setattr(demo, "movie_sentences", lambda: sentences[:64] + sentences[-64:])
    monkeypatch.setattr(demo, "split_domain", lambda domain, seed: small)


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["distilshift", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_demo_leaves_bundles_and_numbers(
    small_data: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "demo"
    assert _run(monkeypatch, "demo", "-o", str(output)) == 0
    assert "points over plain distillation" in capsys.readouterr().out
    assert sorted(path.name for path in output.iterdir()) == ["demo.json", "student", "teacher"]
    report = json.loads((output / "demo.json").read_text())
    for name in ("teacher", "plain_kd", "student"):
        row = report[name]
        assert 0 <= row["accuracy"] <= 1
        assert row["size_bytes"] > 1_000_000
        assert row["latency_ms_p50"] > 0
    assert report["gain_over_plain_kd"] == report["student"]["accuracy"] - report["plain_kd"]["accuracy"]
    assert report["seconds"] > 0
    assert report["student"]["size_bytes"] < report["teacher"]["size_bytes"]
    for verb in (["inspect", str(output / "teacher")], ["predict", str(output / "student"), "It broke after a week."]):
        assert _run(monkeypatch, *verb) == 0
