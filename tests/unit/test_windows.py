"""Long texts are read whole, in windows, and short ones once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.data.windows import WORDS_A_TOKEN, long_windows, mean_over_windows, window_count, windows_of
from distilshift.types import Example


def text_of(words: int) -> Example:
    return Example(" ".join(f"w{index}" for index in range(words)))


@given(st.integers(1, 400), st.integers(8, 64), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_windows_are_the_text_in_order_each_short_enough(words: int, max_length: int, most: int):
    example, limit = text_of(words), WORDS_A_TOKEN * max_length
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


def test_a_pair_stays_together():
    pair = Example("long " * 500, "short")
    assert windows_of(pair, 16, 6) == [pair]


def test_only_the_windows_of_long_texts_are_listed():
    short, long = text_of(5), text_of(40)
    assert list(long_windows([short, long, short], 32, 6)) == windows_of(long, 32, 6)


def test_a_text_is_the_mean_of_its_windows_or_itself():
    own = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    windows = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.7, 0.3], [0.1, 0.9]])
    mean = mean_over_windows(own, windows, np.array([1, 2, 1, 3]))
    np.testing.assert_allclose(mean, [[0.9, 0.1], [0.25, 0.75], [0.6, 0.4], [0.6, 0.4]])
    np.testing.assert_array_equal(mean_over_windows(own, np.zeros((0, 2)), np.ones(4, int)), own)


@pytest.mark.parametrize("most", [1, 2])
def test_beyond_the_last_window_a_text_is_not_read(most: int):
    assert len(" ".join(window.text for window in windows_of(text_of(1000), 20, most)).split()) == (
        1000 if most == 1 else 28
    )
