"""The device's tokenizer: loaded, held against the model, and asked for the ids of texts and pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from distilshift.errors import BundleError
from distilshift.scan.tokenizer import check_tokenizer
from distilshift.types import Example
from distilshift.words import WordMemory, splits_at_spaces

Rows = list[list[int]]


class TextTokens:
    """Ids of texts, by remembering words where the tokenizer is known to allow it.

    Args:
        tokenizer: it cuts at the length that the network takes.

    Raises:
        BundleError: it fails on a letter.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        with _told():
            self._memory = WordMemory(tokenizer) if splits_at_spaces(tokenizer) else None

    def rows(self, examples: Sequence[Example]) -> tuple[Rows, Rows]:
        """Token ids and type ids of each text, as the bundle's tokenizer gives them, cut at its length.

        Raises:
            BundleError: the tokenizer fails on one of the texts.
        """
        with _told():
            if self._memory is not None and all([item.pair is None for item in examples]):
                ids = [self._memory.ids(item.text) for item in examples]
                return ids, [[0] * len(row) for row in ids]
            pairs = [item.text if item.pair is None else (item.text, item.pair) for item in examples]
            encoded = self._tokenizer.encode_batch(pairs)
        return [each.ids for each in encoded], [each.type_ids for each in encoded]


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
