"""Rows with labels: the student fine-tuned on the source's, and the oracle, fine-tuned on the target's.

For comparison only: nothing that `adapt` runs reaches this module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from distilshift.bundle import Manifest, Statistics, new_bundle, read_manifest
from distilshift.config import AdaptConfig
from distilshift.encoder import Classifier, load_classifier, scale_logits
from distilshift.journal import fingerprint
from distilshift.loop import loop_config, train_once
from distilshift.run import RunDirectory
from distilshift.stage import fingerprint_examples, seeded, versions
from distilshift.stage_run import stage_run
from distilshift.student import build_student
from distilshift.supervised import SupervisedObjective
from distilshift.types import Example
from distilshift.vocabulary import used_rows_only


def raw_teacher(bundle: Path, max_length: int) -> tuple[Classifier, float]:
    """A teacher on the scale that it was trained at, and the calibration temperature that was folded into it."""
    manifest = read_manifest(bundle, "teacher")
    teacher = load_classifier(str(bundle), min(max_length, manifest.max_length))
    scale_logits(teacher.model, manifest.temperature)
    return teacher, manifest.temperature


def equal_epochs(target_texts: int, texts: int, config: AdaptConfig) -> int:
    """Passes over `texts` texts that take as many steps as distillation on the target does, to the nearest pass."""
    steps = config.distil_epochs * math.ceil(target_texts / config.distil_batch_size)
    return max(1, round(steps / math.ceil(texts / config.distil_batch_size)))


def fine_tune(teacher: Path, examples: Sequence[Example], target_texts: int, config: AdaptConfig, output: Path) -> Path:
    """Fine-tune the student that distillation starts from on labels, with its rate, batches and number of steps.

    Every layer learns; plain distillation leaves the lowest as it is, which would cost accuracy here (LOG, 2026-11-26).

    Args:
        teacher: the bundle that the student is cut from.
        examples: labelled texts.
        target_texts: texts of the target, which set the number of steps.
        config: the student's options.
        output: the classifier's folder, of kind teacher: it has no ONNX files.
    """
    if output.exists():
        return output
    raw, _ = raw_teacher(teacher, config.max_length)
    with seeded(config.seed):
        student = build_student(raw, config.student, config.student_layers)
    inputs = {"teacher": fingerprint(asdict(read_manifest(teacher))), "texts": fingerprint_examples(examples)}
    with stage_run("bench-labels", output, config, inputs) as (accelerator, run):
        _train(student, examples, equal_epochs(target_texts, len(examples), config), config, accelerator, run)
        write_classifier(output, student, config)
    return output


def _train(
    student: Classifier,
    examples: Sequence[Example],
    epochs: int,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> None:
    order = {name: index for index, name in enumerate(student.label_names)}
    labels = np.array([order[str(item.label)] for item in examples], dtype=np.int64)
    loop = loop_config("labels", config, epochs, config.distil_batch_size, config.distil_learning_rate)
    student.model.to(accelerator.device)
    with used_rows_only(student.model, [student.tokenise(examples)]) as (texts,):
        # The weights of the last step stay, as in distillation: no text is spared to choose others.
        objective = SupervisedObjective(student, texts, labels, 0.0, accelerator.device)
        train_once(student.model, objective, loop, accelerator, run)


def write_classifier(
    output: Path, classifier: Classifier, config: AdaptConfig, statistics: Statistics | None = None
) -> None:
    """Write a classifier as a bundle of kind teacher."""
    manifest = Manifest(
        kind="teacher",
        label_names=classifier.label_names,
        base_model=str(classifier.model.config.model_type),
        max_length=classifier.max_length,
        seed=config.seed,
        config=config.portable(),
        versions=versions(),
        statistics=statistics,
    )
    with new_bundle(output, manifest) as new:
        classifier.save(new)
