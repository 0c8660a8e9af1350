"""An adapted teacher beside the one as it came: what a student of method second-opinion learns from the two."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from applicable import applicable
from distilshift import adapt, gate, judging, learning, pipeline, second_opinion
from distilshift.bundle import read_manifest
from distilshift.card import earlier_wording, verdict_sentence
from distilshift.encoder import Classifier, scale_logits
from distilshift.metrics import softmax
from distilshift.second_opinion import average_teachers
from distilshift.shards import Rows
from distilshift.student_bundle import Distilled

OPTIONS: dict[str, Any] = {"student_layers": 1, "distil_epochs": 1, "spans": 0, "precision": "fp32"}
TEXTS = 120

Made = Callable[..., Distilled]


@pytest.fixture
def made(teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A function that runs `adapt` up to the export, and gives what would be exported."""
    found: list[Distilled] = []

    def keep(folder: Path, each: Distilled, *_: Any) -> None:
        found.append(each)
        raise KeyboardInterrupt

    def run(name: str, **options: Any) -> Distilled:
        with pytest.raises(KeyboardInterrupt):
            adapt(teacher_bundle, target_file, tmp_path / name, **applicable(OPTIONS | options))
        return found.pop()

    monkeypatch.setattr(pipeline, "write_student", keep)
    return run


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny teacher is too sure of its texts, and has too few, to pass as a real one."""
    monkeypatch.setattr(gate, "_unfit_target", lambda *_: iter(()))


@pytest.fixture
def collapsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adaptation that gives all texts one class."""

    def collapse(teacher: Classifier, *_: Any) -> None:
        teacher.model.classifier.bias.data[1] += 50

    monkeypatch.setattr(pipeline, "adapt_teacher", collapse)


def learned(each: Distilled) -> np.ndarray:
    return each.whole.targets(np.arange(TEXTS)).numpy()


def margins(logits: np.ndarray) -> np.ndarray:
    return logits[:, 1] - logits[:, 0]


def drawn(seed: int, classes: int = 3) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(50, classes)) + np.arange(classes)
    return logits - logits.mean(axis=1, keepdims=True)


def spread(logits: np.ndarray) -> float:
    return float((logits - logits.mean(axis=0)).std())


def averaged(own: np.ndarray, other: np.ndarray, weight: float) -> np.ndarray:
    return average_teachers(Rows([own.astype(np.float32)]), Rows([other.astype(np.float32)]), weight)


@given(st.floats(0.1, 50), st.floats(-20, 20), st.floats(0, 1), st.integers(0, 100))
def test_teachers_count_by_their_weight_and_not_by_how_sure_they_are(
    sureness: float, offset: float, weight: float, seed: int
):
    own, other = drawn(seed), drawn(seed + 1)
    found = averaged(own, sureness * other + offset, weight)
    np.testing.assert_allclose(found, (1 - weight) * own + weight * spread(own) / spread(other) * other, atol=1e-3)


def test_without_weight_one_teacher_is_heard_and_with_all_of_it_the_other():
    own, other = drawn(0), 7 * drawn(1)
    np.testing.assert_allclose(averaged(own + 3, other, 0.0), own, atol=1e-6)
    alone = averaged(own, other, 1.0)
    assert spread(alone) == pytest.approx(spread(own), rel=1e-5)
    assert (alone.argmax(axis=1) == other.argmax(axis=1)).all()


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_a_teacher_that_says_the_same_of_all_texts_is_not_heard(weight: float):
    own, same = drawn(0), np.tile([-25.0, 0.3, 24.7], (50, 1))
    np.testing.assert_allclose(averaged(own, same, weight), own, atol=1e-6)
    np.testing.assert_allclose(averaged(own, 0 * same, weight), own, atol=1e-6)


@pytest.mark.parametrize("weight", [0.2, 0.4])
def test_what_an_adapted_teacher_says_is_in_the_labels(made: Made, monkeypatch: pytest.MonkeyPatch, weight: float):
    """One that has come to say the opposite, ten times as surely."""
    plain = learned(made("plain", method="none"))
    monkeypatch.setattr(pipeline, "adapt_teacher", lambda teacher, *_: scale_logits(teacher.model, -10.0))
    found = learned(made("adapted", gate=False, adapted_weight=weight))
    np.testing.assert_allclose(margins(found), (1 - 2 * weight) * margins(plain), atol=1e-4)


@pytest.mark.usefixtures("fit")
@pytest.mark.parametrize("given_", ["auto", "0.3,0.7"])
def test_only_known_class_shares_are_given_to_the_labels(
    made: Made, teacher_bundle: Path, monkeypatch: pytest.MonkeyPatch, given_: str
):
    """Adaptation expects the others, too; it learns the texts alone, without spans."""
    statistics = read_manifest(teacher_bundle).statistics
    assert statistics is not None
    asked: list[Any] = []
    monkeypatch.setattr(pipeline, "adapt_teacher", lambda *args: asked.append((args[2], args[5])))
    found = made("s", target_prior=given_, spans=1)
    ((config, shares),) = asked
    assert (config.method, config.spans) == ("shot-im", 0)
    assert found.judgement.prior is not None
    np.testing.assert_allclose(shares, found.judgement.prior.shares)
    assert found.judgement.prior.known == (given_ != "auto")
    if given_ == "auto":
        plain = learned(made("plain", method="none"))
        np.testing.assert_allclose(margins(learned(found)), margins(plain), atol=1e-4)
    else:
        np.testing.assert_allclose(shares, [0.3, 0.7])
        means = softmax(learned(found) / statistics.temperature).mean(axis=0)
        np.testing.assert_allclose(means, [0.3, 0.7], atol=1e-3)


