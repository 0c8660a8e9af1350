"""Class shares from parts of the texts: free of the teacher's lean, with an error that can be believed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift import adapt, gate, parts, pipeline
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.data.corpus import open_corpus
from distilshift.encoder import Classifier, load_classifier
from distilshift.judging import MIN_TEXTS, Judge, signals_of
from distilshift.part_shares import joint_cumulants, part_share
from distilshift.parts import MIN_WORDS, PARTS, parts_of, read_parts
from distilshift.precision import make_accelerator
from distilshift.run import open_run
from distilshift.shards import Rows
from distilshift.target_facts import Target
from distilshift.target_prior import PARTS_ERROR, TargetPrior
from distilshift.types import Example
from distilshift.views import Reading
from encoders import make_checkpoint


def drawn(
    texts: int, share: float, seed: int, lean: float = 0.0, apart: float = 1.0, strength: float = 0.3
) -> np.ndarray:
    """Signals of the model in the module's docstring."""
    rng = np.random.default_rng(seed)
    classes = rng.random(texts) < share
    each = lean + apart * classes + strength * rng.normal(size=texts)
    return each[:, None] + 0.7 * rng.normal(size=(texts, 6)) + np.linspace(0, 0.2, 6)


@given(st.integers(0, 2**32), st.integers(3, 30), st.integers(4, 7))
@settings(max_examples=50, deadline=None)
def test_joint_cumulants_are_those_of_all_triples_and_quadruples(seed: int, texts: int, size: int):
    signals = np.random.default_rng(seed).normal(size=(texts, size)) ** 2
    centred = signals - signals.mean(axis=0)
    found = centred.T @ centred / texts
    thirds = [centred[:, list(three)].prod(axis=1).mean() for three in combinations(range(size), 3)]
    fourths = [
        centred[:, list(four)].prod(axis=1).mean()
        - (found[a, b] * found[c, d] + found[a, c] * found[b, d] + found[a, d] * found[b, c])
        for four in combinations(range(size), 4)
        for a, b, c, d in [four]
    ]
    np.testing.assert_allclose(joint_cumulants(signals), [np.mean(thirds), np.mean(fourths)], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(("lean", "strength"), [(0.0, 0.0), (-2.0, 0.3), (3.0, 0.3)])
def test_shares_are_found_whatever_the_lean_and_however_strongly_texts_speak(
    share: float, lean: float, strength: float
):
    found = part_share(drawn(8000, share, 0, lean, strength=strength))
    assert found is not None
    assert abs(found.share - share) < max(3 * found.error, 0.02)
    assert found.error < 0.05


def test_the_lean_drops_out_and_classes_may_change_places():
    signals = drawn(500, 0.3, 1)
    first, leaning, mirrored = (part_share(each) for each in (signals, signals + 5, -signals))
    assert first is not None
    assert leaning is not None
    assert mirrored is not None
    assert leaning.share == pytest.approx(first.share, abs=1e-9)
    assert mirrored.share == pytest.approx(1 - first.share, abs=0.004)


def test_the_error_is_how_far_other_draws_are_apart():
    found = [part_share(drawn(1500, 0.4, seed)) for seed in range(30)]
    spread = np.std([each.share for each in found if each])
    errors = [each.error for each in found if each]
    assert len(errors) == 30
    assert 0.5 * spread < np.median(errors) < 2 * spread


def test_what_parts_have_in_common():
    """Of four parts of variance 1: their mean correlation; of one class alone, only how strongly texts speak."""
    rng = np.random.default_rng(0)
    signals = rng.multivariate_normal(np.zeros(4), np.full((4, 4), 0.2) + 0.8 * np.eye(4), 5000)
    found, alone = part_share(signals), part_share(drawn(5000, 0.0, 0))
    assert found is not None
    assert alone is not None
    assert found.common == pytest.approx(0.2, abs=0.02)
    assert alone.common == pytest.approx(0.3**2 / (0.3**2 + 0.7**2), abs=0.02)


@pytest.mark.parametrize("signals", [np.ones((50, 6)), np.zeros((1, 6))])
def test_parts_that_all_look_the_same_say_nothing(signals: np.ndarray):
    assert part_share(signals) is None


@given(st.text(st.sampled_from("ab \n本"), max_size=80))
@settings(max_examples=100, deadline=None)
def test_parts_are_the_text_in_order_and_of_like_length(text: str):
    found = parts_of(text)
    assert len(found) == PARTS
    assert "".join("".join(found).split()) == "".join(text.split())
    sizes = [len(parts.words_of(part)) for part in found]
    assert max(sizes) - min(sizes) <= 1


def read(classifier: Classifier, texts: list[Example], folder: Path) -> Any:
    corpus = open_corpus(texts, AdaptConfig())
    with open_run(folder / "run", {}) as run:
        return read_parts(classifier, corpus, make_accelerator(AdaptConfig(precision="fp32")), run, 0)


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path / "checkpoint", "bert", num_labels=2)), 32)


