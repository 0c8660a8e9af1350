"""A bundle's model card: its README.md."""

from __future__ import annotations

import math
from typing import Any

from distilshift.abstention import abstention_sentence
from distilshift.bundle import Manifest
from distilshift.measured import evidence_sentence, measured_sentence
from distilshift.teacher_report import class_records, prediction_warnings

# What an accepted adaptation was, where it was not the teacher that changed.
ACCEPTED = {
    "dine": "The student learnt from the teacher as it came, and adapted itself.",
}
# By which opinions a student of method second-opinion learned: the adapted teacher's, and the words'.
OPINIONS = {
    (False, False): "The student learned the labels of the teacher as it came.",
    (False, True): "The student learned what the teacher as it came and the words of the texts say together.",
    (True, False): "The student learned what the teacher as it came and the adapted one say together.",
    (True, True): (
        "The student learned what the teacher as it came, the adapted one and the words of the texts say together."
    ),
}
# What a card says, and what earlier versions said instead.
EARLIER_WORDING = (
    (OPINIONS[False, False], "The student learned the teacher's labels, moved to the expected class proportions."),
    (
        OPINIONS[False, True],
        "The student learnt what the teacher, as it came, and the words of the texts say together.",
    ),
    ("distilled on texts of its domain without labels", "adapted to its domain without labels"),
    ("target texts that the vocabulary was not chosen by, a word is", "held-out target texts, a word is"),
    (" 1 of which has ", " 1 of which have "),
    (" of which have these labels: ", " of which have that label: "),
    (" says nothing about them. ", " says nothing about it. "),
    (" Try more --epochs, or add such texts.", " Try --class-weights balanced, or add such texts."),
)


def earlier_wording(card: str) -> str:
    """The card as an earlier version would have written it, for `inspect --strict`."""
    for now, before in EARLIER_WORDING:
        card = card.replace(now, before)
    return card


def verdict_sentence(summary: dict[str, Any]) -> str:
    """What became of the adaptation, and why."""
    outcome = {
        "accepted": "The student learnt from the adapted teacher.",
        "refused": "The student learnt from the teacher as it came.",
        "none": "The student learnt from the teacher as it came.",
    }
    learnt = outcome[summary["adaptation"]]
    if summary["adaptation"] == "accepted" and summary["method"] == "second-opinion":
        # Earlier versions had no adapted teacher; the earliest did not note that words were not heard.
        learnt = OPINIONS[bool(summary.get("adapted_weight")), summary.get("words_weight") != 0]
    elif summary["adaptation"] == "accepted":
        learnt = ACCEPTED.get(summary["method"], learnt)
    feedback = {"accepted": " It learnt from its own predictions, too.", "refused": "", None: ""}[summary["feedback"]]
    said = f"{feedback} {summary['feedback_reason']}" if summary["feedback"] else ""
    return f"{learnt} {summary['adaptation_reason']}{said}"


def shares_sentence(summary: dict[str, Any], target_prior: str) -> str:
    """The class shares that came out, for who knows better to say so; empty where they were given, or moved by nothing.

    Args:
        summary: of a student.
        target_prior: the option as it was given.
    """
    if target_prior != "auto" or summary["adaptation"] == "none" or summary.get("measured"):
        return ""
    return (
        f"Of the target texts it labels {_shares(summary)}. If you know that the true shares are others, or that "
        "classes are about equally frequent, say so with --target-prior: without labels no sign tells that from a "
        "teacher that leans to one class."
    )


def _shares(summary: dict[str, Any]) -> str:
    return ", ".join(f"{share:.0%} {name}" for name, share in summary["predicted_shares"].items())


def estimate_sentence(summary: dict[str, Any]) -> str:
    """The accuracy as it was measured on labelled texts, or as far as it can be guessed without labels."""
    if measured := summary.get("measured"):
        return measured_sentence(measured)
    if summary["estimated_accuracy"] is None:
        reason = summary.get("estimated_accuracy_reason") or "the teacher's bundle has no statistics for that"
        return f"Accuracy on the target is not estimated: {reason}."
    low, high = summary["estimated_accuracy_interval"]
    return (
        f"Estimated accuracy on the target texts, without labels: {summary['estimated_accuracy']:.1%} "
        f"({low:.1%} to {high:.1%}, for the error of samples and of the method, and for the labels that changed)."
    )


def int8_texts(int8: dict[str, Any]) -> str:
    """The texts that int8 was compared with fp32 on."""
    kind = "the student was not trained on" if int8["held_out"] else "the student was trained on"
    return f"{int8['texts']:,} target texts that {kind}"


