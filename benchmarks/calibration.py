"""How calibrated students are on target texts that they never saw, beside their teachers, on the development pairs.

    python benchmarks/calibration.py measure        # a teacher and a student for each pair; continues where it stopped
    python benchmarks/calibration.py report         # writes benchmarks/results/calibration.json

"before" is the same student on the scale that the teacher's temperature gives, as students had until their own was
fitted. Labels of target texts are used for the truth alone. Outputs are kept in benchmarks/scratch/calibration, for
abstention.py, too.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common import RESULTS, REVISION, SCRATCH, hardware
from distilshift import adapt, teach
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.data.windows import mean_over_windows
from distilshift.encoder import Classifier, load_classifier, scale_logits
from distilshift.files import write_json
from distilshift.inference import forward_all
from distilshift.metrics import negative_log_likelihood, softmax
from distilshift.stage import versions
from distilshift.types import Example
from estimate_error import rows_of

# Folder, source, target, epochs of the teacher, tokens that are read at once, target texts: few, to be done in minutes.
# Where there are 2,000, some are held out.
PAIRS: dict[str, tuple[str, str, str, int, int, int]] = {
    "kitchen-dvd": ("cross-domain-sentiment", "kitchen", "dvd", 2, 128, 1_000),
    "dvd-kitchen": ("cross-domain-sentiment", "dvd", "kitchen", 2, 128, 1_000),
    "tweets-reddit": ("emotions", "tweets", "reddit", 3, 48, 2_200),
    "hwu-clinc": ("intents", "hwu", "clinc", 4, 48, 2_200),
}
TRAIN_TEXTS, TEST_TEXTS = 2_000, 1_600
BINS = 15
OUTPUTS = SCRATCH / "calibration"


def measure(pair: str) -> None:
    """Teach, adapt, and keep what teacher and student say of the target's texts."""
    task, source, target, epochs, max_length, count = PAIRS[pair]
    bundle, student = OUTPUTS / f"teacher-{task}-{source}", OUTPUTS / f"student-{pair}"
    if not bundle.exists():
        learned = rows_of(task, source, "train", TRAIN_TEXTS)
        teach(learned, bundle, epochs=epochs, max_length=max_length)
    manifest = read_manifest(bundle, "teacher")
    known = set(manifest.label_names)
    texts = [Example(row.text) for row in rows_of(task, target, "train", count) if row.label in known]
    test = [row for row in rows_of(task, target, "test", TEST_TEXTS) if row.label in known]
    if not student.exists():
        adapt(bundle, texts, student, max_length=max_length)
    runtime = read_manifest(student, "student").runtime or {}
    assert manifest.statistics is not None
    found: dict[str, Any] = {
        "labels": np.array([manifest.label_names.index(str(row.label)) for row in test]),
        "interval": np.array(runtime["estimated_accuracy_interval"] or [np.nan, np.nan]),
        "temperature": runtime["temperature"],
        "teacher": read(load_classifier(str(bundle), max_length), test),
    }
    model = load_classifier(str(student), max_length)
    found |= {"after": read(model, test), "target": read(model, texts)}
    scale_logits(model.model, runtime["temperature"] / manifest.temperature)
    found["before"] = read(model, test)
    np.savez_compressed(OUTPUTS / f"{pair}.npz", **found)


def read(classifier: Classifier, examples: list[Example]) -> NDArray[np.float64]:
    """Logits of whole texts, (texts, classes), in windows as a device reads them."""
    windows = classifier.windows(examples, AdaptConfig.max_windows)
    store = TokenStore.from_rows(windows.ids, windows.type_ids, classifier.tokenizer.pad_token_id)
    rows = forward_all(classifier, store, torch.device("cpu"), nullcontext)["logits"]
    return np.log(mean_over_windows(softmax(rows), np.array(windows.counts)))


def equal_mass_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Expected calibration error over BINS bins of equally many texts."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.array_split(np.argsort(sure, kind="stable"), BINS)
    return float(sum(abs(right[each].mean() - sure[each].mean()) * len(each) for each in bins) / len(sure))


def chance_error(probabilities: NDArray[np.float64], draws: int = 200) -> float:
    """Mean of `equal_mass_error` if the probabilities were true: what so few texts show of a perfect model."""
    generator = np.random.default_rng(0)
    sums = probabilities.cumsum(axis=1)
    drawn = ((generator.random((draws, len(sums), 1)) > sums).sum(axis=2) for _ in range(1))
    return float(np.mean([equal_mass_error(probabilities, labels) for labels in next(drawn)]))


def row_of(pair: str) -> dict[str, Any]:
    """The numbers of one pair."""
    with np.load(OUTPUTS / f"{pair}.npz") as seen:
        labels, found = seen["labels"], {name: softmax(seen[name]) for name in ("teacher", "before", "after")}
        row: dict[str, Any] = {"pair": pair, "task": PAIRS[pair][0], "texts": len(labels)}
        row["temperature"] = float(seen["temperature"])
    for name, probabilities in found.items():
        row[name] = {
            "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
            "confidence": float(probabilities.max(axis=1).mean()),
            "calibration_error": equal_mass_error(probabilities, labels),
            "chance": chance_error(probabilities),
            "negative_log_likelihood": negative_log_likelihood(probabilities, labels),
        }
    return row


def report() -> None:
    """Write the result file from the outputs that are kept."""
    rows = [row_of(pair) for pair in PAIRS if (OUTPUTS / f"{pair}.npz").exists()]
    sides = ("teacher", "before", "after")
    result = {
        "table": "calibration",
        "code_revision": REVISION,
        "versions": versions(),
        "hardware": hardware(),
        "bins": BINS,
        "pairs": {pair: list(PAIRS[pair]) for pair in PAIRS},
        "macro": {side: float(np.mean([row[side]["calibration_error"] for row in rows])) for side in sides},
        "rows": rows,
    }
    write_json(RESULTS / "calibration.json", result)
    print(json.dumps(result["macro"]))


def main() -> None:
    """Measure what is missing, or report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["measure", "report"])
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no pair after so many")
    options = parser.parse_args()
    if options.what == "report":
        report()
        return
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    for pair in options.pairs:
        if time.perf_counter() - start > options.seconds:
            raise SystemExit("to be continued")
        if not (OUTPUTS / f"{pair}.npz").exists():
            measure(pair)
            print(pair, f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
