"""Trimming a vocabulary: what stays, how it splits, and what any loader makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from distilshift.pieces import Pieces, count_pieces, held_out, most_used, rebuilt
from distilshift.types import Example
from encoders import FAMILIES, LETTERS, make_tokenizer

TEXTS = [Example("good good film"), Example("a bad film", "very sad")]


@pytest.fixture
def pieces() -> Pieces:
    return Pieces.of(make_tokenizer("bert"))


def ids_of(pieces: Pieces, *names: str) -> list[int]:
    return [pieces.rules["model"]["vocab"][name] for name in names]


def test_special_pieces_and_all_single_characters_are_required(pieces: Pieces):
    wanted = ids_of(pieces, "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{x}" for x in LETTERS))
    assert pieces.required().tolist() == sorted(wanted)


def test_counts_hold_both_texts_of_a_pair_and_no_special_piece(pieces: Pieces):
    counts = pieces.counts(TEXTS)
    found = {name: int(counts[number]) for name, number in pieces.rules["model"]["vocab"].items() if counts[number]}
    assert found == {"good": 2, "film": 2, "a": 1, "bad": 1, "very": 1, "sad": 1}


def test_whole_texts_are_counted_not_what_the_model_sees_at_once():
    tokenizer = make_tokenizer("bert")
    tokenizer("good", truncation=True, max_length=8)  # leaves the limit set in the tokenizer, as training does
    counts = Pieces.of(tokenizer).counts([Example("good " * 50)])
    assert counts.sum() == 50


def test_every_tenth_text_is_held_out(pieces: Pieces):
    texts = [Example("good")] * 2_055 + [Example("bad")] * 5
    counts = count_pieces(pieces, iter(texts))
    good, bad = ids_of(pieces, "good", "bad")
    assert (counts["counted"][good], counts["held_out"][good]) == (1_850, 205)
    assert (counts["counted"][bad], counts["held_out"][bad]) == (4, 1)
    assert sum(1 for _ in held_out(texts)) == 206


def test_the_most_frequent_pieces_are_kept_and_those_that_do_not_occur_are_not():
    required, counts = np.array([0, 2]), np.array([0, 5, 0, 7, 5, 0, 1])
    assert most_used(required, counts, 4).tolist() == [0, 1, 2, 3]
    assert most_used(required, counts, 100).tolist() == [0, 1, 2, 3, 4, 6]
    assert most_used(required, counts, 1).tolist() == [0, 2]


def test_a_word_without_its_piece_is_spelt_and_a_foreign_character_stays_unknown(pieces: Pieces):
    kept = most_used(pieces.required(), pieces.counts([Example("good")]), 1_000)
    trimmed = Pieces(pieces.trimmed(kept))
    plain = Tokenizer.from_str(__import__("json").dumps(trimmed.rules))
    assert plain.encode("good bad é 7", add_special_tokens=False).tokens == ["good", "b", "##a", "##d", "e", "[UNK]"]
    splitting = trimmed.splitting(trimmed.counts([Example("good bad é 7")]))
    assert (splitting.words, splitting.pieces, splitting.unknown) == (4, 6, 1)
    assert splitting.pieces_per_word == 1.5
    assert splitting.unknown_share == pytest.approx(1 / 6)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_trimmed_tokenizer_loads_everywhere_and_splits_as_before_what_it_has_the_pieces_for(
    family: str, tmp_path: Path
):
    tokenizer = make_tokenizer(family)
    pieces, text = Pieces.of(tokenizer), "good film bad plot"
    kept = most_used(pieces.required(), pieces.counts([Example(text)]), 1_000)
    made = rebuilt(tokenizer, pieces.trimmed(kept), 32)
    made.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    plain = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for each in (made, loaded):
        assert len(each) == len(kept) < len(tokenizer)
        assert each.model_max_length == 32
        assert each.all_special_tokens == tokenizer.all_special_tokens
        for pair in (None, "sad film"):
            assert each(text, pair).tokens() == (
                tokenizer(text, pair).tokens() if pair is None else each(text, pair).tokens()
            )
            assert each(text, pair)["input_ids"] == plain.encode(text, pair).ids
    ids = np.array(made(text)["input_ids"])
    assert kept[ids].tolist() == tokenizer(text)["input_ids"]


def test_real_bert_tokenizer_files_survive(tmp_path: Path):
    """transformers builds a BertTokenizer from its pieces anew; its special pieces must be found where they are."""
    from transformers import BertTokenizer

    vocabulary = {piece: index for index, piece in enumerate(["[PAD]", "x", "[UNK]", "y", "[CLS]", "[SEP]", "[MASK]"])}
    vocabulary |= {letter: len(vocabulary) + index for index, letter in enumerate("abcdefg")}
    vocabulary |= {f"##{letter}": len(vocabulary) + index for index, letter in enumerate("abcdefg")}
    vocabulary |= {word: len(vocabulary) + index for index, word in enumerate(["bad", "cab", "fed"])}
    tokenizer = BertTokenizer(vocab=vocabulary)
    pieces = Pieces.of(tokenizer)
    kept = most_used(pieces.required(), pieces.counts([Example("cab")]), 1_000)
    made = rebuilt(tokenizer, pieces.trimmed(kept), 16)
    assert made("cab bad").tokens() == ["[CLS]", "cab", "b", "##a", "##d", "[SEP]"]
    made.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("cab bad")["input_ids"] == made("cab bad")["input_ids"]
    assert (made.pad_token_id, made.cls_token_id) == (0, list(kept).index(4))


def test_other_kinds_are_told():
    rules = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": []}
    assert not Pieces(rules).is_word_piece
