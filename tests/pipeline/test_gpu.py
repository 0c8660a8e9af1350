"""On a CUDA device: the same command, the same bundle kind, and a student that learns what one on a CPU learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distilshift import Predictor, adapt, teach
from texts import make_texts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def teacher(tiny_encoder: Path, source_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher, taught on the device."""
    folder = tmp_path_factory.mktemp("gpu") / "teacher"
    result = teach(source_file, folder, base_model=str(tiny_encoder), epochs=12, learning_rate=3e-3, max_length=32)
    assert result.validation_accuracy > 0.8
    return folder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_student_adapts_on_the_device(teacher: Path, tmp_path: Path, precision: str):
    texts = [text for text, _ in make_texts(200, 3)]
    torch.cuda.reset_peak_memory_stats()
    result = adapt(teacher, texts, tmp_path / "student", student_layers=1, precision=precision)
    assert torch.cuda.max_memory_allocated() > 0
    assert result.summary["teacher_agreement"] > 0.8


def test_fp32_on_the_device_labels_as_the_cpu_does(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts = [text for text, _ in make_texts(200, 3)]
    labels = []
    for device in ("cuda", "cpu"):
        with monkeypatch.context() as patch:
            if device == "cpu":
                patch.setenv("ACCELERATE_USE_CPU", "true")
            adapt(teacher, texts, tmp_path / device, student_layers=1, precision="fp32")
        labels.append([item.label for item in Predictor.load(tmp_path / device).predict(texts)])
    assert np.mean(np.array(labels[0]) == np.array(labels[1])) > 0.95
