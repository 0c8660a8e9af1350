"""Distillation with distilshift's own functions, and its teacher's forward pass alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distilshift.data.batch import TokenStore
from distilshift.distil import distil_student
from distilshift.inference import forward_all
from distilshift.precision import make_accelerator
from distilshift.run import open_run
from distilshift.shards import outputs
from distilshift.views import LabelledView
from sides.task import Task


def tokenise(task: Task) -> TokenStore:
    """Each text at its own length."""
    return task.teacher.tokenise(task.examples)


def prepare_distillation(task: Task, store: TokenStore) -> Callable[[], None]:
    """The teacher labels the texts once, then the student learns; all that a run writes to the disk is in it.

    What `label_views` and `distil_student` do for whole texts, less the tokenising, which no side's time holds.
    """
    accelerator, teacher = make_accelerator(task.config), task.teacher

    def work() -> None:
        with open_run(task.scratch / "run", {}) as run:
            views = [LabelledView(store, outputs(teacher, store, run, "teacher", accelerator))]
            distil_student(task.student, views, task.config, accelerator, run)

    return work


def prepare_forward(task: Task, store: TokenStore) -> Callable[[], Any]:
    """One pass of the teacher over the texts."""
    accelerator = make_accelerator(task.config)
    return lambda: forward_all(task.teacher, store, accelerator.device, accelerator.autocast)
