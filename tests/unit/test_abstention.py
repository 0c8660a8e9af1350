"""Abstention's promises: bounds hold in simulations, the curve is an aggregate, what cannot be promised is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from distilshift.abstention import LEVEL, RiskCoverage, abstention_sentence, required_confidence
from distilshift.errors import ConfigError, EstimateError
from distilshift.risk_coverage import PROMISES, confidence_grid, estimated_curve, labeled_curve, risk_p_value

Generator = np.random.Generator
ASKED = (0.8, 0.9, 0.95)


def population(generator: Generator, slope: float, size: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and the probability that each label is right; a slope under 1 is an overconfident student."""
    logits = np.abs(generator.normal(2.5, 1.5, size))
    return 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-slope * logits))


def selective_accuracy(confidences: np.ndarray, accuracy: np.ndarray, threshold: float) -> float:
    return float(accuracy[confidences >= threshold].mean())


def broken_promises(
    generator: Generator, slope: float, labels: int, draws: int, sampling: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, int]:
    """In how many draws each asked accuracy was promised and not kept, and how many promises there were at all.

    `sampling` gives each text's weight in the draw of the labeled ones.
    """
    confidences, accuracy = population(generator, slope)
    chance = sampling(confidences)
    broken, made = np.zeros(len(ASKED), int), 0
    for _ in range(draws):
        chosen = generator.choice(len(chance), labels, p=chance / chance.sum())
        right = generator.random(labels) < accuracy[chosen]
        curve = labeled_curve(confidences[chosen], right, 1 / chance[chosen], confidences[:2000])
        for place, asked in enumerate(ASKED):
            if curve.accuracy and curve.accuracy[-1] >= asked:
                made += 1
                broken[place] += selective_accuracy(confidences, accuracy, curve.threshold_for(asked)) < asked
    return broken, made


@pytest.mark.parametrize("slope", [1.0, 0.45])
@pytest.mark.parametrize("labels", [50, 200])
def test_promises_made_with_labels_hold(labels: int, slope: float):
    draws = 40
    broken, made = broken_promises(np.random.default_rng(labels), slope, labels, draws, np.ones_like)
    # 95 % of draws, and twice the standard error of so few.
    assert (broken / draws <= 1 - LEVEL + 2 * np.sqrt(0.05 * 0.95 / draws)).all()
    assert made > 0


def test_promises_hold_where_unsure_texts_are_labeled_more_often():
    """Uniform weights would be wrong here, in the safe direction; the weights give coverage back."""
    broken, made = broken_promises(np.random.default_rng(3), 1.0, 200, 25, lambda sure: 1.2 - sure)
    assert (broken / 25 <= 1 - LEVEL + 2 * np.sqrt(0.05 * 0.95 / 25)).all()
    assert made > 0


def test_promises_hold_where_sure_texts_are_labeled_more_often():
    """Without weights, the labeled texts would look more accurate than the target is."""
    broken, _ = broken_promises(np.random.default_rng(4), 0.45, 200, 25, lambda sure: (sure - 0.45) ** 3)
    assert (broken / 25 <= 1 - LEVEL + 2 * np.sqrt(0.05 * 0.95 / 25)).all()


def test_a_threshold_without_a_test_would_break_its_promise():
    """The positive control: choosing by the labeled texts' own accuracy is wrong about half of the time."""
    generator = np.random.default_rng(0)
    confidences, accuracy = population(generator, 0.45)
    broken = 0
    for _ in range(60):
        chosen = generator.integers(0, len(confidences), 100)
        right = generator.random(100) < accuracy[chosen]
        kept = [t for t in confidence_grid(confidences) if right[confidences[chosen] >= t].mean() >= 0.9]
        broken += bool(kept) and selective_accuracy(confidences, accuracy, kept[-1]) < 0.9
    assert broken > 12


@pytest.mark.parametrize(("errors", "texts", "risk", "expected"), [(0, 59, 0.05, 0.95**59), (1, 2, 0.3, 0.91)])
def test_equal_weights_give_the_exact_binomial_tail(errors: int, texts: int, risk: float, expected: float):
    assert risk_p_value(np.arange(texts) < errors, np.full(texts, 3.0), risk) == pytest.approx(expected)


def test_the_p_value_is_scipys_binomial():
    from scipy.stats import binom

    for texts, errors, risk in ((200, 11, 0.1), (40, 40, 0.2), (7, 0, 0.5)):
        found = risk_p_value(np.arange(texts) < errors, np.ones(texts), risk)
        assert found == pytest.approx(binom.cdf(errors, texts, risk))


def test_weighted_p_values_are_valid():
    """Under the null hypothesis a p-value is below a level no more often than that level."""
    generator = np.random.default_rng(0)
    weights = generator.uniform(0.2, 2.0, 5000)
    wrong_rate = np.clip(0.3 * weights, 0, 1)
    risk = float((weights * wrong_rate).sum() / weights.sum())
    found = []
    for _ in range(300):
        chosen = generator.integers(0, 5000, 80)
        found.append(risk_p_value(generator.random(80) < wrong_rate[chosen], weights[chosen], risk))
    assert np.mean(np.array(found) <= 0.1) <= 0.1
    assert risk_p_value(np.zeros(80, bool), weights[:80], risk) < 1e-3


def test_a_curve_holds_aggregates_only():
    generator = np.random.default_rng(0)
    confidences, accuracy = population(generator, 1.0, 1000)
    curve = labeled_curve(confidences[:300], generator.random(300) < accuracy[:300], np.ones(300), confidences)
    assert len(curve.accuracy) <= 20 < len(PROMISES)
    assert list(curve.accuracy) == sorted(curve.accuracy)
    assert len(curve.accuracy) == len(curve.threshold) == len(curve.answered) > 2
    assert RiskCoverage.from_json(curve.to_json()) == curve
    assert curve.threshold[0] == 0.0
    assert curve.answered[0] == 1.0


