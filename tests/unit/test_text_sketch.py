"""Hashed words: similar texts have similar vectors, and near copies are found as by comparing all pairs."""

from __future__ import annotations

import random

import numpy as np
import pytest

from distilshift.text_sketch import hashed_words, near_copy_groups, unit_vectors, word_vectors
from distilshift.types import Example
from texts import NEUTRAL, make_texts

VOCABULARY = [f"{first}{last}" for first in "bdfgklmnprst" for last in ("ab", "er", "in", "op", "us", "yl", "ax")]


def groups(*texts: str | tuple[str, str]) -> list[int]:
    examples = [Example(text) if isinstance(text, str) else Example(*text) for text in texts]
    return near_copy_groups(hashed_words(examples)).tolist()


def random_texts(count: int, words: int) -> list[str]:
    generator = random.Random(3)
    return [" ".join(generator.choices(VOCABULARY, k=words)) for _ in range(count)]


def test_case_space_and_punctuation_make_no_difference():
    assert groups("A good film.", "a  GOOD film", "(a good, film!)", "a bad book") == [0, 0, 0, 3]


def test_one_word_of_twelve_may_differ_and_half_of_them_not():
    words = VOCABULARY[:12]
    near = " ".join([*words[:5], "other", *words[6:]])
    far = " ".join([*words[:6], *VOCABULARY[20:26]])
    assert groups(" ".join(words), near, far) == [0, 0, 2]


def test_near_copies_are_those_that_comparing_all_pairs_finds():
    from distilshift.near_copies import near_copies

    texts, generator = random_texts(150, 20), random.Random(4)
    for index in range(0, 150, 5):  # every fifth text is a near copy of the one before
        words = texts[index].split()
        words[generator.randrange(20)] = generator.choice(VOCABULARY)
        texts[index] = " ".join(texts[index - 1].split()[:-1] + words[-1:])
    found = np.array(groups(*texts))
    features = []
    for text in texts:
        words = text.split()
        runs = [" ".join(words[at : at + size]) for size in (1, 2, 3) for at in range(len(words) - size + 1)]
        features.append(np.unique([hash(run) for run in runs]).astype(np.int64))
    pairs = {
        (min(index, int(other)), max(index, int(other)))
        for index, near in near_copies(features).items()
        for other in near
    }
    together = {(a, b) for a in range(150) for b in range(a + 1, 150) if found[a] == found[b]}
    assert len(together) >= 29
    assert together == {(a, b) for a, b in pairs if a != b}


def test_copies_do_not_form_chains():
    words = VOCABULARY[:16]
    texts = [" ".join([*words[step:], *VOCABULARY[40 : 40 + step]]) for step in range(10)]
    found = groups(*texts)
    assert 1 < len(set(found)) < 10
    assert all(found[first] == first for first in found)


def test_a_pair_is_not_its_texts_exchanged_or_joined():
    assert groups(
        ("good film", "bad book"), ("bad book", "good film"), "good film bad book", ("Good film", "bad book")
    )[1:] == [1, 2, 0]


def test_a_text_beside_another_second_text_is_another_question():
    long = " ".join(VOCABULARY[:12])
    assert groups((long, "battery"), (long + " too", "Battery."), (long, "screen")) == [0, 0, 2]


def test_scripts_without_spaces_are_read_by_character():
    review = "这家酒店的房间很干净服务也很好早餐非常丰富"
    assert groups(review, review.replace("很好", "很棒"), "电脑屏幕坏了客服不理我要求退货") == [0, 0, 2]


def test_texts_with_common_words_are_similar():
    texts = [text for text, _ in make_texts(60, 1, NEUTRAL[:4])] + random_texts(60, 12)
    vectors = word_vectors(hashed_words(map(Example, texts)))
    similar = vectors @ vectors.T
    assert similar[:60, :60].mean() > 5 * abs(similar[:60, 60:].mean()) + 0.1
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(120), abs=1e-5)


def test_vectors_have_the_cosines_of_tf_idf():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = random_texts(200, 30)
    exact = TfidfVectorizer(binary=True, min_df=2).fit_transform(texts)
    vectors = word_vectors(hashed_words(map(Example, texts)))
    assert np.abs(vectors @ vectors.T - (exact @ exact.T).toarray()).mean() < 1 / 16


def test_words_of_one_text_only_give_no_direction():
    vectors = word_vectors(hashed_words([Example("unheard words"), Example("good film"), Example("good book")]))
    assert np.abs(vectors[0]).max() == 0
    assert vectors[1] @ vectors[2] == pytest.approx(1)


def test_results_do_not_depend_on_chunks_of_texts():
    texts = random_texts(2500, 8)
    words = hashed_words(map(Example, [*texts, texts[0]]))
    found = near_copy_groups(words)
    assert found[2500] == found[0] == 0
    assert len(set(found.tolist())) >= 2400
    vectors = word_vectors(words)
    assert np.array_equal(vectors[0], vectors[2500])


def test_unit_vectors_keep_zeros():
    assert unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0, 0],
    ]
