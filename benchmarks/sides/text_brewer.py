"""Distillation with TextBrewer's GeneralDistiller, where that package is installed.

    pip install --no-deps --target FOLDER textbrewer tensorboardX    # and FOLDER on PYTHONPATH

TextBrewer 0.2.1.post1 (2020) is the newest release. It imports a TensorBoard writer even where no log is wanted;
tensorboardX is the smaller of the two it takes. Its only lower precision is NVIDIA Apex's fp16, so it runs in fp32.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup

from distilshift.loop import GRADIENT_NORM
from sides.plain_trainer import Row
from sides.task import SideUnavailableError, Task


def logits_of(batch: Any, outputs: Any) -> dict[str, Any]:
    """TextBrewer's adaptor: where a model's outputs hold the logits."""
    return {"logits": outputs.logits}


def prepare(task: Task, rows: list[Row]) -> Callable[[], None]:
    """The distiller, saving nothing, with the optimiser and schedule that the Trainer would take.

    Its loss is the cross-entropy, which differs from KL by a constant; the weight T^2 gives it the same gradient.

    Raises:
        SideUnavailableError: the package is missing.
    """
    try:
        textbrewer = importlib.import_module("textbrewer")
    except ImportError as error:
        raise SideUnavailableError(f"import textbrewer: {type(error).__name__}: {error}") from error
    config, model = task.config, task.student.model
    distiller = textbrewer.GeneralDistiller(
        # A frequency of 0 saves no checkpoint, which the other sides' trainers do not either.
        textbrewer.TrainingConfig(ckpt_frequency=0, log_dir=None, output_dir=str(task.scratch), device="cpu"),
        textbrewer.DistillationConfig(temperature=config.temperature, kd_loss_weight=config.temperature**2),
        task.teacher.model,
        model,
        logits_of,
        logits_of,
    )
    loader: DataLoader[Row] = DataLoader(rows, batch_size=config.distil_batch_size, shuffle=True)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.distil_learning_rate, weight_decay=config.weight_decay, fused=True
    )
    steps = len(loader) * config.distil_epochs
    schedule = {"num_warmup_steps": round(config.warmup_fraction * steps), "num_training_steps": steps}

    def work() -> None:
        with distiller:
            distiller.train(
                optimizer,
                loader,
                config.distil_epochs,
                scheduler_class=get_linear_schedule_with_warmup,
                scheduler_args=schedule,
                max_grad_norm=GRADIENT_NORM,
            )

    return work
