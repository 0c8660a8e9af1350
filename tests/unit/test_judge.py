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
from distilshift.priors import bbse_prior, em_prior
from distilshift.run import open_run
from distilshift.shards import Rows
from distilshift.target_prior import MARGIN, TargetPrior, estimated_prior
from distilshift.views import Reading

UNIFORM = TargetPrior((0.5, 0.5), "uniform", "")
UNCLEAR = TargetPrior((0.5, 0.5), "unclear", "")
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


def test_class_shares_are_estimated_from_the_beginnings_on_the_calibrated_scale(
    made: Made, reading: Reading, statistics: Statistics
):
    assert abs(statistics.temperature - 1) > 0.5
    prior = made().prior()
    wanted = estimated_prior(said(reading.beginnings, statistics.temperature), statistics)
    assert prior.origin == wanted.origin == "estimated"
    assert prior.shares == pytest.approx(wanted.shares, abs=1e-9)
    assert estimated_prior(said(reading.whole, statistics.temperature), statistics).origin == "uniform"


def test_an_estimate_is_the_mean_of_two_less_the_margin(reading: Reading, statistics: Statistics):
    probabilities = said(reading.beginnings, 0.85 * statistics.temperature)  # surer, which moves one of the two
    confusion = np.array(statistics.validation_confusion)
    counted = bbse_prior(probabilities.argmax(axis=1), confusion, np.full(2, 0.5)).prior[1]
    likeliest = em_prior(probabilities, np.full(2, 0.5)).prior[1]
    assert abs(counted - likeliest) > 0.005
    distance, margin = (counted + likeliest) / 2 - 0.5, MARGIN + 2 * TEXTS**-0.5
    assert estimated_prior(probabilities, statistics).shares[1] == pytest.approx(0.5 + distance - margin, abs=1e-9)


def test_an_opinion_is_compared_with_what_the_teacher_said(made: Made, reading: Reading, statistics: Statistics):
    revised = drawn(0.5, 2)[0] / 4
    revised[: TEXTS // 10] *= -1  # other labels for a tenth
    decision = made().judge_opinion(Rows([revised]), UNIFORM).decision
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
    decision = made().judge(adapted, UNIFORM).decision
    assert decision is not None
    assert decision.agreement == 1.0
    wanted = accuracy_estimate(said(adapted.beginnings, statistics.temperature), statistics)
    assert wanted is not None
    assert decision.adapted.estimated_accuracy == pytest.approx(wanted.accuracy)
    assert decision.adapted.information > decision.unadapted.information


@pytest.mark.parametrize(
    ("prior", "options", "shares"),
    [
        (UNIFORM, {}, None),
        (UNCLEAR, {}, None),
        (None, {}, None),
        (TOLD, {}, TOLD.shares),
        (None, {"given": GIVEN}, GIVEN.shares),
        (UNIFORM, {"given": UNIFORM}, UNIFORM.shares),
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