def int8_refusal(int8: dict[str, Any]) -> str:
    """Why fp32 is the default, and what else can be done.

    Args:
        int8: as `quantise.Quantised.to_dict` gives it.
    """
    kept = f"keeps {int8['agreement']:.2%} of fp32's labels on {int8_texts(int8)}"
    accept = "pass --model int8 to predict and evaluate (Predictor.load(..., model='int8'))"
    if int8["verdict"] == "not faster":
        return (
            f"The int8 model is not faster than fp32 on this machine, so fp32 is the default and several times as "
            f"large. int8 {kept}. To use it for its size, {accept}."
        )
    required = int8["required_agreement"]
    why = "" if int8["held_out"] else ", half as many differing labels as --min-agreement allows on new texts"
    differing = (1 - int8["agreement"]) * (1 if int8["held_out"] else 2)
    lower = math.floor(1000 * max(0.0, 1 - differing) + 1e-9) / 1000
    return (
        f"The best int8 model {kept}; {required:.2%} are required{why}. So fp32 is the default and several times as "
        f"large. To use this int8 model, {accept}, or make the student with --min-agreement {lower:.3f}."
    )


def shape_sentence(shape: dict[str, Any]) -> str:
    """What student was chosen, and what that costs as estimated."""
    layers = "1 layer" if shape["layers"] == 1 else f"{shape['layers']} layers"
    whole = (shape["vocabulary"] or {}).get("whole_pieces")
    pieces = f"{shape['pieces']:,}" + (f" of {whole:,}" if whole else "")
    latency, tried = shape["estimated_latency_ms"], len(shape["considered"])
    cost = f"{shape['estimated_bytes'] / 1e6:.1f} MB on the device" + (f", {latency:.2f} ms a text" if latency else "")
    first = f" It is the first of {tried}, best first, within the budget." if tried > 1 else ""
    return (
        f"Size {shape['size']}: {layers}, inner width {shape['inner']:,}, {pieces} word pieces, {shape['positions']} "
        f"positions; estimated at {cost}.{first}"
    )


def vocabulary_sentence(shape: dict[str, Any]) -> str:
    """What the smaller vocabulary does to texts that it was not chosen by; empty where it is whole."""
    found = shape["vocabulary"]
    if not found:
        return ""
    if "pieces" not in found:
        return str(found["reason"])
    if found["pieces_per_word"] is None:
        return "No text was held out to see what the smaller vocabulary does: there are too few."
    return (
        f"In {found['held_out_texts']:,} target texts that the vocabulary was not chosen by, a word is split into "
        f"{found['pieces_per_word']:.3f} pieces ({found['whole_pieces_per_word']:.3f} with the whole vocabulary), and "
        f"{found['unknown_share']:.2%} of the pieces are unknown ({found['whole_unknown_share']:.2%})."
    )


