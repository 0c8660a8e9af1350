"""What words say of a teacher's labels, and class shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_ridge import KernelRidge

from distilshift import second_opinion
from distilshift.card import shares_sentence
from distilshift.config import AdaptConfig
from distilshift.data.corpus import Corpus, open_corpus
from distilshift.encoder import Classifier, load_classifier
from distilshift.gate import decide_labels
from distilshift.metrics import softmax
from distilshift.run import open_run
from distilshift.second_opinion import (
    BLOCK_TEXTS,
    LONGEST_RUN,
    MIN_TEXTS,
    PIECES,
    SecondOpinion,
    bias_towards,
    features,
    leave_copies_out,
    similarities,
)
from distilshift.shards import Rows
from distilshift.target_prior import TargetPrior
from distilshift.types import Example
from encoders import make_checkpoint

ASKED = "The second opinion", "second opinion"
UNIFORM = TargetPrior((0.5, 0.5), "labels", "")
FILLERS = ["the", "was", "a", "film", "book", "plot", "hero", "scene", "very", "and"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path_factory.mktemp("model") / "bert", num_labels=2)), 8)


def reviews(size: int, seed: int = 0) -> tuple[list[Example], NDArray[np.int64]]:
    """Texts of which a third of the words tell the class, and the classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    telling = [["bad", "poor", "awful"], ["good", "great", "fine"]]
    words = [[*rng.choice(telling[label], 4), *rng.choice(FILLERS, 8)] for label in labels]
    return [Example(" ".join(rng.permutation(each))) for each in words], labels


