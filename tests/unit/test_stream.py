"""The runtime: any number of texts in constant memory, in order, whatever their lengths; nothing of PyTorch."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from distilshift import Predictor, network
from distilshift.errors import DataError
from distilshift.network import RUN_TOKENS, Network
from distilshift.types import Example
from forged import reseal

START = """
import sys
from distilshift import Predictor
Predictor.load(sys.argv[1]).predict(["good film"])
print(*sorted(sys.modules))
"""


def texts(number: int) -> Iterator[str]:
    """Texts of 1 to 20 words, never two alike in a row."""
    for index in range(number):
        yield " ".join(["good", "awful", "film"][index % 3] for _ in range(1 + index * 7 % 20))


def memory_of(predictor: Predictor, number: int) -> tuple[int, int]:
    """Python's own peak in bytes, and the process's growth, over a stream."""
    before = psutil.Process().memory_info().rss
    tracemalloc.start()
    assert sum(1 for _ in predictor.stream(texts(number))) == number
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak, psutil.Process().memory_info().rss - before


def test_a_long_stream_takes_no_more_memory_than_a_short_one(student_bundle: Path):
    predictor = Predictor.load(student_bundle)
    few, _ = memory_of(predictor, 1_000)
    many, growth = memory_of(predictor, 10_000)
    assert few > 50_000  # something was measured
    assert many < 1.2 * few
    assert growth < 20e6


def test_a_stream_reads_no_further_than_it_must(student_bundle: Path):
    endless = ("good film" for _ in itertools.count())
    found = list(itertools.islice(Predictor.load(student_bundle).stream(endless, batch_size=2), 5))
    assert [example.text for example, _ in found] == ["good film"] * 5


def test_a_stream_takes_texts_pairs_and_examples_in_order(student_bundle: Path, tmp_path: Path):
    bundle = tmp_path / "of-nobody-knows-what"
    shutil.copytree(student_bundle, bundle)
    reseal(bundle, config={})  # as of a checkpoint that was imported, which may label either
    predictor = Predictor.load(bundle)
    mixed = ["good film", ("awful", "plot"), Example("sad"), Example("", problem="it is blank")]
    found = list(predictor.stream(mixed))
    assert [example.text for example, _ in found] == ["good film", "awful", "sad", ""]
    assert found[1][0].pair == "plot"
    expected = predictor.predict(["good film", ("awful", "plot"), "sad"])
    assert [prediction and prediction.label for _, prediction in found] == [*(each.label for each in expected), None]


def test_one_text_is_not_many_characters(student_bundle: Path):
    predictor = Predictor.load(student_bundle)
    for read in (predictor.predict, predictor.probabilities, lambda text: list(predictor.stream(text))):
        with pytest.raises(DataError, match=r"expected a list of texts, got a str\. Fix: pass \[text\]"):
            read("good film")


def test_a_batch_of_long_texts_is_run_in_parts(student_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    ran: list[int] = []
    run = Network.run

    def counting(self: Network, store: object, indices: np.ndarray) -> np.ndarray:
        ran.append(len(indices))
        return run(self, store, indices)  # type: ignore[arg-type]

    predictor = Predictor.load(student_bundle, model="fp32", max_windows=1)
    whole = predictor.probabilities(["good film " * 30] * 5 + ["sad"] * 3)
    monkeypatch.setattr(Network, "run", counting)
    monkeypatch.setattr(network, "RUN_TOKENS", 64)
    parts = predictor.probabilities(["good film " * 30] * 5 + ["sad"] * 3)
    assert ran == [2, 2, 2, 2]  # a text has 32 tokens
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    assert RUN_TOKENS >= 512


def test_a_start_loads_neither_torch_nor_what_only_other_verbs_need(student_bundle: Path):
    command = [sys.executable, "-c", START, str(student_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    loaded = set(done.stdout.split())
    assert {"numpy", "onnxruntime", "tokenizers"} <= loaded
    heavy = {"torch", "transformers", "onnx", "pydantic", "rich_click", "importlib.metadata", "sklearn", "pyarrow"}
    assert loaded & heavy == set()
