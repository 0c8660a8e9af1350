"""The table of words beside a student's network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from distilshift import Predictor, adapt
from distilshift.bundle import read_manifest
from distilshift.card import word_sentence
from distilshift.config import AdaptConfig
from distilshift.data.corpus import open_corpus
from distilshift.encoder import Classifier, load_classifier
from distilshift.export import export_onnx
from distilshift.inference import bundle_logits
from distilshift.metrics import softmax
from distilshift.run import open_run
from distilshift.second_opinion import MIN_TEXTS, RIDGE, SecondOpinion
from distilshift.shape import WORD_SLOTS, Frame, StudentShape, device_bytes_of
from distilshift.shards import Rows
from distilshift.types import Example
from distilshift.word_part import WordPart, calibrate, empty_word_part, fitted, has_word_part, slot, word_part
from encoders import make_checkpoint
from texts import make_texts

SPECIAL = [0, 1]
PIECES = 12
NO_BIAS = np.zeros(2, np.float32)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path_factory.mktemp("model") / "bert", num_labels=2)), 16)


def token_rows(texts: Sequence[Sequence[int]]) -> list[tuple[NDArray[np.int32], NDArray[np.uint8]]]:
    return [(np.array(text, np.int32), np.zeros(len(text), np.uint8)) for text in texts]


def random_texts(size: int, seed: int = 0) -> tuple[list[list[int]], NDArray[np.float64]]:
    """Texts of pieces 2 to 11 between special ones, and a teacher's centred logits: 2 and 3 tell the class."""
    rng = np.random.default_rng(seed)
    texts = [[0, *rng.integers(2, PIECES, rng.integers(3, 15)), 1] for _ in range(size)]
    margin = np.array([text.count(2) - text.count(3) + rng.normal(scale=0.3) for text in texts])
    return texts, np.stack([-margin, margin], axis=1)


def said(part: WordPart, texts: Sequence[Sequence[int]], types: Any = None) -> NDArray[np.float32]:
    """What the table says of texts, padded to the longest."""
    width = max(map(len, texts))
    ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    found: NDArray[np.float32] = part(torch.zeros(len(texts), len(part.offset)), ids, mask, types).numpy()
    return found


def test_the_table_says_what_ridge_regression_says():
    texts, logits = random_texts(300)
    part = WordPart(fitted(token_rows(texts), SPECIAL, PIECES, logits, np.array([0.3, -0.3], np.float32), 0), 1.0)

    def words(text: Sequence[int]) -> list[str]:
        kept = text[1:-1]
        return [*map(str, kept), *(f"slot {slot(a, b)}" for a, b in pairwise(kept))]

    tfidf = TfidfVectorizer(analyzer=words, min_df=2, binary=True)
    targets = softmax(logits) - softmax(logits).mean(axis=0)
    model = Ridge(RIDGE, fit_intercept=False).fit(tfidf.fit_transform(texts), targets)
    new, _ = random_texts(40, seed=1)
    plain = model.predict(tfidf.transform(new))
    offset = logits.mean(axis=0) + np.array([0.3, -0.3])
    found = said(part, new) - offset
    scale = (found * plain).sum() / (plain * plain).sum()
    # Eight bits a number leave a hundredth of the largest.
    np.testing.assert_allclose(found, scale * plain, atol=0.03 * np.abs(found).max())


def test_it_is_as_sure_of_new_texts_as_the_teacher_is():
    texts, logits = random_texts(400)
    part = WordPart(fitted(token_rows(texts), SPECIAL, PIECES, logits, NO_BIAS, 0), 1.0)
    new, true = random_texts(400, seed=1)
    found = said(part, new)
    assert found.std() == pytest.approx(logits.std(), rel=0.15)
    assert (found.argmax(axis=1) == true.argmax(axis=1)).mean() > 0.8


def test_what_counts():
    texts, logits = random_texts(300)
    part = WordPart(fitted(token_rows(texts), SPECIAL, PIECES, logits, NO_BIAS, 0), 1.0)
    once = said(part, [[0, 2, 5, 1]])
    np.testing.assert_allclose(
        said(part, [[0, 2, 5, 2, 5, 1], [0, 4, 4, 4, 4, 4, 4, 1]])[0], said(part, [[2, 5, 2]])[0]
    )
    np.testing.assert_allclose(said(part, [[0, 2, 5, 1], [0] + [3] * 12 + [1]])[:1], once)  # padding does not
    np.testing.assert_allclose(said(part, [[2, 5]]), once)  # nor do special pieces
    assert np.abs(said(part, [[0, 2, 1, 5]]) - once).max() > 1e-4  # and no pair reaches over one
    assert np.abs(said(part, [[0, 5, 2, 1]]) - once).max() > 1e-4  # a pair has an order
    np.testing.assert_allclose(said(part, [[0, 1]])[0], part.offset.numpy())  # a text without a word


def test_the_two_texts_of_a_pair_have_words_of_their_own():
    texts, logits = random_texts(300)
    rows = [(np.array([*text, 4, 1], np.int32), np.array([0] * len(text) + [1, 1], np.uint8)) for text in texts]
    part = WordPart(fitted(rows, SPECIAL, PIECES, logits, NO_BIAS, 0), 1.0)
    assert len(part.table) == 2 * PIECES + WORD_SLOTS
    first, second = (said(part, [[0, 5, 1, 2, 1]], torch.tensor([types])) for types in ([0] * 5, [0, 0, 0, 1, 1]))
    assert np.abs(first - second).max() > 0.1  # "2" was never in a second text


