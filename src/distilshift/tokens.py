"""The device's tokenizer: loaded, held against the model, and asked for the windows of texts and pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
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
            for sides in self._sides(examples):
                self._add(sides, found)
        return found

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
    """What stands around a text, or around both texts of a pair.

    Attributes:
        special: ids of the special tokens before, between and after the texts.
        special_types: type ids of these.
        types: the type id of each text.
        room: tokens that fit between the special ones.
    """

    special: Rows
    special_types: Rows
    types: list[int]
    room: int

    def row(self, window: Sequence[list[int]]) -> tuple[list[int], list[int]]:
        """Ids and type ids of a window of these texts."""
        ids, types = list(self.special[0]), list(self.special_types[0])
        rest = zip(window, self.types, self.special[1:], self.special_types[1:], strict=True)
        for side, kind, special, special_types in rest:
            ids += side
            ids += special
            types += [kind] * len(side)
            types += special_types
        return ids, types


def _frame_of(tokenizer: Tokenizer, sides: int) -> _Frame:
    """The frame of one text or of two.

    Raises:
        BundleError: the tokenizer makes no token of a letter, and has no added tokens either.
    """
    # Added tokens are found in any text; of a letter, some tokenizers make nothing.
    probe = next((added.content for added in tokenizer.get_added_tokens_decoder().values()), "a")
    encoding = tokenizer.encode(probe, probe if sides == 2 else None)
    special, special_types, types = [[]], [[]], []  # type: Rows, Rows, list[int]
    for piece, kind, side in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
        if side is None:
            special[-1].append(piece)
            special_types[-1].append(kind)
        elif side == len(types):
            types.append(kind)
            special.append([])
            special_types.append([])
    if len(types) != sides:
        raise BundleError("the tokenizer fails on a text", got=f"no token for {probe!r}", fix="make the student again")
    room = int((tokenizer.truncation or {})["max_length"]) - sum(map(len, special))
    return _Frame(special, special_types, types, room)


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
