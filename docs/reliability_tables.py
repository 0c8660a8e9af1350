"""The tables of docs/reliability.md, from the committed result files."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
# Heads by the names of the result file.
WAYS = {
    "SIGKILL": "SIGKILL",
    "SIGKILL of the runner": "of the runner alone",
    "SIGINT": "Ctrl-C",
    "full disk": "full disk",
}
KINDS = {
    "write": "at a journal write",
    "time": "at a random time",
    "staging": "while the bundle was written",
    "placed": "once it was there",
}


def kills_table() -> str:
    """What benchmarks/soak.py killed, and what became of it."""
    path = RESULTS / "soak" / "kills.json"
    if not path.exists():
        return "Not measured yet: `make soak`."
    found = json.loads(path.read_text(encoding="utf-8"))
    heads = ["verb", "runs stopped", "stops in time", *WAYS.values(), *KINDS.values(), "identical in the end"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for verb in sorted({trial["verb"] for trial in found["points"]}):
        trials = [trial for trial in found["points"] if trial["verb"] == verb]
        stops = [stop for trial in trials for stop in trial["stops"] if stop["in_time"]]
        counts = [sum(stop["by"] == way for stop in stops) for way in WAYS]
        counts += [sum(stop["kind"] == kind for stop in stops) for kind in KINDS]
        identical = sum(trial["identical"] for trial in trials)
        cells = [verb, len(trials), len(stops), *counts, f"{identical} of {len(trials)}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines.append(
        f"\n{found['kills']} stops in time and {found['late']} too late, which met a run that had ended; "
        f"{found['identical']} of {found['trials']} runs ended byte for byte as one that was left alone. "
        f"`{found['command']}`, {found['seconds']:.0f} s."
    )
    return "\n".join(lines)


def fuzz_table() -> str:
    """The cases of benchmarks/fuzz.py."""
    path = RESULTS / "soak" / "fuzz.json"
    if not path.exists():
        return "Not measured yet: `make soak`."
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| fuzzed | cases | failed |", "|---|---|---|"]
    for name, row in found["tests"].items():
        title = name.removeprefix("test_").replace("_", " ")
        lines.append(f"| {title} | {row['cases']:,} | {row['failed']} |")
    lines.append(
        f"\n{found['cases']:,} cases, {found['failed']} of them failed; `{found['command']}`, {found['seconds']:.0f} s "
        "on one thread. A failure is an end other than a value or an error of `distilshift.errors` on one line."
    )
    return "\n".join(lines)


DEGENERATE = ("one-class", "duplicates", "thirty-texts", "other-language", "noise", "off-topic")
DEGENERATE_METHODS = {
    "plain-kd": "plain distillation",
    "without-adaptation": "whole texts and spans, no adaptation",
    "distilshift": "distilshift",
}


def degenerate_table() -> str:
    """Targets that no adaptation can help with, from benchmarks/degenerate.py."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (RESULTS / "soak" / "degenerate").glob("*.json")]
    cells = {(row["kind"], row["method"]): row for row in found}
    kinds = [kind for kind in DEGENERATE if all((kind, method) in cells for method in DEGENERATE_METHODS)]
    if not kinds:
        return "Not measured yet: `python benchmarks/degenerate.py`."
    heads = ["target", "texts", "adaptation", *DEGENERATE_METHODS.values(), "same bytes as without", "why"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for kind in kinds:
        rows = [cells[kind, method] for method in DEGENERATE_METHODS]
        same = "yes" if rows[1]["weights_sha256"] == rows[2]["weights_sha256"] else "no"
        known = [kind.replace("-", " "), str(rows[2]["texts"]), rows[2]["adaptation"]]
        known += [*(_percent(row["accuracy"]) for row in rows), same, rows[2]["reason"]]
        lines.append(f"| {' | '.join(known)} |")
    row, seconds = rows[2], sum(cells[kind, method]["seconds"] for kind in kinds for method in DEGENERATE_METHODS)
    lines.append(
        f"\nA teacher of {row['source']}, {row['target']} where the texts are reviews; accuracy in per cent on the "
        f"labelled test texts, where such exist. {seconds:.0f} s on one thread of an {row['hardware']['cpu']}. Made by "
        "`python benchmarks/degenerate.py`."
    )
    if left := [kind.replace("-", " ") for kind in DEGENERATE if kind not in kinds]:
        lines.append(f"\nNot measured yet: {', '.join(left)}.")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
