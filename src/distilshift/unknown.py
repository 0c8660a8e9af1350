"""Word pieces of the target texts that are unknown to a tokenizer, and what kinds of characters they hide."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distilshift.types import Example

# Kinds of characters that are reported at most.
MOST_KINDS = 3
# Characters of a text that are looked at: the offsets of long documents would take gigabytes.
READ_CHARS = 2_000


@dataclass(frozen=True)
class UnknownPieces:
    """What a tokenizer cannot read of some texts.

    Attributes:
        share: of all word pieces, 0 to 1.
        kinds: kinds of characters in the unknown ones, such as emoji or a script; the most common first.
    """

    share: float = 0.0
    kinds: tuple[str, ...] = ()


def unknown_pieces(tokenizer: Any, examples: Sequence[Example]) -> UnknownPieces:
    """Count the unknown pieces of texts, of a long one in its beginning.

    Args:
        tokenizer: a fast transformers tokenizer.
        examples: the texts.
    """
    texts = [text[:READ_CHARS] for item in examples for text in (item.text, item.pair) if text is not None]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    kinds, pieces, unknown = Counter[str](), 0, 0
    for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        pieces += len(ids)
        for number, (start, end) in zip(ids, offsets, strict=True):
            if number == tokenizer.unk_token_id:
                unknown += 1
                kinds.update({kind_of(character) for character in text[start:end]})
    if not unknown:
        return UnknownPieces()
    # One unknown character makes its whole word unknown: Latin letters beside it are not the reason.
    named = [kind for kind, _ in kinds.most_common() if kind != "Latin"] or ["Latin"]
    return UnknownPieces(unknown / pieces, tuple(named[:MOST_KINDS]))


def kind_of(character: str) -> str:
    """Return the kind of a character: emoji and symbols, CJK, the name of another script, or punctuation.

    The first word of a letter's Unicode name is its script.
    """
    category, name = unicodedata.category(character), unicodedata.name(character, "")
    if category in ("So", "Sk") or name.startswith(("VARIATION SELECTOR", "ZERO WIDTH")):
        return "emoji and symbols"
    if category[0] in "LM":
        script = name.split("-")[0].split(" ")[0]
        return "CJK" if script in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO") else script.capitalize()
    return {"N": "digits", "P": "punctuation", "S": "emoji and symbols"}.get(category[0], "other characters")
