"""Examples made in Python are held to what a file's are."""

from __future__ import annotations

import re

import pytest

from distilshift.data.check import require_usable
from distilshift.errors import DataError
from distilshift.types import Example

GOOD = Example("a book", label="fine")


@pytest.mark.parametrize(
    ("examples", "got"),
    [
        ([], "got none"),
        ([GOOD, Example(" ", label="fine")], "a blank one at index 1"),
        ([Example("a", "\t", "fine")], "a blank one at index 0"),
        ([GOOD, Example("a", "b", "fine")], "both, first at index 1"),
        ([GOOD, Example("a")], "none at index 1"),
        ([GOOD, Example("a", label=1)], "1 at index 1"),  # type: ignore[arg-type]  # what this is about
        ([GOOD, Example("a", label="")], "'' at index 1"),
    ],
)
def test_unusable_examples_are_named(examples: list[Example], got: str):
    with pytest.raises(DataError, match=re.escape(got)):
        require_usable(examples, labelled=True)


def test_usable_examples_pass():
    assert require_usable((GOOD, GOOD), labelled=True) == [GOOD, GOOD]
    assert require_usable([Example("a")], labelled=False) == [Example("a")]
