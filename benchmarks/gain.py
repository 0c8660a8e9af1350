"""Plain distillation against distilshift's default, same student, same number of steps, over seeds.

    python benchmarks/gain.py --source electronics --target books --seeds 0 1 2

Each cell (source, target, method, seed) is one JSON file in benchmarks/results/gain; a cell whose configuration and
data match its file is not run again; the file names the code's revision. Teachers are taught once a seed and kept
in the scratch folder: empty it after a change of the teaching.
Target labels are read once, to measure the finished student on the test split (and, beside it, on all texts).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import common
from common import SCRATCH, hardware, load, revision, taught
from distilshift import AdaptConfig, TeachConfig, adapt, evaluate
from distilshift.bundle import read_manifest
from distilshift.config import PLAIN_DISTILLATION
from distilshift.files import write_json
from distilshift.journal import fingerprint
from distilshift.stage import fingerprint_examples, peak_memory_bytes, versions
from distilshift.types import Example

RESULTS = common.RESULTS / "gain"
# All methods take as many steps.
METHODS: dict[str, dict[str, Any]] = {
    "plain-kd": PLAIN_DISTILLATION,
    "distilshift": {},
    "plain-kd-windows": PLAIN_DISTILLATION | {"max_windows": AdaptConfig().max_windows},
    "without-adaptation": {"method": "none"},
    "without-windows": {"max_windows": 1},
    "without-spans": {"spans": 0},
}


def run_cell(source: str, target: str, method: str, seed: int, work: Path) -> None:
    """Measure one cell, unless its file is there and made from the same inputs."""
    config = AdaptConfig(seed=seed, **METHODS[method])
    texts = [Example(item.text) for item in load(target, "train")]
    teacher_config = TeachConfig(seed=seed)
    key = {
        "config_sha256": fingerprint([config.to_dict(), teacher_config.to_dict()]),
        "data_sha256": fingerprint_examples([*load(source), *load(target)]),
    }
    path = RESULTS / f"{source}-{target}-{method}-{seed}.json"
    if path.exists() and key.items() <= json.loads(path.read_text()).items():
        return
    # The name tells configurations apart, so that an interrupted cell of another one is no obstacle.
    student = work / f"{path.stem}-{key['config_sha256'][:8]}"
    teacher, start = taught(source, seed, work), time.perf_counter()
    result = adapt(teacher, texts, student, config, overwrite=True)
    seconds = time.perf_counter() - start
    test, everything = load(target, "test"), load(target)
    row = {
        "table": "gain",
        "source": source,
        "target": target,
        "method": method,
        "seed": seed,
        "teacher": read_manifest(teacher).base_model,
        "student": f"cut-{config.student_layers or config.size}",
        "teacher_test_accuracy": evaluate(teacher, test).accuracy,
        "test_accuracy": evaluate(student, test, model="fp32").accuracy,
        "test_accuracy_int8": evaluate(student, test, model="int8").accuracy,
        "all_accuracy": evaluate(student, everything, model="fp32").accuracy,
        "teacher_agreement": result.summary["teacher_agreement"],
        "int8_agreement": result.summary["int8"]["agreement"],
        "seconds": seconds,
        "peak_memory_bytes": peak_memory_bytes(),
        "config": asdict(config),
        **key,
        "code_revision": revision(),
        "versions": versions(),
        "hardware": hardware(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(path, row)
    accuracies = f"{100 * row['test_accuracy']:.2f} (teacher {100 * row['teacher_test_accuracy']:.2f})"
    print(f"{path.stem}: {accuracies}, {seconds:.0f} s", flush=True)


def summarise(source: str, target: str, methods: Sequence[str], seeds: Sequence[int]) -> str:
    """A Markdown table of the cells, with mean and standard deviation over seeds."""
    heads = [f"seed {seed}" for seed in seeds]
    lines = [f"| method | {' | '.join(heads)} | mean ± sd |", "|---" * (len(seeds) + 2) + "|"]
    for method in methods:
        cells = [json.loads((RESULTS / f"{source}-{target}-{method}-{seed}.json").read_text()) for seed in seeds]
        shown = [100 * cell["test_accuracy"] for cell in cells]
        spread = np.std(shown, ddof=1) if len(shown) > 1 else 0.0
        values = " | ".join(f"{value:.2f}" for value in shown)
        lines.append(f"| {method} | {values} | {np.mean(shown):.2f} ± {spread:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="electronics")
    parser.add_argument("--target", default="books")
    parser.add_argument("--methods", nargs="+", default=["plain-kd", "distilshift"], choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=SCRATCH)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for method in options.methods:
            run_cell(options.source, options.target, method, seed, options.work)
    print(summarise(options.source, options.target, options.methods, options.seeds))


if __name__ == "__main__":
    main()
