"""The device's tokenizer: loaded, held against the model, and asked for the windows of texts and pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer, models

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
            for sides in self._sides(examples):
                self._add(sides, found)
        return found

    def has_unknown(self, examples: Sequence[Example]) -> list[bool]:
        """Return whether each text has a piece, in its windows, that the tokenizer does not know.

        Raises:
            BundleError: the tokenizer fails on one of the texts.
        """
        windows = self.windows(examples)
        rows, unknown = iter(windows.ids), self._unknown_id
        return [any([unknown in ids for ids in islice(rows, count)]) for count in windows.counts]

    def _sides(self, examples: Sequence[Example]) -> Iterator[Rows]:
        """Token ids of each text, or of both texts of each pair, without special tokens."""
        if self._memory is not None and all([item.pair is None for item in examples]):
            most = self._most * self._frames[0].room + 1  # one more shows that the text goes on
            for item in examples:
                yield [self._memory.ids(item.text, most)]
            return
        # Each text alone: truncating a pair takes the tokenizer as long as the product of both lengths.
        texts = [text for item in examples for text in (item.text, item.pair) if text is not None]
        parts = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        encoded = (_all_ids(each, self._from_end) for each in parts)
        for item in examples:
            yield list(islice(encoded, 1 if item.pair is None else 2))

    def _add(self, sides: Rows, found: Windows) -> None:
        frame, windows = self._frames[len(sides) - 1], [sides]
        if sum(map(len, sides)) > frame.room:
            windows = list(windows_of(sides, self._word_starts, frame.room, self._most, self._from_end))
        for window in windows:
            ids, types = frame.row(window)
            found.ids.append(ids)
            found.type_ids.append(types)
        found.counts.append(len(windows))

    @cached_property
    def _unknown_id(self) -> int | None:
        """The id of the unknown piece; None where every byte has a piece."""
        model = json.loads(self._tokenizer.to_str())["model"]
        if model.get("unk_id") is not None:
            return int(model["unk_id"])
        return self._tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else None

    @cached_property
    def _from_end(self) -> bool:
        return bool((self._tokenizer.truncation or {}).get("direction") == "left")

    @cached_property
    def _frames(self) -> list[_Frame]:
        """Of a text, and of a pair."""
        return [_frame_of(self._tokenizer, sides) for sides in (1, 2)]

    @cached_property
    def _word_starts(self) -> bytes:
        return starting_words(self._tokenizer.get_vocab())


def _all_ids(encoding: Encoding, from_end: bool) -> list[int]:
    """The ids of a text, those that the tokenizer truncated included; from the end if it truncates on the left."""
    parts = [encoding, *encoding.overflowing]
    return list(chain.from_iterable(part.ids for part in (reversed(parts) if from_end else parts)))


@dataclass(frozen=True)
class _Frame:
    """How a text, or both texts of a pair, stand among special tokens.

    Attributes:
        parts: in order, a special token's id and type id with None, or a text's place with its type id and number.
        room: tokens of texts that fit.
    """

    parts: list[tuple[int, int, int | None]]
    room: int

    def row(self, window: Sequence[list[int]]) -> tuple[list[int], list[int]]:
        """Ids and type ids of a window of these texts."""
        ids, types = [], []  # type: list[int], list[int]
        for piece, kind, side in self.parts:
            run = [piece] if side is None else window[side]
            ids += run
            types += [kind] * len(run)
        return ids, types


def _frame_of(tokenizer: Tokenizer, sides: int) -> _Frame:
    """The frame of one text or of two."""
    # Of a letter, this one makes one token, whatever the other does.
    probe = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    if tokenizer.post_processor is not None:
        probe.post_processor = tokenizer.post_processor
    found = probe.encode("a", "a" if sides == 2 else None)
    parts = list(zip(found.ids, found.type_ids, found.sequence_ids, strict=True))
    return _Frame(parts, int((tokenizer.truncation or {})["max_length"]) - found.sequence_ids.count(None))


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
    """A tokenizer that cuts at `max_length`, on the side that the file names, checked to fit the model's embedding.

    Raises:
        BundleError: it does not load, or can give an id that the embedding has no row for.
    """
    highest, rows = check_tokenizer(path), int(config.get("vocab_size") or 0)
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        added = max(tokenizer.num_special_tokens_to_add(pair) for pair in (False, True))
        tokenizer.enable_truncation(max_length, direction=(tokenizer.truncation or {}).get("direction", "right"))
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