def test_more_is_promised_of_fewer():
    confidences = np.linspace(0.5, 1, 2000)
    curve = labeled_curve(confidences, confidences > 0.6, np.ones(2000), confidences)
    assert required_confidence(curve, min_accuracy=0.7) == 0.0
    assert required_confidence(curve, min_accuracy=0.99) == pytest.approx(0.6, abs=0.03)
    assert curve.answered[-1] == pytest.approx(0.8, abs=0.06)


def test_what_is_answered_is_told_of_each_promise():
    curve = RiskCoverage("labels", 100, (0.8, 0.9), (0.0, 0.7), (1.0, 0.5))
    assert [curve.answered_for(asked) for asked in (0.5, 0.8, 0.85, 0.95)] == [1.0, 1.0, 0.5, 0.0]
    sentence = abstention_sentence({"abstention": curve.to_json()})
    assert "80% right with 100% of the texts labeled, 90% right with 50%" in sentence
    assert "by labeled target texts" in sentence
    low = RiskCoverage("estimate", 100, (0.7,), (0.0,), (1.0,))
    assert "at most 70.0% could be promised" in abstention_sentence({"abstention": low.to_json()})
    none = RiskCoverage("estimate", 100, reason="there are 25 classes")
    assert "nothing of use: there are 25 classes." in abstention_sentence({"abstention": none.to_json()})
    assert abstention_sentence({}) == ""


def test_the_best_accuracy_that_an_error_names_is_promised():
    curve = RiskCoverage("estimate", 100, (0.9496,), (0.9,), (0.5,))
    with pytest.raises(ConfigError, match=r"at most 0\.949,"):
        required_confidence(curve, min_accuracy=0.95)
    assert required_confidence(curve, min_accuracy=0.949) == 0.9


def test_few_labels_promise_nothing_and_say_so():
    curve = labeled_curve(np.array([0.9, 0.8]), np.array([True, True]), np.ones(2), np.linspace(0.5, 1, 100))
    with pytest.raises(ConfigError, match=r"by 2 labeled texts, not even.*label more target texts"):
        required_confidence(curve, min_accuracy=0.9)


def test_what_is_promised_at_most_is_said():
    confidences = np.linspace(0.5, 1, 100)
    curve = labeled_curve(confidences, np.ones(100, bool), np.ones(100), confidences)
    with pytest.raises(ConfigError, match=r"accuracy of 0\.99: expected at most 0\.97"):
        required_confidence(curve, min_accuracy=0.99)


@pytest.mark.parametrize(
    ("confidences", "right", "weights"), [([], [], []), ([0.9], [True, False], [1.0]), ([0.9], [True], [0.0])]
)
def test_unusable_labels_are_refused(confidences: list[float], right: list[bool], weights: list[float]):
    with pytest.raises(EstimateError, match="labeled texts cannot be used"):
        labeled_curve(np.array(confidences), np.array(right, bool), np.array(weights), np.array([0.9]))


def logits_of(confidences: np.ndarray) -> np.ndarray:
    scores = np.log(confidences / (1 - confidences))
    return np.stack([scores, np.zeros_like(scores)], axis=1)


def test_the_estimate_supposes_the_low_end():
    confidences = np.linspace(0.51, 0.99, 400)
    curve = estimated_curve(logits_of(confidences), 0.65)
    assert curve.basis == "estimate"
    assert curve.accuracy[0] == pytest.approx(0.65, abs=1e-3)
    assert curve.threshold[0] == 0.0
    # At each threshold, the student's own chance of error 0.35 / 0.25 times.
    for accuracy, threshold in zip(curve.accuracy, curve.threshold, strict=True):
        assert 1 - accuracy == pytest.approx(0.35 / 0.25 * (1 - confidences[confidences >= threshold].mean()), rel=1e-3)


def test_an_estimate_above_the_mean_confidence_changes_nothing():
    confidences = np.linspace(0.51, 0.99, 400)
    curve = estimated_curve(logits_of(confidences), 0.9)
    assert curve.accuracy[0] == pytest.approx(confidences.mean())


@pytest.mark.parametrize("low", [None, 0.45])
def test_without_an_estimate_nothing_is_promised(low: float | None):
    curve = estimated_curve(np.zeros((10, 2)), low, None if low else "there are 25 classes")
    with pytest.raises(ConfigError, match=r"(25 classes|as low as chance).*adapt --labels.*abstain_below"):
        required_confidence(curve, min_accuracy=0.6)
    assert required_confidence(curve, abstain_below=0.6) == 0.6


def test_a_bundle_of_an_earlier_version_has_no_curve():
    with pytest.raises(ConfigError, match="stored no risk-coverage curve"):
        required_confidence(RiskCoverage.from_json(None), min_accuracy=0.6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_accuracy": 0.9, "abstain_below": 0.8}, "exclude each other"),
        ({"min_accuracy": -0.1}, "min_accuracy is out of its range"),
        ({"abstain_below": 1.1}, "abstain_below is out of its range"),
        ({"abstain_below": float("nan")}, "abstain_below is out of its range"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, float], message: str):
    with pytest.raises(ConfigError, match=message):
        required_confidence(RiskCoverage("labels", 9, (0.99,), (0.7,), (0.5,)), **options)


def test_without_options_nothing_is_withheld():
    assert required_confidence(RiskCoverage.from_json(None)) is None
