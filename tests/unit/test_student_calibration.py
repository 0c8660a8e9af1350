"""The student's confidence: fitted without labels, to what can be expected of the labels that it learned."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift import adapt
from distilshift.bundle import Statistics, read_manifest
from distilshift.inference import bundle_logits
from distilshift.metrics import softmax, temperature_of_confidence
from distilshift.student_calibration import expected_accuracy, soft_label_temperature
from distilshift.types import Example
from forged import reseal
from texts import make_texts

STATISTICS = Statistics([0.5, 0.5], [[40, 10], [10, 40]], 0.8, 2.0, validation_confidence=0.83)
OPTIONS: dict[str, Any] = {"student_layers": 1, "distil_epochs": 3, "spans": 1, "precision": "fp32"}


def logits(texts: int = 300, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (texts, classes)).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_soft_labels_is_found(temperature: float):
    labels = softmax(logits() / temperature)
    found = soft_label_temperature(logits(), np.ones(300, int), labels)
    assert found == pytest.approx(temperature, rel=1e-3)


def test_the_temperature_is_of_the_mean_over_windows():
    windows, counts = logits(300), np.tile([1, 2, 3], 50)
    sums = np.add.reduceat(softmax(windows / 0.5), np.cumsum(counts) - counts)
    assert soft_label_temperature(windows, counts, sums / counts[:, None]) == pytest.approx(0.5, rel=1e-3)


def test_disagreement_with_the_labels_costs_confidence():
    labels = softmax(logits())
    other = labels.copy()
    other[::4] = np.roll(labels[::4], 1, axis=1)
    assert soft_label_temperature(logits(), np.ones(300, int), other) > 1.5


@pytest.mark.parametrize("confidence", [0.5, 0.7, 0.95])
def test_a_mean_confidence_is_met(confidence: float):
    temperature = temperature_of_confidence(logits(), confidence)
    assert softmax(logits() / temperature).max(axis=1).mean() == pytest.approx(confidence, abs=1e-6)


def test_an_impossible_confidence_is_approached():
    assert temperature_of_confidence(logits(), 0.1) == pytest.approx(20)
    assert temperature_of_confidence(logits(), 1.0) == pytest.approx(0.05)


def test_the_expected_accuracy_is_the_difference_of_confidences():
    given = logits(classes=2)
    confidence = softmax(given / 2).max(axis=1).mean()
    assert expected_accuracy(given, STATISTICS) == pytest.approx(0.8 - (0.83 - confidence))
    plain = softmax(given).max(axis=1).mean()
    assert expected_accuracy(given, None) == pytest.approx(plain)
    # A teacher that was surer of its own domain than it was right there.
    assert expected_accuracy(100 * given, replace(STATISTICS, validation_accuracy=1.0)) == 0.99


@pytest.mark.parametrize("options", [{"method": "none"}, {"method": "shot-im", "gate": False}, {"temperature": 4.0}])
def test_a_student_is_as_sure_as_its_teacher_is_expected_to_be_right(
    teacher_bundle: Path, tmp_path: Path, quick_export: None, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
):
    """Whatever scale its labels had: those of an adapted teacher are much surer."""
    texts = [text for text, _ in make_texts(80, 11)]
    bundle = tmp_path / "teacher"
    shutil.copytree(teacher_bundle, bundle)
    known = read_manifest(bundle).statistics
    assert known is not None
    assert known.validation_confidence is not None
    # A teacher that has lost a fifth of its accuracy: confidence alone would be too high.
    doubtful = replace(known, validation_accuracy=known.validation_accuracy - 0.2)
    reseal(bundle, statistics=vars(doubtful))
    adapt(bundle, texts, tmp_path / "s", **OPTIONS | options)
    examples = [Example(text) for text in texts]
    sure, before = (
        softmax(bundle_logits(each, 32, examples, 32)).max(axis=1).mean() for each in (tmp_path / "s", bundle)
    )
    expected = doubtful.validation_accuracy - (known.validation_confidence - before)
    assert sure == pytest.approx(expected, abs=0.06)
    assert abs(before - expected) > 0.1
