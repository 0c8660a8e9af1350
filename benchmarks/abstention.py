"""Whether abstention keeps its promises: promised against measured accuracy on the development pairs.

    python benchmarks/calibration.py measure
    python benchmarks/abstention.py                 # writes benchmarks/results/abstention.json

The target's test texts are the population: labelled ones are drawn from them with replacement, at random or more often
where the student is unsure (with the weights that undo it), and a promise is broken where the accuracy of all test
texts that are answered is below it. Without labels there is one curve a pair. Nothing is trained here.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration import OUTPUTS, PAIRS
from common import RESULTS, REVISION, hardware
from distilshift.abstention import LEVEL, RiskCoverage
from distilshift.files import write_json
from distilshift.metrics import softmax
from distilshift.risk_coverage import estimated_curve, labeled_curve
from distilshift.stage import versions

LABELS = (50, 100, 200)
ASKED = (0.8, 0.85, 0.9, 0.95)
DRAWS = 200


def kept(
    curve: RiskCoverage, asked: float, sure: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[float, float] | None:
    """Share that is answered and its accuracy, where the curve promises what is asked."""
    if not curve.accuracy or curve.accuracy[-1] < asked:
        return None
    answered = sure >= curve.threshold_for(asked)
    return float(answered.mean()), float(right[answered].mean()) if answered.any() else 1.0


def with_labels(seen: dict[str, Any], count: int, drawn: str) -> list[dict[str, Any]]:
    """How often each promise is made and broken."""
    generator = np.random.default_rng(0)
    sure, right, target = seen["sure"], seen["right"], seen["target"]
    chance = np.ones(len(sure)) if drawn == "at random" else 1.25 - sure
    outcomes: dict[float, list[tuple[float, float] | None]] = {asked: [] for asked in ASKED}
    for _ in range(DRAWS):
        chosen = generator.choice(len(sure), count, p=chance / chance.sum())
        curve = labeled_curve(sure[chosen], right[chosen], 1 / chance[chosen], target)
        for asked, found in outcomes.items():
            found.append(kept(curve, asked, sure, right))
    return [summary(asked, found) | {"labels": count, "drawn": drawn} for asked, found in outcomes.items()]


def summary(asked: float, outcomes: list[tuple[float, float] | None]) -> dict[str, Any]:
    """Of draws: how many made the promise and how many broke it, and what is answered."""
    made = [each for each in outcomes if each is not None]
    return {
        "asked": asked,
        "draws": len(outcomes),
        "promised": len(made),
        "broken": sum(accuracy < asked for _, accuracy in made),
        "answered": float(np.mean([share for share, _ in made])) if made else None,
        "measured": float(np.mean([accuracy for _, accuracy in made])) if made else None,
    }


def outputs_of(pair: str) -> dict[str, Any]:
    """Confidences and outcomes on the test texts, and what the estimate needs."""
    with np.load(OUTPUTS / f"{pair}.npz") as seen:
        student = softmax(seen["after"])
        low = float(seen["interval"][0])
        return {
            "sure": student.max(axis=1),
            "right": student.argmax(axis=1) == seen["labels"],
            "target": softmax(seen["target"]).max(axis=1),
            "logits": seen["target"],
            "low": None if np.isnan(low) else low,
        }


def main() -> None:
    """Measure, write, print."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    labelled, estimated = [], []
    for pair in PAIRS:
        if not (OUTPUTS / f"{pair}.npz").exists():
            continue
        seen = outputs_of(pair)
        accuracy = float(seen["right"].mean())
        for count in LABELS:
            for drawn in ("at random", "unsure more often"):
                labelled += [{"pair": pair, "accuracy": accuracy} | row for row in with_labels(seen, count, drawn)]
        curve = estimated_curve(seen["logits"], seen["low"], "no estimate with so many classes")
        for asked in ASKED:
            found = kept(curve, asked, seen["sure"], seen["right"])
            estimated.append({"pair": pair, "accuracy": accuracy} | summary(asked, [found]))
    cases = sum(row["draws"] for row in labelled)
    held = 1 - sum(row["broken"] for row in labelled) / cases
    worst = min(1 - row["broken"] / row["draws"] for row in labelled)
    made = sum(row["promised"] for row in estimated)
    result = {
        "table": "abstention",
        "code_revision": REVISION,
        "versions": versions(),
        "hardware": hardware(),
        "level": LEVEL,
        "with_labels": {"cases": cases, "held": held, "worst": worst, "rows": labelled},
        "without_labels": {"made": made, "broken": sum(row["broken"] for row in estimated), "rows": estimated},
    }
    write_json(RESULTS / "abstention.json", result)
    print(json.dumps({"held": held, "worst": worst, "estimates": result["without_labels"]}, indent=1))


if __name__ == "__main__":
    main()