LONG = " ".join(["good", "bad", "book", "film"] * (MIN_WORDS * PARTS // 4))


def test_each_part_is_read_by_itself(classifier: Classifier, tmp_path: Path):
    other = " ".join(reversed(LONG.split()))
    found = read(classifier, [Example(LONG), Example("too short"), Example(other)], tmp_path)
    assert found.shape == (3, PARTS, 2)
    assert np.isnan(found[1]).all()
    store = classifier.tokenise([Example(part) for part in (*parts_of(LONG), *parts_of(other))])
    alone = classifier.model.eval()(**classifier.inputs(store, np.arange(2 * PARTS), classifier.model.device)).logits
    np.testing.assert_allclose(found[[0, 2]].reshape(-1, 2), alone.detach().numpy(), atol=1e-5)


def test_a_text_has_a_word_for_each_part_or_is_left_out(classifier: Classifier, tmp_path: Path):
    few = [Example(" ".join(["good"] * count)) for count in (PARTS - 1, PARTS)]
    found = read(classifier, [Example(LONG)] * 3 + few, tmp_path)
    assert np.isfinite(found).all(axis=(1, 2)).tolist() == [True, True, True, False, True]


def test_of_very_many_texts_some_are_read(classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "MOST_TEXTS", 5)
    assert read(classifier, [Example(f"{LONG} {number}") for number in range(20)], tmp_path).shape == (5, PARTS, 2)


@pytest.mark.parametrize(
    "texts",
    [[Example(LONG), *[Example("a short one")] * 2], [Example(LONG, "a pair")] * 3],
    ids=["short texts", "pairs"],
)
def test_short_texts_and_pairs_have_no_parts(classifier: Classifier, tmp_path: Path, texts: list[Example]):
    assert read(classifier, texts, tmp_path) is None


def test_three_classes_are_not_told_by_parts(classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Classifier, "label_names", property(lambda _: ["a", "b", "c"]))
    assert read(classifier, [Example(LONG)] * 3, tmp_path) is None


def logits_of(signals: np.ndarray) -> np.ndarray:
    """Logits whose probabilities differ by the signals, squeezed into what probabilities can be."""
    half = np.arctanh(np.clip(signals / np.abs(signals).max(), -0.999, 0.999))
    return np.stack([-half, half], axis=2).astype(np.float32)


def judge_of(folder: Path, read_: Callable[[], Any], given: TargetPrior | None = None) -> Judge:
    rows = Rows([np.log(np.array([[0.8, 0.2]] * 3 + [[0.2, 0.8]], np.float32))])
    with open_run(folder / "run", {}) as run:
        return Judge(Reading(rows, rows), None, 0, run, read_, given)


def test_labels_move_towards_what_parts_tell(tmp_path: Path):
    """From their 0.35, until they are one standard error before it; parts that were not read do not count."""
    logits = logits_of(drawn(3000, 0.8, 0, lean=-0.5))
    logits[7] = np.nan
    prior = judge_of(tmp_path, lambda: logits).prior()
    found = part_share(signals_of(logits, 1.0))
    assert found is not None
    assert found.share == pytest.approx(0.8, abs=0.06)
    assert prior.origin == "parts"
    assert prior.shares[1] == pytest.approx(found.share - np.hypot(found.error, PARTS_ERROR))


@pytest.mark.parametrize(("texts", "origin"), [(MIN_TEXTS - 1, "labels"), (MIN_TEXTS, "parts")])
def test_few_texts_tell_no_shares_by_their_parts(tmp_path: Path, texts: int, origin: str):
    classes = np.where(np.arange(texts) < 0.9 * texts, 1.0, -1.0)[:, None]
    logits = logits_of(classes + 0.1 * np.random.default_rng(0).normal(size=(texts, 6)))
    assert judge_of(tmp_path, lambda: logits).prior().origin == origin


def test_given_shares_need_no_parts_and_without_any_labels_keep_theirs(tmp_path: Path):
    given_ = TargetPrior((0.3, 0.7), "given", "")
    assert judge_of(tmp_path / "a", lambda: pytest.fail("read for nothing"), given_).prior() == given_
    found = judge_of(tmp_path / "b", lambda: None).prior()
    assert found.origin == "labels"
    assert found.shares[1] == pytest.approx(1 / 3)  # of one text


@pytest.mark.parametrize(
    ("origin", "moved", "refused"),
    [
        ("labels", 0.24, False),
        ("labels", 0.26, True),
        ("parts", 0.34, False),
        ("parts", 0.36, True),
        ("given", 0.45, False),
    ],
)
def test_shares_that_parts_told_may_move_further_than_guesses(origin: str, moved: float, refused: bool):
    scores = [gate.Scores(0.3, 0.0, 0.0, (share, 1 - share)) for share in (0.5, 0.5 + moved)]
    prior = TargetPrior((0.5 + moved, 0.5 - moved), origin, "")
    assert bool([sign for sign in gate._moved(*scores, 0.7, prior, Target()) if "shares moved by" in sign]) == refused


@pytest.mark.parametrize(
    ("origin", "accuracy", "refused"),
    [("labels", 0.54, True), ("labels", 0.56, False), ("parts", 0.46, False), ("parts", 0.44, True)],
)
def test_where_parts_told_two_classes_a_low_estimate_of_accuracy_counts_for_less(
    origin: str, accuracy: float, refused: bool
):
    scores = gate.Scores(0.3, 0.0, 0.0, (0.5, 0.5), accuracy, (accuracy, accuracy))
    signs = gate._unfit_target(scores, TargetPrior((0.5, 0.5), origin, ""), Target())
    assert bool([sign for sign in signs if "next to chance" in sign]) == refused


@pytest.mark.usefixtures("quick_export")
def test_adapt_reads_parts_once_and_says_so(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked, statistics = [], read_manifest(teacher_bundle).statistics
    assert statistics is not None
    logits = logits_of(drawn(3000, 0.15, 0)) * statistics.temperature
    monkeypatch.setattr(pipeline, "read_parts", lambda *args: (asked.append(1), logits)[1])
    options: dict[str, Any] = {"student_layers": 1, "distil_epochs": 1, "spans": 0, "precision": "fp32"}
    facts = adapt(teacher_bundle, target_file, tmp_path / "s", **options).summary
    assert "parts of the texts tell 0.1" in facts["target_prior_reason"]
    assert facts["target_prior"]["positive"] == pytest.approx(0.25, abs=0.03)
    assert asked == [1]
    adapt(teacher_bundle, target_file, tmp_path / "given", **options, target_prior="0.4,0.6")
    assert asked == [1]
