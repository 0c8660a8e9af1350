"""Tables of docs/abstention.md: promised and measured accuracy, and the calibration of students."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def abstention_table() -> str:
    """Promises with labels, of all pairs together and of the worst, a row an accuracy and a number of labels."""
    found = json.loads((RESULTS / "abstention.json").read_text(encoding="utf-8"))
    heads = [
        "accuracy asked for",
        "labels",
        "drawn",
        "promised",
        "answered then",
        "measured then",
        "held",
        "worst pair",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]

    def case(row: dict[str, Any]) -> tuple[float, int, str]:
        return row["asked"], row["labels"], row["drawn"]

    for (asked, labels, drawn), group in groupby(sorted(found["with_labels"]["rows"], key=case), case):
        rows = list(group)
        draws, made = sum(row["draws"] for row in rows), sum(row["promised"] for row in rows)
        means = [
            sum(row[name] * row["promised"] for row in rows if row["promised"]) / made if made else None
            for name in ("answered", "measured")
        ]
        held = [1 - row["broken"] / row["draws"] for row in rows]
        cells = [f"{asked:.2f}", str(labels), drawn, _per_cent(made / draws), *map(_per_cent, means)]
        cells += [_per_cent(1 - sum(row["broken"] for row in rows) / draws), _per_cent(min(held))]
        lines.append(f"| {' | '.join(cells)} |")
    without = found["without_labels"]
    pairs = {row["pair"]: row["accuracy"] for row in without["rows"]}
    accuracies = ", ".join(f"{pair} {100 * accuracy:.1f}" for pair, accuracy in pairs.items())
    lines.append(
        f"\nPer cent. Accuracy of all labels: {accuracies}. Estimates without labels made {without['made']} promises "
        f"for these pairs and accuracies, of which {without['broken']} were broken."
    )
    return "\n".join(lines)


def calibration_table() -> str:
    """Expected calibration error, mean confidence and accuracy of teachers and students, a row a pair."""
    found = json.loads((RESULTS / "calibration.json").read_text(encoding="utf-8"))
    sides = ("teacher", "before", "after")
    heads = ["pair", *(f"{side}: error" for side in sides), "chance", *(f"{side}: sure, right" for side in sides)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in found["rows"]:
        errors = [f"{row[side]['calibration_error']:.3f}" for side in sides] + [f"{row['after']['chance']:.3f}"]
        sure = [f"{_per_cent(row[side]['confidence'])}, {_per_cent(row[side]['accuracy'])}" for side in sides]
        lines.append(f"| {' | '.join([row['pair'], *errors, *sure])} |")
    means = " | ".join(f"{found['macro'][side]:.3f}" for side in sides)
    lines.append(f"| mean | {means} |{' |' * (1 + len(sides))}")
    return "\n".join(lines)
