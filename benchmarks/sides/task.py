"""What every side of the speed benchmark is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilshift.config import AdaptConfig, Precision
from distilshift.encoder import Classifier
from distilshift.types import Example


class SideUnavailableError(Exception):
    """A side's library is missing or does not run here; the message says why."""


@dataclass(frozen=True)
class Task:
    """The same for every side.

    Attributes:
        teacher: it shall be imitated.
        student: untrained; trained in place.
        examples: the texts.
        config: epochs, batch size, rates and temperature of distillation; `precision` is the side's own.
        scratch: an empty folder for whatever the side must write.
    """

    teacher: Classifier
    student: Classifier
    examples: list[Example]
    config: AdaptConfig
    scratch: Path


@dataclass(frozen=True)
class Side:
    """One way to do the task.

    Attributes:
        tokenise: texts to what the side feeds its models; timed by itself.
        prepare: builds whatever is needed, and returns the work that is timed.
        precision: of the matrix products.
        trains: False where it is only the teacher's forward pass.
        teacher_each_epoch: the teacher runs again in each epoch, not once.
        padded: batches are as wide as `max_length`, not as their texts.
        lean: what the logits do not need is not computed, nor gradients of what does not learn.
    """

    tokenise: Callable[[Task], Any]
    prepare: Callable[[Task, Any], Callable[[], Any]]
    precision: Precision
    trains: bool = True
    teacher_each_epoch: bool = False
    padded: bool = False
    lean: bool = False
