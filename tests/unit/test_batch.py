"""Batches, spans and splits: every text where it belongs, the same for the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.data.batch import WINDOW_BATCHES, TokenStore, shuffled_batches, sorted_batches
from distilshift.data.spans import random_span, random_spans
from distilshift.data.split import stratified_split
from distilshift.errors import DataError
from distilshift.types import Example

lengths_lists = st.lists(st.integers(1, 60), min_size=1, max_size=150).map(np.array)
quick = settings(max_examples=80, deadline=None)


def padding(lengths: np.ndarray, batches: list[np.ndarray]) -> int:
    """Tokens of padding that these batches need."""
    return sum(int((lengths[batch].max() - lengths[batch]).sum()) for batch in batches)


@given(lengths_lists, st.integers(1, 20), st.integers(0, 5), st.integers(0, 5))
@quick
def test_an_epoch_has_each_text_once_in_full_batches(lengths: np.ndarray, size: int, seed: int, epoch: int):
    batches = shuffled_batches(lengths, size, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert sum(len(batch) < size for batch in batches) <= 1
    again = shuffled_batches(lengths, size, seed, epoch)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]


def test_epochs_and_seeds_have_orders_of_their_own():
    lengths = np.random.default_rng(0).integers(5, 100, 500)
    orders = {
        tuple(np.concatenate(shuffled_batches(lengths, 8, seed, epoch))) for seed in range(3) for epoch in range(3)
    }
    assert len(orders) == 9


def test_batches_hold_texts_of_like_length_but_other_company_each_epoch():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 100, 2000)
    shuffled, order = shuffled_batches(lengths, 16, 0, 0), rng.permutation(2000)
    random = [order[start : start + 16] for start in range(0, 2000, 16)]
    assert padding(lengths, random) > 60_000
    assert padding(lengths, shuffled) < 0.25 * padding(lengths, random)
    mates = [{frozenset(batch.tolist()) for batch in shuffled_batches(lengths, 16, 0, epoch)} for epoch in (0, 1)]
    assert not mates[0] & mates[1]
    # Nothing is learnt in the order of length.
    firsts = [lengths[batch].max() for batch in shuffled[: 4 * WINDOW_BATCHES]]
    assert firsts != sorted(firsts)
    assert firsts != sorted(firsts, reverse=True)


@given(lengths_lists, st.integers(1, 20))
@quick
def test_sorted_batches_start_with_the_longest(lengths: np.ndarray, size: int):
    order = np.concatenate(list(sorted_batches(lengths, size)))
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert lengths[order].tolist() == sorted(lengths.tolist(), reverse=True)


def test_no_texts_make_no_batches():
    none = np.empty(0, np.int64)
    assert shuffled_batches(none, 4, 0, 0) == []
    assert list(sorted_batches(none, 4)) == []


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=12), st.data())
@quick
def test_a_store_gives_back_its_rows_padded_and_masked(ids: list[list[int]], data: st.DataObject):
    kinds = [[index % 2 for index in range(len(row))] for row in ids]
    store = TokenStore.from_rows(ids, kinds, pad_id=7)
    chosen = data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1))
    multiple = data.draw(st.sampled_from([1, 4]))
    batch = store.batch(np.array(chosen), multiple)
    longest = max(len(ids[index]) for index in chosen)
    longest += -longest % multiple
    assert len(store) == len(ids)
    assert store.lengths.tolist() == [len(row) for row in ids]
    for row, index in enumerate(chosen):
        fill = longest - len(ids[index])
        assert batch["input_ids"][row].tolist() == ids[index] + [7] * fill
        assert batch["attention_mask"][row].tolist() == [1] * len(ids[index]) + [0] * fill
        assert batch["token_type_ids"][row].tolist() == kinds[index] + [0] * fill
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}


words = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta"]), min_size=1, max_size=60)


@given(words, st.integers(1, 30), st.integers(0, 50), st.integers(0, 2**32))
@quick
def test_a_span_is_a_run_of_words_within_its_bounds(text: list[str], shortest: int, more: int, seed: int):
    longest = shortest + more
    span = random_span(" ".join(text), np.random.default_rng(seed), shortest, longest).split()
    assert any(text[start : start + len(span)] == span for start in range(len(text)))
    assert len(span) <= min(longest, len(text))
    # A text too short for `shortest` gives at least half of its words.
    assert len(span) >= min(shortest, max(1, len(text) // 2))


def test_spans_reach_every_length_and_place():
    text, rng = " ".join(map(str, range(10))), np.random.default_rng(0)
    spans = Counter(random_span(text, rng, 3, 5) for _ in range(2000))
    assert len(spans) == 8 + 7 + 6
    assert {span.split()[0] for span in spans} == set(map(str, range(8)))


@pytest.mark.parametrize("text", ["word", "  word  ", "a b"])
def test_short_texts_keep_a_word(text: str):
    for seed in range(20):
        assert random_span(text, np.random.default_rng(seed), 12, 80).split()


def test_views_differ_repeat_and_drop_labels():
    examples = [Example("one two three four five six", "p q r s", "x"), Example("solo", None, "y")] * 5
    views = (random_spans(examples, shortest=2, longest=4, seed=3, view=view) for view in (0, 0, 1))
    first, again, other = map(list, views)
    assert first == again != other
    assert {item.label for item in first} == {None}
    assert [item.pair is None for item in first] == [False, True] * 5
    assert all(item.pair in {"p q", "q r", "r s", "p q r", "q r s", "p q r s"} for item in first[::2])
    assert [item.text for item in first[1::2]] == ["solo"] * 5


labelled = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([None, "p"]), st.sampled_from(["x", "y", "z"])),
    min_size=1,
    max_size=40,
).map(lambda rows: [Example(*row) for row in rows])


@given(labelled, st.floats(0.01, 0.99), st.integers(0, 9))
@settings(max_examples=300, deadline=None)
def test_a_split_is_disjoint_whole_and_leaves_each_class_on_both_sides(
    examples: list[Example], fraction: float, seed: int
):
    """Also where one text has several labels, as real files have."""
    texts = {item.label: {(e.text, e.pair) for e in examples if e.label == item.label} for item in examples}
    unclear = {text for text, count in Counter(t for own in texts.values() for t in own).items() if count > 1}
    if any(len(own) < 2 or own <= unclear for own in texts.values()):
        with pytest.raises(DataError, match="cannot be split"):
            stratified_split(examples, fraction, seed)
        return
    training, validation = stratified_split(examples, fraction, seed)
    assert not {(item.text, item.pair) for item in training} & {(item.text, item.pair) for item in validation}
    assert Counter(training) + Counter(validation) == Counter(examples)
    assert {item.label for item in training} == {item.label for item in validation} == set(texts)
    assert (training, validation) == stratified_split(examples, fraction, seed)


def test_a_split_is_stratified_and_keeps_the_order():
    examples = [Example(f"text {index}", None, "rare" if index % 10 == 0 else "common") for index in range(400)]
    training, validation = stratified_split(examples, 0.1, 0)
    assert Counter(item.label for item in validation) == {"rare": 4, "common": 36}
    assert training == [item for item in examples if item in set(training)]
    assert validation != stratified_split(examples, 0.1, 1)[1]


@pytest.mark.parametrize(
    ("texts", "fraction", "held_out"), [(2, 0.01, 1), (2, 0.99, 1), (3, 0.99, 2), (6, 0.01, 1), (6, 0.4, 2)]
)
def test_a_share_of_few_texts_is_rounded_but_never_all_or_none(texts: int, fraction: float, held_out: int):
    examples = [Example(f"text {index}", None, "x") for index in range(texts)]
    assert len(stratified_split(examples, fraction, 0)[1]) == held_out


def test_all_classes_that_cannot_be_split_are_listed_at_once():
    """One text, copies of one, and no text without another label; a class that can be split is not listed."""
    labelled = [
        ("a", "x"),
        ("b", "x"),
        ("c", "10"),
        ("c", "10"),
        ("d", "9"),
        ("e", "u"),
        ("f", "u"),
        ("e", "v"),
        ("f", "v"),
    ]
    examples = [Example(text, None, label) for text, label in labelled]
    with pytest.raises(DataError) as caught:
        stratified_split(examples, 0.5, 0)
    error = caught.value
    assert error.problem == "4 classes cannot be split"
    assert error.got == "; ".join(
        f"{name}: {texts}, {own} of this class alone"
        for name, texts, own in [("'10'", 1, 1), ("'9'", 1, 1), ("'u'", 2, 0), ("'v'", 2, 0)]
    )
    assert "--validation" in error.fix
    with pytest.raises(DataError, match=r"^1 class cannot be split: .*, got '9': 1, 1 of this class alone"):
        stratified_split([item for item in examples if item.label in "x9"], 0.5, 0)


def test_a_long_list_of_classes_that_cannot_be_split_is_cut():
    examples = [Example(f"text {index}", None, f"class {index}") for index in range(30)]
    with pytest.raises(DataError, match=r"^30 classes cannot be split: .*'class 26.*; and 10 more"):
        stratified_split(examples, 0.5, 0)
