"""The gate: a sound adaptation passes, and each kind of harm is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest

from distilshift import gate
from distilshift.bundle import Statistics
from distilshift.calibration import source_statistics
from distilshift.errors import EstimateError
from distilshift.estimates import METHOD_ERROR, accuracy_estimate, confidence_estimate, student_estimate
from distilshift.gate import GateDecision, decide, decide_labels, unfit_target
from distilshift.target_facts import Target
from distilshift.target_prior import TargetPrior, given_prior

UNIFORM = TargetPrior((0.5, 0.5), "labels", "")


def rows(log_odds: np.ndarray) -> np.ndarray:
    """Probabilities of two classes from the log-odds of the second."""
    second = 1 / (1 + np.exp(-log_odds))
    return np.column_stack([1 - second, second])


def teachers(
    texts: int = 1000, share: float = 0.5, bias: float = 0.0, signal: float = 1.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A teacher that is off by a bias, and one that adaptation has made surer and freed of it: log-odds of both."""
    rng = np.random.default_rng(seed)
    labels = rng.random(texts) < share
    own = signal * (2 * labels - 1) + rng.normal(size=texts)
    return own + bias, 2.5 * (own + 0.3 * rng.normal(size=texts))


def known(seed: int = 3) -> Statistics:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 400)
    logits = np.zeros((400, 2), np.float32)
    logits[:, 1] = 1.5 * (2 * labels - 1) + rng.normal(size=400)
    return source_statistics(logits, labels, [0.5, 0.5], 0)


def reason(before: np.ndarray, after: np.ndarray, prior: TargetPrior = UNIFORM) -> str:
    """Why an adaptation was refused, with statistics or without; empty where it was not."""
    decision = decide(rows(before), rows(after), prior, None)
    assert decision.reason.startswith("Adaptation was refused: ") == (decision.chosen == "unadapted")
    if decision.chosen == "unadapted":
        assert decide(rows(before), rows(after), prior, known()).chosen == "unadapted"
        return decision.reason
    return ""


@pytest.mark.parametrize("bias", [-0.8, 0.0, 0.8])
def test_a_sound_adaptation_is_used(bias: float):
    before, after = teachers(bias=bias)
    decision = decide(rows(before), rows(after), UNIFORM, known())
    assert decision.chosen == "adapted"
    assert decision.agreement == np.mean((before > 0) == (after > 0)) > 0.75
    assert decision.adapted.information > decision.unadapted.information
    assert decision.adapted.drift < 0.05
    assert decision.unadapted.shares[1] == np.mean(before > 0)
    low, high = decision.unadapted.estimated_accuracy_interval
    assert low <= decision.unadapted.estimated_accuracy <= high


def test_without_statistics_no_accuracy_is_estimated():
    before, after = teachers()
    decision = decide(rows(before), rows(after), UNIFORM, None)
    assert decision.chosen == "adapted"
    assert decision.adapted.estimated_accuracy is decision.unadapted.estimated_accuracy_interval is None
    assert accuracy_estimate(rows(before), None) is None
    assert accuracy_estimate(rows(before), dataclasses.replace(known(), atc_threshold=None)) is None


def test_a_decision_survives_json():
    before, after = teachers()
    for statistics in (known(), None):
        decision = decide(rows(before), rows(after), UNIFORM, statistics)
        assert GateDecision.from_json(json.loads(json.dumps(dataclasses.asdict(decision)))) == decision


@pytest.mark.parametrize("distinct", [1, 30, 49])
def test_copies_of_a_few_texts_are_too_few(distinct: int):
    before, after = (rows(side) for side in teachers())
    decision = decide(before, after, UNIFORM, None, target=Target(distinct))
    assert f"there are {distinct} different texts, fewer than 50" in decision.reason
    assert "there are" in decide_labels(before, after, UNIFORM, None, "It", target=Target(distinct)).reason
    assert decide(before, after, UNIFORM, None, target=Target(50)).chosen == "adapted"


