"""The student's training that the options name; one that learns from its own predictions is looked at afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from distilshift import progress
from distilshift.config import AdaptConfig
from distilshift.data.corpus import Corpus
from distilshift.dine import dine_student
from distilshift.distil import distil_student
from distilshift.encoder import Classifier
from distilshift.inference import forward_all
from distilshift.joint import distil_jointly, masks
from distilshift.judging import Judge, Judgement, Verdict
from distilshift.measured import Measured
from distilshift.relabelling import relabel, rows_to_learn
from distilshift.run import RunDirectory
from distilshift.shards import Rows, token_store
from distilshift.target_labels import TargetLabels
from distilshift.target_prior import TargetPrior
from distilshift.views import LabelledView

# The run's name for the training that takes the place of one that was refused.
PLAIN_STAGE = "plain"


@dataclass(frozen=True)
class Lesson:
    """What a student learns, and how.

    Attributes:
        views: with the teacher's labels, the whole texts first.
        config: the options.
        accelerator: where it runs.
        run: keeps weights and decisions.
        expected: (classes,), the class shares of the target where they are known.
        rows: numbers of the texts to train on; None for all.
    """

    views: Sequence[LabelledView]
    config: AdaptConfig
    accelerator: Accelerator
    run: RunDirectory
    expected: NDArray[np.float64] | None = None
    rows: NDArray[np.int64] | None = None

    def training_views(self) -> list[LabelledView]:
        """The views of the texts to train on."""
        return list(self.views) if self.rows is None else [view.only(self.rows) for view in self.views]


def relabelled(
    lesson: Lesson,
    others: Mapping[str, Rows],
    labels: TargetLabels | None,
    reader: Classifier,
    texts: Corpus,
    scale: float,
) -> tuple[Lesson, Measured | None]:
    """The lesson as labels change it, and how accurate its labels are then; unchanged without labels.

    Args:
        lesson: of labels that a teacher or several opinions gave.
        others: logits of the whole texts that may be better than the lesson's, by name, each (texts, classes).
        labels: of some texts.
        reader: sees which texts are similar.
        texts: the corpus.
        scale: the temperature that calibrates the logits.
    """
    if labels is None:
        return lesson, None
    whole, run = lesson.views[0], lesson.run
    with progress.stage("tokenising", len(texts)) as advance:
        tokens = token_store(reader, texts, len(texts), run, "compared", advance)
    candidates = {"in use": whole.text_logits or whole.teacher_logits, **others}
    found = relabel(reader, tokens, candidates, labels, scale, lesson.config.seed, lesson.accelerator, run)
    rows = rows_to_learn(lesson.rows, len(texts), labels)
    return replace(lesson, views=found.views(lesson.views), expected=found.shares, rows=rows), found.measured


def learn(student: Classifier, lesson: Lesson, name: str = "distil") -> None:
    """Train the student in place; `name` is the run's for this training."""
    views, config, accelerator, run = lesson.training_views(), lesson.config, lesson.accelerator, lesson.run
    if config.method == "dine":
        dine_student(student, views, config, accelerator, run)
    elif config.feedback or masks(config):
        distil_jointly(student, views, config, accelerator, run, lesson.expected, name)
    else:
        distil_student(student, views, config, accelerator, run, name)


def learns_from_itself(config: AdaptConfig) -> bool:
    """Whether the student's own predictions are among its labels, which can confirm any error of it."""
    return config.method == "dine" or config.feedback > 0


def learn_guarded(
    student: Classifier,
    again: Callable[[], Classifier],
    lesson: Lesson,
    judge: Judge,
    judgement: Judgement,
) -> tuple[Classifier, Judgement]:
    """A trained student; where one that learnt from itself shows a sign of harm, one of plain labels instead.

    Args:
        student: not trained yet.
        again: gives another one like it.
        lesson: what it learns.
        judge: knows what the unadapted teacher says.
        judgement: what became of the teacher's adaptation.
    """
    config = lesson.config
    learn(student, lesson)
    if not learns_from_itself(config):
        return student, judgement
    prior = judgement.prior or judge.prior()
    verdict = _verdict(student, lesson, judge, prior)
    if verdict.outcome == "refused":
        student = again()
        plain = replace(config, method="none" if config.method == "dine" else config.method, feedback=0.0)
        learn(student, replace(lesson, config=plain), PLAIN_STAGE)
    return student, judgement.after(verdict, config.method, prior)


def _verdict(student: Classifier, lesson: Lesson, judge: Judge, prior: TargetPrior) -> Verdict:
    accelerator = lesson.accelerator
    if not lesson.config.gate:
        return Verdict("accepted", "The gate is off: the student that learnt from itself is used unseen.")

    def logits() -> NDArray[np.float32]:
        whole, device = lesson.views[0].texts, accelerator.device
        return forward_all(student, whole, device, accelerator.autocast, crew=lesson.run.crew)["logits"]

    return judge.judge_student(logits, prior, "Adaptation" if lesson.config.method == "dine" else "Feedback")
