"""What the benchmarks share: the data, a teacher, and what a result says of where it came from."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

from distilshift import TeachConfig, teach
from distilshift.bench.provenance import code_revision as revision
from distilshift.bench.provenance import hardware
from distilshift.types import Example

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SCRATCH = HERE / "scratch"
DOMAINS = ("books", "dvd", "electronics", "kitchen", "airline", "imdb")
__all__ = ["DOMAINS", "RESULTS", "SCRATCH", "data_folder", "hardware", "load", "revision", "taught"]


def data_folder() -> Path:
    """Where the review domains lie."""
    root = Path(os.environ.get("DISTILSHIFT_DATA", HERE.parent.parent / "shared" / "data"))
    folder = root / "cross-domain-sentiment"
    if not folder.is_dir():
        raise SystemExit(f"Error: {folder} does not exist. Fix: set DISTILSHIFT_DATA to the folder that holds it")
    return folder


def load(domain: str, split: str | None = None) -> list[Example]:
    """Labelled reviews of one domain, of one split or of both."""
    with gzip.open(data_folder() / f"{domain}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Example(row["text"], label=row["label"]) for row in rows if split in (None, row["split"])]


def taught(source: str, seed: int, work: Path) -> Path:
    """The teacher of a source and a seed, taught where it is missing."""
    bundle = work / f"teacher-{source}-{seed}"
    if not bundle.exists():
        teach(load(source, "train"), bundle, TeachConfig(seed=seed))
    return bundle
