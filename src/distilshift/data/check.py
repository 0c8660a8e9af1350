"""Examples that a caller made, held to what the readers guarantee of a file's."""

from __future__ import annotations

from collections.abc import Sequence

from distilshift.errors import DataError
from distilshift.types import Example


def require_usable(examples: Sequence[Example], *, labelled: bool) -> list[Example]:
    """The examples, once they are known to be fit for use.

    Args:
        examples: made in Python.
        labelled: each must have a label.

    Raises:
        DataError: there is none; a text is blank; some are pairs and some are not; a label is missing.
    """
    if not examples:
        raise _unusable("one text or more", "none", "give some")
    paired = examples[0].pair is not None
    for index, item in enumerate(examples):
        if not item.text.strip() or (item.pair is not None and not item.pair.strip()):
            raise _unusable("words in every text", f"a blank one at index {index}", "leave it out")
        if (item.pair is not None) != paired:
            raise _unusable("only pairs, or no pair", f"both, first at index {index}", "give one kind")
        if labelled and item.label is None:
            raise _unusable("a label for every text", f"none at index {index}", "label it, or leave it out")
    return list(examples)


def _unusable(expected: str, got: str, fix: str) -> DataError:
    return DataError("the examples cannot be used", expected=expected, got=got, fix=fix)
