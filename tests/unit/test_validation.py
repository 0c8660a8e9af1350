"""Choosing the epoch, and statistics that do not profit from the choice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.calibration import fit_temperature, source_statistics
from distilshift.metrics import softmax
from distilshift.validation import FOLDS, Validation, folds_of, validated_statistics


def logits_of(predictions: list[int], classes: int = 2, scale: float = 4.0) -> np.ndarray:
    return scale * np.eye(classes, dtype=np.float32)[predictions]


def stacked(*epochs: np.ndarray, labels: list[int], by_macro_f1: bool = False) -> Validation:
    return Validation(np.stack(epochs), np.array(labels), by_macro_f1)


def test_the_epoch_is_chosen_by_accuracy_or_by_macro_f1():
    """Of 10 texts, one is rare: saying the majority's label is right 9 times; finding the rare one costs two errors."""
    labels = [0] * 9 + [1]
    majority, finder = logits_of([0] * 10), logits_of([1, 1] + [0] * 7 + [1])
    assert stacked(finder, majority, labels=labels).best_epoch() == 1
    assert stacked(finder, majority, labels=labels, by_macro_f1=True).best_epoch() == 0


def test_the_first_of_equal_epochs_is_chosen_and_the_likeliest_of_unequal_classes():
    labels = [0] * 9 + [1]
    unsure, sure = logits_of([0] * 10, scale=1.0), logits_of([0] * 10, scale=2.0)
    assert stacked(unsure, sure, labels=labels).best_epoch() == 0
    assert stacked(unsure, sure, labels=labels, by_macro_f1=True).best_epoch() == 1
    assert stacked(sure, sure, labels=labels, by_macro_f1=True).best_epoch() == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_folds_spread_each_class(labels: list[int], seed: int):
    folds = folds_of(np.array(labels), seed)
    count = min(FOLDS, len(labels))
    assert set(folds) == set(range(count))
    for each in set(labels):
        sizes = np.bincount(folds[np.array(labels) == each], minlength=count)
        assert sizes.max() - sizes.min() <= 1


def test_statistics_of_one_epoch_are_nearly_those_of_its_logits():
    """Nothing is chosen but the temperature."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    logits = (2.0 * np.eye(2)[labels] + rng.normal(size=(500, 2))).astype(np.float32)
    found = validated_statistics(Validation(logits[None], labels, False), [300, 100], 0)
    plain = source_statistics(logits, labels, [0.75, 0.25], 0)
    assert (found.class_prior, found.class_counts) == ([0.75, 0.25], [300, 100])
    assert (found.validation_confusion, found.macro_f1) == (plain.validation_confusion, plain.macro_f1)
    assert found.temperature == pytest.approx(plain.temperature, rel=0.002)
    assert found.validation_confidence == pytest.approx(plain.validation_confidence, abs=0.0005)
    assert found.atc_threshold == pytest.approx(plain.atc_threshold, abs=0.002)


def noise(epochs: int, texts: int, rng: np.random.Generator) -> Validation:
    """Equally good epochs that differ by chance alone: each is right for 70 % of the texts, independently."""
    labels = rng.integers(0, 2, texts)
    right = rng.random((epochs, texts)) < 0.7
    predictions = np.where(right, labels, 1 - labels)
    sure = rng.uniform(0.5, 2.0, (epochs, texts, 1))
    return Validation((sure * np.eye(2)[predictions]).astype(np.float32), labels, False)


def test_the_statistics_do_not_profit_from_the_choice_of_the_epoch():
    """The largest accuracy of 8 equal epochs is far above 0.7; what is kept is not."""
    rng = np.random.default_rng(0)
    found, naive, differences = [], [], []
    for _ in range(100):
        validation, new = noise(8, 60, rng), noise(1, 1000, rng)
        chosen = validation.logits[validation.best_epoch()]
        naive.append(np.mean(chosen.argmax(axis=1) == validation.labels))
        found.append(validated_statistics(validation, [30, 30], 0))
        sure = softmax(new.logits[0] / found[-1].temperature).max(axis=1).mean()
        differences.append(found[-1].validation_confidence - sure)
    assert np.mean(naive) > 0.77
    for name in ("validation_accuracy", "balanced_accuracy"):
        assert np.mean([getattr(each, name) for each in found]) == pytest.approx(0.7, abs=0.025)
    assert np.mean([sum(each.class_recall) / 2 for each in found]) == pytest.approx(0.7, abs=0.025)
    assert np.mean(differences) == pytest.approx(0, abs=0.02)


def test_the_temperature_does_not_profit_from_the_choice_either():
    """Fitted on the texts that chose the epoch, it would make the model too sure."""
    rng = np.random.default_rng(1)
    naive, found = [], []
    for _ in range(60):
        validation = noise(8, 60, rng)
        naive.append(fit_temperature(validation.logits[validation.best_epoch()], validation.labels))
        found.append(validated_statistics(validation, [30, 30], 0).temperature)
    whole = noise(1, 20_000, rng)
    true = fit_temperature(whole.logits[0], whole.labels)
    assert abs(np.log(np.median(found) / true)) < abs(np.log(np.median(naive) / true)) / 2


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 1, 2], [1, 1, 1]])
def test_few_validation_texts_are_enough(labels: list[int]):
    logits = np.random.default_rng(0).normal(size=(3, len(labels), 3)).astype(np.float32)
    found = validated_statistics(Validation(logits, np.array(labels), True), [1, 1, 1], 0)
    assert np.sum(found.validation_confusion) == len(labels)
    assert all(value is None for name, value in enumerate(found.class_recall or []) if name not in labels)
