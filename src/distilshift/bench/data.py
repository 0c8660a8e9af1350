"""The domains of a benchmark: a folder of `<domain>.jsonl.gz` files with text, label and split (train or test).

Rows of text pairs have a `pair`. Several domains are joined by a plus sign: `react+vscode`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from distilshift.errors import ConfigError, DataError
from distilshift.files import sha256_of
from distilshift.journal import fingerprint
from distilshift.types import Example

SPLITS = ("train", "test")
JOIN = "+"
# The folder of a benchmark that names none.
REVIEWS = "cross-domain-sentiment"


@dataclass(frozen=True)
class Domain:
    """One domain's labelled texts.

    Attributes:
        train: what teachers learn from; adaptation gets their texts alone. A text may have no label, where the domain's
            raters gave none: only adaptation takes it.
        test: what finished classifiers are measured on.
    """

    train: list[Example]
    test: list[Example]

    def train_texts(self) -> list[Example]:
        """The training texts without their labels."""
        return [Example(item.text, pair=item.pair) for item in self.train]

    def labelled(self) -> list[Example]:
        """The training texts that have a label, with it."""
        return [item for item in self.train if item.label is not None]

    def limited(self, train: int | None, test: int | None) -> Domain:
        """Return the domain with at most this many texts per split, drawn by `draw`; None keeps all of a split."""
        return Domain(draw(self.train, train), draw(self.test, test))


def draw(examples: Sequence[Example], most: int | None) -> list[Example]:
    """Return at most `most` of the examples, in their order: the same ones on every machine and for every seed."""
    if most is None or most >= len(examples):
        return list(examples)
    drawn = sorted(range(len(examples)), key=lambda row: rank(examples[row], 0))[:most]
    return [examples[row] for row in sorted(drawn)]


def rank(example: Example, seed: int) -> bytes:
    """Return a hash that orders examples at random; their labels have no part in it."""
    pair = "" if example.pair is None else f"\n{example.pair}"
    return hashlib.sha256(f"{seed}/{example.text}{pair}".encode()).digest()


def data_folder(named: str | Path | None, data_set: str = REVIEWS) -> Path:
    """Return the folder that is named, else the data set's in $DISTILSHIFT_DATA.

    Raises:
        ConfigError: neither is given, or it is no folder.
    """
    root = os.environ.get("DISTILSHIFT_DATA")
    if not named and not root:
        raise ConfigError("no folder of domains is named", fix="pass --data, or set DISTILSHIFT_DATA: docs/results.md")
    folder = Path(named) if named else Path(str(root)) / data_set
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder", fix="pass --data, or set DISTILSHIFT_DATA to the folder above it")
    return folder


def domain_file(folder: Path, domain: str) -> Path:
    """The file of a domain.

    Raises:
        DataError: there is none.
    """
    path = folder / f"{domain}.jsonl.gz"
    if not path.is_file():
        known = ", ".join(sorted(entry.name.removesuffix(".jsonl.gz") for entry in folder.glob("*.jsonl.gz")))
        raise DataError(f"{path} does not exist", expected=f"one of {known or 'no domains'}", fix="correct the matrix")
    return path


def parts_of(domain: str) -> list[str]:
    """Return the names of the domains that a name joins."""
    return domain.split(JOIN)


def domain_sha256(folder: Path, domain: str) -> str:
    """Return the sha256 (hex) of a domain's file or, of joined ones, of their files' hashes."""
    found = [file_sha256(domain_file(folder, part)) for part in parts_of(domain)]
    return fingerprint(found) if len(found) > 1 else found[0]


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file that may change; read again only where it has."""
    state = path.stat()
    return _sha256_of_version(path, state.st_mtime_ns, state.st_size)


@cache
def _sha256_of_version(path: Path, modified_ns: int, size: int) -> str:
    """Each cell asks for it, several times."""
    return sha256_of(path)


def load_domain(folder: Path, domain: str) -> Domain:
    """Read a domain, or several that are joined, one after the other.

    Raises:
        DataError: a file is missing or damaged, or lacks a split.
    """
    found = [_load(folder, part) for part in parts_of(domain)]
    return Domain(*([item for each in found for item in getattr(each, split)] for split in SPLITS))


def _load(folder: Path, domain: str) -> Domain:
    path = domain_file(folder, domain)
    found: dict[str, list[Example]] = {split: [] for split in SPLITS}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                _take(json.loads(line), found, f"{path}, line {number},")
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise DataError(f"{path} cannot be read", got=str(error), fix="get the file again") from None
    for split, examples in found.items():
        if not examples:
            raise DataError(f"{path} has no rows of split {split}", fix="mark rows with split train or test")
    return Domain(**found)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _take(row: Any, found: dict[str, list[Example]], where: str) -> None:
    usable = isinstance(row, dict) and row.get("split") in SPLITS and _is_text(row.get("text")) and "label" in row
    if not usable or not (row.get("pair") is None or _is_text(row["pair"])):
        raise DataError(f"{where} is not usable", expected="text, label and split (train or test)", fix="correct it")
    label = None if row["label"] is None else str(row["label"])
    found[row["split"]].append(Example(row["text"], pair=row.get("pair"), label=label))
