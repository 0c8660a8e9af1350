"""Which class shares adaptation expects: given, estimated with care, or uniform."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from distilshift.bundle import Statistics
from distilshift.calibration import source_statistics
from distilshift.errors import ConfigError
from distilshift.metrics import softmax
from distilshift.target_prior import TargetPrior, estimated_prior, given_prior

NAMES = ["negative", "positive"]


def drawn(texts: int, shares: list[float], seed: int, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are the true log-odds of Gaussian classes (priors even), and labels: a pure label shift."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), texts, p=shares)
    points = np.eye(len(shares))[labels] + rng.normal(size=(texts, len(shares))) / scale**0.5
    return (scale * points).astype(np.float32), labels


def statistics_of(classes: int = 2, texts: int = 2000, seed: int = 0) -> Statistics:
    even = [1 / classes] * classes
    return source_statistics(*drawn(texts, even, seed), even, seed)


def target(shares: list[float], texts: int = 2000, seed: int = 1, scale: float = 3.0) -> np.ndarray:
    return softmax(drawn(texts, shares, seed, scale)[0] / statistics_of(len(shares)).temperature)


def test_statistics_by_hand():
    """Three of four right; even log-odds of 1, 2, 3 and 4 times the temperature's inverse."""
    logits = np.array([[1, 0], [0, 2], [3, 0], [0, 4]], np.float32)
    found = source_statistics(logits, np.array([1, 1, 0, 1]), [0.25, 0.75], 0)
    assert found.validation_confusion == [[1, 0], [1, 2]]
    assert (found.class_prior, found.validation_accuracy) == ([0.25, 0.75], 0.75)
    odds = np.arange(1, 5) / found.temperature
    sure = 1 / (1 + np.exp(-odds))
    assert found.validation_confidence == pytest.approx(sure.mean(), abs=1e-7)  # logits are float32
    second = sure[1]  # three texts reach its score, as many as are right
    entropy = -(second * np.log(second) + (1 - second) * np.log(1 - second))
    assert found.atc_threshold == pytest.approx(-entropy, abs=1e-7)
    assert len(found.atc_thresholds) == 40
    assert found.atc_thresholds == sorted(found.atc_thresholds)
    assert found == source_statistics(logits, np.array([1, 1, 0, 1]), [0.25, 0.75], 0)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("0.3,0.7", (0.3, 0.7)),
        ("positive=0.7, negative=0.3", (0.3, 0.7)),
        ("negative=.3,positive=.7", (0.3, 0.7)),
        ("0.333,0.666", (1 / 3, 2 / 3)),
        ("uniform", (0.5, 0.5)),
    ],
)
def test_shares_are_read_in_order_or_by_name(text: str, shares: tuple[float, float]):
    assert given_prior(text, NAMES).shares == pytest.approx(shares, abs=1e-3)
    assert sum(given_prior(text, NAMES).shares) == pytest.approx(1, abs=1e-12)


def test_auto_is_not_given():
    assert given_prior("auto", NAMES) is None
    assert given_prior("uniform", NAMES).origin == "uniform"
    assert given_prior("0.3,0.7", NAMES).origin == "given"


@pytest.mark.parametrize(
    "text",
    [
        *("", "Auto", "0.3", "0.3,0.7,0", "0.3,0.8", "0,1", "-0.5,1.5", "nan,nan", "inf,0.5", "a,b"),
        *("negative=0.3,neutral=0.7", "negative=0.3,0.7", "negative=0.3,negative=0.7", "30,70", "0.3;0.7"),
    ],
)
def test_other_shares_are_refused(text: str):
    with pytest.raises(ConfigError, match=r"target_prior .* expected auto, uniform, or .*negative=0.5,positive=0.5"):
        given_prior(text, NAMES)


@pytest.mark.parametrize("classes", range(2, 13))
def test_the_example_of_the_refusal_is_accepted(classes: int):
    names = [f"class {index}" for index in range(classes)]
    for each in (names, [f"yes, {name}" for name in names]):
        with pytest.raises(ConfigError) as refused:
            given_prior("much", each)
        example = str(refused.value).split("write it as ")[1]
        assert given_prior(example, each).shares == pytest.approx([1 / classes] * classes, abs=1e-9)
        rounded = ",".join(f"{1 / classes:.2f}" for _ in names)
        assert given_prior(rounded, each).shares == pytest.approx([1 / classes] * classes, abs=1e-9)


def test_a_balanced_target_keeps_uniform_shares():
    found = estimated_prior(target([0.5, 0.5]), statistics_of())
    assert (found.shares, found.origin) == ((0.5, 0.5), "uniform")
    assert "within the margin" in found.reason


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_a_label_shift_moves_the_shares_its_way_and_not_all_of_it(share: float):
    found = estimated_prior(target([1 - share, share]), statistics_of())
    assert found.origin == "estimated"
    margin = 0.05 + 2 * 2000**-0.5
    expected = 0.5 + (abs(share - 0.5) - margin) * np.sign(share - 0.5)
    assert found.shares[1] == pytest.approx(expected, abs=0.03)
    assert sum(found.shares) == pytest.approx(1, abs=1e-12)


def test_three_classes():
    found = estimated_prior(target([0.7, 0.2, 0.1]), statistics_of(3))
    assert found.origin == "estimated"
    assert found.shares[0] > 0.5 > 1 / 3 > found.shares[1] > found.shares[2] > 0
    assert estimated_prior(target([1 / 3] * 3), statistics_of(3)).shares == (1 / 3,) * 3


def test_doubt_leaves_uniform_shares():
    shifted, known = target([0.2, 0.8]), statistics_of()
    assert estimated_prior(shifted, known).origin == "estimated"  # without the doubts below
    old = Statistics(known.class_prior, known.validation_confusion, known.validation_accuracy, known.temperature)
    doubts = {
        "no statistics": (shifted, None),
        "has no statistics": (shifted, old),
        "fewer than 50 texts": (shifted[:49], known),
        "was validated on 20 texts": (
            shifted,
            dataclasses.replace(known, validation_confusion=[[8, 2], [2, 8]]),
        ),
        "source lacks a class": (shifted, dataclasses.replace(known, class_prior=[0.0, 1.0])),
        "too little": (shifted, dataclasses.replace(known, validation_confusion=[[500, 500], [500, 500]])),
        "mean confidence is -": (target([0.2, 0.8], scale=1.5), known),
        "mean confidence is +": (target([0.2, 0.8], scale=9.0), known),
        "apart": (shifted, dataclasses.replace(known, validation_confusion=[[550, 450], [450, 550]])),
    }
    for words, (probabilities, statistics) in doubts.items():
        found = estimated_prior(probabilities, statistics)
        assert found.shares == (0.5, 0.5), words
        assert words in found.reason


def test_few_texts_move_less():
    many, few = (estimated_prior(target([0.1, 0.9], texts), statistics_of()) for texts in (2000, 100))
    assert 0.5 <= few.shares[1] < many.shares[1]


def test_a_prior_survives_json():
    found = estimated_prior(target([0.2, 0.8]), statistics_of())
    assert TargetPrior.from_json(json.loads(json.dumps(dataclasses.asdict(found)))) == found