def test_the_weight_is_the_tables_share_of_the_logits():
    texts, logits = random_texts(50)
    arrays = fitted(token_rows(texts), SPECIAL, PIECES, logits, NO_BIAS, 0)
    ids, mask, network = torch.tensor([[0, 2, 5, 1]]), torch.ones(1, 4, dtype=torch.int64), torch.tensor([[3.0, -1.0]])
    alone = WordPart(arrays, 1.0)(network, ids, mask)
    np.testing.assert_allclose(WordPart(arrays, 0.25)(network, ids, mask), 0.75 * network + 0.25 * alone, rtol=1e-6)


def test_a_temperature_divides_both(classifier: Classifier):
    texts, logits = random_texts(50)
    part = WordPart(fitted(token_rows(texts), SPECIAL, PIECES, logits, np.array([0.2, -0.2], np.float32), 0), 1.0)
    before, head = said(part, texts), classifier.model.classifier.weight.detach().clone()
    calibrate(classifier, part, 2.0)
    np.testing.assert_allclose(said(part, texts), before / 2, rtol=1e-6)
    np.testing.assert_allclose(classifier.model.classifier.weight.detach(), head / 2)
    calibrate(classifier, None, 0.5)


@pytest.mark.parametrize("words", [["good", "bad film", ""], ["x" * 60]], ids=["short", "one"])
def test_the_exported_graph_is_the_same(tmp_path: Path, classifier: Classifier, words: list[str]):
    rng = np.random.default_rng(0)
    part = empty_word_part(classifier, 0.4)
    part.table.copy_(torch.from_numpy(rng.integers(-127, 128, part.table.shape).astype(np.int8)))
    part.is_word[classifier.tokenizer.all_special_ids] = False
    export_onnx(classifier, tmp_path / "model.onnx", part)
    store = classifier.tokenise([Example(text) for text in words])
    inputs = store.batch(np.arange(len(words)))
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, inputs)
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with torch.inference_mode():
        expected = part(classifier.model(**tensors).logits, **tensors)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def opinion(weight: float) -> SecondOpinion:
    return SecondOpinion(Rows([np.zeros((1, 2), np.float32)]), NO_BIAS, 0.7, weight)


@pytest.mark.parametrize(
    ("heard", "options"),
    [
        (None, {}),
        (opinion(0.0), {}),
        (opinion(0.5), {"word_weight": 0.0}),
        (opinion(0.5), {"student": "static"}),
    ],
    ids=["no second opinion", "words were not heard", "not wanted", "static"],
)
def test_where_words_have_no_say(
    tmp_path: Path, classifier: Classifier, heard: SecondOpinion | None, options: dict[str, Any]
):
    corpus = open_corpus(["good film"], AdaptConfig())
    with open_run(tmp_path / "run", {}) as run:
        rows = Rows([np.zeros((1, 2), np.float32)])
        assert word_part(classifier, corpus, rows, heard, AdaptConfig(**options), run) is None


def test_only_so_many_texts_are_read(tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch):
    from distilshift import word_part as module

    read: list[int] = []
    monkeypatch.setattr(module, "MOST_TEXTS", 40)
    monkeypatch.setattr(module, "fitted", lambda rows, *others: read.append(len(rows)) or fitted(rows, *others))
    corpus = open_corpus([text for text, _ in make_texts(90, 0)], AdaptConfig())
    rows = Rows([np.random.default_rng(0).normal(size=(90, 2)).astype(np.float32)])
    with open_run(tmp_path / "run", {}) as run:
        assert word_part(classifier, corpus, rows, opinion(0.5), AdaptConfig(), run) is not None
    assert read == [40]


def test_its_bytes_are_in_the_estimate():
    shape, frame = StudentShape(2, 64, 100, 32), Frame(StudentShape(2, 64, 100, 32), 32, 32, 10.0, 32, None)
    with_words = replace(frame, word_classes=3)
    assert device_bytes_of(shape, with_words) - device_bytes_of(shape, frame) == (100 + WORD_SLOTS) * 4
    assert has_word_part(AdaptConfig())
    assert not has_word_part(AdaptConfig(method="none"))


@pytest.mark.slow
def test_adapt_gives_the_student_its_words(tmp_path: Path, teacher_bundle: Path):
    texts = [text for text, _ in make_texts(MIN_TEXTS + 100, 3)]
    options = {"student_layers": 1, "distil_epochs": 1, "gate": False, "precision": "fp32", "size": "base"}
    plain = adapt(teacher_bundle, texts, tmp_path / "plain", word_weight=0.0, **options)
    student = adapt(teacher_bundle, texts, tmp_path / "student", **options)
    assert plain.summary["word_weight"] == 0
    assert student.summary["word_weight"] == 0.4
    sentence = word_sentence(student.summary)
    assert "40 %" in sentence
    assert sentence in (tmp_path / "student" / "README.md").read_text()
    assert word_sentence(plain.summary) == ""
    # The folder's PyTorch weights are the network's alone, and those of a student without words.
    length = read_manifest(tmp_path / "student").max_length
    alone = [
        bundle_logits(tmp_path / name, length, [Example(text) for text in texts], 32) for name in ("student", "plain")
    ]
    np.testing.assert_array_equal(*alone)
    together = Predictor.load(tmp_path / "student", model="fp32").probabilities(texts)
    assert np.abs(together - softmax(alone[0])).max() > 0.01
