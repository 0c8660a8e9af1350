"""A bundle's model card: its README.md."""

from __future__ import annotations

from typing import Any

from distilshift.bundle import Manifest


def verdict_sentence(summary: dict[str, Any]) -> str:
    """What became of the adaptation, and why."""
    outcome = {
        "accepted": "The student learnt from the adapted teacher.",
        "refused": "The student learnt from the teacher as it came.",
        "none": "The student learnt from the teacher as it came.",
    }
    return f"{outcome[summary['adaptation']]} {summary['adaptation_reason']}"


def estimate_sentence(summary: dict[str, Any]) -> str:
    """The accuracy as far as it can be guessed without labels."""
    if summary["estimated_accuracy"] is None:
        return "Its accuracy on the target is not estimated: the teacher's bundle has no statistics for that."
    low, high = summary["estimated_accuracy_interval"]
    return (
        f"Estimated accuracy on the target texts, without labels: {summary['estimated_accuracy']:.1%} "
        f"({low:.1%} to {high:.1%}, for sampling error alone)."
    )


def _how(summary: dict[str, Any]) -> str:
    return f"adapted by {summary['method']} to" if summary["adaptation"] == "accepted" else "distilled on"


def student_card(manifest: Manifest, summary: dict[str, Any]) -> str:
    """Markdown with what the student is, what was measured without labels, and how to run it."""
    int8 = summary["int8"]
    shares = ", ".join(f"{name} {share:.2f}" for name, share in summary["predicted_shares"].items())
    verdict = "the default" if int8["accepted"] else "not the default: too few labels agree, or no faster"
    rows = [
        ("made from", f"{manifest.base_model}, {_how(summary)} {summary['texts']} unlabelled texts"),
        ("parameters", f"{summary['parameters'] / 1e6:.1f} M"),
        ("labels as its teacher", f"{summary['teacher_agreement']:.1%} of {int8['texts']} target texts"),
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
        f"{verdict_sentence(summary)}\n\n"
        f"{estimate_sentence(summary)}\n\n"
        "No label was used, so none of these numbers is a measured accuracy: `distilshift evaluate` gives that.\n\n"
        '```\ndistilshift predict <this folder> "some text"\n```\n'
    )


def teacher_card(manifest: Manifest) -> str:
    """Markdown with what the teacher is."""
    known = manifest.statistics
    facts = (
        f"accuracy {known.validation_accuracy:.3f} on held-out source texts; logits divided by {known.temperature:.3f} "
        "so that its probabilities are calibrated"
        if known
        else "imported without data: no statistics"
    )
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\n---\n"
        f"# Teacher: {' / '.join(manifest.label_names)}\n\n"
        f"A text classifier made from `{manifest.base_model}` by distilshift; {facts}.\n\n"
        "It holds no text. `distilshift adapt` turns it into a small student for another domain.\n"
    )
