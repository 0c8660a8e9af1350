"""What runs on a device, side by side: teacher and students, in PyTorch and in ONNX, in one process, by turns.

    python benchmarks/edge.py --teacher TEACHER_BUNDLE --students small=STUDENT tiny=ANOTHER static

Students are bundles, or are made where only the name of one of STUDENTS is given. Every side has one thread, and reads
the beginning of the same 20 texts, as many tokens as it takes at once, before the next 20; a static student and
model2vec take nearly all texts whole. Accuracy is that on the target's 400 held-out reviews. Cold start, memory and the
size of an install are taken from processes of their own, by turns as well. Raw samples are in the result file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from common import HERE, RESULTS, REVISION, SCRATCH, hardware, load, taught
from distilshift import adapt
from distilshift.bundle import read_manifest
from distilshift.files import write_json
from distilshift.network import ONNX_FILES, Runner
from distilshift.stage import versions
from distilshift.student_bundle import device_bytes
from distilshift.types import Example
from edge_runners import Model2Vec, TorchRunner, onnx_runner, teacher_onnx

BATCH, BLOCK = 32, 20
QUICK: dict[str, Any] = {"method": "none", "spans": 0, "distil_epochs": 1, "max_texts": 200, "max_windows": 1}
# Options of `adapt` by the name of a student that is made here.
STUDENTS: dict[str, dict[str, Any]] = {
    "small": {},
    "small-2-layers": {"student_layers": 2},
    "tiny": {"size": "tiny"},
    "static": {"student": "static"},
    "base": {"size": "base"},
}
REFERENCES = ("teacher, PyTorch fp32", "teacher, ONNX int8")


def students(options: argparse.Namespace) -> dict[str, Path]:
    """Name to bundle, those without a path made here, or taken from an earlier run; by default, all of STUDENTS."""
    found = {}
    for name, _, path in (each.partition("=") for each in options.students or STUDENTS):
        if not path and name not in STUDENTS:
            raise SystemExit(f"Error: no student {name!r}: give {name}=BUNDLE, or one of {', '.join(STUDENTS)}")
        found[name] = Path(path) if path else made(name, options)
    return found


def made(name: str, options: argparse.Namespace) -> Path:
    """The bundle of one of STUDENTS, adapted to the target's training texts where it is not there yet."""
    quick = "-quick" if options.quick else ""
    bundle: Path = options.work / f"edge-{options.teacher.name}-{options.target}-{name}{quick}"
    if not bundle.exists():
        adapt(options.teacher, unlabelled(options), bundle, **STUDENTS[name] | (QUICK if options.quick else {}))
    return bundle


def unlabelled(options: argparse.Namespace) -> list[Example]:
    """The target's training texts."""
    return [Example(each.text) for each in load(options.target, "train")]


def runners(options: argparse.Namespace, bundles: dict[str, Path], skipped: dict[str, str]) -> dict[str, Runner]:
    """All sides, ready to run."""
    files = teacher_onnx(options.teacher, options.work, unlabelled(options))
    sides: dict[str, Runner] = {"teacher, PyTorch fp32": TorchRunner(options.teacher)}
    sides |= {f"teacher, ONNX {name}": onnx_runner(options.teacher, file) for name, file in files.items()}
    for student, bundle in bundles.items():
        for name, file in ONNX_FILES.items():
            sides[f"{student}, ONNX {name}"] = onnx_runner(bundle, bundle / file)
    try:
        sides["model2vec"] = _model2vec(options, next(iter(bundles.values())))
    except ImportError as error:
        skipped["model2vec"] = f"not installed ({error.name}): pip install model2vec datasets skeletoken"
    return sides


def _model2vec(options: argparse.Namespace, bundle: Path) -> Model2Vec:
    """Trained on the first student's labels of the whole texts that this student learnt from."""
    texts = [Example(each.text) for each in load(options.target, "train")][: 200 if options.quick else None]
    manifest = read_manifest(bundle)
    names, windows = manifest.label_names, int((manifest.runtime or {})["max_windows"])
    labels = onnx_runner(bundle, bundle / ONNX_FILES["fp32"], windows=windows).logits(texts).argmax(axis=1)
    return Model2Vec([each.text for each in texts], [names[label] for label in labels], names, seed=0)


def sizes(options: argparse.Namespace, bundles: dict[str, Path], sides: dict[str, Runner]) -> dict[str, int]:
    """Bytes that a device needs for each side: the network, the tokenizer and the configuration."""
    common = sum((options.teacher / name).stat().st_size for name in ("tokenizer.json", "config.json"))
    found = {"teacher, PyTorch fp32": common + (options.teacher / "model.safetensors").stat().st_size}
    for name, file in teacher_onnx(options.teacher, options.work, unlabelled(options)).items():
        found[f"teacher, ONNX {name}"] = common + file.stat().st_size
    for student, bundle in bundles.items():
        found |= {f"{student}, ONNX {name}": device_bytes(bundle, name) for name in ONNX_FILES}
    if isinstance(other := sides.get("model2vec"), Model2Vec):
        with tempfile.TemporaryDirectory() as folder:
            other.save(Path(folder))
            found["model2vec"] = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return found


