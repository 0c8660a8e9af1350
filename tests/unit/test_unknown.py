"""Unknown word pieces: how many, and of what kind."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from distilshift.types import Example
from distilshift.unknown import UnknownPieces, kind_of, unknown_pieces


@pytest.mark.parametrize(
    ("character", "kind"),
    [
        ("\U0001f600", "emoji and symbols"),
        ("\u2764", "emoji and symbols"),
        ("\ufe0f", "emoji and symbols"),
        ("\u20ac", "emoji and symbols"),
        ("\u4f60", "CJK"),
        ("\u3042", "CJK"),
        ("\ud55c", "CJK"),
        ("\u0416", "Cyrillic"),
        ("\u03bb", "Greek"),
        ("\u0e01", "Thai"),
        ("\u0967", "digits"),
        ("\u2026", "punctuation"),
        ("e", "Latin"),
        ("\ue000", "other characters"),
    ],
)
def test_kinds_of_characters(character: str, kind: str):
    assert kind_of(character) == kind


def test_unknown_pieces_are_counted_in_both_texts_of_a_pair(tiny_encoder: object):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    texts = [Example("good \U0001f600", "bad \U0001f680"), Example("good book", "\u0416\u0416 film")]
    found = unknown_pieces(tokenizer, texts)
    known = sum(
        len(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in ("good", "bad", "good", "book", "film")
    )
    assert found.share == pytest.approx(3 / (3 + known))
    assert found.kinds == ("emoji and symbols", "Cyrillic")


def test_letters_beside_an_unknown_one_are_not_blamed(tiny_encoder: object):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    assert unknown_pieces(tokenizer, [Example("na\u0457ve book")]).kinds == ("Cyrillic",)
    assert unknown_pieces(tokenizer, [Example("good book")]) == UnknownPieces()
