"""Class names to the class numbers of a bundle."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from distilshift.data.labels import sorted_labels
from distilshift.errors import DataError
from distilshift.types import Example


def label_ids(examples: Sequence[Example], names: Sequence[str], where: str) -> NDArray[np.int64]:
    """Return the class number of each example's label, (examples,).

    Args:
        examples: labelled ones.
        names: the bundle's classes, in order.
        where: how messages call the source of the examples.

    Raises:
        DataError: a label is not one of the classes.
    """
    order = {name: index for index, name in enumerate(names)}
    unknown = sorted_labels({str(item.label) for item in examples} - set(order))
    if unknown:
        raise DataError(
            f"{where} has labels that the bundle does not know",
            expected=f"some of {', '.join(names)}",
            got=", ".join(unknown[:5]),
            fix=f"rename them with --label-names {shlex.quote(_renaming(order, examples))}",
        )
    return np.array([order[str(item.label)] for item in examples], dtype=np.int64)


def _renaming(names: Iterable[str], examples: Sequence[Example]) -> str:
    """A value of --label-names for labels that are a bundle's but for case and space; else the form of one."""
    alike = {name.strip().casefold(): name for name in names}
    found = sorted({str(item.label) for item in examples})
    meant = [alike.get(label.strip().casefold(), "") for label in found]
    if all(meant) and len(set(meant)) == len(meant) and not set("".join(found + meant)) & {",", "="}:
        return ",".join(f"{label}={name}" for label, name in zip(found, meant, strict=True))
    return "THEIRS=OURS,..."
