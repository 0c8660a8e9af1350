"""Frozen records that cross stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Example:
    """One input text, or a pair of texts, with its label where the file has one.

    Attributes:
        text: the text, never blank.
        pair: the second text of a two-text task, or None.
        label: the label's name as the file gives it, or None.
        problem: why this row cannot be used; set only where the reader was asked to pass such rows on.
    """

    text: str
    pair: str | None = None
    label: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Prediction:
    """A predicted label with the probability of every class (they sum to 1)."""

    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class TeachResult:
    """What `teach` made.

    Attributes:
        bundle: the teacher bundle's folder.
        validation_accuracy: share of source validation texts labelled right, 0 to 1.
        temperature: the calibration temperature (dimensionless; logits are divided by it).
        seconds: wall time.
    """

    bundle: Path
    validation_accuracy: float
    temperature: float
    seconds: float


@dataclass(frozen=True)
class AdaptResult:
    """What `adapt` made.

    Attributes:
        bundle: the student bundle's folder.
        summary: the numbers of the student's card (sizes in bytes, latencies in ms, agreements 0 to 1).
        seconds: wall time.
        peak_memory_bytes: the most that this process has held at once, since it was started.
        warnings: signs that the student is of little use, in sentences; they are logged and in the card as well.
    """

    bundle: Path
    summary: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one bundle on one labelled file.

    Attributes:
        examples: number of texts.
        accuracy, macro_f1: 0 to 1.
        calibration_error: expected calibration error over 15 equal-width bins, 0 to 1.
        negative_log_likelihood: mean, in nats.
        label_names: class names; the order of `confusion`.
        confusion: confusion[i][j] counts texts of class i predicted as class j.
    """

    examples: int
    accuracy: float
    macro_f1: float
    calibration_error: float
    negative_log_likelihood: float
    label_names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
