"""A corpus as token ids and as a teacher's outputs, a shard at a time, kept in the run and memory-mapped.

So memory does not grow with the number of texts, and an interrupted run repeats one shard at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from distilshift import progress
from distilshift.data.batch import TokenShard, TokenStore
from distilshift.encoder import Classifier
from distilshift.inference import forward_all
from distilshift.mapped import Arrays
from distilshift.output_cache import keep_outputs, kept_outputs, key_of
from distilshift.run import RunDirectory
from distilshift.types import Example

SHARD_TEXTS = 16_384
# Texts given to the tokenizer at once: its Python objects cost many times what the ids do.
CHUNK_TEXTS = 1_024


class Rows:
    """Rows of several memory-mapped arrays, one after the other."""

    def __init__(self, parts: Sequence[NDArray[np.float32]]) -> None:
        """Args: arrays of shape (rows, width), of one width."""
        self._parts = list(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self._chosen: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._chosen is None else len(self._chosen)

    def __getitem__(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """The rows at these indices, in memory."""
        indices = indices if self._chosen is None else self._chosen[indices]
        homes = np.searchsorted(self._starts, indices, side="right") - 1
        found = np.empty((len(indices), self._parts[0].shape[1]), self._parts[0].dtype)
        for home in np.unique(homes):
            here = homes == home
            found[here] = self._parts[home][indices[here] - self._starts[home]]
        return found

    def only(self, chosen: NDArray[np.int64]) -> Rows:
        """Some of the rows, by their numbers, numbered anew from 0; nothing is copied."""
        rows = Rows(self._parts)
        rows._chosen = chosen if self._chosen is None else self._chosen[chosen]
        return rows


def shard_spans(size: int) -> list[slice]:
    """The shards of a corpus of `size` texts."""
    return [slice(start, min(start + SHARD_TEXTS, size)) for start in range(0, size, SHARD_TEXTS)]


def token_store(
    classifier: Classifier,
    texts: Iterable[Example],
    size: int,
    run: RunDirectory,
    name: str,
    advance: progress.Advance = lambda units: None,
) -> TokenStore:
    """Token ids of a corpus, tokenised once.

    Args:
        classifier: whose tokenizer and length limit.
        texts: one pass over them.
        size: how many there are.
        run: keeps the shards.
        name: tells this corpus and tokenizer from the run's others.
        advance: told how many texts are done.
    """
    shards = _shards(partial(_tokenised, classifier), texts, size, run, name, advance)
    return TokenStore([TokenShard(**shard) for shard in shards], classifier.tokenizer.pad_token_id)


@dataclass(frozen=True)
class WindowStore:
    """A corpus in windows.

    Attributes:
        tokens: token ids of all windows, in the order of the texts.
        counts: (texts,) int32, windows of each text.
    """

    tokens: TokenStore
    counts: NDArray[np.int32]


def window_store(
    classifier: Classifier,
    texts: Iterable[Example],
    size: int,
    run: RunDirectory,
    name: str,
    most: int,
    advance: progress.Advance = lambda units: None,
) -> WindowStore:
    """Token ids of a corpus in up to `most` windows per text, tokenised once; other arguments as of `token_store`."""
    shards = [dict(each) for each in _shards(partial(_in_windows, classifier, most), texts, size, run, name, advance)]
    counts = np.concatenate([np.zeros(0, np.int32), *(shard.pop("counts") for shard in shards)])
    return WindowStore(TokenStore([TokenShard(**shard) for shard in shards], classifier.tokenizer.pad_token_id), counts)


def _shards(
    tokenise: Callable[[Iterator[Example]], Arrays],
    texts: Iterable[Example],
    size: int,
    run: RunDirectory,
    name: str,
    advance: progress.Advance,
) -> list[Arrays]:
    """What `tokenise` makes of each shard of the corpus."""
    names = [f"{name}-tokens-{shard}" for shard in range(len(shard_spans(size)))]
    missing = [shard for shard in names if shard not in run]
    # The first process tokenises, with all its threads; the others wait for its shards.
    source = iter(texts if run.crew.leads and missing else ())
    shards = []
    for shard_name, span in zip(names, shard_spans(size), strict=True):
        chunk = islice(source, SHARD_TEXTS)
        if shard_name in run:
            for _ in chunk:
                pass
        shards.append(run.arrays(shard_name, partial(tokenise, chunk), lead_only=True))
        advance(span.stop - span.start)
    for _ in source:  # to its end, where a corpus checks that it is still the same
        pass
    return shards


def _tokenised(classifier: Classifier, texts: Iterator[Example]) -> Arrays:
    chunks = iter(lambda: list(islice(texts, CHUNK_TEXTS)), [])
    return _arrays(TokenShard.join([classifier.shard(chunk) for chunk in chunks]))


def _in_windows(classifier: Classifier, most: int, texts: Iterator[Example]) -> Arrays:
    shards, counts = [], []  # type: list[TokenShard], list[int]
    while chunk := list(islice(texts, CHUNK_TEXTS)):
        windows = classifier.windows(chunk, most)
        shards.append(TokenShard.from_rows(windows.ids, windows.type_ids))
        counts += windows.counts
    return _arrays(TokenShard.join(shards)) | {"counts": np.array(counts, np.int32)}


def _arrays(shard: TokenShard) -> Arrays:
    return {"ids": shard.ids, "type_ids": shard.type_ids, "offsets": shard.offsets}


def outputs(
    classifier: Classifier,
    store: TokenStore,
    run: RunDirectory,
    name: str,
    accelerator: Accelerator,
    advance: progress.Advance = lambda units: None,
) -> Rows:
    """Logits of all texts, computed once, or by another run that shares its outputs; all processes share the work.

    Args:
        classifier: on the accelerator's device.
        store: its tokens.
        run: keeps the shards.
        name: tells these outputs from the run's others.
        accelerator: where it runs.
        advance: told how many texts are done.
    """

    def compute(span: slice) -> Arrays:
        device, autocast = accelerator.device, accelerator.autocast
        return forward_all(classifier, store, device, autocast, span=span, crew=run.crew, advance=advance)

    def find(span: slice) -> Arrays:
        if run.shared is None:
            return compute(span)
        key = key_of(classifier, store, span, f"{accelerator.mixed_precision} on {accelerator.device.type}")
        kept = kept_outputs(run.shared, key, run.crew)
        if kept is not None:
            advance(span.stop - span.start)
            return kept
        found = compute(span)
        keep_outputs(run.shared, key, found, run.crew)
        return found

    shards = []
    for number, span in enumerate(shard_spans(len(store))):
        shard_name = f"{name}-outputs-{number}"
        if shard_name in run:
            advance(span.stop - span.start)
        shards.append(run.arrays(shard_name, partial(find, span))["logits"])
    return Rows(shards)
