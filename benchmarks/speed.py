"""Throughput of knowledge distillation on this machine's CPU: distilshift, a plain Trainer loop, and TextBrewer.

    python benchmarks/speed.py --teacher TEACHER_BUNDLE --rounds 5

Every side has the same teacher, the same 3-layer student cut from it, the same texts, epochs, batch size, rates and
temperature. Each sample is a process of its own, and rounds go through the sides forwards and backwards by turns, so
that a slow spell of the machine meets all of them. A sample is in the result file as soon as it is taken; the same
command continues where it stopped.

Timed is the training, with every pass of the teacher that the side makes, be it one before the first epoch or one in
each; loading and tokenising are reported beside it. GFLOP/s counts matrix products on real tokens, not on padding,
and stands against what this machine reaches on the layers' own products alone, measured in the same process.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import RESULTS, REVISION, SCRATCH, hardware, load, taught
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.files import write_json
from distilshift.journal import fingerprint
from distilshift.stage import fingerprint_examples, versions
from distilshift.types import Example
from sides import DEFAULT_SIDES, SIDES, SideUnavailableError
from sides.measure import measure

DEFAULTS = AdaptConfig()
# The sides run on the CPU, and threads wait as the command line lets them wait.
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": ""}
ENVIRONMENT_DEFAULTS = {"GOMP_SPINCOUNT": "10000"}
REPORTED = ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
MEASURED = (
    *("texts_per_second", "seconds", "peak_memory_bytes", "gflop_per_second", "matmul_gflop_per_second"),
    *("limit_fraction", "load_seconds", "tokenise_seconds"),
)
KEY = ("config_sha256", "config", "data_sha256", "teacher_sha256", "versions", "hardware", "environment")


def settings(options: argparse.Namespace) -> AdaptConfig:
    """What every side is asked to do; a side adds its precision."""
    return AdaptConfig(method="none", spans=0, distil_epochs=options.epochs)


def texts_of(options: argparse.Namespace) -> list[Example]:
    """The unlabelled texts."""
    texts = [Example(item.text) for item in load(options.target, "train")]
    return texts[: options.texts] if options.texts else texts


def child_environment() -> dict[str, str]:
    """The environment of every sample."""
    return ENVIRONMENT_DEFAULTS | dict(os.environ) | ENVIRONMENT


def header(options: argparse.Namespace) -> dict[str, Any]:
    """What the samples of one file have in common."""
    config, environment = settings(options), child_environment()
    key = {
        "config": asdict(config) | {"target": options.target, "texts": options.texts},
        "data_sha256": fingerprint_examples(texts_of(options)),
        "teacher_sha256": fingerprint(asdict(read_manifest(options.teacher, "teacher"))),
        "versions": versions(),
        "hardware": hardware(),
        "environment": {name: environment[name] for name in REPORTED if name in environment},
    }
    return {"table": "speed", "config_sha256": fingerprint(key["config"]), **key}


def opened(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """The result file to continue, or a new one; samples of other settings are not mixed with these."""
    if not path.exists():
        return {**head, "code_revision": REVISION, "skipped": {}, "summary": {}, "samples": []}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name in KEY if found.get(name) != head[name]]
    if changed:
        raise SystemExit(f"Error: {path} has another {', '.join(changed)}. Fix: name another --out, or remove it")
    return found


def take(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One sample of a side, in a process of its own; {"skipped": reason} where it cannot run here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.json"
        command = [sys.executable, __file__, "--side", name, "--json", str(path), "--teacher", str(options.teacher)]
        for option in ("texts", "epochs", "target"):
            command += [f"--{option}", str(getattr(options, option))]
        done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"Error: {name} ended with {done.returncode}:\n{done.stderr[-4000:]}")
        return json.loads(path.read_text(encoding="utf-8"))


def run_side(options: argparse.Namespace) -> None:
    """The other end of `take`."""
    try:
        sample = measure(options.side, options.teacher, texts_of(options), settings(options))
    except SideUnavailableError as error:
        sample = {"skipped": str(error)}
    write_json(options.json, sample)


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Take the samples that are missing, and summarise."""
    result = opened(options.out, header(options))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for turn in range(options.rounds):
        for name in options.sides if turn % 2 == 0 else reversed(options.sides):
            if any((item["side"], item["round"]) == (name, turn) for item in result["samples"]):
                continue
            if turn and name in result["skipped"]:
                continue
            add(result, name, turn, take(name, options))
            write_json(options.out, result)
    return result


