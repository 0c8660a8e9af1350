"""Copies of a text: found, and without a say in what the words predict for it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distilshift.config import AdaptConfig
from distilshift.data.corpus import open_corpus
from distilshift.encoder import Classifier, load_classifier
from distilshift.near_copies import MOST_NEAR, incidence, near_copies
from distilshift.run import open_run
from distilshift.second_opinion import MIN_CORRELATION, SecondOpinion, second_opinion
from distilshift.shards import Rows
from distilshift.types import Example
from encoders import make_checkpoint

WORDS = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in "nrst"]
TEXTS = 300


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path_factory.mktemp("model") / "bert", num_labels=2)), 8)


def same(text: str, rng: random.Random) -> str:
    return text


def other_case_and_punctuation(text: str, rng: random.Random) -> str:
    return f"{text.title()} !"


def one_word_changed(text: str, rng: random.Random) -> str:
    words = text.split()
    words[rng.randrange(len(words))] = rng.choice(WORDS)
    return " ".join(words)


def one_word_dropped(text: str, rng: random.Random) -> str:
    words = text.split()
    del words[rng.randrange(len(words))]
    return " ".join(words)


def asked(tmp_path: Path, classifier: Classifier, texts: list[str], margins: np.ndarray) -> SecondOpinion:
    logits = np.stack([-margins / 2, margins / 2], axis=1).astype(np.float32)
    corpus = open_corpus([Example(text) for text in texts], AdaptConfig())
    with open_run(tmp_path / "run", {}) as run:
        return second_opinion(Rows([logits]), corpus, classifier, 0.5, None, 1.0, 0, run)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("change", [same, other_case_and_punctuation, one_word_changed, one_word_dropped])
def test_copies_do_not_predict_one_another(
    tmp_path: Path, classifier: Classifier, change: Callable[[str, random.Random], str], copies: int
):
    """Labels are random, so that only copies could tell them."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=10)) for _ in range(TEXTS)]
    every = texts + [change(text, rng) for _ in range(copies) for text in texts]
    margins = np.tile(np.random.default_rng(0).normal(size=TEXTS) * 3, copies + 1)
    found = asked(tmp_path, classifier, every, margins)
    assert len(every) >= 500
    assert found.correlation < MIN_CORRELATION / 2
    assert found.weight == 0


def test_texts_without_copies_have_none():
    rng = np.random.default_rng(0)
    texts = [np.unique(rng.integers(0, 500, 60)) for _ in range(100)]
    assert near_copies(texts) == {}


def test_copies_and_copies_of_copies_are_found_and_chains_end():
    """Each shares seven of ten features with the next one, and four with the one after that."""
    chain = [np.arange(start, start + 10) for start in range(0, 21, 3)]
    far = np.arange(100, 110)
    found = near_copies([*chain, far, far])
    assert found[0].tolist() == [0, 1, 2]
    assert found[3].tolist() == [1, 2, 3, 4, 5]
    assert found[7].tolist() == found[8].tolist() == [7, 8]


def test_texts_with_nothing_in_common_are_no_copies():
    lone = [np.array([1]), np.array([2]), np.zeros(0, np.int64), np.zeros(0, np.int64)]
    assert incidence(lone).shape == (4, 0)
    assert near_copies(lone) == {}


def test_what_is_left_out_with_a_text_is_bounded_but_for_its_exact_copies(monkeypatch: pytest.MonkeyPatch):
    """Short commands are near copies of hundreds of others, and each set costs a solution of its size."""
    rng = np.random.default_rng(0)
    texts = [np.unique(np.append(np.arange(8), rng.integers(8, 60, 2))) for _ in range(200)] + [np.arange(9)] * 90
    found = near_copies(texts)
    exact = set(range(200, 290))
    assert len(found) == len(texts)
    for index, members in found.items():
        assert index in members
        assert len(set(members.tolist()) - exact) <= MOST_NEAR + 5  # and its own exact copies, by chance
    assert all(exact <= set(found[index].tolist()) for index in exact)