@pytest.mark.parametrize("decimals", [0, 1])
def test_hard_and_coarse_predictions_are_no_sign_of_too_few_texts(decimals: int):
    """As a language model gives them: of 1,000 texts, no more than eleven different rows."""
    before, after = (rows(side) for side in teachers())
    coarse = np.round(before, decimals)
    assert len(np.unique(coarse, axis=0)) <= 11
    assert decide_labels(coarse, after, UNIFORM, None, "It", target=Target(500)).chosen == "adapted"


def test_a_teacher_that_says_the_same_of_all_texts_tells_nothing():
    assert "next to nothing" in reason(np.full(1000, 2.0), np.full(1000, 4.0))


def test_texts_of_unknown_pieces_are_unfit():
    before, after = (rows(side) for side in teachers())
    decision = decide(before, after, UNIFORM, None, target=Target(500, unknown_share=0.6))
    assert "60% of the word pieces are unknown" in decision.reason


def test_the_sign_of_an_unfit_target_is_had_alone():
    before, _ = teachers()
    assert unfit_target(rows(before), None, known(), Target(500)) is None
    assert "different texts" in str(unfit_target(rows(before), None, known(), Target(49)))
    assert "next to nothing" in str(unfit_target(rows(before + 9), None, None, Target(500)))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_class_only_is_refused(share: float):
    before, after = teachers(share=share, signal=2.5)
    assert "one class" in reason(before, after)
    assert "one class" in reason(before, after - np.median(after))  # forced to halves
    told_nothing = TargetPrior((0.15, 0.85) if share else (0.85, 0.15), "labels", "")
    assert "one class" in reason(before, after, told_nothing)


def test_one_class_that_a_weak_teacher_sees_as_two_is_not_torn_apart():
    """85 % look positive; adaptation to uniform shares makes it half and half."""
    before, after = teachers(share=1.0, signal=1.0)
    assert 0.8 < np.mean(before > 0) < 0.9
    assert "class shares moved by" in reason(before, after - np.median(after))


def test_shares_that_the_user_gave_are_trusted():
    before, after = teachers(share=0.95, signal=2.5)
    assert "one class" in reason(before, after)
    assert reason(before, after, TargetPrior((0.05, 0.95), "given", "")) == ""
    uniform = given_prior("uniform", ["negative", "positive"])
    assert uniform is not None
    assert "one class" not in reason(before, after - np.median(after), uniform)


def test_noise_and_another_language_are_refused():
    rng = np.random.default_rng(0)
    flat = 1.0 + 0.2 * rng.normal(size=1000)  # much the same of every text
    assert "next to nothing" in reason(flat, 8 * (flat - 1.0))
    unsure = 0.2 * rng.normal(size=1000)  # in doubt about every text
    assert "next to nothing" in reason(unsure, 20 * unsure)


def test_a_teacher_next_to_chance_is_refused():
    before, after = teachers(signal=0.0)
    before = 0.7 * before
    strict = dataclasses.replace(known(), atc_threshold=-0.01, atc_thresholds=[-0.01])
    assert decide(rows(before), rows(after), UNIFORM, strict).reason.endswith("is next to chance.")


def test_collapse_onto_one_class_is_refused():
    before, _ = teachers()
    assert "from the expected class shares" in reason(before, before + 8)
    assert "from the expected class shares" in reason(before, before - 8)


def test_a_class_that_vanishes_is_refused():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 2000)
    logits = 3 * np.eye(5)[labels] + rng.normal(size=(2000, 5))
    before = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sharper = np.exp(3 * logits)
    fine, lost = (values / values.sum(axis=1, keepdims=True) for values in (sharper, sharper * [1, 1, 1, 1, 1e-12]))
    uniform = TargetPrior((0.2,) * 5, "labels", "")
    assert decide(before, fine, uniform, None).chosen == "adapted"
    was = np.mean(before.argmax(axis=1) == 4)
    assert f"class 4 went from {was:.0%} of the texts to 0%" in decide(before, lost, uniform, None).reason
    named = decide(before, lost, uniform, None, target=Target(500, ("a", "b", "c", "d", "late parcel")))
    assert f"refused: 'late parcel' went from {was:.0%} of the texts to 0%" in named.reason


