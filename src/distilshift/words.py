"""Token ids by remembering words: the tokenizer's own answer, several times as fast for words that were met before.

BERT's tokenizers never look beyond a space, so that a text's ids are those of its words, end to end. Of other
tokenizers this is not known, and they are asked each time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

# A stream of any length shall not fill the memory: this many words take some 30 MB, and one without an end is not kept.
MOST_WORDS, LONGEST_WORD = 200_000, 40
# Signs that BERT's tokenizers cut off on both sides; those around special pieces, as in [SEP] and <s>, are left out.
SIGNS = r"""!"#$%&'()*+,-./:;=?@\^_`{|}~"""
_PARTS = re.compile(f"[A-Za-z0-9]+|[{re.escape(SIGNS)}]")


class WordMemory:
    """What a tokenizer made of each word so far.

    Args:
        tokenizer: one of which `splits_at_spaces` is true; it truncates texts.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._seen = tokenizer, {}  # type: Tokenizer, dict[str, list[int]]
        self._lowercase = tokenizer.normalizer.lowercase
        self._longest = min(LONGEST_WORD, tokenizer.model.max_input_chars_per_word)
        # An added piece of such letters and signs would be cut out of words, and leave other words.
        self._plain = not any(_is_plain(added.content) for added in _added(tokenizer))
        self._part = int((tokenizer.truncation or {})["max_length"])

    def ids(self, text: str, most: int) -> list[int]:
        """Return the first `most` token ids of a text, without special tokens."""
        if len(self._seen) > MOST_WORDS:
            self._seen = {}  # a new one: another thread may be reading in the old one
        seen, words = self._seen, text.split(" ")
        found: list[int] = []
        for start in range(0, len(words), self._part):  # words that are cut off are not looked at
            part = words[start : start + self._part]
            if unseen := [word for word in part if word not in seen]:
                asked = self._asked(unseen)
                seen.update({word: ids for word, ids in asked.items() if len(word) <= LONGEST_WORD})
                found += chain.from_iterable([seen[word] if word in seen else asked[word] for word in part])
            else:
                found += chain.from_iterable(map(seen.__getitem__, part))
            if len(found) >= most:
                break
        return found[:most]

    def _asked(self, words: Sequence[str]) -> dict[str, list[int]]:
        known = {word: ids for word in words if (ids := self._pieces(word)) is not None}
        others = list(dict.fromkeys(word for word in words if word not in known))
        return known | self._encoded(others) if others else known

    def _encoded(self, words: Sequence[str]) -> dict[str, list[int]]:
        # At once, but not as a batch, which wakes threads: that takes longer than a few words do.
        together = self._tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
        found: dict[str, list[int]] = {word: [] for word in words}
        for part in (together, *together.overflowing):
            for place, piece in zip(part.word_ids, part.ids, strict=True):
                found[words[int(place or 0)]].append(piece)
        return found

    def _pieces(self, word: str) -> list[int] | None:
        """The ids of a word whose parts between signs are pieces of the vocabulary; None where they are not."""
        parts = _PARTS.findall(word.lower() if self._lowercase else word)
        if not self._plain or len(word) > self._longest or len("".join(parts)) != len(word) or not word.isascii():
            return None
        ids = [piece for part in parts if (piece := self._tokenizer.token_to_id(part)) is not None]
        return ids if len(ids) == len(parts) else None


def splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether it is known of a tokenizer that the ids of a text are those of its words between spaces."""
    parts = [type(part) for part in (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.model)]
    if parts != [normalizers.BertNormalizer, pre_tokenizers.BertPreTokenizer, models.WordPiece]:
        return False
    if (tokenizer.truncation or {}).get("direction") != "right" or any(map(_reaches_out, _added(tokenizer))):
        return False
    before, after = _frame(tokenizer)
    return tokenizer.encode("a").ids == [*before, *_bare(tokenizer), *after] and not any(tokenizer.encode("a").type_ids)


def _added(tokenizer: Tokenizer) -> list[AddedToken]:
    return list(tokenizer.get_added_tokens_decoder().values())


def _reaches_out(added: AddedToken) -> bool:
    """Whether an added piece takes spaces along, or has some inside."""
    return bool(added.lstrip or added.rstrip or added.content.split() != [added.content])


def _is_plain(content: str) -> bool:
    """Whether a piece has the letters and signs alone of words that are looked up part by part."""
    return "".join(_PARTS.findall(content)) == content


def _bare(tokenizer: Tokenizer) -> list[int]:
    ids: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    return ids


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that stand before and after every text."""
    around, bare = tokenizer.encode("a").ids, _bare(tokenizer)
    start = next((at for at in range(len(around)) if around[at : at + len(bare)] == bare), len(around))
    return around[:start], around[start + len(bare) :]
