"""Examples that a caller made, held to what the readers guarantee of a file's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from distilshift.config import InputConfig
from distilshift.data.labels import LabelNamer
from distilshift.data.rows import SURROGATE, shown
from distilshift.errors import DataError
from distilshift.types import Example

C = TypeVar("C", bound=InputConfig)
# What stands for the column of second texts where pairs came from memory.
PAIR = "pair"


def require_usable(examples: Iterable[Example], *, labelled: bool) -> list[Example]:
    """The examples, once they are known to be fit for use.

    Args:
        examples: made in Python.
        labelled: each must have a label.

    Raises:
        DataError: there is none, or what is there is no example; a text is blank, or no text; some are pairs and some
            are not; a label is missing, or no name.
    """
    try:
        examples = list(examples)
    except TypeError:
        raise _unusable("a list of examples", shown(examples), "give one") from None
    if not examples:
        raise _unusable("one text or more", "none", "give some")
    paired = isinstance(examples[0], Example) and examples[0].pair is not None
    for index, item in enumerate(examples):
        if not isinstance(item, Example):
            got = f"{shown(item)} at index {index}"
            raise _unusable(
                "distilshift.types.Example objects",
                got,
                "make them: Example(text, label=label); or pass (texts, labels)",
            )
        require_text(item)
        if not item.text.strip() or (item.pair is not None and not item.pair.strip()):
            raise _unusable("words in every text", f"a blank one at index {index}", "leave it out")
        if (item.pair is not None) != paired:
            raise _unusable("only pairs, or no pair", f"both, first at index {index}", "give one kind")
        if labelled and item.label is None:
            raise _unusable("a label for every text", f"none at index {index}", "label it, or leave it out")
        if labelled and not (isinstance(item.label, str) and item.label.strip()):
            raise _unusable("names as labels", f"{shown(item.label)} at index {index}", "give strings with words")
        if labelled and (SURROGATE.search(str(item.label)) or "\0" in str(item.label)):
            raise _unusable("whole characters in labels", f"{shown(item.label)} at index {index}", "correct it")
    return examples


def named(
    examples: Iterable[Example], label_names: str | None, ignored: Iterable[str | int] = (), known: Sequence[str] = ()
) -> list[Example]:
    """Labelled examples with their labels named as a file's are, by the options `label_names` and `ignore_label`.

    Args:
        examples: what is to be named.
        label_names: the option.
        ignored: the option `ignore_label`.
        known: as of `LabelNamer`.

    Raises:
        DataError: an option is malformed, or there is no name for a label.
    """
    name = LabelNamer(label_names, ignored, known)
    renamed = [replace(item, label=name(item.label, f"index {index}")) for index, item in enumerate(examples)]
    name.finish()
    return [item for item in renamed if item.label is not None]


def telling_of_pairs(config: C, first: Example) -> C:
    """The options, which name a column of second texts also where pairs came from memory, so that the bundle does."""
    if first.pair is None or config.pair_column is not None:
        return config
    return replace(config, pair_column=PAIR)


def require_pairs(examples: Iterable[Example], pair_column: str | None) -> None:
    """Hold examples against what a bundle was made from: pairs, single texts, or nobody knows; see `Manifest`.

    Raises:
        DataError: they are of the other kind: their labels would mean nothing.
    """
    if pair_column is None:
        return
    if not pair_column and any(item.pair is not None for item in examples):
        raise DataError(
            "the bundle labels single texts",
            expected="one text",
            got="two",
            fix="leave --pair-column out; a bundle that labels pairs is made with it",
        )
    if pair_column and any(item.pair is None and item.problem is None for item in examples):
        raise DataError(
            "the bundle labels pairs of texts",
            expected="two texts",
            got="one",
            fix=f"name the column of the second one: --pair-column ({pair_column} where it was made)",
        )


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


def require_whole_row(item: Example) -> Example:
    """The example, once it is known that its row could be read.

    Raises:
        DataError: it carries a problem.
    """
    if item.problem is not None:
        raise DataError(item.problem, fix="leave it out; stream passes it on without a label")
    return item


def _unusable(expected: str, got: str, fix: str) -> DataError:
    return DataError("the examples cannot be used", expected=expected, got=got, fix=fix)
