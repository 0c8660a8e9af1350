"""Measure what 10 to 200 labels of the target are worth to the labels that a student learns from.

    python benchmarks/few_labels.py LAB     # the folder that benchmarks/label_lab.py fills

Labels are drawn at random from a target's training texts, many times. Of each draw: how much more accurate are the
teacher's labels of the other texts once they are corrected, does the interval of the measured accuracy hold, and how
accurate is a classifier that learns from the labels alone (logistic regression on the encoder's mean token states).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from common import RESULTS, REVISION, hardware
from distilshift.bundle import read_manifest
from distilshift.encoder import load_classifier
from distilshift.few_labels import Similarity, fit_correction
from distilshift.files import write_json
from distilshift.measured import weighted_accuracy
from distilshift.middle_states import middle_states
from distilshift.target_labels import TargetLabels
from distilshift.types import Example

COUNTS = (10, 25, 50, 100, 200)


def middle_of(lab: Path, path: Path) -> NDArray[np.float32]:
    """Middle states of a task's texts in its teacher, kept beside the task."""
    kept = lab / "middle" / path.name
    if not kept.exists():
        bundle = max(
            (each for each in (lab / "teachers").iterdir() if path.name.startswith(f"{each.name}-")), key=_size
        )
        classifier = load_classifier(str(bundle), read_manifest(bundle, "teacher").max_length)
        with np.load(path, allow_pickle=False) as known:
            pairs = zip(known["texts"].tolist(), known["pairs"].tolist(), strict=True)
        store = classifier.tokenise([Example(text, pair or None) for text, pair in pairs])
        kept.parent.mkdir(exist_ok=True)
        np.savez_compressed(kept, middle=middle_states(classifier, store, torch.device("cpu"), nullcontext))
    with np.load(kept, allow_pickle=False) as found:
        return np.asarray(found["middle"])


def _size(path: Path) -> int:
    return len(path.name)


def draws(size: int, count: int, times: int) -> Iterator[NDArray[np.int64]]:
    """Random labelled texts."""
    rng = np.random.default_rng(count)
    for _ in range(times):
        yield rng.permutation(size)[:count]


def measure(lab: Any, features: NDArray[np.floating], count: int, times: int) -> dict[str, float]:
    """Means over draws of `count` labels, in points."""
    truth = lab["labels"]
    logits = lab["whole"] / json.loads(str(lab["statistics"]))["temperature"]
    base = lab["base"].astype(np.float64)
    base = (base - base.mean(axis=0)) / (base.std(axis=0) + 0.01 * base.std(axis=0).max())
    found = []
    for number, rows in enumerate(draws(len(truth), count, times)):
        rest = np.setdiff1d(np.arange(len(truth)), rows)
        similarity = Similarity(features, features[rows])
        labels = TargetLabels(rows, truth[rows], np.ones(count))
        fitted = fit_correction({"in use": logits[rows]}, similarity(features[rows]), labels, number)
        corrected = fitted.apply({"in use": logits[rest]}, similarity(features[rest]))
        before, after = (float((z.argmax(axis=1) == truth[rest]).mean()) for z in (logits[rest], corrected))
        interval = weighted_accuracy(fitted.held_out.argmax(axis=1) == truth[rows], labels.weights)
        alone = LogisticRegression(C=0.1, max_iter=300).fit(base[rows], truth[rows]).predict(base[rest]) == truth[rest]
        holds = interval.low <= after <= interval.high
        found.append((before, after, after - before, float(alone.mean()), holds, interval.accuracy - after))
    values = 100 * np.array(found, np.float64)
    gains = values[:, 2]
    names = ("teacher", "corrected", "gain", "labels_alone", "interval_holds", "measured_minus_true")
    return dict(zip(names, values.mean(axis=0).tolist(), strict=True)) | {
        "smallest_gain": float(gains.min()),
        "share_harmed_by_half_a_point": float(100 * (gains < -0.5).mean()),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lab", type=Path, help="folder of teachers and their outputs")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS / "few-labels.json")
    options = parser.parse_args()
    result: dict[str, Any] = {"revision": REVISION, "hardware": hardware(), "draws": options.draws, "tasks": {}}
    for path in sorted(options.lab.glob("*.npz")):
        with np.load(path, allow_pickle=False) as lab:
            arrays = {name: lab[name] for name in ("labels", "whole", "base", "statistics")}
        features = middle_of(options.lab, path)
        result["tasks"][path.stem] = {}
        for count in COUNTS:
            row = measure(arrays, features, count, options.draws)
            result["tasks"][path.stem][str(count)] = {name: round(value, 2) for name, value in row.items()}
            print(path.stem, count, {name: round(value, 1) for name, value in row.items()}, flush=True)
    write_json(options.output, result)


if __name__ == "__main__":
    main()
