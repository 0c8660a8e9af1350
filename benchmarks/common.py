"""What the benchmarks share: the data, a teacher, and what a result says of where it came from."""

from __future__ import annotations

import gzip
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from distilshift import TeachConfig, teach
from distilshift.types import Example

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SCRATCH = HERE / "scratch"


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


def revision() -> str:
    """The commit that is checked out, marked where the tree differs from it."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def hardware() -> dict[str, Any]:
    """What ran it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    cpu = names[0] if names else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
