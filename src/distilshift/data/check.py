"""Examples that a caller made, held to what the readers guarantee of a file's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distilshift.data.rows import SURROGATE, shown
from distilshift.errors import DataError
from distilshift.types import Example


def require_usable(examples: Sequence[Example], *, labelled: bool) -> list[Example]:
    """The examples, once they are known to be fit for use.

    Args:
        examples: made in Python.
        labelled: each must have a label.

    Raises:
        DataError: there is none; a text is blank, or no text; some are pairs and some are not; a label is missing.
    """
    if not examples:
        raise _unusable("one text or more", "none", "give some")
    paired = examples[0].pair is not None
    for index, item in enumerate(examples):
        require_text(item)
        if not item.text.strip() or (item.pair is not None and not item.pair.strip()):
            raise _unusable("words in every text", f"a blank one at index {index}", "leave it out")
        if (item.pair is not None) != paired:
            raise _unusable("only pairs, or no pair", f"both, first at index {index}", "give one kind")
        if labelled and item.label is None:
            raise _unusable("a label for every text", f"none at index {index}", "label it, or leave it out")
        if labelled and not (isinstance(item.label, str) and item.label.strip()):
            raise _unusable("names as labels", f"{shown(item.label)} at index {index}", "give strings with words")
    return list(examples)


def require_pairs(examples: Iterable[Example], pair_column: str | None) -> None:
    """Hold examples against a bundle that was made from pairs, if it names a column of second texts.

    Raises:
        DataError: it does, and one of them is no pair: its label would mean nothing.
    """
    if pair_column is not None and any(item.pair is None and item.problem is None for item in examples):
        raise DataError(
            "the bundle labels pairs of texts",
            expected="two texts",
            got="one",
            fix=f"name the column of the second one: --pair-column ({pair_column} where it was made)",
        )


def as_example(text: str | tuple[str, str] | Example) -> Example:
    """A text or a pair that a caller gave, as an example.

    Raises:
        DataError: it is none, or half of a character.
    """
    if isinstance(text, tuple) and len(text) == 2:
        return require_text(Example(*text))
    return require_text(text if isinstance(text, Example) else Example(text))


def require_text(item: Example) -> Example:
    """The example, once it is known to hold strings that can be encoded.

    Raises:
        DataError: it does not.
    """
    for text in (item.text,) if item.pair is None else (item.text, item.pair):
        if not isinstance(text, str):
            raise _unusable("strings", shown(text), "give texts, or pairs of texts")
        if SURROGATE.search(text):
            raise _unusable("whole characters", f"half a surrogate pair in {shown(text)}", "decode it as UTF-8")
    return item


def _unusable(expected: str, got: str, fix: str) -> DataError:
    return DataError("the examples cannot be used", expected=expected, got=got, fix=fix)
