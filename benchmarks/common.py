"""What the benchmarks share: the data, a teacher, and what a result says of where it came from."""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from distilshift import TeachConfig, teach
from distilshift.bench.provenance import code_revision, hardware
from distilshift.bundle import MANIFEST, read_manifest
from distilshift.journal import fingerprint
from distilshift.types import Example

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SCRATCH = HERE / "scratch"
# Of the start: the code may change while a script measures.
REVISION = code_revision()
DOMAINS = ("books", "dvd", "electronics", "kitchen", "airline", "imdb")
__all__ = [
    "DOMAINS",
    "RESULTS",
    "REVISION",
    "SCRATCH",
    "add_teachers",
    "data_folder",
    "hardware",
    "load",
    "source_of",
    "taught",
    "teachers_of",
]


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


def add_teachers(parser: argparse.ArgumentParser) -> None:
    """The arguments that `teachers_of` reads."""
    parser.add_argument("teachers", nargs="+", type=Path, help="teacher bundles, named SOURCE-…")
    parser.add_argument("--base-model", default="minilm-l6", help="take those of this encoder; default: %(default)s")


def teachers_of(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[Path, str]:
    """The bundles among the paths that are of the encoder, one a source, and what tells each from others (sha256)."""
    manifests = {path: read_manifest(path, "teacher") for path in options.teachers if (path / MANIFEST).is_file()}
    found = {path: each for path, each in manifests.items() if each.base_model == options.base_model}
    if not found:
        parser.error(f"no teacher of {options.base_model} among {len(options.teachers)} paths; `bench` leaves some")
    if twice := [source for source, count in Counter(map(source_of, found)).items() if count > 1]:
        parser.error(f"more than one teacher of {', '.join(twice)}: name one of each")
    return {path: fingerprint(asdict(manifest)) for path, manifest in found.items()}


def source_of(bundle: Path) -> str:
    """The source that a bundle is named after."""
    return bundle.name.split("-")[0]


def taught(source: str, seed: int, work: Path) -> Path:
    """The teacher of a source and a seed, taught where it is missing."""
    bundle = work / f"teacher-{source}-{seed}"
    if not bundle.exists():
        teach(load(source, "train"), bundle, TeachConfig(seed=seed))
    return bundle
