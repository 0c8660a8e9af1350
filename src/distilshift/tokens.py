"""The device's tokenizer: loaded, held against the model, and asked for the ids of texts and pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from distilshift.data.windows import starting_words, windows_of
from distilshift.errors import BundleError
from distilshift.scan.tokenizer import check_tokenizer
from distilshift.types import Example
from distilshift.words import WordMemory, splits_at_spaces

Rows = list[list[int]]


@dataclass(frozen=True)
class Windows:
    """Token ids of texts or pairs, one row per window.

    Attributes:
        ids: token ids of each window, special tokens included.
        type_ids: for each of them, which text of a pair it belongs to, as the model expects it.
        counts: windows of each text; 1 where the text fits.
    """

    ids: Rows
    type_ids: Rows
    counts: list[int]


class TextTokens:
    """Token ids of texts, in windows where a text is too long.

    Args:
        tokenizer: it truncates at the length that the network takes.
        max_windows: maximum number of windows of a text; 1 reads its beginning only.
        remember: look up words that were seen before, if the tokenizer is known to allow it.

    Raises:
        BundleError: the tokenizer fails on a letter.
    """

    def __init__(self, tokenizer: Tokenizer, max_windows: int = 1, remember: bool = True) -> None:
        self._tokenizer, self._most = tokenizer, max_windows
        with _told():
            self._memory = WordMemory(tokenizer) if remember and splits_at_spaces(tokenizer) else None

    def windows(self, examples: Sequence[Example]) -> Windows:
        """Return the windows of all texts in order. The only row of a text that fits is the tokenizer's own.

        Raises:
            BundleError: the tokenizer fails on one of the texts.
        """
        found = Windows([], [], [])
        with _told():
            if self._memory is not None and all([item.pair is None for item in examples]):
                for item in examples:
                    self._add_remembered(item.text, self._memory, found)
            else:
                pairs = [item.text if item.pair is None else (item.text, item.pair) for item in examples]
                for item, first in zip(examples, self._tokenizer.encode_batch(pairs), strict=True):
                    self._add_encoded(item, first, found)
        return found

    def _add_remembered(self, text: str, memory: WordMemory, found: Windows) -> None:
        ids = memory.ids(text, self._most * memory.room + 1)  # one more, to see that a text goes on
        runs: list[Sequence[int]] = [ids]
        if len(ids) > memory.room:
            runs = [run for (run,) in windows_of([ids], self._word_starts, memory.room, self._most)]
        found.ids.extend([*memory.before, *run, *memory.after] for run in runs)
        found.type_ids.extend([0] * len(row) for row in found.ids[-len(runs) :])
        found.counts.append(len(runs))

    def _add_encoded(self, item: Example, first: Encoding, found: Windows) -> None:
        """Add the windows of a text; `first` is its beginning, as the tokenizer truncates it."""
        rows = [(first.ids, first.type_ids)]
        if self._most > 1 and first.overflowing:
            room = int((self._tokenizer.truncation or {})["max_length"]) - first.sequence_ids.count(None)
            windows = windows_of(self._sides(item, first), self._word_starts, room, self._most)
            rows = [_framed(window, first) for window in windows]
        found.ids.extend(ids for ids, _ in rows)
        found.type_ids.extend(types for _, types in rows)
        found.counts.append(len(rows))

    def _sides(self, item: Example, first: Encoding) -> Rows:
        """All token ids of the text, or of both texts of a pair, without special tokens."""
        if item.pair is None:
            return [_text_ids(first)]
        both = (item.text, item.pair)
        return [_text_ids(self._tokenizer.encode(text, add_special_tokens=False)) for text in both]

    @cached_property
    def _word_starts(self) -> bytes:
        return starting_words(self._tokenizer.get_vocab())


def _text_ids(encoding: Encoding) -> list[int]:
    """All ids of a single text but the special ones, those that were truncated included."""
    parts = (encoding, *encoding.overflowing)
    return [
        piece for part in parts for piece, kind in zip(part.ids, part.sequence_ids, strict=True) if kind is not None
    ]


def _framed(window: Sequence[Sequence[int]], like: Encoding) -> tuple[list[int], list[int]]:
    """Ids and type ids of a window, with the special tokens that `like`, a row of the same text, has around its ids."""
    kinds, ids, types = like.sequence_ids, [], []  # type: list[int | None], list[int], list[int]
    for kind, each in groupby(zip(kinds, like.ids, like.type_ids, strict=True), key=itemgetter(0)):
        _, own_ids, own_types = zip(*each, strict=True)
        ids += own_ids if kind is None else window[kind]
        types += own_types if kind is None else own_types[:1] * len(window[kind])
    return ids, types


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not _is_rust_error(error):
            raise
        reason = str(error).splitlines()[0]
        raise BundleError("the tokenizer fails on a text", got=reason, fix="make the student again") from None


def _is_rust_error(error: BaseException) -> bool:
    """The tokenizers library raises bare Exception, or where it panics a BaseException without a public name."""
    return type(error) is Exception or type(error).__name__ == "PanicException"


def load_tokenizer(path: Path, max_length: int, config: dict[str, Any]) -> Tokenizer:
    """A tokenizer that cuts at `max_length`, checked to fit the model's embedding.

    Raises:
        BundleError: it does not load, or can give an id that the embedding has no row for.
    """
    highest, rows = check_tokenizer(path), int(config.get("vocab_size") or 0)
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        added = max(tokenizer.num_special_tokens_to_add(pair) for pair in (False, True))
        tokenizer.enable_truncation(max_length)
    except BaseException as error:
        if not _is_rust_error(error):
            raise
        raise BundleError(f"{path} does not load", got=str(error), fix="make the student again") from None
    if highest >= rows:
        raise BundleError(
            f"{path} is of another model",
            expected=f"at most {rows} pieces",
            got=str(highest + 1),
            fix="make the student again",
        )
    if added >= max_length:
        raise BundleError(
            f"{path} leaves no room for a text",
            expected=f"fewer than {max_length} pieces around it",
            got=str(added),
            fix="make the student again",
        )
    return tokenizer
