"""The six domains of reviews, made anew from the repository of Ryu and Lee (2020), to the last byte.

    git clone https://github.com/bzantium/bert-AAD
    python benchmarks/review_data.py bert-AAD/data
    DISTILSHIFT_DATA=benchmarks/scratch distilshift bench benchmarks/configs/amazon12-minilm.toml --keep-older

Four domains are Blitzer et al.'s (2007), a thousand reviews a class; airline and imdb came with theirs. All are for
research. This repository holds no review, only where each goes: `configs/reviews.json` has, for each domain, which rows
are test texts, which reviews nearly repeat another one (they share a group, and a split), and the digests of its lines
and of the file. The committed results are of files with these digests.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import HERE, SCRATCH
from distilshift.errors import DataError, DistilshiftError
from distilshift.files import new_file, output_errors

INDEX = HERE / "configs" / "reviews.json"
# Of a domain of two files, one a class, in the order in which they are numbered.
CLASSES = ("negative", "positive")
# Of a domain of one table.
LABELS = {"0": "negative", "1": "positive"}
ORDER_SEED = 7
CLONE = "name the folder data of a clone of bzantium/bert-AAD"
_REVIEW = re.compile(r"<review_text>\n(.*?)\n?</review_text>", re.DOTALL)
_BREAK = re.compile(r"<br\s*/?>")


@dataclass(frozen=True)
class Place:
    """Where the reviews of a domain go.

    Attributes:
        test: for each row of the file, whether it is a test text.
        groups: by a review's number, the number of the review that it nearly repeats; others are groups of their own.
        lines_sha256: (hex) of the file's lines.
        sha256: (hex) of the file, which is compressed.
    """

    test: list[bool]
    groups: dict[int, int]
    lines_sha256: str
    sha256: str


def read_index(path: Path = INDEX) -> dict[str, Place]:
    """Where the reviews of each domain go."""
    found = {}
    for domain, values in json.loads(path.read_text(encoding="utf-8")).items():
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(values["test"]), np.uint8), count=values["reviews"])
        groups = {int(number): group for number, group in values["groups"].items()}
        found[domain] = Place(bits.astype(bool).tolist(), groups, values["lines_sha256"], values["sha256"])
    return found


def read_reviews(folder: Path, domain: str) -> list[tuple[str, str]]:
    """(label, text) of the reviews of a domain, as they are numbered.

    All are read as Latin-1, airline and imdb too, which are not all of it: so they were when everything was measured.

    Raises:
        DataError: a file is missing or is another one.
    """
    table = folder / domain / f"{domain}.csv"
    if table.exists():
        found = _read_table(table)
    else:
        files = {label: _read(folder / domain / f"{label}.review") for label in CLASSES}
        found = [(label, text) for label, file in files.items() for text in _REVIEW.findall(file)]
    return [(label, " ".join(_BREAK.sub(" ", text).split())) for label, text in found]


def _read_table(path: Path) -> list[tuple[str, str]]:
    try:
        rows = csv.DictReader(io.StringIO(_read(path), newline=""))
        return [(LABELS[row["labels"]], str(row["reviews"] or "")) for row in rows]
    except (KeyError, csv.Error) as error:
        raise DataError(f"{path} is another table", expected="reviews, labels", got=repr(error), fix=CLONE) from None


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("latin-1")
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error), fix=CLONE) from None


def rows_of(domain: str, reviews: list[tuple[str, str]], place: Place) -> Iterator[dict[str, Any]]:
    """The rows of a domain's file.

    Raises:
        DataError: there are not as many reviews as there were.
    """
    if len(reviews) != len(place.test):
        counts = {"expected": str(len(place.test)), "got": str(len(reviews))}
        raise DataError(f"{domain} has more or fewer reviews than it had", **counts, fix=CLONE)
    order = np.random.default_rng(ORDER_SEED).permutation(len(reviews)).tolist()
    for row, (number, test) in enumerate(zip(order, place.test, strict=True)):
        label, text = reviews[number]
        yield {
            "id": f"{domain}-{row:04}",
            "text": text,
            "label": label,
            "split": "test" if test else "train",
            "group": place.groups.get(number, number),
        }


def lines_of(domain: str, reviews: list[tuple[str, str]], place: Place) -> bytes:
    """The lines of a domain's file.

    Raises:
        DataError: the reviews are not those that everything was measured with.
    """
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows_of(domain, reviews, place)).encode()
    if (got := hashlib.sha256(lines).hexdigest()) != place.lines_sha256:
        raise DataError(f"the reviews of {domain} have changed", expected=place.lines_sha256, got=got, fix=CLONE)
    return lines


def compressed(domain: str, lines: bytes) -> bytes:
    """The file's bytes; the same lines give the same ones with the same zlib."""
    buffer = io.BytesIO()
    with gzip.GzipFile(f"{domain}.jsonl", "wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(lines)
    return buffer.getvalue()


def convert(data: Path, output: Path, index: dict[str, Place]) -> list[str]:
    """Write the domains; gives those whose file is not, byte for byte, what everything was measured with.

    Raises:
        DataError: a domain is missing or is not what it was; nothing is written then.
        OutputError: the folder cannot be written to.
    """
    lines = {domain: lines_of(domain, read_reviews(data, domain), place) for domain, place in index.items()}
    made = {domain: compressed(domain, content) for domain, content in lines.items()}
    for domain, content in made.items():
        with output_errors(output), new_file(output / f"{domain}.jsonl.gz", overwrite=True) as path:
            path.write_bytes(content)
    return [domain for domain, content in made.items() if hashlib.sha256(content).hexdigest() != index[domain].sha256]


def main() -> None:
    """Convert a clone's folder of data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder data of a clone of bzantium/bert-AAD")
    parser.add_argument("--output", type=Path, default=SCRATCH / "cross-domain-sentiment", help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        others = convert(arguments.data, arguments.output, read_index())
    except DistilshiftError as error:
        parser.error(str(error))
    print(f"{len(read_index())} domains in {arguments.output}")
    if others:
        print(
            f"Compressed otherwise than the files that the results are of: {', '.join(others)}. The reviews are the "
            "same, but bench tells files apart by their bytes, and will measure their cells anew"
        )


if __name__ == "__main__":
    main()