@pytest.mark.usefixtures("fit", "collapsing")
def test_an_adapted_teacher_that_is_refused_has_no_say_and_the_others_have(made: Made):
    found, without = made("refused"), made("without", adapted_weight=0.0)
    assert found.judgement.adaptation == without.judgement.adaptation == "accepted"
    np.testing.assert_array_equal(learned(found), learned(without))
    told = " The adapted teacher had no say. Adaptation was refused: the adapted teacher is "
    assert told in found.judgement.reason
    assert "The adapted teacher" not in without.judgement.reason
    assert found.judgement.reason.startswith("No sign of harm: the second opinion keeps 100%")
    unseen = made("unseen", gate=False)
    assert np.abs(margins(learned(unseen)) - margins(learned(found))).max() > 1


def test_without_weight_no_teacher_adapts(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline, "adapt_teacher", lambda *_: pytest.fail("it adapted"))
    monkeypatch.setattr(judging, "decide", lambda *_: pytest.fail("the gate was asked about an adapted teacher"))
    made("s", adapted_weight=0.0)
    kept = json.loads((tmp_path / "s.run" / "journal.json").read_text())["files"]
    assert "gate" in kept
    assert not [name for name in kept if name.startswith("adapt")]


@pytest.mark.usefixtures("fit")
@pytest.mark.parametrize(
    "where", [(pipeline, "average_teachers"), (pipeline, "second_opinion"), (learning, "distil_student")]
)
def test_a_continued_run_gives_the_same(made: Made, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str]):
    options: dict[str, Any] = {"adapt_epochs": 2, "adapt_learning_rate": 1e-3}
    whole = made("whole", **options)
    with monkeypatch.context() as stopped:
        stopped.setattr(*where, _stop)
        with pytest.raises(IndexError):  # nothing came out
            made("s", **options)
    monkeypatch.setattr(judging, "decide", lambda *_: pytest.fail("it decided again"))
    monkeypatch.setattr(judging, "labels_prior", lambda *_: pytest.fail("it looked again"))
    continued = made("s", **options)
    assert continued.judgement == whole.judgement
    np.testing.assert_array_equal(learned(continued), learned(whole))
    states = [each.student.model.state_dict() for each in (continued, whole)]
    assert all((value == states[1][name]).all() for name, value in states[0].items())


@pytest.mark.usefixtures("collapsing")
def test_of_too_few_texts_no_teacher_adapts(teacher_bundle: Path, tmp_path: Path, quick_export: None):
    texts = [f"good film {number}" for number in range(30)]
    facts = adapt(teacher_bundle, texts, tmp_path / "s", **OPTIONS, force=True).summary
    assert (facts["adaptation"], facts["adapted_weight"], facts["words_weight"]) == ("none", None, None)
    assert facts["adaptation_reason"] == judging.TOO_FEW


LEARNED = "The student learned "


@pytest.mark.usefixtures("fit", "quick_export")
@pytest.mark.parametrize(
    ("options", "refused", "words", "said"),
    [
        ({}, False, 0.0, "what the teacher as it came and the adapted one say together."),
        ({}, True, 0.0, "the labels of the teacher as it came."),
        ({}, False, 0.5, "what the teacher as it came, the adapted one and the words of the texts say together."),
        ({}, True, 0.5, "what the teacher as it came and the words of the texts say together."),
        ({"adapted_weight": 0.0, "opinion_weight": 0.0}, False, 0.0, "the labels of the teacher as it came."),
        (
            {"gate": False, "adapted_weight": 0.4, "opinion_weight": 0.2},
            False,
            0.2,
            "what the teacher as it came, the adapted one and the words of the texts say together.",
        ),
    ],
)
def test_the_bundle_says_whose_labels_the_student_learned(
    teacher_bundle: Path,
    target_file: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    refused: bool,
    words: float,
    said: str,
):
    if refused:
        request.getfixturevalue("collapsing")
    if words:
        monkeypatch.setattr(second_opinion, "MIN_TEXTS", 100)
        monkeypatch.setattr(second_opinion, "MIN_CORRELATION", -1.0)
    facts = adapt(teacher_bundle, target_file, tmp_path / "s", **OPTIONS | options).summary
    assert (facts["method"], facts["adaptation"]) == ("second-opinion", "accepted")
    assert facts["adapted_weight"] == (0 if refused else options.get("adapted_weight", 0.3))
    assert facts["words_weight"] == words
    card = (tmp_path / "s" / "README.md").read_text()
    assert f"{LEARNED}{said}" in card
    assert ("The adapted teacher had no say. Adaptation was refused: " in card) == refused
    few = "Words had no say: there are 120 different texts, and 500 would be needed."
    assert (few in card) == (not words and options.get("opinion_weight", 0.5) > 0)
    assert "say so with --target-prior" in card
    assert "A small text classifier, adapted to its domain without labels" in card


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({}, "The student learnt what the teacher, as it came, and the words of the texts say together."),
        ({"words_weight": 0.5}, "The student learnt what the teacher, as it came, and the words of the texts say tog"),
        ({"words_weight": 0.0}, "The student learned the teacher's labels, moved to the expected class proportions."),
    ],
)
def test_cards_of_earlier_versions_are_known(weights: dict[str, float], said: str):
    summary = {"adaptation": "accepted", "method": "second-opinion", "feedback": None, "adaptation_reason": "So."}
    sentence = verdict_sentence(summary | weights)
    assert "adapted one" not in sentence
    assert earlier_wording(sentence).startswith(said)