def noisy_logits(labels: NDArray[np.int64], wrong: float, seed: int = 1) -> NDArray[np.float32]:
    """A teacher that errs in a share of the texts, independently of their words."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(labels)) < wrong, 1 - labels, labels)
    margin = (2 * said - 1) * rng.uniform(0.5, 3, len(labels))
    return np.stack([-margin / 2, margin / 2], axis=1).astype(np.float32)


def asked(
    tmp_path: Path,
    classifier: Classifier,
    texts: list[Example],
    logits: NDArray[np.float32],
    *,
    weight: float = 0.5,
    shares: tuple[float, ...] | None = None,
    temperature: float = 1.0,
) -> SecondOpinion:
    corpus: Corpus = open_corpus(texts, AdaptConfig())
    with open_run(tmp_path / "run", {}) as run:
        known = None if shares is None else np.array(shares)
        wanted = (weight, known, temperature, 0)
        found = second_opinion.second_opinion(Rows([logits]), corpus, classifier, *wanted, run)
        whole = np.array(found.whole[np.arange(len(texts))])
    return SecondOpinion(Rows([whole]), found.bias, found.correlation, found.weight, found.distinct)


def right(opinion: SecondOpinion, labels: NDArray[np.int64]) -> float:
    return float((opinion.whole[np.arange(len(labels))].argmax(axis=1) == labels).mean())


def test_words_correct_a_teacher(tmp_path: Path, classifier: Classifier):
    texts, labels = reviews(800)
    logits = noisy_logits(labels, wrong=0.2)
    found = asked(tmp_path, classifier, texts, logits)
    assert found.weight == 0.5
    assert found.remark == ""
    assert found.correlation > 0.4
    assert right(found, labels) > (logits.argmax(axis=1) == labels).mean() + 0.08


def test_without_weight_labels_stay(tmp_path: Path, classifier: Classifier):
    texts, labels = reviews(MIN_TEXTS)
    logits = noisy_logits(labels, wrong=0.2)
    found = asked(tmp_path, classifier, texts, logits, weight=0.0)
    np.testing.assert_allclose(found.whole[np.arange(len(texts))], logits, atol=1e-6)


@pytest.mark.parametrize("reason", ["few texts", "labels that words do not tell"])
def test_words_that_tell_nothing_are_not_heard(tmp_path: Path, classifier: Classifier, reason: str):
    texts, labels = reviews(MIN_TEXTS - (reason == "few texts"))
    if reason != "few texts":
        labels = np.random.default_rng(5).permutation(labels)
    logits = noisy_logits(labels, wrong=0.1)
    found = asked(tmp_path, classifier, texts, logits)
    assert found.weight == 0
    assert found.remark.startswith(" Words had no say: ")
    assert ("500 would be needed" in found.remark) == (reason == "few texts")
    np.testing.assert_allclose(found.whole[np.arange(len(texts))], logits, atol=1e-6)


def test_many_texts_learn_in_blocks(tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch):
    texts, labels = reviews(900)
    sizes: list[int] = []
    monkeypatch.setattr(second_opinion, "BLOCK_TEXTS", 400)

    def noted(block: Any) -> Any:
        each = list(block)
        sizes.append(len(each))
        return similarities(each)

    monkeypatch.setattr(second_opinion, "similarities", noted)
    found = asked(tmp_path, classifier, texts, noisy_logits(labels, wrong=0.2))
    assert sizes == [300, 300, 300]
    assert BLOCK_TEXTS > 400
    assert right(found, labels) > 0.85


def test_a_text_is_predicted_by_a_model_without_it_and_its_copies():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 5))
    targets = rng.normal(size=(12, 3))
    kernel = rows @ rows.T
    copies = {0: np.array([0, 3, 7]), 3: np.array([0, 3, 7]), 7: np.array([0, 3, 7, 8]), 8: np.array([7, 8])}
    found = leave_copies_out(kernel, targets, 0.7, copies)
    for index in range(12):
        rest = np.delete(np.arange(12), copies.get(index, [index]))
        model = KernelRidge(alpha=0.7, kernel="precomputed").fit(kernel[np.ix_(rest, rest)], targets[rest])
        np.testing.assert_allclose(found[index], model.predict(kernel[index, rest][None])[0], atol=1e-10)


def test_similarities(classifier: Classifier):
    texts = [Example("good film"), Example("good film"), Example("bad book"), Example("the plot"), Example("plot")]
    store = replace(classifier, max_length=2**30).tokenise(texts)
    found = similarities([features(*store.row(index), classifier.tokenizer.all_special_ids) for index in range(5)])
    np.testing.assert_allclose(np.diag(found)[[0, 1, 3, 4]], 1.0, atol=1e-9)
    assert found[0, 1] == pytest.approx(1.0)
    assert found[0, 3] == 0
    assert found[3, 4] == pytest.approx(1.0)  # "plot"; "the" and "the plot" are in one text only
    assert not found[2].any()
    assert not similarities([np.array([1]), np.array([2])]).any()


@pytest.mark.parametrize("vocabulary", [40, PIECES - 2])
def test_similarities_are_those_of_a_vectorizer_of_words(vocabulary: int):
    """Runs as strings, as scikit-learn counts them."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(vocabulary - 30, vocabulary, rng.integers(1, 60)).astype(np.int32) for _ in range(50)]
    vectorizer = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, LONGEST_RUN), min_df=2, binary=True)
    rows = vectorizer.fit_transform(" ".join(map(str, ids)) for ids in texts)
    found = similarities(features(ids, np.zeros(len(ids), np.uint8), []) for ids in texts)
    np.testing.assert_allclose(found, (rows @ rows.T).todense(), atol=1e-12)


def test_features_are_pieces_and_runs_of_them_without_special_ones():
    def number(*pieces: int, second: bool = False) -> int:
        return 2 * sum((piece + 1) * PIECES**place for place, piece in enumerate(reversed(pieces))) + second

    ids, types = np.array([1, 7, 8, 2, 7, 2], np.int32), np.array([0, 0, 0, 0, 1, 1], np.uint8)
    wanted = sorted([number(7), number(8), number(7, 8), number(7, second=True)])
    assert features(ids, types, [1, 2]).tolist() == wanted
    runs = [(7,), (8,), (9,), (7, 8), (8, 9), (9, 7), (7, 8, 9), (8, 9, 7)]  # 7 twice is 7
    found = features(np.array([7, 8, 9, 7], np.int32), np.zeros(4, np.uint8), [])
    assert found.tolist() == sorted(number(*run) for run in runs)
    highest = np.full(3, PIECES - 2, np.int32)
    assert features(highest, np.ones(3, np.uint8), []).max() == number(*[PIECES - 2] * 3, second=True) < 2**63
    assert not len(features(ids, types, [1, 2, 7, 8]))


