"""Long texts are read whole, in windows of the tokenizer's own ids, and short ones once."""

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
from distilshift.data.windows import SLACK, cuts, mean_over_windows, starting_words, windows_of
from distilshift.data.words import text_of, word_count, words_of
from distilshift.metrics import softmax
from distilshift.network import Network, load_network
from distilshift.types import Example

SIZES = {"size": st.integers(0, 800), "room": st.integers(1, 60), "most": st.integers(1, 9)}


@given(**SIZES, share=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_windows_are_the_text_in_order_and_of_similar_sizes(size: int, room: int, most: int, share: float, seed: int):
    starts = np.random.default_rng(seed).random(size) < share
    runs = cuts(size, room, most, lambda place: bool(starts[place]))
    places = [place for run in runs for place in range(run.start, run.stop)]
    assert places == list(range(len(places)))
    sizes = [run.stop - run.start for run in runs]
    assert max(sizes) <= room
    assert len(runs) <= most
    if size <= most * room:
        assert len(places) == size
        assert len(runs) == max(1, -(-size // room))  # no more of them than it takes
    slack = int(room * SLACK)
    assert max(sizes) - min(sizes) <= 2 * slack + 1


@given(**SIZES, longest=st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_windows_begin_at_words_where_there_is_room_for_it(size: int, room: int, most: int, longest: int):
    runs, slack = cuts(size, room, most, lambda place: place % longest == 0), int(room * SLACK)
    if longest <= slack + 1 and (size > most * room or -(-size // len(runs)) + 2 * slack <= room):
        assert [run.start % longest for run in runs] == [0] * len(runs)


def test_cuts_are_at_words():
    starts = lambda place: place % 3 == 0  # noqa: E731
    assert cuts(40, 16, 9, starts) == [slice(0, 15), slice(15, 27), slice(27, 40)]
    assert cuts(40, 16, 9, lambda place: False) == [slice(0, 14), slice(14, 27), slice(27, 40)]
    # A text that is too long for all windows is cut at words, too; the last one is full.
    assert cuts(400, 16, 3, starts) == [slice(0, 15), slice(15, 30), slice(30, 46)]
    # A full text cannot be cut elsewhere.
    assert cuts(32, 16, 3, starts) == [slice(0, 16), slice(16, 32)]


@given(st.lists(st.integers(0, 99), max_size=90), st.lists(st.integers(0, 99), max_size=90), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_of_a_pair_the_longer_text_is_cut_and_the_shorter_repeated(first: list[int], second: list[int], room: int):
    windows = list(windows_of([first, second], bytes(100), room, 500))
    assert all(len(one) + len(other) <= room for one, other in windows)
    if len(first) + len(second) <= room:
        assert windows == [[first, second]]
        return
    cut = int(len(second) >= len(first))
    short = (first, second)[1 - cut][: room // 2]
    assert [window[1 - cut] for window in windows] == [short] * len(windows)
    assert [piece for window in windows for piece in window[cut]] == (first, second)[cut]


def test_the_vocabulary_shows_where_words_begin():
    assert list(starting_words({"[SEP]": 0, "##s": 1, "▁": 2, "##": 3, "a": 4, "##ing": 5, "好": 6})) == [
        1,
        0,
        1,
        1,
        1,
        0,
        1,
    ]
    assert list(starting_words({"<s>": 0, "▁a": 1, "b": 2, "###": 3, "▁": 4, "Ġ": 5})) == [0, 1, 0, 0, 1, 0]
    assert list(starting_words({"a": 0, "Ġa": 3, "b": 1})) == [0, 0, 0, 1]
    assert list(starting_words({"good": 0, "bad": 1})) == [1, 1]


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
def test_spans_of_a_text_without_spaces_are_short(sentence: str):
    assert 1 < len(random_span(sentence * 20, np.random.default_rng(0), 12, 80)) <= 80


def test_a_text_is_the_mean_of_its_windows():
    windows = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.7, 0.3], [0.1, 0.9], [0.6, 0.4]])
    mean = mean_over_windows(windows, np.array([2, 3, 1]))
    np.testing.assert_allclose(mean, [[0.25, 0.75], [0.6, 0.4], [0.6, 0.4]])


@pytest.fixture
def network_of(student_bundle: Path) -> Callable[[int], Network]:
    """In fp32: int8's numbers depend on the other texts of a batch."""
    return lambda most: load_network(student_bundle, read_manifest(student_bundle), "fp32", max_windows=most)


def test_a_student_reads_a_long_text_in_windows_and_averages_their_probabilities(network_of: Callable[[int], Network]):
    """Of words that are one token each: 90 of them are three windows of 30."""
    words = [["good great love", "bad awful hate"][index // 10 % 2] for index in range(30)]
    parts = [Example(" ".join(words[start : start + 10])) for start in (0, 10, 20)]
    long, short = Example(" ".join(words)), Example("a good book")
    alone = softmax(network_of(1).logits(parts)).mean(axis=0)
    found = network_of(3).logits([short, long, short])
    np.testing.assert_allclose(softmax(found)[1], alone, atol=1e-6)
    np.testing.assert_allclose(found[[0, 2]], network_of(1).logits([short, short]), atol=1e-6)
    np.testing.assert_allclose(network_of(3).logits([long])[0], found[1], atol=1e-6)
    assert np.abs(softmax(network_of(1).logits([long]))[0] - alone).max() > 1e-4


def test_a_bundle_says_how_many_windows_and_the_caller_may_say_otherwise(student_bundle: Path):
    assert read_manifest(student_bundle).runtime["max_windows"] == 6
    text = " ".join(["good great love"] * 40 + ["bad awful hate"] * 40)
    six, by_default, one = (
        Predictor.load(student_bundle, max_windows=most).probabilities([text]) for most in (6, 0, 1)
    )
    np.testing.assert_array_equal(six, by_default)
    assert np.abs(six - one).max() > 1e-6
