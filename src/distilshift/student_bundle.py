"""A distilled student as a bundle: exported, held against PyTorch, quantised, measured without labels, written."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distilshift.abstention import RiskCoverage
from distilshift.bundle import Manifest, new_bundle
from distilshift.card import student_card
from distilshift.config import AdaptConfig
from distilshift.data.corpus import Corpus
from distilshift.data.held_out import rows_like_new
from distilshift.data.sample import random_mask
from distilshift.drift import Outputs, make_reference, reference_json
from distilshift.encoder import Classifier
from distilshift.errors import ModelError
from distilshift.estimates import no_estimate_reason, student_estimate
from distilshift.export import export_onnx
from distilshift.gate import unfit_target
from distilshift.inference import forward_all
from distilshift.judging import Judgement, given_target
from distilshift.loop import finished
from distilshift.mapped import map_arrays
from distilshift.measured import Measured, label_gap
from distilshift.metrics import agreement, softmax
from distilshift.network import ONNX_FILES, Network, OnnxName
from distilshift.projection import project
from distilshift.quantise import quantise
from distilshift.risk_coverage import estimated_curve
from distilshift.run import RunDirectory
from distilshift.scan.drift_reference import REFERENCE
from distilshift.stage import versions
from distilshift.static_student import windows_read
from distilshift.student_warnings import student_warnings
from distilshift.target_facts import Target
from distilshift.tokens import load_tokenizer
from distilshift.training_log import write_training_log
from distilshift.types import Example
from distilshift.views import LabelledView, Reading

log = logging.getLogger("distilshift")

# Target texts that int8 and the teacher are compared on: as many as settle a share near 0.99 to a third of a point.
SAMPLE_TEXTS = 1000
# Target texts that `drift` compares new ones with.
REFERENCE_TEXTS = 5000
# Texts that the exported network is held against PyTorch on; a wrong graph is wrong on the first of them.
PARITY_TEXTS = 32
PARITY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Distilled:
    """A trained student, on the calibrated scale, and what it came of.

    Attributes:
        student: not exported yet.
        whole: the whole texts with the labels that it learnt.
        corpus: these texts.
        unadapted: what the teacher, as it came, says of them.
        judgement: which teacher the labels are of, and why.
        shape: of the student, as `budget.Plan.summary` has it.
        target: facts about the target texts.
        held_out: mask of the texts that it was not trained on; they may be none.
        temperature: what its logits were divided by after training.
        measured: how accurate the labels that it learnt are, by labelled texts; None without any.
    """

    student: Classifier
    whole: LabelledView
    corpus: Corpus
    unadapted: Reading
    judgement: Judgement
    shape: dict[str, Any]
    target: Target
    held_out: NDArray[np.bool_]
    temperature: float = 1.0
    measured: Measured | None = None


def write_student(
    folder: Path, made: Distilled, teacher: Manifest, config: AdaptConfig, overwrite: bool, run: RunDirectory
) -> None:
    """Export, measure, and write the bundle, with the losses of the run's trainings."""
    student = made.student
    manifest = Manifest(
        kind="student",
        label_names=teacher.label_names,
        base_model=teacher.base_model,
        max_length=student.max_length,
        seed=config.seed,
        config=config.portable(),
        versions=versions(),
        runtime={},
    )
    with new_bundle(folder, manifest, overwrite) as new:
        (new / "onnx").mkdir()
        export_onnx(student, new / ONNX_FILES["fp32"])
        _save(student, new)
        if made.shape["vocabulary"]:
            _write_compact(new / "tokenizer.json")
        weights = {"words_weight": _words_weight(run), "adapted_weight": _adapted_weight(run, config)}
        summary = _measure(new, made, teacher, config) | weights
        summary["size_bytes"] = device_bytes(new, summary["default"])
        _write_reference(new, made, summary, config.seed)
        sampled = min(len(made.corpus), SAMPLE_TEXTS)
        class_weights = teacher.config.get("class_weights", "none")
        summary["warnings"] = student_warnings(summary, sampled, made.target, teacher.statistics, class_weights)
        summary["shape"] = made.shape | {"missed": missed_budgets(made.shape, summary)}
        manifest.runtime.update(summary)  # type: ignore[union-attr]
        write_training_log(new, run)
        (new / "README.md").write_text(student_card(manifest, summary), encoding="utf-8")