def add(result: dict[str, Any], name: str, turn: int, sample: dict[str, Any]) -> None:
    """Put a sample into the result, and make the summary anew."""
    result["skipped"].pop(name, None)
    if "skipped" in sample:
        result["skipped"][name] = sample["skipped"]
        print(f"round {turn}, {name}: skipped, {sample['skipped']}", flush=True)
        return
    result["code_revision"] = REVISION
    sample = {"side": name, "round": turn, "code_revision": REVISION} | sample
    if name == "textbrewer":
        sample["textbrewer_version"] = importlib.metadata.version("textbrewer")
    result["samples"].append(sample)
    result["summary"] = summary_of(result["samples"])
    print(f"round {turn}, {name}: {sample['texts_per_second']:.1f} texts/s, {sample['seconds']:.1f} s", flush=True)


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def baseline_of(name: str) -> str | None:
    """The plain Trainer side in the same precision, for sides that train."""
    return f"trainer-{SIDES[name].precision}" if SIDES[name].trains else None


def summary_of(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Spread over rounds of each side, and of its speed over the plain Trainer's of the same round and precision."""
    rates = {(item["side"], item["round"]): item["texts_per_second"] for item in samples}
    summary: dict[str, Any] = {}
    for name in SIDES:
        own = [item for item in samples if item["side"] == name]
        if not own:
            continue
        summary[name] = {field: spread([item[field] for item in own]) for field in MEASURED}
        summary[name]["rounds"] = len(own)
        base = [(item["texts_per_second"], rates.get((baseline_of(name), item["round"]))) for item in own]
        ratios = [rate / other for rate, other in base if other]
        if ratios:
            summary[name]["speed_over_trainer"] = spread(ratios)
    return summary


def summarise(result: dict[str, Any]) -> str:
    """A Markdown table of medians, least and greatest in brackets."""
    heads = ["side", "texts/s", "× Trainer, same precision", "seconds", "peak memory, MB", "GFLOP/s on real tokens"]
    heads += ["matmul limit, GFLOP/s", "share of limit", "load, s", "tokenise, s"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in result["summary"].items():
        cells = [
            _cell(row["texts_per_second"], "{:.1f}"),
            _cell(row["speed_over_trainer"], "{:.2f}") if "speed_over_trainer" in row else "–",
            _cell(row["seconds"], "{:.1f}"),
            _cell(row["peak_memory_bytes"], "{:.0f}", 1e-6),
            _cell(row["gflop_per_second"], "{:.0f}"),
            _cell(row["matmul_gflop_per_second"], "{:.0f}"),
            _cell(row["limit_fraction"], "{:.0%}"),
            f"{row['load_seconds']['median']:.1f}",
            f"{row['tokenise_seconds']['median']:.2f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, *(f"\n{name}: skipped, {reason}" for name, reason in result["skipped"].items())])


def _cell(values: dict[str, float], form: str, scale: float = 1.0) -> str:
    median, least, greatest = (form.format(scale * values[name]) for name in ("median", "min", "max"))
    return f"{median} ({least}–{greatest})"


def parser() -> argparse.ArgumentParser:
    """The command line; --side and --json are for the processes that this one starts."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--teacher", type=Path, help="a teacher bundle; by default, one of electronics is taught")
    made.add_argument("--target", default="kitchen", help="domain whose training texts are used")
    made.add_argument("--texts", type=int, default=0, help="only the first so many; 0 takes all")
    made.add_argument("--epochs", type=int, default=DEFAULTS.distil_epochs)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--sides", nargs="+", default=DEFAULT_SIDES, choices=SIDES)
    made.add_argument("--out", type=Path, default=RESULTS / "speed" / "training.json")
    made.add_argument("--work", type=Path, default=SCRATCH, help="where the default teacher is kept")
    made.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    made.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    return made


def main() -> None:
    """Take the samples that are missing, then print the table."""
    options = parser().parse_args()
    if options.side:
        run_side(options)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    options.teacher = options.teacher or taught("electronics", 0, options.work)
    print(summarise(run_all(options)))


if __name__ == "__main__":
    main()
