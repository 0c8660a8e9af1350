"""The student bundle's model card: its README.md."""

from __future__ import annotations

from typing import Any

from distilshift.bundle import Manifest


def student_card(manifest: Manifest, summary: dict[str, Any]) -> str:
    """Markdown with what the student is, what was measured without labels, and how to run it."""
    int8 = summary["int8"]
    shares = ", ".join(f"{name} {share:.2f}" for name, share in summary["predicted_shares"].items())
    verdict = "the default" if int8["accepted"] else "not the default: too few labels agree, or no faster"
    rows = [
        ("made from", f"{manifest.base_model}, adapted by {summary['method']} to {summary['texts']} unlabelled texts"),
        ("parameters", f"{summary['parameters'] / 1e6:.1f} M"),
        ("labels as the adapted teacher", f"{summary['teacher_agreement']:.1%} of {int8['texts']} target texts"),
        ("predicted shares there", shares),
        ("int8 labels as fp32", f"{int8['agreement']:.1%} of {int8['texts']} target texts; {verdict}"),
        ("size of the ONNX file", f"fp32 {int8['fp32_bytes'] / 1e6:.1f} MB, int8 {int8['int8_bytes'] / 1e6:.1f} MB"),
        (
            "latency, one text, one thread, p50",
            f"fp32 {int8['fp32_latency_ms_p50']:.1f} ms, int8 {int8['int8_latency_ms_p50']:.1f} ms",
        ),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\n---\n"
        f"# Student: {' / '.join(manifest.label_names)}\n\n"
        "A small text classifier, adapted to its domain without labels and without the source data, by distilshift.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        "No label was used, so none of these numbers is an accuracy: `distilshift evaluate` measures that.\n\n"
        '```\ndistilshift predict <this folder> "some text"\n```\n'
    )
