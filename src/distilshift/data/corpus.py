"""Unlabelled texts that can be gone through again and again without holding them in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.config import InputConfig
from distilshift.data.check import require_usable
from distilshift.data.given import as_example, kept
from distilshift.data.read import given_name, iter_examples, read_examples
from distilshift.data.sources import as_files
from distilshift.data.tables import iter_values, table_of
from distilshift.errors import DataError
from distilshift.types import Example

# Different texts are counted up to this number: as many as any decision asks for. Memory does not grow with the corpus.
MOST_DISTINCT = 500


@dataclass(frozen=True)
class Corpus:
    """Texts in a fixed order; a file is read anew at each pass.

    Attributes:
        name: how messages call it.
        size: number of texts.
        sha256: of all texts in order (hex).
        distinct: number of different texts, up to `MOST_DISTINCT`; case and white space make no difference.
    """

    name: str
    size: int
    sha256: str
    _open: Callable[[], Iterable[Example]]
    distinct: int

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Example]:
        """One pass.

        Raises:
            DataError: after the last text, if they are not those of the first pass.
        """
        count, digest = 0, hashlib.sha256()
        for example in self._open():
            count += 1
            digest.update(_identity_of(example))
            yield example
        if (count, digest.hexdigest()) != (self.size, self.sha256):
            raise DataError(
                f"{self.name} changed while it was in use",
                expected=f"the {self.size:,} texts of the first pass",
                got=f"{count:,} texts" if count != self.size else "other texts",
                fix="leave the file alone until the run is done, then start it with --fresh",
            )

    def at(self, indices: NDArray[np.integer]) -> list[Example]:
        """These texts, in the order of `indices`, found in one pass."""
        wanted = {int(index) for index in indices}
        found = {index: example for index, example in enumerate(self) if index in wanted}
        return [found[int(index)] for index in indices]

    def only(self, chosen: NDArray[np.bool_]) -> Corpus:
        """The texts that a mask of shape (texts,) chooses, in their old order."""
        return _counted(self.name, lambda: compress(self, chosen))


def open_corpus(texts: Any, config: InputConfig) -> Corpus:
    """Check all texts in one pass; only those of standard input and of a series are kept in memory.

    Args:
        texts: files as `iter_examples` takes them, a table as of `data.tables`, or a series of texts, pairs or
            examples, whose labels are dropped.
        config: how files or a table are read.

    Raises:
        DataError: a text cannot be used, or there is none.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    texts = kept(texts)
    source = as_files(texts) or table_of(texts, config.text_column)
    if source is None:
        given = [replace(as_example(item, index), label=None) for index, item in enumerate(iter_values(texts))]
        checked = require_usable(given, labelled=False)
        return _counted("the texts", lambda: checked)
    if _is_stream(source):
        examples = read_examples(source, config).examples
        return _counted(given_name(source), lambda: examples)
    corpus = _counted(given_name(source), lambda: iter_examples(source, config))
    if not corpus.size:
        read_examples(source, config)  # says why
    return replace(corpus, _open=lambda: iter_examples(source, config, warn=False))


def extended(corpus: Corpus, examples: Sequence[Example]) -> Corpus:
    """Return the corpus with some texts after its own."""
    return _counted(corpus.name, lambda: chain(corpus, examples))


def _is_stream(source: Any) -> bool:
    """Whether a source can be read only once: standard input, a named pipe."""
    if not isinstance(source, str):
        return False
    try:
        return source == "-" or Path(source).is_fifo()
    except (OSError, ValueError):  # no path
        return False


def _counted(name: str, open_texts: Callable[[], Iterable[Example]]) -> Corpus:
    count, digest, different = 0, hashlib.sha256(), set[bytes]()
    for example in open_texts():
        count += 1
        digest.update(_identity_of(example))
        if len(different) < MOST_DISTINCT:
            different.add(plain_digest(example))
    return Corpus(name, count, digest.hexdigest(), open_texts, len(different))


def plain_digest(example: Example) -> bytes:
    """A digest that tells texts apart if they differ in more than case and white space."""
    words = [part.casefold().split() for part in (example.text, example.pair or "")]
    return hashlib.sha256(json.dumps(words).encode()).digest()


def _identity_of(example: Example) -> bytes:
    return json.dumps([example.text, example.pair]).encode() + b"\n"
