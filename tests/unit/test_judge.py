"""What a `Judge` decides by: which reading of the texts, on which scale, towards which class shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift.bundle import Statistics
from distilshift.calibration import source_statistics
from distilshift.estimates import accuracy_estimate
from distilshift.judging import NOT_ADAPTED, Judge, Judgement, signals_of
from distilshift.metrics import softmax
from distilshift.run import open_run
from distilshift.shards import Rows
from distilshift.target_prior import TargetPrior, labels_prior
from distilshift.views import Reading

LABELS = TargetPrior((0.5, 0.5), "labels", "")
TOLD = TargetPrior((0.3, 0.7), "parts", "")
GIVEN = TargetPrior((0.2, 0.8), "given", "")
TEXTS = 2000

Made = Callable[..., Judge]


def drawn(share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of two Gaussian classes, twice as sure as they are right, and labels."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(TEXTS) < share).astype(np.int64)
    margin = 2 * (3 * (2 * labels - 1) + rng.normal(size=TEXTS) * 6**0.5)
    return np.stack([-margin / 2, margin / 2], axis=1).astype(np.float32), labels


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    return source_statistics(*drawn(0.5, 0), [0.5, 0.5], 0)


@pytest.fixture
def reading() -> Reading:
    """Beginnings of 80 % positive texts; whole texts read as if half of them were, and with less certainty."""
    whole = drawn(0.5, 2)[0] / 4
    return Reading(Rows([drawn(0.8, 1)[0]]), Rows([whole]))


@pytest.fixture
def made(reading: Reading, statistics: Statistics, tmp_path: Path) -> Iterator[Made]:
    with open_run(tmp_path / "run", {}) as run:
        yield lambda **options: Judge(reading, statistics, 0, run, **options)


def said(rows: Rows, temperature: float) -> np.ndarray:
    return softmax(rows[np.arange(TEXTS)] / temperature)


def test_without_better_evidence_shares_are_those_of_the_labels_of_whole_texts(
    reading: Reading, statistics: Statistics, tmp_path: Path
):
    assert abs(statistics.temperature - 1) > 0.5
    leaning = Rows([reading.whole[np.arange(TEXTS)] + np.array([0, 1], np.float32)])
    with open_run(tmp_path / "run", {}) as run:
        prior = Judge(Reading(reading.beginnings, leaning), statistics, 0, run).prior()
    assert prior.origin == "labels"
    np.testing.assert_allclose(prior.shares, labels_prior(said(leaning, statistics.temperature)).shares, atol=1e-9)
    other = labels_prior(said(reading.beginnings, statistics.temperature))
    assert np.abs(np.subtract(other.shares, prior.shares)).max() > 0.005


def test_three_classes_are_not_told_by_parts(statistics: Statistics, tmp_path: Path):
    logits = Rows([np.random.default_rng(0).normal(size=(TEXTS, 3)).astype(np.float32)])
    with open_run(tmp_path / "run", {}) as run:
        assert Judge(Reading(logits, logits), statistics, 0, run).prior().origin == "labels"


def test_an_adapted_teacher_and_what_opinions_say_are_decided_apart(made: Made, reading: Reading):
    """In one run, the teacher first: its refusal does not stand for that of the labels, nor theirs for its."""
    judge = made()
    opposite = Reading(*(Rows([-each[np.arange(TEXTS)]]) for each in (reading.beginnings, reading.whole)))
    assert judge.judge(opposite, LABELS).adaptation == "refused"
    assert judge.judge_opinion(reading.whole, LABELS).adaptation == "accepted"
    again = made()
    assert again.judge(reading, LABELS).adaptation == "refused"  # as the run has it
    assert again.judge_opinion(opposite.whole, LABELS).adaptation == "accepted"


def test_an_opinion_is_compared_with_what_the_teacher_said(made: Made, reading: Reading, statistics: Statistics):
    revised = drawn(0.5, 2)[0] / 4
    revised[: TEXTS // 10] *= -1  # other labels for a tenth
    decision = made().judge_opinion(Rows([revised]), LABELS).decision
    assert decision is not None
    assert decision.agreement == pytest.approx(0.9)
    wanted = accuracy_estimate(said(reading.beginnings, statistics.temperature), statistics)
    other = accuracy_estimate(said(reading.whole, statistics.temperature), statistics)
    assert wanted is not None
    assert other is not None
    assert abs(wanted.accuracy - other.accuracy) > 0.05
    assert decision.unadapted.estimated_accuracy == pytest.approx(wanted.accuracy)


def test_an_adapted_teacher_is_compared_by_both_readings(made: Made, reading: Reading, statistics: Statistics):
    adapted = Reading(Rows([1.5 * reading.beginnings[np.arange(TEXTS)]]), Rows([2 * reading.whole[np.arange(TEXTS)]]))
    decision = made().judge(adapted, LABELS).decision
    assert decision is not None
    assert decision.agreement == 1.0
    wanted = accuracy_estimate(said(adapted.beginnings, statistics.temperature), statistics)
    assert wanted is not None
    assert decision.adapted.estimated_accuracy == pytest.approx(wanted.accuracy)
    assert decision.adapted.information > decision.unadapted.information


@pytest.mark.parametrize(
    ("prior", "options", "shares"),
    [
        (LABELS, {}, None),
        (None, {}, None),
        (TOLD, {}, TOLD.shares),
        (None, {"given": GIVEN}, GIVEN.shares),
        (GIVEN, {"given": GIVEN}, GIVEN.shares),
    ],
)
def test_shares_are_known_where_they_were_given_or_told(
    made: Made, prior: TargetPrior | None, options: dict[str, Any], shares: tuple[float, ...] | None
):
    judgement = Judgement("accepted", "", prior) if prior else NOT_ADAPTED
    found = made(**options).known_shares(judgement)
    assert (found if found is None else tuple(found)) == shares


def test_signals_are_differences_of_calibrated_probabilities_of_texts_that_were_read():
    parts = np.array([[[0, 2], [1, 0]], [[np.nan] * 2] * 2, [[0, -4], [0, 0]]], np.float32)
    wanted = np.tanh(np.array([[2, -1], [-4, 0]]) / 2 / 2)  # temperature 2: 2 p - 1 = tanh(margin / 4)
    np.testing.assert_allclose(signals_of(parts, 2.0), wanted, atol=1e-7)
