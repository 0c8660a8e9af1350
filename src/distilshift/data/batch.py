"""Tokenised texts in flat arrays, and batches of texts of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Texts are shuffled, then sorted by length within windows of this many batches: little padding, still random.
WINDOW_BATCHES = 8


@dataclass(frozen=True)
class TokenShard:
    """Token ids of some texts, end to end; the arrays may be memory-mapped.

    Attributes:
        ids: (tokens,) int32.
        type_ids: (tokens,) uint8; 1 marks the second text of a pair.
        offsets: (texts + 1,) int64; text i is ids[offsets[i]:offsets[i + 1]].
    """

    ids: NDArray[np.int32]
    type_ids: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_rows(cls, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]) -> TokenShard:
        """Lay rows of token ids end to end."""
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
        flat = np.fromiter((token for row in ids for token in row), np.int32, offsets[-1])
        types = np.fromiter((kind for row in type_ids for kind in row), np.uint8, offsets[-1])
        return cls(flat, types, offsets)

    @classmethod
    def join(cls, parts: Sequence[TokenShard]) -> TokenShard:
        """One shard of several, in order."""
        shifts = np.cumsum([0, *(part.offsets[-1] for part in parts)])
        offsets = [part.offsets[1:] + shift for part, shift in zip(parts, shifts, strict=False)]
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.type_ids for part in parts]),
            np.concatenate([np.zeros(1, np.int64), *offsets]),
        )


class TokenStore:
    """Token ids of many texts, in one or more shards.

    Attributes:
        lengths: (texts,) int64, tokens of each text.
    """

    def __init__(self, shards: Sequence[TokenShard], pad_id: int, numbers: NDArray[np.int64] | None = None) -> None:
        """Lay shards end to end.

        Args:
            shards: none of them empty.
            pad_id: the id that fills short rows of a batch.
            numbers: what a batch has in the place of each id; None: the id itself.
        """
        self._shards, self._pad_id, self._numbers = list(shards), pad_id, numbers
        self._chosen: NDArray[np.int64] | None = None
        self._starts = np.cumsum([0, *(len(shard) for shard in shards)])
        self.lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(shard.offsets) for shard in shards)])

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def from_rows(cls, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]], pad_id: int) -> TokenStore:
        """A store of one shard."""
        return cls([TokenShard.from_rows(ids, type_ids)], pad_id)

    def only(self, chosen: NDArray[np.int64]) -> TokenStore:
        """Some of the texts, by their numbers, numbered anew from 0; nothing is copied."""
        store = TokenStore(self._shards, self._pad_id, self._numbers)
        store.lengths = self.lengths[chosen]
        store._chosen = chosen if self._chosen is None else self._chosen[chosen]
        return store

    def batch(self, indices: NDArray[np.integer], multiple: int = 1) -> dict[str, NDArray[np.int64]]:
        """The named inputs of these texts, each of shape (len(indices), width), int64.

        Args:
            indices: which texts.
            multiple: the width is the longest text's, rounded up to a multiple of this.
        """
        longest = -(-int(self.lengths[indices].max()) // multiple) * multiple
        inputs = {
            "input_ids": np.full((len(indices), longest), self._pad_id, np.int64),
            "attention_mask": np.zeros((len(indices), longest), np.int64),
            "token_type_ids": np.zeros((len(indices), longest), np.int64),
        }
        places = indices if self._chosen is None else self._chosen[indices]
        homes = np.searchsorted(self._starts, places, side="right") - 1
        for row, (index, home) in enumerate(zip(places, homes, strict=True)):
            shard, within = self._shards[home], index - self._starts[home]
            span = slice(shard.offsets[within], shard.offsets[within + 1])
            length = span.stop - span.start
            inputs["input_ids"][row, :length] = shard.ids[span]
            inputs["attention_mask"][row, :length] = 1
            inputs["token_type_ids"][row, :length] = shard.type_ids[span]
        if self._numbers is not None:
            inputs["input_ids"] = self._numbers[inputs["input_ids"]]
        return inputs

    def row(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """One text's token ids, and which of a pair's texts each is of: both (tokens,)."""
        index = index if self._chosen is None else int(self._chosen[index])
        home = int(np.searchsorted(self._starts, index, side="right")) - 1
        shard, within = self._shards[home], index - int(self._starts[home])
        span = slice(shard.offsets[within], shard.offsets[within + 1])
        return shard.ids[span], shard.type_ids[span]

    def mark(self, seen: NDArray[np.bool_]) -> None:
        """Set seen[id] for each id in use, and for those up to the padding's.

        It thus keeps its number where others are left out: models of RoBERTa's family count positions from it.
        """
        seen[: self._pad_id + 1] = True
        for shard in self._shards:
            seen[shard.ids] = True

    def renumbered(self, numbers: NDArray[np.int64]) -> TokenStore:
        """The same texts with other ids: numbers[id] for each id."""
        store = TokenStore(self._shards, self._pad_id, numbers)
        return store if self._chosen is None else store.only(self._chosen)


def shuffled_batches(
    lengths: NDArray[np.integer], batch_size: int, seed: int, epoch: int, window_batches: int = WINDOW_BATCHES
) -> list[NDArray[np.int64]]:
    """One epoch's batches of text indices: each text once, like lengths together, in random order.

    A pure function of its arguments, so that a resumed run meets the same batches.

    Args:
        lengths: tokens of each text.
        batch_size: texts a batch.
        seed: of the order.
        epoch: each has an order of its own.
        window_batches: more of them pad less, and make batches that differ more in length.
    """
    rng = np.random.default_rng([seed, epoch])
    order, window = rng.permutation(len(lengths)), batch_size * window_batches
    batches = []
    for start in range(0, len(order), window):
        chunk = order[start : start + window]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        batches += [chunk[first : first + batch_size] for first in range(0, len(chunk), batch_size)]
    return [batches[index] for index in rng.permutation(len(batches))]


def sorted_batches(
    lengths: NDArray[np.integer], batch_size: int, span: slice = slice(None)
) -> Iterator[NDArray[np.int64]]:
    """Batches for a pass without learning: longest first, so that memory peaks at once rather than late.

    Args:
        lengths: tokens of each text.
        batch_size: texts a batch.
        span: only these texts.
    """
    order = np.argsort(-lengths[span], kind="stable") + (span.start or 0)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
