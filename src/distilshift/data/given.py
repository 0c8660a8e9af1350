"""Texts that are given as Python objects: in tables, lists, arrays, generators and other iterables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any

from distilshift.data.check import require_text
from distilshift.data.path_names import require_no_names
from distilshift.data.rows import Row, RowError, shown
from distilshift.data.tables import Table, as_record, column_values, is_missing, iter_values, record_values, table_of
from distilshift.errors import DataError
from distilshift.types import Example


def as_path(given: Any) -> str | None:
    """The path of a file that an input names, or None if it is something else."""
    return str(os.fspath(given)) if isinstance(given, str | os.PathLike) else None


def kept(given: Any) -> Any:
    """An input that can be read more than once: the items of an iterator, or the input itself."""
    return list(given) if hasattr(given, "__next__") and not hasattr(given, "read") else given


def labelled_columns(given: Any, text_column: str, label_column: str, pair_column: str) -> Any:
    """`(texts, labels)` as a mapping of columns; anything else as it is.

    Raises:
        DataError: one of both is a string or missing.
    """
    if not (isinstance(given, tuple) and len(given) == 2 and not any(isinstance(g, Example | Mapping) for g in given)):
        return given
    texts, labels = (column_values("(texts, labels)", *each) for each in zip(("texts", "labels"), given, strict=True))
    columns = {text_column: texts, label_column: labels}
    if texts and all(isinstance(text, tuple) and len(text) == 2 for text in texts):
        columns |= {text_column: [text for text, _ in texts], pair_column: [pair for _, pair in texts]}
    return columns


def examples_of(given: Any, text_column: str, pair_column: str | None) -> Iterator[Example]:
    """The examples in a table or a series of texts, lazily and without labels; blank texts are passed on.

    Args:
        given: a table, or an iterable of texts, pairs of texts, mappings or examples.
        text_column: a table's column of texts.
        pair_column: a table's column of second texts, if there is one.

    Raises:
        DataError: it is one text, a list of file names, or cannot be read; while iterating, if a text is missing or not
            a string.
    """
    if as_path(given) is not None:
        got, fix = f"a {type(given).__name__}", "pass [text]; `distilshift predict` reads files"
        raise DataError("one text where several are read", expected="a list of texts", got=got, fix=fix)
    require_no_names(given, "`distilshift predict` reads files")
    columns = {"text": text_column} | ({"pair": pair_column} if pair_column else {})
    table = table_of(given, text_column)
    if table is None:
        series = iter_values(given)
        peeked = list(islice(series, 1))
        items = chain(peeked, series)
        if not peeked or as_record(peeked[0]) is None:
            return (as_example(item, index) for index, item in enumerate(items))
        table = Table("the rows", None, lambda names: record_values(items, names))
    return (_text_example(row) for row in table.rows(columns))


def as_example(item: Any, index: int) -> Example:
    """A text, a pair of texts or an example of a series, as an example.

    Raises:
        DataError: it is none of these, or half of a character.
    """
    if isinstance(item, Example):
        return require_text(item)
    texts = item if isinstance(item, tuple) and len(item) == 2 else (item,)
    if all(isinstance(text, str) for text in texts):
        return require_text(Example(str(texts[0]), str(texts[1]) if len(texts) > 1 else None))
    raise DataError(
        "the examples cannot be used",
        expected="strings",
        got=f"{'a missing value' if is_missing(item) else shown(item)} at index {index}",
        fix=_item_advice(item),
    )


def _item_advice(item: Any) -> str:
    if is_missing(item):
        return "leave the row out"
    if isinstance(item, bytes | bytearray):
        return "decode them: [text.decode() for text in texts]; of a NumPy array, numpy.char.decode(texts)"
    if isinstance(item, list | tuple) or hasattr(item, "ndim"):
        return "give texts, or pairs of texts as tuples: [(first, second), ...]"
    return "give texts, or pairs of texts"


def _text_example(row: Row | RowError) -> Example:
    if isinstance(row, RowError):
        raise row
    for role, text in row.values.items():
        if not isinstance(text, str):
            raise DataError(
                f"{row.place}: the {role} is not a text", expected="a string", got=shown(text), fix="leave the row out"
            )
    return require_text(Example(**row.values))
