"""Distillation with Hugging Face's Trainer, as tutorials have it: the teacher answers anew at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from sides.task import Task

Row = dict[str, Any]


class DistillationTrainer(Trainer):
    """A Trainer whose loss is T^2 KL(teacher || student) on logits divided by T, the mean over the batch."""

    def __init__(self, *arguments: Any, teacher: Any, temperature: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._teacher, self._temperature = teacher.to(self.args.device).eval(), temperature

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch, with the student's outputs where they are asked for."""
        outputs = model(**inputs)
        # The Trainer puts autocast around the student only; without this a bf16 run has its teacher in fp32.
        with torch.no_grad(), self.accelerator.autocast():
            teacher_logits = self._teacher(**inputs).logits.float()
        loss = F.kl_div(
            F.log_softmax(outputs.logits / self._temperature, dim=-1),
            F.softmax(teacher_logits / self._temperature, dim=-1),
            reduction="batchmean",
        )
        loss = loss * self._temperature**2
        return (loss, outputs) if return_outputs else loss


def padded_rows(task: Task) -> list[Row]:
    """Each text padded to the greatest length, as `padding="max_length"` does; tensors by name."""
    encoded = task.teacher.tokenizer(
        [item.text for item in task.examples],
        padding="max_length",
        truncation=True,
        max_length=task.teacher.max_length,
        return_tensors="pt",
    )
    return [{name: values[index] for name, values in encoded.items()} for index in range(len(task.examples))]


def ragged_rows(task: Task) -> list[Row]:
    """Each text at its own length; like lengths are batched together, and padded to the longest of a batch."""
    encoded = task.teacher.tokenizer(
        [item.text for item in task.examples], truncation=True, max_length=task.teacher.max_length
    )
    return [{name: values[index] for name, values in encoded.items()} for index in range(len(task.examples))]


def prepare(task: Task, rows: list[Row]) -> Callable[[], Any]:
    """The Trainer, its defaults except for what the task says; it neither saves nor reports."""
    config = task.config
    ragged = not isinstance(rows[0]["input_ids"], Tensor)
    arguments = TrainingArguments(
        output_dir=str(task.scratch),
        num_train_epochs=config.distil_epochs,
        per_device_train_batch_size=config.distil_batch_size,
        learning_rate=config.distil_learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_fraction,
        bf16=config.precision == "bf16",
        use_cpu=True,
        seed=config.seed,
        train_sampling_strategy="group_by_length" if ragged else "random",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = DistillationTrainer(
        task.student.model,
        arguments,
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(task.teacher.tokenizer) if ragged else None,
        teacher=task.teacher.model,
        temperature=config.temperature,
    )
    return trainer.train
