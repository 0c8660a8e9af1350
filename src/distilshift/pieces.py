"""A smaller vocabulary for a student: the pieces that the target texts use most, and those that spell any word.

WordPiece alone: what is left of its pieces still splits a word from the left, the longest piece first. The merges of
BPE and the scores of Unigram depend on each other, so such a vocabulary stays whole.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from distilshift import progress
from distilshift.files import write_json
from distilshift.mapped import Arrays
from distilshift.types import Example

# Every tenth text is not counted, and shows how the chosen pieces do on texts that they were not chosen by.
HELD_OUT_EVERY = 10
CHUNK_TEXTS = 1_024

Ids = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True)
class Splitting:
    """How a vocabulary splits some texts.

    Attributes:
        words: that there are, punctuation included.
        pieces: that they are split into.
        unknown: pieces that are the unknown one.
    """

    words: int
    pieces: int
    unknown: int

    @property
    def pieces_per_word(self) -> float:
        """1 where no word is split."""
        return self.pieces / max(1, self.words)

    @property
    def unknown_share(self) -> float:
        """Of all pieces, 0 to 1."""
        return self.unknown / max(1, self.pieces)


class Pieces:
    """A fast tokenizer's pieces, by their ids.

    Attributes:
        rules: the content of its tokenizer.json, which cuts and pads nothing.
    """

    def __init__(self, rules: dict[str, Any]) -> None:
        self.rules = rules | {"truncation": None, "padding": None}
        self._model: dict[str, Any] = self.rules["model"]
        self._plain = Tokenizer.from_str(json.dumps(self.rules))

    def __len__(self) -> int:
        return 1 + max(self._plain.get_vocab(with_added_tokens=True).values())

    @classmethod
    def of(cls, tokenizer: Any) -> Pieces:
        """Those of a transformers tokenizer."""
        return cls(json.loads(tokenizer.backend_tokenizer.to_str()))

    @property
    def is_word_piece(self) -> bool:
        """Whether it can be trimmed."""
        return self._model.get("type") == "WordPiece"

    @property
    def file_bytes(self) -> int:
        """Of its tokenizer.json."""
        return len(self._plain.to_str(pretty=True).encode())

    def required(self) -> Ids:
        """Ids that every student keeps: special pieces, single characters, and these as a word's continuation."""
        prefix = self._model["continuing_subword_prefix"]
        letters = [i for piece, i in self._model["vocab"].items() if len(piece.removeprefix(prefix)) == 1]
        special = [entry["id"] for entry in self.rules.get("added_tokens") or []]
        return np.unique(np.array([*letters, *special, self._model["vocab"][self._model["unk_token"]]], np.int64))

    def counts(self, texts: Iterable[Example]) -> Ids:
        """How often each piece occurs in whole texts, (pieces,)."""
        total = np.zeros(len(self), np.int64)
        for chunk in _chunks(texts):
            both = [text for item in chunk for text in (item.text, item.pair) if text is not None]
            encoded = self._plain.encode_batch_fast(both, add_special_tokens=False)
            ids = np.fromiter((number for each in encoded for number in each.ids), np.int64)
            total += np.bincount(ids, minlength=len(self))
        return total

    def splitting(self, counts: Ids) -> Splitting:
        """How texts are split that have these counts; a piece without the prefix of a continuation begins a word."""
        prefix = self._model["continuing_subword_prefix"]
        continues = [i for piece, i in self._model["vocab"].items() if piece.startswith(prefix) and piece != prefix]
        total, unknown = int(counts.sum()), int(counts[self._model["vocab"][self._model["unk_token"]]])
        return Splitting(total - int(counts[continues].sum()), total, unknown)

    def trimmed(self, kept: Ids) -> dict[str, Any]:
        """The content of a tokenizer.json with these pieces alone, numbered from 0 in their old order.

        Args:
            kept: ids, ascending, `required` among them.
        """
        places = {int(old): new for new, old in enumerate(kept)}
        rules: dict[str, Any] = json.loads(json.dumps(self.rules))
        old = sorted(self._model["vocab"].items(), key=lambda entry: entry[1])
        rules["model"]["vocab"] = {piece: places[number] for piece, number in old if number in places}
        for entry in rules.get("added_tokens") or []:
            entry["id"] = places[entry["id"]]
        _renumber(rules.get("post_processor"), places)
        return rules


def count_pieces(pieces: Pieces, texts: Iterable[Example], advance: progress.Advance = lambda units: None) -> Arrays:
    """How often each piece occurs, in one pass.

    Args:
        pieces: of the tokenizer.
        texts: all of them.
        advance: told how many are done.

    Returns:
        `counted`, (pieces,) int64: in the texts to choose by; `held_out`: in the others, see `held_out`.
    """
    counts = {name: np.zeros(len(pieces), np.int64) for name in ("counted", "held_out")}
    start = 0
    for chunk in _chunks(texts):
        parts: dict[str, list[Example]] = {name: [] for name in counts}
        for index, example in enumerate(chunk, start):
            parts["held_out" if _is_held_out(index) else "counted"].append(example)
        for name, part in parts.items():
            counts[name] += pieces.counts(part)
        start += len(chunk)
        advance(len(chunk))
    return counts


def held_out(texts: Iterable[T]) -> Iterator[T]:
    """The texts that no piece is chosen by: every tenth."""
    return (example for index, example in enumerate(texts) if _is_held_out(index))


def _is_held_out(index: int) -> bool:
    return index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def most_used(required: Ids, counts: Ids, most: int) -> Ids:
    """The ids to keep, ascending: those required, then the pieces that occur, the most frequent first.

    Args:
        required: ids that stay whatever their counts.
        counts: (pieces,), how often each occurs.
        most: ids at the most, but never fewer than those required.
    """
    order = np.argsort(-counts, kind="stable")
    others = order[(counts[order] > 0) & ~np.isin(order, required)]
    return np.sort(np.concatenate([required, others[: max(0, most - len(required))]]))


def _renumber(rule: Any, places: dict[int, int]) -> None:
    """Give a post-processor's special pieces their new ids, in place, however deep."""
    if isinstance(rule, list):
        for entry in rule:
            _renumber(entry, places)
    elif isinstance(rule, dict):
        for key in ("sep", "cls"):
            if isinstance(rule.get(key), list):
                rule[key][1] = places[rule[key][1]]
        for entry in (rule.get("special_tokens") or {}).values():
            entry["ids"] = [places[old] for old in entry["ids"]]
        _renumber(rule.get("processors"), places)


def rebuilt(tokenizer: Any, rules: dict[str, Any], max_length: int) -> Any:
    """A transformers tokenizer like another one, with other rules, as it loads from the disk.

    Args:
        tokenizer: whose class, special pieces and settings it has.
        rules: the content of its tokenizer.json.
        max_length: tokens that the model takes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tokenizer.save_pretrained(folder)
        for name in ("vocab.txt", "added_tokens.json"):  # would be read in the place of the rules
            (folder / name).unlink(missing_ok=True)
        write_json(folder / "tokenizer.json", rules)
        names = tokenizer.model_input_names
        made = AutoTokenizer.from_pretrained(
            folder, use_fast=True, trust_remote_code=False, model_input_names=names, model_max_length=max_length
        )
    made.name_or_path, made.truncation_side = tokenizer.name_or_path, tokenizer.truncation_side
    return made


def _chunks(texts: Iterable[Example]) -> Iterator[list[Example]]:
    source = iter(texts)
    return iter(lambda: list(islice(source, CHUNK_TEXTS)), [])
