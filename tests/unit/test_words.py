"""Ids by remembering words are the tokenizer's own, for any text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from distilshift import words
from distilshift.tokens import TextTokens
from distilshift.types import Example
from distilshift.words import WordMemory, splits_at_spaces

ODD = ["good", "Great", "été", "don't", "film.", "...", "中文 字", "a\tb", "a\nb", "x\x1cy", "\u00a0", "\u200b"]
ODD += [
    "[SEP]",
    "e\u0301",
    "\u0301e",
    "",
    " ",
    "[MASK]good",
    "unk",
    "UNK",
    "z" * 150,
    "ﬁne",
    "İ",
    "0",
    "a\x00b",
    "\ufffd",
]


@pytest.fixture
def tokenizer(tiny_encoder: Path) -> Tokenizer:
    made = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    made.no_padding()
    made.enable_truncation(16)
    return made


def texts(count: int) -> list[str]:
    random = np.random.default_rng(0)
    return ["".join(random.choice([*ODD, " ", " "], random.integers(0, 40)).tolist()) for _ in range(count)]


def ids(tokens: TextTokens, text: str) -> list[int]:
    (row,) = tokens.windows([Example(text)]).ids
    return row


def test_the_ids_are_the_tokenizers_own(tokenizer: Tokenizer):
    tokens = TextTokens(tokenizer)
    for text in [*ODD, *texts(500)] * 2:
        assert ids(tokens, text) == tokenizer.encode(text).ids, repr(text)


@pytest.mark.parametrize("most", [2, 3, 100])
def test_the_windows_are_those_of_a_tokenizer_that_is_asked_each_time(tokenizer: Tokenizer, most: int):
    examples = [Example(text) for text in [*texts(300), "!?" * 100, "http://a.b/" + "ab-" * 60]]
    found = TextTokens(tokenizer, most).windows(examples)
    assert found == TextTokens(tokenizer, most, remember=False).windows(examples)
    assert max(found.counts) > 1
    assert max(found.counts) == most or most == 100


def test_a_forgetful_memory_gives_the_same(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "MOST_WORDS", 3)
    memory = WordMemory(tokenizer)
    for text in texts(100):
        assert memory.ids(text, 14) == tokenizer.encode(text).ids[1:-1]
        assert len(memory._seen) <= 3 + 16 * 3


def test_long_words_are_not_kept(tokenizer: Tokenizer):
    memory = WordMemory(tokenizer)
    long = "ab" * 40
    assert memory.ids(f"good {long}", 14) == tokenizer.encode(f"good {long}").ids[1:-1]
    assert set(memory._seen) == {"good"}


def test_added_pieces_inside_words_are_found(tokenizer: Tokenizer):
    tokenizer.add_tokens(["oo", "d.", AddedToken("iff", normalized=False)])
    assert splits_at_spaces(tokenizer)
    tokens = TextTokens(tokenizer)
    for text in ("good food", "different", "oo iff", "bad."):
        assert ids(tokens, text) == tokenizer.encode(text).ids


def test_a_tokenizer_that_may_look_beyond_spaces_is_asked_each_time(tokenizer: Tokenizer):
    assert splits_at_spaces(tokenizer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    assert not splits_at_spaces(tokenizer)


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer", "truncation", "spaced"])
def test_other_parts_than_berts_are_not_known(tokenizer: Tokenizer, part: str):
    if part == "normalizer":
        tokenizer.normalizer = normalizers.Lowercase()
    if part == "pre_tokenizer":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if part == "truncation":
        tokenizer.enable_truncation(16, direction="left")
    if part == "spaced":
        tokenizer.add_tokens(["new york"])
    assert not splits_at_spaces(tokenizer)