def device_bytes(bundle: Path, choice: OnnxName) -> int:
    """Bytes that a device needs: the chosen ONNX file, the tokenizer and the configuration."""
    return sum((bundle / name).stat().st_size for name in (ONNX_FILES[choice], "tokenizer.json", "config.json"))


def missed_budgets(shape: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """The budgets that the student as measured does not keep, in words; a warning says so, too.

    Bytes are missed where int8 did not keep the labels in the form that they were estimated for.
    """
    latency = summary["int8"][f"{summary['default']}_latency_ms_p50"]
    found = []
    if shape["budget_bytes"] is not None and summary["size_bytes"] > shape["budget_bytes"]:
        found.append(f"{summary['size_bytes'] / 1e6:.3f} MB on the device, budget {shape['budget_bytes'] / 1e6:g} MB")
    if shape["budget_latency_ms"] is not None and latency > shape["budget_latency_ms"]:
        found.append(f"{latency:.2f} ms a text, budget {shape['budget_latency_ms']:g} ms")
    for each in found:
        log.warning("The student is beyond its budget: %s. Try a lower budget, or a lower --min-agreement.", each)
    return found


def _save(student: Classifier, folder: Path) -> None:
    """Weights, configuration and tokenizer; loaders that truncate cut texts where the student learnt to read them."""
    tokenizer = copy(student.tokenizer)  # the teacher's own, where the vocabulary is whole
    tokenizer.model_max_length = student.max_length
    replace(student, tokenizer=tokenizer).save(folder)


def _write_compact(path: Path) -> None:
    """Write a JSON file anew without white space: a device reads it as well, and holds less."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _measure(folder: Path, made: Distilled, teacher: Manifest, config: AdaptConfig) -> dict[str, Any]:
    """What can be said without labels, from a sample of the target texts."""
    student, corpus = made.student, made.corpus
    sample = np.random.default_rng(config.seed).permutation(len(corpus))[:SAMPLE_TEXTS]
    texts = corpus.at(sample)
    # A static student reads as much in one go as others do in windows.
    most = windows_read(student.model, config.max_windows)
    opener = _opener(folder, student, most)
    exported = folder / ONNX_FILES["fp32"]
    parity = _parity(student, texts[:PARITY_TEXTS], opener(exported, 0, windows=1))
    fp32 = opener(exported, 0).logits(texts)
    held_out = bool(made.held_out.any())
    gate = np.random.default_rng(config.seed).permutation(np.flatnonzero(made.held_out)) if held_out else sample
    judged = corpus.at(gate) if held_out else texts
    reference = opener(exported, 0).logits(judged) if held_out else fp32
    calibration = list(dict.fromkeys(text for text, out in zip(texts, made.held_out[sample], strict=True) if not out))
    least, target = config.min_agreement, folder / ONNX_FILES["int8"]
    int8 = quantise(exported, target, judged, reference, least, opener, calibration, held_out)
    default: OnnxName = "int8" if int8.accepted else "fp32"
    estimate = _estimate(fp32, made.unadapted.beginnings[sample] / teacher.temperature, teacher, made)
    measured = _measured(made, gate, reference, teacher.temperature)
    curve = _abstention(opener(folder / ONNX_FILES[default], 0).logits(judged), estimate, measured)
    predicted = np.bincount(fp32.argmax(axis=1), minlength=fp32.shape[1]) / len(fp32)
    return {
        "default": default,
        "max_windows": most,
        "method": config.method,
        **given_target(made.judgement, made.target).summary(student.label_names),
        **estimate,
        "measured": measured,
        "texts": len(corpus),
        "parameters": sum(p.numel() for p in student.model.parameters()),
        "teacher_agreement": agreement(reference, made.whole.targets(gate).numpy()),
        "predicted_shares": dict(zip(student.label_names, predicted.tolist(), strict=True)),
        "export": parity,
        "int8": int8.to_dict(),
        "temperature": made.temperature,
        "abstention": curve.to_json(),
    }


def _abstention(logits: NDArray[np.float32], estimate: dict[str, Any], measured: dict[str, Any] | None) -> RiskCoverage:
    """The risk-coverage curve of the network that a device runs, by default, from its logits (texts, classes).

    Labels that the student learned prove no bound of it; they give the interval that the estimate starts from.
    """
    if measured:
        return estimated_curve(logits, measured["low"])
    interval = estimate["estimated_accuracy_interval"]
    return estimated_curve(logits, interval and interval[0], estimate["estimated_accuracy_reason"])


def _opener(folder: Path, student: Classifier, most: int) -> Callable[..., Network]:
    """Return a function that opens an ONNX file of the student, which reads up to `most` windows unless told."""
    tokenizer = load_tokenizer(folder / "tokenizer.json", student.max_length, student.model.config.to_dict())

    def opener(path: Path, threads: int, windows: int = most) -> Network:
        allowed = threads or torch.get_num_threads()  # all that this run may have, which need not be all there are
        return Network(path, tokenizer, student.tokenizer.pad_token_id, allowed, windows)

    return opener


def _write_reference(folder: Path, made: Distilled, summary: dict[str, Any], seed: int) -> None:
    """Write what `drift` compares new texts with; nothing if there are too few texts."""
    student, corpus = made.student, made.corpus
    network = _opener(folder, student, summary["max_windows"])(folder / ONNX_FILES[summary["default"]], 0)
    texts = list(corpus.only(random_mask(len(corpus), REFERENCE_TEXTS, seed)))
    like_new = corpus.at(rows_like_new(corpus, made.held_out, seed))
    outputs = Outputs.of(softmax(network.logits(like_new))) if like_new else None
    reference = make_reference(project(texts), network.has_unknown(texts), outputs, len(student.label_names))
    if reference is not None:
        (folder / REFERENCE).write_text(json.dumps(reference_json(reference)) + "\n", encoding="utf-8")


def _words_weight(run: RunDirectory) -> float | None:
    """The words' share in the labels of a second opinion; None where none was asked for."""
    return float(map_arrays(run.file("second-opinion"))["weight"][0]) if "second-opinion" in run else None


def _adapted_weight(run: RunDirectory, config: AdaptConfig) -> float | None:
    """The adapted teacher's share in the labels of a second opinion; None where none was asked for."""
    if "second-opinion" not in run:
        return None
    refused = "adapted-gate" in run and run.facts("adapted-gate")["chosen"] != "adapted"
    return config.adapted_weight if finished("adapt") in run and not refused else 0.0


def _estimate(
    student_logits: NDArray[np.float32], unadapted_logits: NDArray[np.float32], teacher: Manifest, made: Distilled
) -> dict[str, Any]:
    """The student's accuracy as far as it can be guessed, from calibrated logits (texts, classes) of the same texts."""
    unadapted, statistics = softmax(unadapted_logits), teacher.statistics
    reason = "it is measured" if made.measured else no_estimate_reason(statistics, unadapted.shape[1])
    reason = reason or unfit_target(unadapted, made.judgement.prior, statistics, made.target)
    found = None if reason else student_estimate(softmax(student_logits), unadapted, statistics)
    return {
        "estimated_accuracy_reason": reason,
        "estimated_accuracy": found.accuracy if found else None,
        "estimated_accuracy_interval": [found.low, found.high] if found else None,
    }


def _measured(
    made: Distilled, chosen: NDArray[np.int64], student_logits: NDArray[np.float32], temperature: float
) -> dict[str, Any] | None:
    """The student's accuracy by labelled texts: that of its labels, and how far it may be from them."""
    if made.measured is None:
        return None
    gap = label_gap(softmax(made.whole.targets(chosen).numpy() / temperature), student_logits.argmax(axis=1))
    return asdict(made.measured.widened(gap)) | {"student_differs_by": gap}


def _parity(student: Classifier, texts: list[Example], network: Network) -> dict[str, Any]:
    """How far the exported network is from the student; one that differs is refused."""
    store = student.tokenise(texts)
    reference = forward_all(student, store, torch.device("cpu"), nullcontext)["logits"]
    logits = network.logits(texts)
    difference = float(np.abs(reference - logits).max())
    if difference > PARITY_TOLERANCE:
        raise ModelError(
            "the exported network differs from the student",
            expected=f"logits within {PARITY_TOLERANCE}",
            got=f"a difference of {difference:.2g}",
            fix="report this, with the versions of torch, onnx and onnxruntime",
        )
    return {"texts": len(texts), "max_difference": difference, "agreement": agreement(reference, logits)}
