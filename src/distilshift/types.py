"""Frozen records that cross stages."""

from __future__ import annotations

from collections.abc import Mapping
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
        columns: the other columns of its row, by name; set only where the reader was asked to keep them, and no part of
            the example's identity.
    """

    text: str
    pair: str | None = None
    label: str | None = None
    problem: str | None = None
    columns: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Prediction:
    """A predicted label with the probability of every class.

    Attributes:
        label: the likeliest class; None where it is withheld because its probability is too low.
        probabilities: of each class; they sum to 1.
        abstained: why the label is withheld; None where there is one.
    """

    label: str | None
    probabilities: dict[str, float]
    abstained: str | None = None


@dataclass(frozen=True)
class Statistic:
    """One statistic of the texts, compared with the student's reference.

    Attributes:
        name: words (distance of the mean word projection from the reference's, beside the one expected by chance),
            length (median, in words and punctuation marks), unknown pieces (share of texts with one), the share of a
            class (the one that moved most), or confidence (median).
        reference: its value for the target texts that the student was made from.
        now: its value for the new texts.
        p_value: probability of a difference at least as large if nothing has changed.
        moved: whether it moved, by Holm's method over all statistics.
    """

    name: str
    reference: float
    now: float
    p_value: float
    moved: bool


@dataclass(frozen=True)
class Drift:
    """Result of comparing new texts with a student's target texts.

    Attributes:
        drifted: whether any statistic moved.
        p_value: of all statistics together: the smallest p-value times their number, 1 at most.
        level: probability of a false alarm.
        texts: new texts that were compared.
        reference_texts: target texts that they were compared with.
        statistics: the tests. Class shares and confidence are absent if no target texts were held out from training.
    """

    drifted: bool
    p_value: float
    level: float
    texts: int
    reference_texts: int
    statistics: tuple[Statistic, ...]


@dataclass(frozen=True)
class ClassRecord:
    """A class of a teacher.

    Attributes:
        name: its label.
        training_texts: how many there are; None if the bundle does not say.
        validation_texts: how many there are.
        recall: share of the validation texts that are predicted as this class, 0 to 1; None if there are none.
    """

    name: str
    training_texts: int | None
    validation_texts: int
    recall: float | None


@dataclass(frozen=True)
class TeachResult:
    """What `teach` made.

    Attributes:
        bundle: the teacher bundle's folder.
        validation_accuracy: share of source validation texts labelled right, 0 to 1.
        temperature: the calibration temperature (dimensionless; logits are divided by it).
        seconds: wall time.
        balanced_accuracy, macro_f1: of the same texts, 0 to 1.
        classes: one record for each class, in the order of the logits.
        warnings: sentences about classes that are never predicted.
    """

    bundle: Path
    validation_accuracy: float
    temperature: float
    seconds: float
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    classes: tuple[ClassRecord, ...] = ()
    warnings: tuple[str, ...] = ()


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
class QueryResult:
    """What `query` asked.

    Attributes:
        output: the CSV file.
        rows: numbers of the texts in this batch, from 0, in the order of the file.
        asked: texts in the file, earlier batches included.
        texts: texts to choose from, in all.
        groups: number of groups of near copies among them; one text of each is asked at most.
        predicted: texts of this batch per predicted class.
        weights: how many texts each row of the file stands for: the smallest and the largest number.
        effective_answers: number of random answers that would measure as precisely, if all rows are answered.
        explanation: why these texts, in sentences.
    """

    output: Path
    rows: tuple[int, ...]
    asked: int
    texts: int
    groups: int
    predicted: dict[str, int]
    weights: tuple[float, float]
    effective_answers: float
    explanation: str


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one bundle on one labelled file.

    Attributes:
        examples: number of texts.
        accuracy, macro_f1: 0 to 1.
        balanced_accuracy: mean recall over the classes that have texts, 0 to 1.
        calibration_error: expected calibration error over 15 equal-width bins, 0 to 1.
        negative_log_likelihood: mean, in nats.
        label_names: class names; the order of `confusion`.
        confusion: confusion[i][j] counts texts of class i predicted as class j.
        class_recall: share of each class's texts that are predicted as it; None for a class without a text.
        answered: share of the texts whose label is not withheld; None where no confidence was required.
        answered_accuracy: accuracy on these, 0 to 1; None where there are none. The other numbers are of all texts.
    """

    examples: int
    accuracy: float
    macro_f1: float
    calibration_error: float
    negative_log_likelihood: float
    label_names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    balanced_accuracy: float
    class_recall: tuple[float | None, ...]
    answered: float | None = None
    answered_accuracy: float | None = None
