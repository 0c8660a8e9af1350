"""Tables of docs/trust.md: class shares, the gate and the estimated accuracy, beside what labels say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from distilshift.bench.table import read_table

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def label_shift_table() -> str:
    """What the second opinion does to labels, a row a pair and a column a share of benchmarks/label_shift.py."""
    rows = json.loads((RESULTS / "label_shift.json").read_text(encoding="utf-8"))["rows"]
    shares = sorted({row["share"] for row in rows})
    lines = [
        f"| teacher → target | {' | '.join(f'{share:.0%}' for share in shares)} |",
        "|---" * (1 + len(shares)) + "|",
    ]
    for pair in dict.fromkeys((row["source"], row["target"]) for row in rows):
        cells = {row["share"]: _shifted(row) for row in rows if (row["source"], row["target"]) == pair}
        lines.append(f"| {' → '.join(pair)} | {' | '.join(cells[share] for share in shares)} |")
    lines.append(
        f"\n{rows[0]['texts']} texts at each share of positive ones. Accuracy of the teacher's labels of whole texts, "
        "in per cent, and what the second opinion adds."
    )
    return "\n".join(lines)


SHARE_ESTIMATES = {
    "predicted": "what the teacher calls positive",
    "em": "EM",
    "bbse": "BBSE",
    "parts": "parts of the texts",
    "expected": "what is expected in the end",
}


def share_estimates_table() -> str:
    """How far estimates of class shares are off, over the rows of benchmarks/label_shift.py."""
    rows = json.loads((RESULTS / "label_shift.json").read_text(encoding="utf-8"))["rows"]
    shares = sorted({row["share"] for row in rows})
    heads = ["share of positive texts, estimated by", *(f"{share:.0%}" for share in shares), "mean error"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, title in SHARE_ESTIMATES.items():
        found = [(row["share"], row["positive"][name]) for row in rows if row["positive"].get(name) is not None]
        if not found:
            continue
        means = [np.mean([estimate for share, estimate in found if share == each]) for each in shares]
        error = np.mean([abs(share - estimate) for share, estimate in found])
        lines.append(f"| {title} | {' | '.join(f'{100 * mean:.0f}' for mean in means)} | {100 * error:.1f} |")
    pairs = len({(row["source"], row["target"]) for row in rows})
    lines.append(f"\nPer cent: means of {pairs} pairs at {rows[0]['texts']} texts, and the mean absolute error of all.")
    return "\n".join(lines)


def gate_table() -> str:
    """How often the gate was right, over the rows of benchmarks/label_shift.py, with --rare and without."""
    heads = ["positive texts", "the gate", "cases", "better", "within a point", "worse", "mean gain"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, title in (("label_shift", "10 to 90 %"), ("one_class", "0 to 5, 95 to 100 %")):
        rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
        for decision, found in sorted(_by_decision(rows).items()):
            values = np.array(found)
            counts = [int(which.sum()) for which in (values > 1, abs(values) <= 1, values < -1)]
            lines.append(
                f"| {title} | {decision} | {len(found)} | {' | '.join(map(str, counts))} | {values.mean():+.1f} |"
            )
    lines.append(
        "\nBetter and worse: by more than a point than the teacher's own labels; of refused labels, what they would "
        "have been. Unclear: parts of the texts look like one class."
    )
    return "\n".join(lines)


def _by_decision(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Points that second opinions would add, by what the gate said."""
    gains: dict[str, list[float]] = {}
    for row in rows:
        unclear = ", shares unclear" if row["expected_by"] == "unclear" else ""
        gain = 100 * (row["second_opinion_ungated"] - row["whole"])
        gains.setdefault(row["adaptation"] + unclear, []).append(gain)
    return gains


