"""Fill the tables of README.md and docs/ from the committed result files; a test compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from abstention_tables import abstention_table, calibration_table
from accuracy_tables import (
    accuracy_table,
    ladder_table,
    large_others_table,
    large_table,
    shares_table,
    sizes_table,
    summary_table,
    thirty_table,
    vader_table,
)
from drift_tables import drift_mixed_table, drift_pairs_table, drift_rates_table
from fairness_tables import alike_table, chosen_table
from labels_tables import few_labels_table
from reliability_tables import degenerate_table, fuzz_table, kills_table
from trust_tables import (
    coverage_table,
    estimate_error_table,
    estimators_table,
    gate_table,
    label_shift_table,
    one_class_table,
    share_errors_table,
    share_estimates_table,
)

from distilshift.bench import report
from distilshift.bench.families import families_report

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


SIDES = {
    "trainer-fp32": "plain Trainer loop, fp32 (its default)",
    "trainer-bf16": "plain Trainer loop, bf16",
    "textbrewer": "TextBrewer, fp32",
    "distilshift-fp32": "distilshift, fp32",
    "distilshift-bf16": "**distilshift, bf16** (default)",
    "teacher-fp32": "teacher's pass alone, fp32",
    "teacher-bf16": "teacher's pass alone, bf16",
}


def speed_table() -> str:
    """Throughput of each side of benchmarks/speed.py."""
    path = RESULTS / "speed" / "training.json"
    if not path.exists():
        return "Not measured yet: `python benchmarks/speed.py`."
    found = json.loads(path.read_text(encoding="utf-8"))
    heads = ["", "texts/s", "× Trainer, same precision", "× Trainer, fp32", "peak memory", "share of matmul limit"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    default = found["summary"]["trainer-fp32"]["texts_per_second"]["median"]
    for name, title in SIDES.items():
        if name not in found["summary"]:
            continue
        row = found["summary"][name]
        rate, trains = row["texts_per_second"], "speed_over_trainer" in row
        cells = [
            f"{rate['median']:.0f} ({rate['min']:.0f}–{rate['max']:.0f})",
            f"{row['speed_over_trainer']['median']:.1f}" if trains else "–",
            f"{rate['median'] / default:.1f}" if trains else "–",
            f"{row['peak_memory_bytes']['median'] / 1e9:.1f} GB",
            f"{row['limit_fraction']['median']:.0%}",
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    config, hardware = found["config"], found["hardware"]
    lines += [f"\n{title} was skipped: {reason}" for title, reason in found["skipped"].items()]
    lines.append(
        f"\nMedian (least–greatest) of {row['rounds']} rounds; {config['texts'] or 1600} reviews of {config['target']} "
        f"cut at {config['max_length']} tokens, {config['distil_epochs']} epochs, batches of "
        f"{config['distil_batch_size']}; {hardware['threads']} threads of an {hardware['cpu']}. Texts a second count "
        "each epoch's texts, and the time holds every pass of the teacher. The limit is what the machine reaches on "
        "the layers' matrix products alone, at the same precision; the share counts real tokens, not padding."
    )
    return "\n".join(lines)


def profile_table() -> str:
    """Time by kind of operator, from benchmarks/profile_step.py."""
    path = RESULTS / "speed" / "profile.json"
    if not path.exists():
        return "Not measured yet: `python benchmarks/profile_step.py`."
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| kind of work | share of the time |", "|---|---|"]
    whole = found["seconds_profiled"]
    lines += [f"| {kind} | {seconds / whole:.0%} |" for kind, seconds in found["profile"].items()]
    lines.append(
        f"\nA distillation of {found['texts']} reviews of kitchen, {found['epochs']} epochs, the teacher's pass "
        f"included, in {found['precision']} on {found['threads']} threads: {found['seconds']:.1f} s ({whole:.1f} s "
        "under the profiler), where the matrix products alone would take "
        f"{found['seconds_at_the_matmul_limit']:.1f} s at the machine's limit. Made by "
        "`python benchmarks/profile_step.py`."
    )
    return "\n".join(lines)


def scale_table() -> str:
    """Time and memory against the number of texts, from benchmarks/scale.py."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in (RESULTS / "speed" / "scale").glob("*.json")]
    if not rows:
        return "Not measured yet: `python benchmarks/scale.py`."
    lines = ["| teacher | method | texts | real ones | seconds | ms a text | peak memory |", "|---" * 7 + "|"]
    for row in sorted(rows, key=lambda row: (row["teacher"], row["config"]["method"], row["texts"])):
        known = f"{row['teacher']} | {row['config']['method']} | {row['texts']:,} | {row['real_texts']:,}"
        memory = row["peak_memory_bytes"] / 2**30
        lines.append(f"| {known} | {row['seconds']:.0f} | {row['milliseconds_a_text']:.1f} | {memory:.2f} GiB |")
    lines.append(
        "\nSentences of 12 to 30 words; one epoch of adaptation (where the method trains), two of distillation, "
        "one of them on spans, all stages and the export included. Where real sentences ran out they were repeated "
        "with a tenth of their words left out. `tiny-bert-3x32` is an untrained network of 3 layers and width 32: it "
        "shows what memory the data take, not what a real model adds."
    )
    return "\n".join(lines)


