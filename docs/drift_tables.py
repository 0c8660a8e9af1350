"""Tables of docs/drift.md: false alarms and detection, from benchmarks/drift.py."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parents[1] / "benchmarks" / "results" / "drift.json"
TASKS = {"cross-domain-sentiment": "reviews", "intents": "intents", "crisis": "crisis tweets"}
DESIGNS = {
    "as shipped": "the reference that `adapt` wrote",
    "with predictions": "the same, with predictions for held-out texts added",
    "split again": "texts split again, nine tenths as reference",
}

Row = dict[str, Any]


NOT_MEASURED = "Not measured yet: `python benchmarks/drift.py make`, then `report`."


def _rows() -> list[Row]:
    if not RESULT.exists():
        return []
    rows: list[Row] = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    return rows


def drift_rates_table() -> str:
    """Rates of alarms by task, reference and number of texts, for the same domain and for others."""
    lines = ["| texts of | compared with | sample | false alarms | other domains detected |", "|---" * 5 + "|"]
    if not (rows := _rows()):
        return NOT_MEASURED
    for task, title in TASKS.items():
        for design, name in DESIGNS.items():
            found = [row for row in rows if (row["task"], row["design"]) == (task, design)]
            for size in sorted({row["size"] for row in found}):
                same, other = (
                    [row for row in found if row["size"] == size and (row["domain"] == row["other"]) == is_same]
                    for is_same in (True, False)
                )
                if any(row["samples"] for row in same + other):
                    lines.append(f"| {title} | {name} | {size} | {_rate(same)} | {_rate(other)} |")
    lines.append("\nAlarms of samples, at the level 0.01.")
    return "\n".join(lines)


def drift_mixed_table() -> str:
    """Detection of samples with some foreign texts, a row per share."""
    rows = [row for row in _rows() if row["design"] == "mixed"]
    if not rows:
        return NOT_MEASURED
    tasks = {task: title for task, title in TASKS.items() if any(row["task"] == task for row in rows)}
    lines = [f"| foreign texts in 200 | {' | '.join(tasks.values())} |", "|---" * (1 + len(tasks)) + "|"]
    for share in sorted({row["share"] for row in rows}):
        cells = [_rate(row for row in rows if (row["task"], row["share"]) == (task, share)) for task in tasks]
        lines.append(f"| {share:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rate(rows: Iterable[Row]) -> str:
    counts = [(row["drifted"], row["samples"]) for row in rows]
    drifted, samples = map(sum, zip(*counts, strict=True)) if counts else (0, 0)
    return f"{drifted / samples:.1%} ({drifted:,} of {samples:,})" if samples else "–"


def drift_pairs_table() -> str:
    """Detection at 200 texts, a row per student's domain and a column per domain of the texts."""
    rows = [row for row in _rows() if row["design"] == "as shipped" and row["size"] == 200]
    if not rows:
        return NOT_MEASURED
    parts = []
    for task in TASKS:
        found = [row for row in rows if row["task"] == task]
        domains = list(dict.fromkeys(row["domain"] for row in found))
        if not domains:
            continue
        others = sorted({row["other"] for row in found})
        lines = [f"| student of | {' | '.join(others)} |", "|---" * (1 + len(others)) + "|"]
        for domain in domains:
            cells = {row["other"]: f"{row['drifted'] / row['samples']:.0%}" for row in found if row["domain"] == domain}
            lines.append(f"| {domain} | {' | '.join(cells.get(other, '–') for other in others)} |")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, "Share of samples of 200 texts that raise an alarm; false alarms on the diagonal."])