def _considered_table(shape: dict[str, Any]) -> str:
    """The shapes that were considered, in order."""
    heads = ["layers", "inner width", "pieces", "positions", "estimated size", "p50, untrained", ""]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for each in shape["considered"]:
        latency = "–" if each["latency_ms"] is None else f"{each['latency_ms']:.2f} ms"
        cells = [str(each["layers"]), f"{each['inner']:,}", f"{each['pieces']:,}", str(each["positions"])]
        cells += [f"{each['estimated_bytes'] / 1e6:.2f} MB", latency, each["reason"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shape_section(summary: dict[str, Any]) -> str:
    """Empty for a student that was made before shapes were chosen."""
    shape = summary.get("shape")
    if not shape:
        return ""
    sentences = [shape_sentence(shape), vocabulary_sentence(shape), *(f"Missed: {each}." for each in shape["missed"])]
    text = "\n\n".join(each for each in sentences if each)
    return f"## Its size\n\n{text}\n\n{_considered_table(shape)}\n\n"


def _how(summary: dict[str, Any]) -> str:
    return f"adapted by {summary['method']} to" if summary["adaptation"] == "accepted" else "distilled on"


def _ms(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def _speed_cells(speeds: Any) -> list[str]:
    """p50, p95 and throughput, on one thread and on all cores."""
    cells = [
        f"{_ms(each['latency_ms_p50'])} / {_ms(each['latency_ms_p95'])} ms, {each['texts_per_second']:.0f} texts/s"
        for each in speeds
    ]
    return cells or ["not timed", "not timed"]


def _form_row(name: str, size_bytes: int, labels: str, speeds: Any, verdict: str) -> str:
    return f"| {' | '.join([name, f'{size_bytes / 1e6:.1f} MB', labels, *_speed_cells(speeds), verdict])} |"


def forms_table(int8: dict[str, Any]) -> str:
    """All forms of the network that were tried, beside fp32 as it ran in turns with the chosen one."""
    heads = ["form", "ONNX file", "labels as fp32, largest difference of a logit"]
    heads += ["one thread: one text p50 / p95, batches of 32", "all cores", "verdict"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    chosen = next(each for each in int8["tried"] if each["form"] == int8["form"])
    lines.append(_form_row("fp32", int8["fp32_bytes"], "–", chosen["fp32_speeds"], "–"))
    for each in int8["tried"]:
        labels = f"{each['agreement']:.1%} of {each['texts']} texts, {each['max_difference']:.2g}"
        lines.append(_form_row(each["form"], each["size_bytes"], labels, each["speeds"], each["verdict"]))
    return "\n".join(lines)


def _decided(summary: dict[str, Any], manifest: Manifest) -> str:
    """What was decided and guessed without labels, a paragraph each."""
    shares = shares_sentence(summary, manifest.config["target_prior"])
    sentences = [verdict_sentence(summary), shares, estimate_sentence(summary), abstention_sentence(summary)]
    sentences.append(_int8_sentence(summary))
    return "".join(f"{each}\n\n" for each in sentences if each)


def _int8_sentence(summary: dict[str, Any]) -> str:
    """Why int8 is not the default; empty where it is."""
    return "" if summary["int8"]["accepted"] else int8_refusal(summary["int8"])


def _and_faster(manifest: Manifest) -> str:
    static = manifest.config.get("student") == "static"
    return "" if static else " and is faster, one text at a time on one thread"


def _warnings(summary: dict[str, Any]) -> str:
    return "".join(f"> **Warning.** {each}\n\n" for each in summary.get("warnings", ()))


def student_card(manifest: Manifest, summary: dict[str, Any]) -> str:
    """Markdown with what the student is, what was measured without labels, and how to run it."""
    int8 = summary["int8"]
    shares = ", ".join(f"{name} {share:.2f}" for name, share in summary["predicted_shares"].items())
    new = " that it was not trained on" if int8["held_out"] else ""
    verdict = "the default" if int8["accepted"] else f"not the default: {int8['verdict']}"
    measured = summary.get("measured")
    how = f"with {measured['labels']} labels and without" if measured else "without labels and without"
    made = "adapted to" if summary["adaptation"] == "accepted" else "distilled on texts of"
    kind = f"texts, {measured['labels']} of them labelled" if measured else "unlabelled texts"
    rows = [
        ("made from", f"{manifest.base_model}, {_how(summary)} {summary['texts']} {kind}"),
        ("parameters", f"{summary['parameters'] / 1e6:.1f} M"),
        ("labels as it was taught", f"{summary['teacher_agreement']:.1%} of the target texts{new}"),
        ("predicted shares there", shares),
        ("int8 labels as fp32", f"{int8['agreement']:.1%} of {int8_texts(int8)}; {verdict}"),
        ("form of int8", int8["form"]),
        ("size of the ONNX file", f"fp32 {int8['fp32_bytes'] / 1e6:.1f} MB, int8 {int8['int8_bytes'] / 1e6:.1f} MB"),
        (
            "latency, one text, one thread, p50",
            f"fp32 {_ms(int8['fp32_latency_ms_p50'])} ms, int8 {_ms(int8['int8_latency_ms_p50'])} ms",
        ),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\n---\n"
        f"# Student: {' / '.join(manifest.label_names)}\n\n{_warnings(summary)}"
        f"A small text classifier, {made} its domain {how} the source data, by distilshift.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        f"{_decided(summary, manifest)}"
        f"{evidence_sentence(measured)}\n\n"
        '```\ndistilshift predict <this folder> "some text"\n```\n\n'
        f"{_shape_section(summary)}"
        "## Forms that were tried\n\n"
        f"The exported network is within {summary['export']['max_difference']:.1g} of PyTorch's logits. A smaller form "
        f"is the default only if it labels enough texts as fp32 does{_and_faster(manifest)}. "
        "Reading stops where too many labels differ.\n\n"
        f"{forms_table(int8)}\n"
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
        f"{_classes_section(manifest)}"
        "It holds no text. `distilshift adapt` turns it into a small student for another domain.\n"
    )


def _classes_section(manifest: Manifest) -> str:
    """How the teacher does on each class; empty for an older bundle, whose card does not say it."""
    known = manifest.statistics
    if known is None or known.balanced_accuracy is None or known.macro_f1 is None:
        return ""
    rows = [
        f"| {each.name} | {'–' if each.training_texts is None else f'{each.training_texts:,}'} | "
        f"{each.validation_texts:,} | {'–' if each.recall is None else f'{each.recall:.1%}'} |"
        for each in class_records(manifest.label_names, known)
    ]
    table = "\n".join(["| class | training texts | held-out texts | recall |", "|---|---|---|---|", *rows])
    weights = manifest.config.get("class_weights", "none")
    warnings = "".join(f"**{each}**\n\n" for each in prediction_warnings(manifest.label_names, known, weights))
    return (
        f"On the held-out texts: balanced accuracy {known.balanced_accuracy:.3f}, macro-F1 {known.macro_f1:.3f}.\n\n"
        f"{table}\n\n{warnings}"
    )
