"""Fill the tables of README.md from the committed result files; a test compares."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DEMO_ROWS = {
    "teacher": "teacher as it was",
    "plain_kd": "plain distillation, same student",
    "student": "**distilshift**",
}


def demo_table() -> str:
    """The demo's table, from the committed run."""
    demo = json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))
    lines = ["| | accuracy | size | latency, one text, one thread | runs on |", "|---|---|---|---|---|"]
    for name, title in DEMO_ROWS.items():
        row = demo[name]
        lines.append(
            f"| {title} | {100 * row['accuracy']:.1f} % | {row['size_bytes'] / 1e6:.1f} MB "
            f"| {row['latency_ms_p50']:.2f} ms | {row['runtime']} |"
        )
    target = demo["target"]
    lines.append(
        f"\n{target['test_texts']} rated texts of '{target['name']}', {100 * demo['gain_over_plain_kd']:+.1f} points "
        f"over plain distillation (standard error {100 * demo['gain_over_plain_kd_standard_error']:.1f}, one seed), "
        f"{demo['seconds']:.0f} s in all."
    )
    return "\n".join(lines)


def _cells(pattern: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / "gain").glob(pattern))]


def gain_table() -> str:
    """Mean accuracy of each method over seeds, from the cells of benchmarks/gain.py."""
    lines = ["| source → target | seeds | teacher | plain distillation | **distilshift** | gain |", "|---" * 6 + "|"]
    if not _cells("*.json"):
        return "Not measured yet: `make bench`."
    pairs = sorted({(cell["source"], cell["target"]) for cell in _cells("*-distilshift-*.json")})
    for source, target in pairs:
        found = {m: _cells(f"{source}-{target}-{m}-*.json") for m in ("plain-kd", "distilshift")}
        values = {m: np.array([100 * cell["test_accuracy"] for cell in cells]) for m, cells in found.items()}
        teacher = np.mean([100 * cell["teacher_test_accuracy"] for cell in found["distilshift"]])
        plain, ours = values["plain-kd"], values["distilshift"]
        lines.append(
            f"| {source} → {target} | {len(ours)} | {teacher:.1f} | {_spread(plain)} | {_spread(ours)} "
            f"| {ours.mean() - plain.mean():+.1f} |"
        )
    lines.append(
        "\nAccuracy in per cent on the 400 held-out reviews of the target (mean ± standard deviation over seeds, the "
        "teacher's included); a MiniLM-L6 teacher, a 3-layer student, the same number of steps. Made by `make bench`."
    )
    return "\n".join(lines)


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}" if len(values) > 1 else f"{values.mean():.1f}"


def fill(page: str) -> str:
    """The page with its tables made anew."""
    for name, table in {"demo": demo_table, "gain": gain_table}.items():
        pattern = rf"(<!-- {name} table: [^\n]*-->\n).*?(<!-- end -->)"
        page = re.sub(pattern, lambda match, made=table: f"{match[1]}{made()}\n{match[2]}", page, flags=re.S)
    return page


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(fill(readme.read_text(encoding="utf-8")), encoding="utf-8")
