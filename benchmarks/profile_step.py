"""Where the seconds of a distillation go: the operators of PyTorch, by kind, against the machine's limit.

    python benchmarks/profile_step.py --teacher TEACHER_BUNDLE

The default student learns from a teacher's cached outputs under PyTorch's profiler; what the profiler does not see
(Python, batching, waiting) is the rest of the wall time, and its own cost. The result goes to
benchmarks/results/speed/profile.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from common import RESULTS, REVISION, SCRATCH, hardware, load, taught
from distilshift.config import AdaptConfig
from distilshift.encoder import load_classifier
from distilshift.files import write_json
from distilshift.precision import resolve_precision
from distilshift.stage import seeded, versions
from distilshift.student import build_student
from distilshift.types import Example
from rates import matmul_flops_per_second
from sides import SIDES
from sides.library import prepare_distillation, tokenise
from sides.measure import DTYPES, flops_of
from sides.task import Task

# The first kind whose word is in an operator's name takes it.
KINDS = {
    "matrix products": ("mm", "linear", "addmm", "matmul", "mkldnn"),
    "optimiser": ("adamw", "foreach", "norm_except", "linalg_vector_norm"),
    "dropout": ("dropout", "bernoulli"),
    "normalisation": ("layer_norm",),
    "GELU, tanh": ("gelu", "tanh"),
    "softmax": ("softmax",),
    "embedding": ("embedding", "index_select", "gather"),
    "copies and casts": ("copy", "to_copy", "contiguous", "clone", "fill", "zero", "empty", "cat"),
    "sums and products": ("add", "mul", "div", "sub", "sum", "lerp", "sqrt", "exp"),
}


def kind_of(operator: str) -> str:
    """Which kind an operator's name belongs to."""
    name = operator.removeprefix("aten::").lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other operators")


def measure(teacher: Path, texts: int, epochs: int) -> dict[str, Any]:
    """Profile a distillation of so many texts and epochs."""
    config = AdaptConfig(method="none", spans=0, max_windows=1, distil_epochs=epochs)
    classifier = load_classifier(str(teacher), config.max_length)
    examples = [Example(item.text) for item in load("kitchen", "train")[:texts]]

    def work(folder: str) -> float:
        with seeded(0):
            student = build_student(classifier, "cut", config.student_layers)
        task = Task(classifier, student, examples, config, Path(folder))
        run = prepare_distillation(task, tokenise(task))
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        work(folder)  # kernels are compiled, pages touched
    with tempfile.TemporaryDirectory() as folder:
        seconds = work(folder)
    with tempfile.TemporaryDirectory() as folder, profile(activities=[ProfilerActivity.CPU]) as seen:
        profiled = work(folder)
    times: dict[str, float] = {}
    for event in seen.key_averages():
        kind = kind_of(event.key)
        times[kind] = times.get(kind, 0.0) + event.self_cpu_time_total / 1e6
    times["Python, batching, waiting"] = max(0.0, profiled - sum(times.values()))
    lengths = classifier.tokenise(examples).lengths
    student = build_student(classifier, "cut", config.student_layers)
    task = Task(classifier, student, examples, config, Path())
    precision = resolve_precision("auto")
    rows = round(config.distil_batch_size * lengths.mean())
    limit = matmul_flops_per_second(rows, classifier.model.config, DTYPES[precision])
    return {
        "texts": texts,
        "epochs": epochs,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "seconds_profiled": profiled,
        "seconds_at_the_matmul_limit": flops_of(SIDES["distilshift-bf16"], task, lengths) / limit,
        "profile": dict(sorted(times.items(), key=lambda item: -item[1])),
    }


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", type=Path, help="a teacher bundle; by default, one of electronics is taught")
    parser.add_argument("--texts", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "speed" / "profile.json")
    options = parser.parse_args()
    SCRATCH.mkdir(exist_ok=True)
    row = measure(options.teacher or taught("electronics", 0, SCRATCH), options.texts, options.epochs)
    row |= {"code_revision": REVISION, "versions": versions(), "hardware": hardware()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, row)
    for kind, seconds in row["profile"].items():
        print(f"{kind:28} {seconds:7.2f} s  {seconds / row['seconds_profiled']:5.1%}")
    print(f"{row['seconds']:.2f} s unprofiled, {row['seconds_at_the_matmul_limit']:.2f} s at the matmul limit")


if __name__ == "__main__":
    main()
