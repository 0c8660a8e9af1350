"""`demo`: the whole story on real data, from a labelled source to a student for another domain.

A classifier taught on movie-review sentences meets tweets, or another of VADER's domains, that it has no labels for.
Ratings of the held-out texts are read once, at the end, to measure; nothing is chosen with them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distilshift.bundle import read_manifest
from distilshift.config import PLAIN_DISTILLATION, AdaptConfig, DemoConfig, TeachConfig, overlaid
from distilshift.demo_data import DemoSplit, movie_sentences, split_domain, vader_domain
from distilshift.encoder import load_classifier
from distilshift.files import staged_folder, write_json
from distilshift.inference import cpu_threads, forward_all
from distilshift.network import latency_ms, load_network
from distilshift.pipeline import adapt
from distilshift.source import teach
from distilshift.stage import versions
from distilshift.student_bundle import device_bytes
from distilshift.types import Example

LATENCY_TEXTS = 200


@dataclass(frozen=True)
class Row:
    """One line of the demo's table.

    Attributes:
        accuracy: share of held-out rated texts labelled right, 0 to 1.
        size_bytes: what a device must hold.
        runtime: what ran it.
        latency_ms_p50: median milliseconds from text to logits, one text, one thread.
    """

    accuracy: float
    size_bytes: int
    runtime: str
    latency_ms_p50: float


class TorchRunner:
    """The teacher as its owner runs it: PyTorch, fp32."""

    def __init__(self, bundle: Path) -> None:
        self._classifier = load_classifier(str(bundle), read_manifest(bundle).max_length)

    def logits(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """(texts, classes) logits."""
        store = self._classifier.tokenise(examples)
        return forward_all(self._classifier, store, torch.device("cpu"), nullcontext)["logits"]


def demo(
    output: str | Path, config: DemoConfig | None = None, *, overwrite: bool = False, **options: Any
) -> dict[str, Any]:
    """Teach on movie sentences, adapt to another domain's unlabelled texts, and compare on held-out rated ones.

    Args:
        output: a folder that gets `teacher/`, `student/` and `demo.json`.
        config: the options; the defaults where None.
        overwrite: replace an earlier demo.
        options: single fields of DemoConfig.

    Returns:
        the content of `demo.json`.

    Raises:
        DownloadError: a package with the model or the data cannot be had.
        OutputError: the folder exists, or cannot be written.
    """
    start = time.perf_counter()
    settings = overlaid(DemoConfig, config, options)
    shared: dict[str, Any] = {"seed": settings.seed, "precision": settings.precision, "threads": settings.threads}
    with staged_folder(Path(output), overwrite, mark="demo.json") as folder:
        source, split = movie_sentences(), split_domain(vader_domain(settings.target), settings.seed)
        teacher, student = folder / "teacher", folder / "student"
        teach(source, teacher, TeachConfig(**shared, epochs=1))
        adapt(teacher, split.train_texts, student, AdaptConfig(**shared))
        with tempfile.TemporaryDirectory() as scratch:
            plain = Path(scratch) / "plain-kd"
            adapt(teacher, split.train_texts, plain, AdaptConfig(**shared, **PLAIN_DISTILLATION))
            rows, gain_error = _compare(teacher, plain, student, split)
        report = _report(rows, gain_error, split, len(source), settings, time.perf_counter() - start)
        write_json(folder / "demo.json", report)
    return report


def _compare(teacher: Path, plain: Path, student: Path, split: DemoSplit) -> tuple[dict[str, Row], float]:
    """A row for each, measured side by side on the same texts, and the standard error of the gain over plain."""
    bundles = {"teacher": teacher, "plain_kd": plain, "student": student}
    networks = {name: load_network(bundles[name], read_manifest(bundles[name])) for name in ("plain_kd", "student")}
    runners = {"teacher": TorchRunner(teacher)} | networks
    with cpu_threads(1):
        samples = latency_ms(list(runners.values()), split.test, LATENCY_TEXTS)
    labels = np.array([read_manifest(teacher).label_names.index(str(item.label)) for item in split.test])
    right = {name: runner.logits(split.test).argmax(axis=1) == labels for name, runner in runners.items()}
    rows = {
        name: Row(float(right[name].mean()), *_footprint(bundles[name]), float(np.median(taken)))
        for name, taken in zip(runners, samples, strict=True)
    }
    return rows, paired_standard_error(right["student"], right["plain_kd"])


def paired_standard_error(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Standard error of the difference of two accuracies on the same texts."""
    difference = first.astype(np.float64) - second.astype(np.float64)
    return float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _footprint(bundle: Path) -> tuple[int, str]:
    """Bytes that running a bundle takes, and what runs it."""
    manifest = read_manifest(bundle)
    if manifest.runtime is None:
        names = ("model.safetensors", "tokenizer.json", "config.json")
        return sum((bundle / name).stat().st_size for name in names), "PyTorch fp32"
    choice = manifest.runtime["default"]
    return device_bytes(bundle, choice), f"ONNX {choice}"


def _report(
    rows: dict[str, Row], gain_error: float, split: DemoSplit, source_texts: int, config: DemoConfig, seconds: float
) -> dict[str, Any]:
    return {name: asdict(row) for name, row in rows.items()} | {
        "gain_over_plain_kd": rows["student"].accuracy - rows["plain_kd"].accuracy,
        "gain_over_plain_kd_standard_error": gain_error,
        "gain_over_teacher": rows["student"].accuracy - rows["teacher"].accuracy,
        "seconds": seconds,
        "source": {"name": "movie sentences", "labelled_texts": source_texts},
        "target": {"name": config.target, "unlabelled_texts": len(split.train_texts), "test_texts": len(split.test)},
        "config": config.to_dict(),
        "versions": versions(),
    }
