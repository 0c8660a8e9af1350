"""The demo's data as domains of a benchmark: movie sentences, and VADER's rated products, tweets and editorials.

    python benchmarks/vader_data.py
    distilshift bench benchmarks/configs/vader.toml --keep-older --data benchmarks/scratch/vader

Anyone who reaches a package index can run both. The movie sentences are the source; a tenth of them, chosen by a hash,
is its test split. The targets are split as the demo does it: training texts have no labels, whatever their rating.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from common import SCRATCH
from distilshift.config import DemoConfig
from distilshift.demo_data import VaderName, movie_sentences, split_domain, vader_domain
from distilshift.errors import DistilshiftError
from distilshift.files import new_file
from distilshift.types import Example

FOLDER = SCRATCH / "vader"
SOURCE = "movies"
# VADER's movie snippets are the source's sentences over again.
TARGETS: tuple[VaderName, ...] = tuple(name for name in get_args(VaderName) if name != SOURCE)
TEST_TENTHS = 1


def source_rows() -> Iterator[dict[str, Any]]:
    """The movie sentences."""
    for example in movie_sentences():
        tenth = int(hashlib.sha256(example.text.encode()).hexdigest(), 16) % 10
        yield _row(example, "test" if tenth < TEST_TENTHS else "train")


def target_rows(name: VaderName) -> Iterator[dict[str, Any]]:
    """A VADER domain."""
    split = split_domain(vader_domain(name), DemoConfig().seed)
    yield from (_row(example, "train") for example in split.train_texts)
    yield from (_row(example, "test") for example in split.test)


def _row(example: Example, split: str) -> dict[str, Any]:
    return {"text": example.text, "label": example.label, "split": split}


def write_domain(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """A domain's file; the same rows give the same bytes."""
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    with new_file(path, overwrite=True) as new:
        new.write_bytes(gzip.compress(lines.encode(), mtime=0))


def main() -> None:
    """Write the domains."""
    write_domain(FOLDER / f"{SOURCE}.jsonl.gz", source_rows())
    for name in TARGETS:
        write_domain(FOLDER / f"{name}.jsonl.gz", target_rows(name))
    print(f"{1 + len(TARGETS)} domains in {FOLDER}")


if __name__ == "__main__":
    try:
        main()
    except DistilshiftError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
