"""Tables of docs/labels.md: what few labels are worth, from benchmarks/few_labels.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

RESULT = Path(__file__).parents[1] / "benchmarks" / "results" / "few-labels.json"
# Title and format of each number in the result file.
COLUMNS = {
    "corrected": ("accuracy with labels", ".1f"),
    "gain": ("gain", "+.1f"),
    "labels_alone": ("learned from the labels alone", ".1f"),
    "share_harmed_by_half_a_point": ("draws that lose half a point", ".0f"),
    "interval_holds": ("interval holds", ".0f"),
}


def few_labels_table() -> str:
    """Return means over tasks by number of labels, and the gain of each task."""
    if not RESULT.exists():
        return "Not measured yet: `python benchmarks/few_labels.py LAB`."
    found = json.loads(RESULT.read_text(encoding="utf-8"))
    tasks = found["tasks"]
    counts = list(next(iter(tasks.values())))
    lines = [f"| labels | {' | '.join(title for title, _ in COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for count in counts:
        means = {key: np.mean([task[count][key] for task in tasks.values()]) for key in COLUMNS}
        lines.append(f"| {count} | {' | '.join(format(means[key], form) for key, (_, form) in COLUMNS.items())} |")
    lines += ["", f"| gain, points | without labels | {' | '.join(counts)} |", "|---" * (len(counts) + 2) + "|"]
    for name, task in tasks.items():
        gains = " | ".join(f"{task[count]['gain']:+.1f}" for count in counts)
        lines.append(f"| {name} | {task[counts[-1]]['teacher']:.1f} | {gains} |")
    note = f"Per cent; means over {len(tasks)} tasks (first table) and {found['draws']} draws of random labels."
    return "\n".join([*lines, "", note])
