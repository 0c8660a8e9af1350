"""Long texts are read whole, in windows, and short ones once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift import Predictor
from distilshift.bundle import read_manifest
from distilshift.data.spans import random_span
from distilshift.data.windows import WORDS_A_TOKEN, long_windows, mean_over_windows, window_count, windows_of
from distilshift.data.words import text_of, word_count, words_of
from distilshift.metrics import softmax
from distilshift.predict import Network, load_network
from distilshift.types import Example


def long_text(words: int) -> Example:
    return Example(" ".join(f"w{index}" for index in range(words)))


@given(st.integers(1, 400), st.integers(8, 64), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_windows_are_the_text_in_order_each_short_enough(words: int, max_length: int, most: int):
    example, limit = long_text(words), WORDS_A_TOKEN * max_length
    windows = windows_of(example, max_length, most)
    assert len(windows) == window_count(example, max_length, most) <= most
    joined = " ".join(window.text for window in windows).split()
    assert joined == example.text.split()[: len(joined)]
    if len(windows) < most or most == 1:
        assert len(joined) == words  # nothing is left out
    if len(windows) > 1:
        sizes = [len(window.text.split()) for window in windows]
        assert max(sizes) <= limit + 1
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) > limit / 2 - 1


@given(st.text(st.sampled_from(list("ab,。！很好本の本ผลิตភ좋은\U00020000 \u3000\n")), max_size=60))
@settings(max_examples=200, deadline=None)
def test_words_keep_a_text_but_for_the_kind_and_number_of_its_spaces(text: str):
    words = words_of(text)
    assert text_of(words) == " ".join(text.split())
    assert word_count(text) == len(words)
    assert all(word.strip() and word.lstrip() == word.strip() for word in words)


def test_words_of_scripts_without_spaces_are_their_characters():
    assert words_of("这本书 really好！") == [" 这", "本", "书", " really", "好", "！"]
    assert words_of("정말 좋은 책") == [" 정말", " 좋은", " 책"]
    assert words_of(" a  long\tlink:http://x.y/z ") == [" a", " long", " link:http://x.y/z"]


@pytest.mark.parametrize("sentence", ["这本书很好，我非常喜欢。", "とても面白い本でした。", "หนังสือเล่มนี้ดีมาก"])
def test_a_long_text_without_spaces_is_read_whole(sentence: str):
    example = Example(sentence * 20)
    windows = windows_of(example, 128, 6)
    assert len(windows) > 1
    assert "".join(window.text for window in windows) == example.text
    assert max(len(window.text) for window in windows) <= 90
    assert 1 < len(random_span(example.text, np.random.default_rng(0), 12, 80)) <= 80


def test_a_pair_stays_together():
    pair = Example("long " * 500, "short")
    assert windows_of(pair, 16, 6) == [pair]


def test_only_the_windows_of_long_texts_are_listed():
    short, long = long_text(5), long_text(40)
    assert list(long_windows([short, long, short], 32, 6)) == windows_of(long, 32, 6)


def test_a_text_is_the_mean_of_its_windows_or_itself():
    own = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    windows = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.7, 0.3], [0.1, 0.9]])
    mean = mean_over_windows(own, windows, np.array([1, 2, 1, 3]))
    np.testing.assert_allclose(mean, [[0.9, 0.1], [0.25, 0.75], [0.6, 0.4], [0.6, 0.4]])
    np.testing.assert_array_equal(mean_over_windows(own, np.zeros((0, 2)), np.ones(4, int)), own)


@pytest.mark.parametrize("most", [1, 2])
def test_beyond_the_last_window_a_text_is_not_read(most: int):
    assert len(" ".join(window.text for window in windows_of(long_text(1000), 20, most)).split()) == (
        1000 if most == 1 else 28
    )


@pytest.fixture
def network_of(student_bundle: Path) -> Callable[[int], Network]:
    """In fp32: int8's numbers depend on the other texts of a batch."""
    return lambda most: load_network(student_bundle, read_manifest(student_bundle), "fp32", max_windows=most)


def test_a_student_reads_a_long_text_in_windows_and_averages_their_probabilities(network_of: Callable[[int], Network]):
    long = Example(" ".join(["good great love", "bad awful hate"][index // 20 % 2] for index in range(100)))
    short = Example("a good book")
    windows = windows_of(long, 32, 3)
    assert len(windows) == 3
    alone = softmax(network_of(1).logits(windows)).mean(axis=0)
    found = network_of(3).logits([short, long, short])
    np.testing.assert_allclose(softmax(found)[1], alone, atol=1e-6)
    np.testing.assert_allclose(found[[0, 2]], network_of(1).logits([short, short]), atol=1e-6)
    assert np.abs(softmax(network_of(1).logits([long]))[0] - alone).max() > 1e-4


def test_a_bundle_says_how_many_windows_and_the_caller_may_say_otherwise(student_bundle: Path):
    assert read_manifest(student_bundle).runtime["max_windows"] == 6
    text = " ".join(f"good bad w{index}" for index in range(200))
    six, by_default, one = (
        Predictor.load(student_bundle, max_windows=most).probabilities([text]) for most in (6, 0, 1)
    )
    np.testing.assert_array_equal(six, by_default)
    assert np.abs(six - one).max() > 1e-6