def latencies(sides: dict[str, Runner], texts: list[Example]) -> dict[str, list[float]]:
    """Milliseconds of each text, one at a time, each side in turn with a block of texts.

    By turns after each text, every side would find the processor's caches full of the others' weights, as it never does
    on a device. So a text that was read before comes first in each turn, and does not count.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for start in range(0, len(texts), BLOCK):
        for name, runner in sides.items():
            runner.logits([texts[start - 1]])
            for text in texts[start : start + BLOCK]:
                began = time.perf_counter()
                runner.logits([text])
                taken[name].append(1000 * (time.perf_counter() - began))
    return taken


def throughput(sides: dict[str, Runner], texts: list[Example], batches: int) -> dict[str, list[float]]:
    """Seconds of each batch of 32, by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for start in range(0, BATCH * batches, BATCH):
        for name, runner in sides.items():
            began = time.perf_counter()
            runner.logits(texts[start : start + BATCH])
            seconds[name].append(time.perf_counter() - began)
    return seconds


def correct(runner: Runner, texts: list[Example], names: list[str]) -> str:
    """A digit a text: 1 where the label is right."""
    found = runner.logits(texts).argmax(axis=1)
    return "".join(str(int(names[label] == each.label)) for label, each in zip(found, texts, strict=True))


def processes(options: argparse.Namespace, bundles: dict[str, Path], text: str) -> dict[str, Any]:
    """Cold starts by turns, memory of a short and of a long stream, and the size of an install."""
    asked: dict[str, Any] = {"starts": options.starts, "rows": [1000, 10_000], "install": True}
    if options.quick:
        asked = {"starts": 2, "rows": [100, 500], "install": False}
    asked |= {"bundles": {name: str(bundle.resolve()) for name, bundle in bundles.items()}, "text": text}
    command = [sys.executable, str(HERE / "edge_processes.py"), json.dumps(asked)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as the result file has it."""
    bundles, skipped = students(options), {}  # type: dict[str, Path], dict[str, str]
    sides = runners(options, bundles, skipped)
    torch.set_num_threads(1)
    test = load(options.target, "test")[: 40 if options.quick else None]
    names = read_manifest(options.teacher).label_names
    single = latencies(sides, test[: options.texts])
    batches = throughput(sides, test, min(options.batches, len(test) // BATCH))
    samples = {
        name: {
            "latency_ms": single[name],
            "batch_seconds": batches[name],
            "test_correct": correct(sides[name], test, names),
        }
        for name in sides
    }
    return {
        "table": "edge",
        "code_revision": REVISION,
        "versions": versions(),
        "hardware": hardware() | {"threads": 1},
        "teacher": str(options.teacher.name),
        "students": {name: read_manifest(bundle, "student").runtime for name, bundle in bundles.items()},
        "target": options.target,
        "quick": options.quick,
        "size_bytes": sizes(options, bundles, sides),
        "samples": samples,
        "summary": {name: summary_of(samples[name], samples) for name in samples},
        "processes": processes(options, bundles, min((each.text for each in test), key=len)),
        "skipped": skipped,
    }


def summary_of(own: dict[str, Any], samples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One side's numbers, and how many times faster it is than each of the teacher's at batch 1."""
    median = statistics.median(own["latency_ms"])
    return {
        "test_accuracy": statistics.mean(map(int, own["test_correct"])),
        "latency_ms_p50": median,
        "latency_ms_p95": float(np.percentile(own["latency_ms"], 95)),
        "texts_per_second": BATCH / statistics.median(own["batch_seconds"]),
        "times_faster": {name: statistics.median(samples[name]["latency_ms"]) / median for name in REFERENCES},
    }


def summarise(result: dict[str, Any]) -> str:
    """A Markdown table."""
    heads = ["", "accuracy", "on the device", "p50", "p95", "texts/s", *(f"× {name}" for name in REFERENCES)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    form: Callable[[float], str] = "{:.1f}".format
    for name, row in result["summary"].items():
        cells = [f"{100 * row['test_accuracy']:.1f}", f"{form(result['size_bytes'][name] / 1e6)} MB"]
        cells += [f"{row['latency_ms_p50']:.2f} ms", f"{row['latency_ms_p95']:.2f} ms", form(row["texts_per_second"])]
        lines.append(f"| {' | '.join([name, *cells, *map(form, row['times_faster'].values())])} |")
    return "\n".join([*lines, *(f"\n{name}: {reason}" for name, reason in result["skipped"].items())])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--teacher", type=Path, help="a teacher bundle; by default, one of electronics is taught")
    made.add_argument("--students", nargs="+", help=f"NAME=BUNDLE, or a name of {', '.join(STUDENTS)}")
    made.add_argument("--target", default="kitchen", help="domain of the students and of the test texts")
    made.add_argument("--texts", type=int, default=200, help="samples of the latency, a text each")
    made.add_argument("--batches", type=int, default=8, help="samples of the throughput, 32 texts each")
    made.add_argument("--starts", type=int, default=10, help="samples of the cold start")
    made.add_argument("--quick", action="store_true", help="a cheap student, few samples, no install: does it run?")
    made.add_argument("--out", type=Path, help="by default, results/edge/edge.json; none with --quick")
    made.add_argument("--work", type=Path, default=SCRATCH, help="where teachers, students and exports are kept")
    return made


def main() -> None:
    """Measure, write, and print the table."""
    options = parser().parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.teacher = options.teacher or taught("electronics", 0, options.work)
    result = measure(options)
    path = options.out or (None if options.quick else RESULTS / "edge" / "edge.json")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, result)
    print(summarise(result))


if __name__ == "__main__":
    main()
