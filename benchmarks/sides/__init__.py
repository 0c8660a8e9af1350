"""The sides of the speed benchmark, by name."""

from __future__ import annotations

from functools import partial

from sides import library, plain_trainer, text_brewer
from sides.task import Side, SideUnavailableError, Task

__all__ = ["DEFAULT_SIDES", "SIDES", "Side", "SideUnavailableError", "Task"]

_trainer = partial(Side, plain_trainer.padded_rows, plain_trainer.prepare, teacher_each_epoch=True, padded=True)
_grouped = partial(Side, plain_trainer.ragged_rows, plain_trainer.prepare, teacher_each_epoch=True)
_textbrewer = partial(Side, plain_trainer.padded_rows, text_brewer.prepare, teacher_each_epoch=True, padded=True)
_distilshift = partial(Side, library.tokenise, library.prepare_distillation, lean=True)
_teacher = partial(Side, library.tokenise, library.prepare_forward, trains=False, lean=True)

SIDES: dict[str, Side] = {
    "trainer-fp32": _trainer(precision="fp32"),
    "trainer-bf16": _trainer(precision="bf16"),
    # The same with batches of like length, padded to their longest text: what a careful user changes first. Padding
    # so without grouping saves nothing here: nearly every batch of 32 holds a text of full length.
    "trainer-grouped-fp32": _grouped(precision="fp32"),
    "trainer-grouped-bf16": _grouped(precision="bf16"),
    "textbrewer": _textbrewer(precision="fp32"),
    "distilshift-fp32": _distilshift(precision="fp32"),
    "distilshift-bf16": _distilshift(precision="bf16"),
    "teacher-fp32": _teacher(precision="fp32"),
    "teacher-bf16": _teacher(precision="bf16"),
}
DEFAULT_SIDES = [name for name in SIDES if "grouped" not in name]