def edge_table() -> str:
    """What runs on a device, from benchmarks/edge.py."""
    path = RESULTS / "edge" / "edge.json"
    if not path.exists():
        return "Not measured yet: `make edge`."
    found = json.loads(path.read_text(encoding="utf-8"))
    references = list(next(iter(found["summary"].values()))["times_faster"])
    heads = ["", "accuracy", "on the device", "p50", "p95", "texts/s", *(f"× {name}" for name in references)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in found["summary"].items():
        cells = [f"{100 * row['test_accuracy']:.1f} %", f"{found['size_bytes'][name] / 1e6:.1f} MB"]
        cells += [f"{row['latency_ms_p50']:.2f} ms", f"{row['latency_ms_p95']:.2f} ms"]
        cells += [f"{row['texts_per_second']:.0f}", *(f"{times:.1f}" for times in row["times_faster"].values())]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [f"\n{name} was skipped: {reason}" for name, reason in found["skipped"].items()]
    samples = len(next(iter(found["samples"].values()))["latency_ms"])
    lines.append(
        f"\nAccuracy on the 400 held-out reviews of {found['target']}, cut at what a side takes; p50 and p95 of "
        f"{samples} reviews, one at a time, texts/s in batches of 32, one thread of an {found['hardware']['cpu']}.\n"
    )
    return "\n".join([*lines, *_process_lines(found["processes"])])


def _process_lines(processes: dict[str, Any]) -> list[str]:
    lines = []
    for name, starts in processes["first_label"].items():
        seconds = [start["seconds"] for start in starts]
        memory = max(start["peak_memory_bytes"] for start in starts)
        lines.append(
            f"- {name}: first label {np.median(seconds):.2f} s after the process's start ({min(seconds):.2f}–"
            f"{max(seconds):.2f}), peak memory {memory / 1e6:.0f} MB."
        )
    streams = processes["stream_peak_memory_bytes"]
    shown = ", ".join(f"{size / 1e6:.0f} MB over {int(rows):,} rows" for rows, size in streams.items())
    install = processes["install"]
    size = f"{install['bytes'] / 1e6:.0f} MB" if "bytes" in install else f"not measured, {install['skipped']}"
    return [*lines, f"- `predict` from standard input: {shown}.", f"- Base install, without pip: {size}."]


def agreement_table() -> str:
    """Labels of int8 as fp32's, a row a student, a column a domain."""
    path = RESULTS / "edge" / "agreement.json"
    if not path.exists():
        return "Not measured yet: `python benchmarks/agreement.py`."
    found = json.loads(path.read_text(encoding="utf-8"))
    heads = ["", *found["texts"]]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, shares in found["agreement"].items():
        lines.append(f"| {name} | {' | '.join(f'{100 * shares[domain]:.2f}' for domain in found['texts'])} |")
    (texts,) = set(found["texts"].values())
    return "\n".join(
        [*lines, f"\nPer cent of {texts} held-out texts of each domain; the students are those of the table above."]
    )


def families_table() -> str:
    """Return gain and harm by task family, over all measured pairs."""
    return families_report(RESULTS)


def bench_tables() -> str:
    """The tables of `distilshift bench`."""
    return report.report(RESULTS)


TABLES = {
    "label shift": label_shift_table,
    "share estimates": share_estimates_table,
    "one class": one_class_table,
    "gate": gate_table,
    "estimate error": estimate_error_table,
    "estimators": estimators_table,
    "abstention": abstention_table,
    "calibration": calibration_table,
    "drift rates": drift_rates_table,
    "drift pairs": drift_pairs_table,
    "drift mixed": drift_mixed_table,
    "few labels": few_labels_table,
    "kills": kills_table,
    "fuzz": fuzz_table,
    "degenerate": degenerate_table,
    "demo": demo_table,
    "summary": summary_table,
    "accuracy": accuracy_table,
    "thirty": thirty_table,
    "large": large_table,
    "large-others": large_others_table,
    "alike": alike_table,
    "chosen": chosen_table,
    "share errors": share_errors_table,
    "coverage": coverage_table,
    "shares": shares_table,
    "ladder": ladder_table,
    "sizes": sizes_table,
    "vader": vader_table,
    "speed": speed_table,
    "profile": profile_table,
    "scale": scale_table,
    "edge": edge_table,
    "agreement": agreement_table,
    "bench": bench_tables,
    "families": families_table,
}
PAGES = (
    "README.md",
    "docs/abstention.md",
    "docs/accuracy.md",
    "docs/drift.md",
    "docs/edge.md",
    "docs/labels.md",
    "docs/performance.md",
    "docs/reliability.md",
    "docs/results.md",
    "docs/trust.md",
)


def fill(page: str) -> str:
    """The page with its tables made anew."""
    for name, table in TABLES.items():
        if f"<!-- {name} table: " in page:
            page = report.fill(page, name, table())
    return page


if __name__ == "__main__":
    for name in PAGES:
        path = ROOT / name
        path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")
