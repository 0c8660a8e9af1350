"""Adapting the teacher to unlabelled target texts, by one of several methods, before it teaches the student."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from distilshift import progress
from distilshift.config import AdaptConfig, Method
from distilshift.data.corpus import Corpus
from distilshift.encoder import Classifier, final_linear
from distilshift.frozen import frozen_layers
from distilshift.frozen_states import computed_once
from distilshift.loop import LoopConfig, finished, loop_config, train_once
from distilshift.methods.base import Material, UnlabelledObjective
from distilshift.methods.neighbours import AadObjective, NrcObjective
from distilshift.methods.shot import ShotObjective
from distilshift.methods.tent import EPOCHS as TENT_EPOCHS
from distilshift.methods.tent import TentObjective, normalisation_only
from distilshift.run import RunDirectory
from distilshift.views import view_count, view_tokens, view_uses
from distilshift.vocabulary import used_rows_only

OBJECTIVES: dict[Method, type[UnlabelledObjective]] = {
    "tent": TentObjective,
    "shot-im": ShotObjective,
    "shot": ShotObjective,
    "nrc": NrcObjective,
    "aad": AadObjective,
}


def adapt_teacher(
    teacher: Classifier,
    texts: Corpus,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    prior: NDArray[np.float64],
) -> None:
    """Adapt the teacher in place.

    Args:
        teacher: with logits on the scale it was trained at, not the calibrated one.
        texts: the target texts.
        config: method none leaves the teacher alone, and so does dine, which adapts the student.
        accelerator: where it runs.
        run: keeps the adapted weights.
        prior: (classes,), the class shares to expect, which the diversity term leads to.
    """
    if config.method not in OBJECTIVES:
        return
    loop = _loop(config)
    count = view_count(loop.epochs, config.spans)
    with progress.stage("tokenising", len(texts) * count) as advance:
        views = view_tokens(teacher, "teacher", texts, count, config, run, advance)
    expected = torch.tensor(prior, dtype=torch.float32, device=accelerator.device)
    _freeze(teacher, config.method)
    frozen, uses = config.adapt_frozen_layers, view_uses(loop.epochs, count)
    known = 0 if config.dropout or finished(loop.name) in run else frozen
    with (
        frozen_layers(teacher.model, frozen),
        used_rows_only(teacher.model, views) as used,
        computed_once(teacher, known, used, uses, accelerator, run.crew) as stores,
    ):
        material = Material(teacher, stores, expected, config, accelerator, run)
        train_once(teacher.model, OBJECTIVES[config.method](material), loop, accelerator, run)
    teacher.model.requires_grad_(True)


def _loop(config: AdaptConfig) -> LoopConfig:
    loop = loop_config("adapt", config, config.adapt_epochs, config.adapt_batch_size, config.adapt_learning_rate)
    if config.method == "tent":
        return replace(loop, epochs=TENT_EPOCHS)
    # The term that pushes texts apart is strong in the first steps alone, which a warm-up would take from it.
    return replace(loop, warmup_fraction=0.0) if config.method == "aad" else loop


def _freeze(teacher: Classifier, method: Method) -> None:
    if method == "tent":
        normalisation_only(teacher.model)
    if OBJECTIVES[method].keeps_hypothesis:
        final_linear(teacher.model).requires_grad_(False)
