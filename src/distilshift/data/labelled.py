"""Labelled examples from whatever a caller gives: a file, a table, `(texts, labels)` or examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from distilshift.config import LabelledInputConfig
from distilshift.data.check import PAIR, named, require_usable
from distilshift.data.given import kept, labelled_columns
from distilshift.data.read import Given, given_name, read_labelled
from distilshift.data.sources import as_files
from distilshift.data.tables import table_of
from distilshift.types import Example


def read_any_labelled(data: Any, config: LabelledInputConfig, known: Sequence[str] = ()) -> tuple[str, list[Example]]:
    """The examples, checked and with their labels named, and how messages call their source.

    Args:
        data: files as of `read_labelled`, a table as of `data.tables`, `(texts, labels)`, or a series of examples.
        config: how files or a table are read.
        known: as of `check_label_names`.

    Raises:
        DataError: a text or a label cannot be used, or there is none.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    source: Given | None = as_files(data)
    if source is None:
        columns = labelled_columns(data, config.text_column, config.label_column, config.pair_column or PAIR)
        if columns is not data and len(columns) > 2:  # `(texts, labels)` of pairs
            config = replace(config, pair_column=config.pair_column or PAIR)
        data = kept(columns)
        source = table_of(data, config.text_column)
    if source is None:
        return "the examples", named(
            require_usable(data, labelled=True), config.label_names, config.ignore_label, known
        )
    return given_name(source), list(read_labelled(source, config, known).examples)