def one_class_table() -> str:
    """Targets with hardly a text of one class, or none, over the rows of benchmarks/label_shift.py --rare."""
    rows = json.loads((RESULTS / "one_class.json").read_text(encoding="utf-8"))["rows"]
    heads = ["positive texts", "the teacher's labels", "refused", "parts told the shares", "mean gain", "worst"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for share in sorted({row["share"] for row in rows}):
        cases = [row for row in rows if row["share"] == share]
        accepted = [row for row in cases if row["adaptation"] == "accepted"]
        gains = [100 * (row["second_opinion"] - row["whole"]) for row in accepted]
        told = sum(row["expected_by"] == "parts" for row in accepted)
        lines.append(
            f"| {share:.0%} | {100 * np.mean([row['whole'] for row in cases]):.1f} | {len(cases) - len(accepted)} | "
            f"{told} | {f'{np.mean(gains):+.1f} | {min(gains):+.1f}' if gains else '– | –'} |"
        )
    pairs, texts = len({(row["source"], row["target"]) for row in rows}), sorted({row["texts"] for row in rows})
    lines.append(
        f"\n{pairs} pairs, {texts[0]} to {texts[-1]} texts. Accuracy of the labels of whole texts in per cent, and "
        "points that the second opinion adds where it is not refused; in how many of those cases parts told the shares."
    )
    return "\n".join(lines)


def _shifted(row: dict[str, Any]) -> str:
    if row["adaptation"] == "refused":
        return f"{100 * row['whole']:.1f} (refused)"
    return f"{100 * row['whole']:.1f} {100 * (row['second_opinion'] - row['whole']):+.1f}"


ESTIMATES = {
    "difference_of_confidences": "difference of confidences",
    "atc": "ATC",
    "mean of both": "mean of the two",
    "validation_accuracy": "validation accuracy, as it is",
}


def estimators_table() -> str:
    """Errors of benchmarks/estimators.py."""
    result = json.loads((RESULTS / "estimators.json").read_text(encoding="utf-8"))
    lines = ["| estimate | mean absolute error, points | mean error |", "|---|---|---|"]
    for name, title in ESTIMATES.items():
        found = result["errors"][name]
        lines.append(f"| {title} | {100 * found['absolute']:.1f} | {100 * found['bias']:+.1f} |")
    truth = [100 * row["accuracy"] for row in result["rows"]]
    lines.append(f"\n{len(truth)} pairs of teacher and target; true accuracies {min(truth):.0f} to {max(truth):.0f} %.")
    return "\n".join(lines)


def estimate_error_table() -> str:
    """Errors of benchmarks/estimate_error.py, two classes beside more, and the bounds that they keep."""
    result = json.loads((RESULTS / "estimate_error.json").read_text(encoding="utf-8"))
    fit = [row["classes"] == 2 for row in result["rows"] if row["unfit"] is None]
    heads = ["estimate"]
    lines = []
    for kind, pairs in (("two", sum(fit)), ("more", len(fit) - sum(fit))):
        heads += [f"{kind} classes ({pairs} pairs): mean absolute error", "mean error", "largest", "bound, held out"]
    lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in result["errors_two_classes"]:
        cells = [name]
        for kind in ("two", "more"):
            found, bounds = result[f"errors_{kind}_classes"][name], result[f"bounds_{kind}_classes"][name]
            cells += [f"{100 * found['absolute']:.1f}", f"{100 * found['bias']:+.1f}", f"{100 * found['largest']:.1f}"]
            cells += [f"{100 * bounds['mean_bound_held_out']:.1f}, held {bounds['held']:.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "\nIn points."])


# In a cell's reason, before the estimate is drawn to another one.
_BY_PARTS = re.compile(r"the second class's is ([0-9.]+) \(standard error ([0-9.]+)\) by the parts")


def share_errors_table() -> str:
    """How far the parts' estimate is off with the teachers of each seed, in cells whose targets are half positive."""
    table = read_table(RESULTS / "amazon12-minilm")
    lines = ["| teachers of seed | mean error, points | largest | more than two standard errors |", "|---|---|---|---|"]
    for seed in table.matrix.config.seeds:
        reasons = (row["estimated_prior_reason"] for row in table.of_method("distilshift") if row["seed"] == seed)
        told = np.array([match.groups() for reason in reasons if (match := _BY_PARTS.search(reason))], np.float64)
        errors = abs(told[:, 0] - 0.5)
        beyond = int((errors > 2 * told[:, 1]).sum())
        lines.append(f"| {seed} | {100 * errors.mean():.1f} | {100 * errors.max():.1f} | {beyond} of {len(told)} |")
    return "\n".join(lines)


# Whose cells tell how often the interval holds: the matrix, the row and the title.
COVERED = (
    ("amazon12-minilm", "distilshift", "distilshift, the twelve pairs"),
    ("all30-minilm", "distilshift", "distilshift, the thirty pairs"),
    ("label-shift", "distilshift", "distilshift, resampled targets"),
    ("amazon12-mpnet", "distilshift", "distilshift, a teacher of BERT's size"),
    ("amazon12-minilm", "plain-kd", "plain distillation, the twelve pairs"),
    ("all30-minilm", "plain-kd", "plain distillation, the thirty pairs"),
    ("amazon12-mpnet", "plain-kd", "plain distillation, a teacher of BERT's size"),
)


def coverage_table() -> str:
    """How often the 95 % interval of the accuracy estimate holds the accuracy on the held-out texts."""
    heads = ["students of", "cells", "held", "mean width, points", "mean error", "bias"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row, title in COVERED:
        cells = [cell for cell in read_table(RESULTS / name).of_method(row) if cell["estimated_accuracy_interval"]]
        truth = np.array([cell["test_accuracy"] for cell in cells])
        errors = np.array([cell["estimated_accuracy"] for cell in cells]) - truth
        low, high = np.array([cell["estimated_accuracy_interval"] for cell in cells]).T
        held = np.mean((low <= truth) & (truth <= high))
        numbers = [f"{100 * np.mean(each):.1f}" for each in (high - low, abs(errors))]
        lines.append(f"| {title} | {len(cells)} | {held:.0%} | {' | '.join(numbers)} | {100 * errors.mean():+.1f} |")
    return "\n".join(lines)
