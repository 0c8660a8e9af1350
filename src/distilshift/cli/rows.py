"""The rows that `predict` writes: the prediction first, then the columns that the input brought."""

from __future__ import annotations

import csv
import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from distilshift.data.rows import listed, shown
from distilshift.errors import OutputError
from distilshift.types import Example, Prediction

Write = Callable[[Example, Prediction | None], None]

# Given to an input's column whose name the output needs itself.
PREFIX = "input_"
_OWN = ("text", "pair", "label", "probabilities", "problem")
# The reason why a label is withheld; a column only where labels can be.
_ABSTAINED = "abstained"


@contextmanager
def row_writer(file: TextIO, form: str, names: list[str], paired: bool, abstains: bool = False) -> Iterator[Write]:
    """A function that writes one row; at the end everything is flushed.

    Args:
        file: where to.
        form: jsonl or csv.
        names: the classes.
        paired: CSV has a column for the second text.
        abstains: labels can be withheld; CSV has a column for the reason.
    """
    if form == "jsonl":
        own = (*_OWN, _ABSTAINED) if abstains else _OWN
        yield lambda example, prediction: _write_json(file, example, prediction, own)
    else:
        table = _Table(file, names, paired, abstains)
        yield table.write
        table.close()
    file.flush()


def _write_json(file: TextIO, example: Example, prediction: Prediction | None, own: tuple[str, ...]) -> None:
    row: dict[str, Any] = {"text": example.text} | ({"pair": example.pair} if example.pair is not None else {})
    row |= {"label": prediction and prediction.label, "probabilities": prediction and prediction.probabilities}
    row |= {_ABSTAINED: prediction.abstained} if prediction and prediction.abstained else {}
    row |= {"problem": example.problem} if example.problem else {}
    carried = example.columns or {}
    row |= {new: _finite(carried[name]) for name, new in renamed(carried, own).items()}
    file.write(_encodable(json.dumps(row, ensure_ascii=False, default=str, allow_nan=False)) + "\n")


def _encodable(text: str) -> str:
    """Return a text with lone surrogates, which UTF-8 cannot encode, escaped; in JSON the escapes stand for them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _finite(value: Any) -> Any:
    """Return a carried value with null in place of numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return {key: _finite(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def renamed(columns: Mapping[str, Any], taken: tuple[str, ...]) -> dict[str, str]:
    """An input's column names to those in the output, which has some of its own."""
    names: dict[str, str] = {}
    used = {*taken, *columns}
    for name in columns:
        new = name
        while new in taken or (new != name and new in used):
            new = PREFIX + new
        used.add(new)
        names[name] = new
    return names


class _Table:
    """A CSV file; its header waits for the first row that has columns to carry."""

    def __init__(self, file: TextIO, names: list[str], paired: bool, abstains: bool) -> None:
        self._rows, self._names, self._paired, self._abstains = csv.writer(file), names, paired, abstains
        first = ["text", *(["pair"] if paired else []), "label"]
        last = [_ABSTAINED, "problem"] if abstains else ["problem"]
        self._own = (*first, *names, *last)
        if twice := [name for name in names if self._own.count(name) > 1]:
            raise OutputError(
                "a class is called as a column is",
                expected=f"no class of the name {', '.join([*first, *last[:-1]])} or problem",
                got=", ".join(twice),
                fix="pass --format jsonl",
            )
        self._carried: dict[str, str] | None = None
        self._waiting: list[tuple[Example, Prediction | None]] = []

    def write(self, example: Example, prediction: Prediction | None) -> None:
        if self._carried is None:
            if example.problem is not None and example.columns is None:
                self._waiting.append((example, prediction))
                return
            self._begin(example.columns or {})
        self._write(example, prediction)

    def close(self) -> None:
        """Write what still waits for a header."""
        if self._carried is None:
            self._begin({})

    def _begin(self, columns: Mapping[str, Any]) -> None:
        self._carried = renamed(columns, self._own)
        self._rows.writerow([*self._own, *map(_encodable, self._carried.values())])
        for row in self._waiting:
            self._write(*row)

    def _write(self, example: Example, prediction: Prediction | None) -> None:
        carried, columns = self._carried or {}, example.columns or {}
        if new := [name for name in columns if name not in carried]:
            first = listed(list(carried)) if carried else "none besides the text"
            shared = [shlex.quote(name) for name in carried if name in columns][:1]
            keep = [f", or keep one column, as with --id-column {name}, if all inputs have it" for name in shared]
            raise OutputError(
                "a row has a column that the header of the CSV output lacks",
                expected=f"only the columns of the first row ({first})",
                got=f"also {shown(new[0])}",
                fix="".join(["pass --format jsonl", *keep]),
            )
        texts = [example.text, example.pair or ""] if self._paired else [example.text]
        shares = [prediction.probabilities[name] for name in self._names] if prediction else [""] * len(self._names)
        others = [_cell(columns.get(name)) for name in carried]
        label = (prediction and prediction.label) or ""
        why = [(prediction and prediction.abstained) or ""] if self._abstains else []
        self._rows.writerow([*texts, label, *shares, *why, example.problem or "", *others])


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        value = json.dumps(_finite(value), ensure_ascii=False, default=str, allow_nan=False)
    return _encodable(value) if isinstance(value, str) else value