def test_other_labels_for_too_many_texts_are_refused():
    before, after = teachers()
    swapped = np.random.default_rng(1).permutation(after)
    assert "same label to" in reason(before, swapped)
    assert "same label to" in reason(before, -after)


def test_an_adaptation_that_tells_less_is_refused():
    before, _ = teachers()
    assert "tells less of the class" in reason(before, before / 2)


def test_two_teachers_of_other_texts_are_an_error():
    before, after = teachers()
    with pytest.raises(EstimateError, match="predictions of other texts"):
        decide(rows(before), rows(after)[:-1], UNIFORM, None)
    with pytest.raises(EstimateError, match="not probabilities"):
        decide(rows(before), 2 * rows(after), UNIFORM, None)


def test_the_order_of_the_texts_does_not_matter():
    before, after = teachers()
    order = np.random.default_rng(2).permutation(len(before))
    first, second = (decide(rows(before[o]), rows(after[o]), UNIFORM, None) for o in (slice(None), order))
    assert first.chosen == second.chosen
    assert first.unadapted.density == pytest.approx(second.unadapted.density, abs=1e-9)


def test_the_interval_of_the_estimate_by_hand():
    """Validation: 0.8 of 100 texts right. Target: 0.1 less sure, which 2 texts say."""
    statistics = Statistics([0.5, 0.5], [[40, 10], [10, 40]], 0.8, 1.0, validation_confidence=0.9)
    found = confidence_estimate(np.array([[0.7, 0.3], [0.1, 0.9]]), statistics)
    spread = np.hypot(1.959964 * np.sqrt(0.8 * 0.2 / 100 + 0.01 / 2), METHOD_ERROR)
    assert found.accuracy == pytest.approx(0.7)
    assert (found.low, found.high) == pytest.approx((0.7 - spread, 0.7 + spread), abs=1e-6)


def test_the_students_estimate_is_its_teachers_within_what_their_labels_allow():
    before, after = teachers()
    statistics = known()
    anchor = confidence_estimate(rows(before), statistics)
    apart = np.mean((before > 0) != (after > 0))
    assert apart > 0.01
    for sureness in (0.01, 1, 10):  # of which nothing depends
        found = student_estimate(rows(sureness * after), rows(before), statistics)
        assert found.accuracy == anchor.accuracy
        assert found.low == pytest.approx(anchor.low - apart, abs=1e-12)
        assert found.high == pytest.approx(anchor.high + apart, abs=1e-12)
    assert student_estimate(rows(before), rows(before), statistics) == anchor
    assert student_estimate(rows(before), rows(before), None) is None


def student_reason(before: np.ndarray, after: np.ndarray) -> str:
    """Why a student was refused, with statistics or without; empty where it was not."""
    decision = decide_labels(rows(before), rows(after), UNIFORM, None, "Feedback")
    assert decision.reason.startswith("Feedback was refused: ") == (decision.chosen == "unadapted")
    assert decide_labels(rows(before), rows(after), UNIFORM, known(), "Feedback").chosen == decision.chosen
    return decision.reason if decision.chosen == "unadapted" else ""


def test_a_student_may_tell_less_than_its_teacher():
    before, _ = teachers()
    noise = np.random.default_rng(1).normal(size=len(before))
    student = 0.6 * before + 0.3 * noise
    assert decide(rows(before), rows(student), UNIFORM, None).chosen == "unadapted"
    assert student_reason(before, student) == ""


@pytest.mark.parametrize(
    ("student", "sign"),
    [
        (lambda own: own + 30, "the student is 0.50 from the expected class shares"),
        (lambda own: own + 1.5, "class shares moved by"),
        (lambda own: -own, "teacher and student give the same label to"),
    ],
)
def test_a_student_that_strays_is_refused(student: Callable[[np.ndarray], np.ndarray], sign: str):
    before, _ = teachers(signal=0.7)
    assert sign in student_reason(before, student(before))


