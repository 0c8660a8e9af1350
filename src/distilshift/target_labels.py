"""Labels of some target texts: read from a file, and found again among the texts of the corpus."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.config import AdaptConfig, InputConfig
from distilshift.data.corpus import Corpus, extended, plain_digest
from distilshift.data.formats import read_rows
from distilshift.data.label_ids import label_ids
from distilshift.data.labels import LabelNamer
from distilshift.data.lines import require_utf8
from distilshift.data.read import given_name, iter_examples
from distilshift.data.rows import shown
from distilshift.data.sources import Source, as_files, files_of
from distilshift.errors import DataError
from distilshift.journal import fingerprint
from distilshift.types import Example

_LOG = logging.getLogger("distilshift")

# Fewer labels measure nothing: with 10, a perfect score means an accuracy of 69 % or more.
MIN_LABELS = 10
# More cost memory and time that grow with the square and the cube of their number.
MAX_LABELS = 1_000
# The columns of a file that `query` wrote, by which it is recognized, and its format, whatever that of the texts is.
QUERY_COLUMNS = frozenset({"row", "text", "label", "inclusion"})
QUERY_FORMAT = InputConfig(quoting="csv", max_chars=0)


@dataclass(frozen=True)
class LabelledTexts:
    """Labelled texts of the target domain, each text once.

    Attributes:
        name: how messages call their source.
        examples: texts with their labels.
        classes: (texts,) int64, class numbers of the teacher.
        inclusion: (texts,) float64, above 0: the probability with which each text was drawn to be labelled. After
            several batches of `query` its inverse is the weight of the text, which may be below 1.
    """

    name: str
    examples: tuple[Example, ...]
    classes: NDArray[np.int64]
    inclusion: NDArray[np.float64]

    @property
    def sha256(self) -> str:
        """Hash of texts, labels and inclusion probabilities (hex)."""
        rows = zip(self.examples, self.classes.tolist(), self.inclusion.tolist(), strict=True)
        return fingerprint([(item.text, item.pair, number, chance) for item, number, chance in rows])


@dataclass(frozen=True)
class TargetLabels:
    """Which texts of a corpus have labels.

    Attributes:
        rows: (n,) int64, numbers of the texts in the corpus, each once.
        classes: (n,) int64, class numbers.
        weights: (n,) float64, importance weights with mean 1: in proportion to 1 / inclusion probability.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


def read_target_labels(config: AdaptConfig, names: Sequence[str]) -> LabelledTexts | None:
    """Read the file that the option `labels` names; None if it names none.

    A file of `query` is read by its own columns, any other one by the options for columns. Rows without a label are
    skipped. A text that occurs again with the same label counts once.

    Args:
        config: the options of `adapt`.
        names: the teacher's classes.

    Raises:
        DataError: the file cannot be used, has a class that the teacher does not know, gives one text two labels, or
            has fewer than `MIN_LABELS` labels or more than `MAX_LABELS`.
    """
    if config.labels is None:
        return None
    source = as_files(config.labels)
    assert source is not None  # a path
    name = given_name(source)
    examples = _once(_labelled(source, name, config, names), name)
    if len(examples) < MIN_LABELS:
        raise DataError(
            f"{name}: too few labels to learn from or to measure with",
            expected=f"{MIN_LABELS} labelled texts or more; 50 are good",
            got=f"{len(examples)}",
            fix="label more (`distilshift query` proposes texts), or leave --labels out",
        )
    if len(examples) > MAX_LABELS:
        raise DataError(
            f"{name}: more labels than --labels is made for",
            expected=f"{MAX_LABELS:,} or fewer",
            got=f"{len(examples):,}",
            fix="teach a teacher on them (`distilshift teach`), or give some of them",
        )
    classes = label_ids(examples, names, name)
    return LabelledTexts(name, tuple(examples), classes, np.array([_inclusion(each, name) for each in examples]))


