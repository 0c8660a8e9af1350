"""One sample: one side, once, in this process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilshift.config import AdaptConfig
from distilshift.encoder import Classifier, load_classifier
from distilshift.frozen import frozen_count
from distilshift.losses.distil import soft_target_divergence
from distilshift.metrics import agreement
from distilshift.stage import peak_memory_bytes, seeded
from distilshift.student import build_student
from distilshift.types import Example
from rates import (
    TRAINING_FACTOR,
    lean_forward_flops,
    lean_training_flops,
    matmul_flops_per_second,
    transformer_flops,
)
from sides import SIDES, Side, Task

# Texts on which the trained student is held against the teacher, to see that a side has done its work.
IMITATION_TEXTS = 256
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def measure(name: str, teacher: Path, examples: Sequence[Example], config: AdaptConfig) -> dict[str, Any]:
    """Times, memory and operations of one side.

    Raises:
        SideUnavailableError: it cannot run here.
    """
    side = SIDES[name]
    torch.manual_seed(config.seed)
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        task = _task(teacher, list(examples), replace(config, precision=side.precision), Path(scratch))
        loaded = time.perf_counter()
        inputs = side.tokenise(task)
        tokenised = time.perf_counter()
        work = side.prepare(task, inputs)
        begun = time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
    passes = task.config.distil_epochs if side.trains else 1
    return {
        "seconds": seconds,
        "texts_per_second": passes * len(examples) / seconds,
        # Models read and cut, and the objects of a side built.
        "load_seconds": (loaded - start) + (begun - tokenised),
        "tokenise_seconds": tokenised - loaded,
        "peak_memory_bytes": peak_memory_bytes(),
        **(_imitation(task) if side.trains else {}),
        **_rates(side, task, seconds),
        "threads": torch.get_num_threads(),
    }


def _task(teacher: Path, examples: list[Example], config: AdaptConfig, scratch: Path) -> Task:
    classifier = load_classifier(str(teacher), config.max_length)
    with seeded(config.seed):
        student = build_student(classifier, config.student, config.student_layers)
    return Task(classifier, student, examples, config, scratch)


def flops_of(side: Side, task: Task, lengths: NDArray[np.int64]) -> int:
    """Operations of the forward and backward passes that the side makes, on real tokens."""
    epochs, teacher, student = task.config.distil_epochs, task.teacher.model.config, task.student.model.config
    if side.lean:
        flops = lean_forward_flops(teacher, lengths)
        frozen = frozen_count(student.num_hidden_layers, task.config.distil_frozen_layers)
        learning = lean_training_flops(student, lengths, frozen, epochs)
    else:
        flops = transformer_flops(teacher, lengths) * (epochs if side.teacher_each_epoch else 1)
        learning = epochs * TRAINING_FACTOR * transformer_flops(student, lengths)
    return flops + (learning if side.trains else 0)


def _rates(side: Side, task: Task, seconds: float) -> dict[str, float]:
    lengths = task.teacher.tokenise(task.examples).lengths
    texts_a_step = min(task.config.distil_batch_size, len(lengths))
    width = task.teacher.max_length if side.padded else lengths.mean()
    limit = matmul_flops_per_second(round(texts_a_step * width), task.teacher.model.config, DTYPES[side.precision])
    flops = flops_of(side, task, lengths)
    return {
        "gflop": flops / 1e9,
        "gflop_per_second": flops / seconds / 1e9,
        "matmul_gflop_per_second": limit / 1e9,
        "limit_fraction": flops / seconds / limit,
    }


def _imitation(task: Task) -> dict[str, float]:
    """How near the student has come to the teacher on the first texts it learnt from: a sign of life, no quality."""
    examples = task.examples[:IMITATION_TEXTS]
    student_logits, teacher_logits = (_logits(model, examples) for model in (task.student, task.teacher))
    divergence = soft_target_divergence(student_logits, teacher_logits, task.config.temperature).mean()
    return {
        "teacher_agreement": agreement(student_logits.numpy(), teacher_logits.numpy()),
        "teacher_divergence": float(divergence),
    }


def _logits(classifier: Classifier, examples: list[Example]) -> Tensor:
    inputs = classifier.inputs(classifier.tokenise(examples), np.arange(len(examples)), torch.device("cpu"))
    with torch.no_grad():
        return classifier.model.eval()(**inputs).logits.float()