def test_whole_texts_are_read(tmp_path: Path, classifier: Classifier):
    """The words of a text that come after what the network sees at once."""
    texts, labels = reviews(800)
    padded = [Example(" ".join(["the"] * 12) + " " + item.text) for item in texts]
    assert classifier.max_length == 8
    assert right(asked(tmp_path, classifier, padded, noisy_logits(labels, wrong=0.2)), labels) > 0.88


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_bias_gives_labels_the_wanted_shares(classes: int):
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(400, classes)) * 2 + np.linspace(0, 1, classes)
    shares = rng.dirichlet(np.full(classes, 20.0))
    np.testing.assert_allclose(softmax(logits + bias_towards(logits, shares)).mean(axis=0), shares, atol=1e-5)
    assert not bias_towards(logits, softmax(logits).mean(axis=0)).any()


def test_class_shares_move_in_the_labels(tmp_path: Path, classifier: Classifier):
    texts, labels = reviews(MIN_TEXTS)
    logits = noisy_logits(labels, wrong=0.05) + np.array([0, 1], np.float32)
    found = asked(tmp_path, classifier, texts, logits, shares=(0.5, 0.5))
    whole = found.whole[np.arange(len(texts))]
    np.testing.assert_allclose(softmax(whole).mean(axis=0), 0.5, atol=1e-5)
    assert found.bias[0] > 0 > found.bias[1]


def test_class_shares_that_nobody_knows_stay(tmp_path: Path, classifier: Classifier):
    """A teacher's lean is left in the labels, with words or without."""
    texts, labels = reviews(MIN_TEXTS)
    logits = noisy_logits(labels, wrong=0.05) + np.array([0, 1], np.float32)
    for name, weight in (("heard", 0.5), ("not", 0.0)):
        found = asked(tmp_path / name, classifier, texts, logits, weight=weight, temperature=0.5)
        assert not found.bias.any()
        means = (each.mean(axis=0) for each in (found.whole[np.arange(len(texts))], logits))
        leans = [mean[1] - mean[0] for mean in means]
        assert leans[0] == pytest.approx(leans[1], abs=0.01)  # what words add has almost no lean of its own


@pytest.mark.parametrize(
    ("texts", "temperature", "scale"),
    [(MIN_TEXTS, 0.5, 0.5), (MIN_TEXTS, 2.0, 1.0), (MIN_TEXTS - 1, 0.5, 0.5), (MIN_TEXTS - 1, 2.0, 2.0)],
)
def test_shares_are_counted_on_a_scale_of_the_teachers(
    tmp_path: Path, classifier: Classifier, texts: int, temperature: float, scale: float
):
    """Its own; with words heard, whose mean with it is less sure, one that is no flatter than as it came."""
    read, labels = reviews(texts)
    logits = noisy_logits(labels, wrong=0.05) / 3
    found = asked(tmp_path, classifier, read, logits, shares=(0.8, 0.2), temperature=temperature)
    assert (found.weight > 0) == (texts >= MIN_TEXTS)
    whole = found.whole[np.arange(len(read))]
    np.testing.assert_allclose(softmax(whole / scale).mean(axis=0), [0.8, 0.2], atol=1e-4)


def test_the_gate_looks_at_labels_not_at_certainty():
    rng = np.random.default_rng(0)
    sure = softmax(np.stack([-(z := rng.normal(size=300) * 3), z], axis=1))
    calm = softmax(np.stack([-z / 2, z / 2], axis=1))
    assert decide_labels(sure, calm, UNIFORM, None, *ASKED).chosen == "adapted"
    other = decide_labels(sure, calm[::-1], UNIFORM, None, *ASKED)
    assert other.chosen == "unadapted"
    assert other.reason.startswith("The second opinion was refused: teacher and second opinion give the same label")


@pytest.mark.parametrize(
    ("asked", "adaptation", "said"),
    [
        ("auto", "accepted", True),
        ("auto", "refused", True),  # shares that are given lift some of the gate's bounds
        ("auto", "none", False),
        ("uniform", "accepted", False),
        ("negative=0.3,positive=0.7", "accepted", False),
    ],
)
def test_who_gave_no_shares_is_told_what_came_out(asked: str, adaptation: str, said: bool):
    facts = {"predicted_shares": {"negative": 0.617, "positive": 0.383}, "adaptation": adaptation}
    sentence = shares_sentence(facts, asked)
    assert sentence.startswith("Of the target texts it labels 62% negative, 38% positive. ") == said
    assert bool(sentence) == said