def _labelled(source: Source, name: str, config: AdaptConfig, names: Sequence[str]) -> list[Example]:
    """The rows with a label, in the order of the file, with their other columns."""
    column, reading = config.label_column, config  # type: str, InputConfig
    file = Path(str(files_of(source)[0]))
    if file.suffix == ".csv" and file.is_file() and config.encoding == InputConfig.encoding:
        require_utf8(file)
    if _is_query(source):
        column, reading = "label", replace(QUERY_FORMAT, pair_column="pair" if config.pair_column else None)
    namer, found = LabelNamer(config.label_names, (), names), []
    for number, example in enumerate(iter_examples(source, reading, keep_columns=True)):
        raw = (example.columns or {}).get(column, _ABSENT)
        if raw is _ABSENT:
            raise DataError(
                f"{name}: no label column",
                expected=f"a column {shown(column)}",
                got=f"columns {', '.join(sorted(example.columns or {})) or 'of texts only'}",
                fix="name it with --label-column",
            )
        label = None if _is_blank(raw) else namer(raw, f"{name}, text {number} (counted from 0)")
        if label is not None:
            found.append(replace(example, label=label))
    namer.finish()
    return found


_ABSENT = object()


def _is_blank(raw: Any) -> bool:
    return raw is None or (isinstance(raw, str) and not raw.strip()) or (isinstance(raw, float) and math.isnan(raw))


def _is_query(source: Source) -> bool:
    """Whether `query` wrote the file: it has the columns of one."""
    file = files_of(source)[0]
    if not str(file).endswith(".csv"):
        return False
    with suppress(DataError):  # whoever reads it reports that
        first = next(iter(read_rows(file, QUERY_FORMAT, {}, keep=True)), None)
        return set(getattr(first, "others", {})) >= QUERY_COLUMNS
    return False


def _once(examples: Sequence[Example], name: str) -> list[Example]:
    """Each text once, whatever its case and white space.

    Raises:
        DataError: texts have two labels.
    """
    first: dict[bytes, Example] = {}
    contradicting = []
    for item in examples:
        known = first.setdefault(plain_digest(item), item)
        if known.label != item.label:
            contradicting.append(f"{shown(item.text)}: {shown(known.label)} and {shown(item.label)}")
    if contradicting:
        more = f"; and {len(contradicting) - 5} more" if len(contradicting) > 5 else ""
        raise DataError(
            f"{name}: the same text has two labels",
            expected="one label for each text",
            got="; ".join(contradicting[:5]) + more,
            fix="decide on one of them, or remove these rows",
        )
    return list(first.values())


def _inclusion(example: Example, name: str) -> float:
    """The value in the column `inclusion`; 1 where there is no such column."""
    raw = (example.columns or {}).get("inclusion", 1.0)
    try:
        value = float(raw)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise DataError(
            f"{name}: the column inclusion has something else than positive numbers",
            expected="a number above 0 beside each label, as `distilshift query` writes it",
            got=f"{shown(raw)} beside {shown(example.text)}",
            fix="restore the values, or remove the column if the texts were chosen at random",
        )
    return value


def match_labels(labelled: LabelledTexts, corpus: Corpus, *, complete: bool = True) -> tuple[Corpus, TargetLabels]:
    """Find labelled texts in the corpus, and add those that are not there.

    Texts are equal if they differ in case and white space alone. A text that the corpus has several times is found at
    its first place.

    Args:
        labelled: each text once.
        corpus: the target texts.
        complete: add labelled texts that the corpus lacks; else they are an error.

    Returns:
        The corpus, with missing texts after its own, and the labels of its texts.

    Raises:
        DataError: a labelled text is not in the corpus, and `complete` is off.
    """
    wanted = {plain_digest(example): index for index, example in enumerate(labelled.examples)}
    rows = np.full(len(wanted), -1, np.int64)
    for row, example in enumerate(corpus):
        index = wanted.get(plain_digest(example))
        if index is not None and rows[index] < 0:
            rows[index] = row
    missing = np.flatnonzero(rows < 0)
    if len(missing) and not complete:
        raise DataError(
            f"{len(missing)} of the {len(rows)} labelled texts are not among the target texts",
            expected=f"texts of {corpus.name}, since the teacher's probabilities are known for these only",
            got=shown(labelled.examples[missing[0]].text),
            fix="add the texts and their probabilities, or remove these rows from the labels",
        )
    if len(missing):
        _LOG.warning(
            "%s: %d of %d labelled texts are not among the target texts; they are added to them, as texts of the same "
            "domain",
            *(labelled.name, len(missing), len(rows)),
        )
        rows[missing] = len(corpus) + np.arange(len(missing))
        corpus = extended(corpus, [replace(labelled.examples[index], label=None, columns=None) for index in missing])
    weights = 1 / labelled.inclusion
    return corpus, TargetLabels(rows, labelled.classes, weights / weights.mean())
