"""How far guesses of an unadapted teacher's accuracy, made without labels, are from the truth.

    python benchmarks/estimators.py benchmarks/scratch/teachers/*-0-*

Every teacher bundle (a folder named after its source, as `distilshift bench` keeps them) reads the training texts of
every other domain. Labels are looked at for the truth alone. No estimate was chosen or fitted here.
"""

from __future__ import annotations

import argparse
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import DOMAINS, RESULTS, REVISION, add_teachers, hardware, load, source_of, teachers_of
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.encoder import load_classifier
from distilshift.estimates import accuracy_estimate
from distilshift.files import write_json
from distilshift.inference import forward_all
from distilshift.metrics import softmax
from distilshift.precision import make_accelerator
from distilshift.select import confidences
from distilshift.stage import versions


def measure(bundle: Path, target: str) -> dict[str, Any]:
    """The truth and the guesses for one teacher and target, from the beginnings of its training texts."""
    manifest = read_manifest(bundle, "teacher")
    examples, known = load(target, "train"), manifest.statistics
    assert known is not None
    assert known.validation_confidence is not None
    accelerator = make_accelerator(AdaptConfig())
    classifier = load_classifier(str(bundle), manifest.max_length)
    logits = forward_all(classifier, classifier.tokenise(examples), accelerator.device, accelerator.autocast)["logits"]
    probabilities = softmax(logits)
    labels = np.array([manifest.label_names.index(str(item.label)) for item in examples])
    atc = accuracy_estimate(probabilities, known)
    assert atc is not None
    lost = known.validation_confidence - float(confidences(probabilities).mean())
    return {
        "source": bundle.name.split("-")[0],
        "target": target,
        "accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "atc": atc.accuracy,
        "atc_interval": [atc.low, atc.high],
        "difference_of_confidences": known.validation_accuracy - lost,
        "validation_accuracy": known.validation_accuracy,
    }


def errors(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean absolute error and mean error of each estimate, fractions."""
    truth = np.array([row["accuracy"] for row in rows])
    guesses = {name: np.array([row[name] for row in rows]) for name in ("atc", "difference_of_confidences")}
    guesses["mean of both"] = sum(guesses.values()) / 2
    guesses["validation_accuracy"] = np.array([row["validation_accuracy"] for row in rows])
    return {
        name: {"absolute": float(np.abs(values - truth).mean()), "bias": float((values - truth).mean())}
        for name, values in guesses.items()
    }


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_teachers(parser)
    parser.add_argument("--targets", nargs="+", default=DOMAINS, choices=DOMAINS)
    parser.add_argument("--out", type=Path, default=RESULTS / "estimators.json")
    options = parser.parse_args()
    rows = []
    for (bundle, digest), target in product(teachers_of(parser, options).items(), options.targets):
        if source_of(bundle) != target:
            rows.append(measure(bundle, target) | {"teacher_sha256": digest})
            print({key: value for key, value in rows[-1].items() if key != "atc_interval"}, flush=True)
    result = {"table": "estimators", "code_revision": REVISION, "versions": versions(), "hardware": hardware()}
    result |= {"threads": torch.get_num_threads(), "omp_threads": os.environ.get("OMP_NUM_THREADS")}
    write_json(options.out, result | {"errors": errors(rows), "rows": rows})
    print(errors(rows))


if __name__ == "__main__":
    main()