def test_a_student_of_other_texts_is_an_error():
    with pytest.raises(EstimateError, match="predictions of other texts"):
        decide_labels(rows(np.zeros(60)), rows(np.zeros(61)), UNIFORM, None, "Feedback")


def relabelled(to_second: int, to_first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sure labels of 1,000 texts, half of each class, and others for some of them: log-odds."""
    sure = np.random.default_rng(0).uniform(5, 7, 1000)
    before = np.where(np.arange(1000) < 500, -sure, sure)
    after = before.copy()
    after[:to_second] *= -1
    after[500 : 500 + to_first] *= -1
    return before, after


@pytest.mark.parametrize(
    ("origin", "share", "within", "beyond", "sign"),
    [
        ("given", 0.5, (295, 0), (305, 0), "from the expected class shares, over 0.30"),
        ("parts", 0.8, (340, 0), (360, 0), "class shares moved by 0.36, over 0.35"),
        ("labels", 0.7, (240, 0), (260, 0), "class shares moved by 0.26, over 0.25"),
        ("labels", 0.5, (170, 170), (180, 180), "give the same label to 64% of the texts, under 65%"),
    ],
)
def test_each_bound_is_where_it_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch,
    origin: str,
    share: float,
    within: tuple[int, int],
    beyond: tuple[int, int],
    sign: str,
):
    prior = TargetPrior((1 - share, share), origin, "")
    monkeypatch.setattr(gate, "MIN_KEPT", 0.0)  # two classes meet it first where shares move so far
    for labels, chosen in ((within, "adapted"), (beyond, "unadapted")):
        decision = decide_labels(*map(rows, relabelled(*labels)), prior, None, "It")
        assert decision.chosen == chosen, decision.reason
    assert sign in decision.reason


def test_an_adaptation_whose_estimate_is_worse_beyond_doubt_is_refused():
    """It tells more of the class, being certain of six texts in ten, but four are below the source's threshold."""
    sign = np.where(np.arange(1000) % 2, 1.0, -1.0)
    before = sign * np.random.default_rng(0).uniform(2.0, 2.4, 1000)
    after = sign * np.where(np.arange(1000) % 10 < 6, 9.0, 1.4)
    threshold = -0.45  # of a text with probability 0.83
    strict = dataclasses.replace(known(), atc_threshold=threshold, atc_thresholds=[threshold] * 40)
    decision = decide(rows(before), rows(after), UNIFORM, strict)
    assert (decision.unadapted.estimated_accuracy, decision.adapted.estimated_accuracy) == (1.0, 0.6)
    assert decision.adapted.information > decision.unadapted.information
    assert "its estimated accuracy is at most" in decision.reason
    assert decide(rows(before), rows(after), UNIFORM, None).chosen == "adapted"


def test_accuracy_is_estimated_from_what_was_cut_as_the_validation_texts_were():
    """A mean over windows is less sure than the threshold's texts; that says nothing of its accuracy."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.9, 0.99, 200)
    cut = np.where(rng.random((200, 1)) < 0.5, np.stack([sure, 1 - sure], 1), np.stack([1 - sure, sure], 1))
    whole = 0.5 + 0.6 * (cut - 0.5)
    threshold = float(np.quantile((cut * np.log(cut)).sum(axis=1), 0.1))
    statistics = Statistics(
        class_prior=[0.5, 0.5],
        validation_confusion=[[90, 10], [10, 90]],
        validation_accuracy=0.9,
        temperature=1.0,
        validation_confidence=0.9,
        atc_threshold=threshold,
        atc_thresholds=[threshold] * 40,
    )
    prior = given_prior("uniform", ["a", "b"])
    assert prior is not None
    refused = decide(whole, whole, prior, statistics)
    assert (refused.chosen, refused.unadapted.estimated_accuracy) == ("unadapted", 0.0)
    judged = decide(whole, whole, prior, statistics, (cut, cut))
    assert judged.unadapted.estimated_accuracy == pytest.approx(0.9)
    assert judged.chosen == "adapted"
