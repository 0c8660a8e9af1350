"""`adapt`, the main job: a teacher bundle and unlabelled target texts to a student bundle."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from distilshift.adaptation import OBJECTIVES, adapt_teacher
from distilshift.black_box import JUDGEMENT, BlackBox
from distilshift.budget import check_budget, plan_student
from distilshift.bundle import Manifest, read_manifest
from distilshift.config import AdaptConfig, overlaid, require_compatible, require_used
from distilshift.data.check import require_pairs, telling_of_pairs
from distilshift.data.corpus import Corpus, open_corpus
from distilshift.data.held_out import held_out_mask, training_rows
from distilshift.dine import SECOND_STAGE
from distilshift.distil_features import distil_features, require_comparable
from distilshift.encoder import Classifier, load_classifier, scale_logits
from distilshift.files import output_errors, require_apart
from distilshift.joint import require_masks
from distilshift.journal import fingerprint
from distilshift.judging import NOT_ADAPTED, Judge, Judgement
from distilshift.learning import Lesson, learn_guarded, relabelled
from distilshift.loop import finished
from distilshift.parts import read_parts
from distilshift.run import RunDirectory
from distilshift.second_opinion import SecondOpinion, average_teachers, second_opinion
from distilshift.shards import Rows
from distilshift.stage import peak_memory_bytes, placed, require_room, seeded
from distilshift.stage_run import stage_run
from distilshift.static_student import STATIC, static_length, static_shape, static_student
from distilshift.student import build_student
from distilshift.student_bundle import Distilled, write_student
from distilshift.student_calibration import student_temperature
from distilshift.target_check import facts_of, sufficient
from distilshift.target_labels import LabelledTexts, match_labels, read_target_labels
from distilshift.target_prior import TargetPrior, given_prior
from distilshift.teacher_input import open_teacher
from distilshift.types import AdaptResult
from distilshift.views import Reading, label_views, read_texts, within_budget

log = logging.getLogger("distilshift")


def adapt(
    teacher: str | Path | None,
    texts: Any,
    output: str | Path,
    config: AdaptConfig | None = None,
    *,
    overwrite: bool = False,
    fresh: bool = False,
    cache: str | Path | None = None,
    **options: Any,
) -> AdaptResult:
    """Adapt a teacher to unlabelled target texts, distil it into a small student, and export that.

    Source texts cannot be given: there is nothing that would take them. Labels are not needed; those of some target
    texts can be given by the option `labels`.

    Args:
        teacher: a teacher bundle; None with the option `teacher_probabilities`.
        texts: a file (plain text with one text per line, or with a text column), a folder or a glob of such files, a
            list of Path objects; a table with a text column (pandas, polars, `datasets`, pyarrow, a dict of columns);
            or the texts themselves.
        output: the student bundle's folder; unfinished work lives in `<output>.run`.
        config: the options; the defaults where None.
        overwrite: replace a bundle that is there.
        fresh: discard an unfinished run instead of continuing it.
        cache: a folder of what teachers said of texts; runs that share it, with other options or on other days, do not
            ask a teacher again what it has said of the same texts. It may be removed at any time.
        options: single fields of AdaptConfig.

    Raises:
        DistilshiftError: an input, an option or the output is unusable; nothing is written then.
    """
    settings = overlaid(AdaptConfig, config, options)
    require_used(settings)
    return make_student(teacher, texts, output, settings, overwrite=overwrite, fresh=fresh, cache=cache)


def make_student(
    teacher: str | Path | None,
    texts: Any,
    output: str | Path,
    settings: AdaptConfig,
    *,
    overwrite: bool = False,
    fresh: bool = False,
    cache: str | Path | None = None,
) -> AdaptResult:
    """`adapt` with options that may include unused ones, such as those that all rows of a benchmark share."""
    start = time.perf_counter()
    folder = Path(output)
    require_compatible(settings)
    check_budget(settings)
    require_room(folder, overwrite)
    require_apart(folder, teacher, settings.student)
    source, manifest = open_teacher(teacher, settings)
    _given(settings, manifest)  # unusable shares shall not cost a pass over the texts
    corpus = open_corpus(texts, settings)
    first = next(iter(corpus))
    require_pairs([first], manifest.pair_column)
    settings = sufficient(corpus, telling_of_pairs(settings, first))
    if isinstance(source, BlackBox):
        source.require_rows(corpus)
    if cache:
        with output_errors(Path(cache)):  # not after the first pass
            Path(cache).mkdir(parents=True, exist_ok=True)
    labelled = read_target_labels(settings, manifest.label_names)
    inputs = {"teacher": fingerprint(asdict(manifest)), "texts": corpus.sha256}
    if labelled:
        require_pairs(labelled.examples, manifest.pair_column)
        inputs["content of labels"] = labelled.sha256
    with stage_run("adapt", folder, settings, inputs, fresh) as (accelerator, run):
        run.shared, leads = Path(cache) if cache else None, run.crew.leads
        if not placed(folder, overwrite, run, _last_training(settings)):
            if isinstance(source, BlackBox):
                made = _distilled_box(source, manifest, corpus, labelled, settings, accelerator, run)
            else:
                made = _distilled(source, manifest, corpus, labelled, settings, accelerator, run)
            if leads:
                write_student(folder, made, manifest, settings, overwrite, run)
    summary = read_manifest(folder, "student").runtime or {}
    warnings = tuple(summary.get("warnings", ()))
    for each in warnings if leads else ():
        log.warning("Warning: %s", each)
    return AdaptResult(folder, summary, time.perf_counter() - start, peak_memory_bytes(), warnings)


def _last_training(config: AdaptConfig) -> str:
    """What the run keeps last."""
    return finished(SECOND_STAGE if config.method == "dine" else "distil")


def _distilled(
    source: Path,
    manifest: Manifest,
    corpus: Corpus,
    labelled: LabelledTexts | None,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> Distilled:
    teacher = _teacher(source, manifest, config, accelerator)
    # One that cannot be built or taught shall not cost an adaptation first.
    student = _untrained_student(teacher, config, config.student_layers, rehearsal=True)
    require_comparable(teacher, student, config)
    require_masks(student, config)
    corpus = within_budget(corpus, teacher, config, accelerator, run)
    corpus, labels = match_labels(labelled, corpus) if labelled else (corpus, None)
    config = sufficient(corpus, config)  # again: the texts that were chosen may be copies
    held_out = held_out_mask(corpus, labels.rows if labels else None)
    plan = plan_student(student, corpus, config, run)
    role = "unadapted" if config.method in OBJECTIVES else "teacher"
    unadapted = read_texts(teacher, corpus, config, accelerator, run, role)
    parts = partial(read_parts, teacher, corpus, accelerator, run, config.seed)
    target = facts_of(teacher, corpus)
    judge = Judge(unadapted, manifest.statistics, config.seed, run, parts, _given(config, manifest), target)
    judgement, opinion = NOT_ADAPTED, None
    if config.method == "second-opinion":
        votes, remark = unadapted.whole, ""
        if config.adapted_weight:
            adapted = _teacher(source, manifest, config, accelerator)
            votes, remark = _with_adapted(adapted, judge, unadapted, corpus, config, accelerator, run)
        judgement, opinion = _second_opinion(teacher, judge, votes, corpus, config, run, remark)
    elif config.method in OBJECTIVES:
        judgement = _adapted(teacher, judge, corpus, config, accelerator, run)
        if judgement.adaptation == "refused":
            teacher = _teacher(source, manifest, config, accelerator)
        else:
            role = "teacher"

    def again() -> Classifier:
        return plan.build(_untrained_student(teacher, config, plan.shape.layers))

    student = again()
    views = label_views(teacher, student, corpus, config, accelerator, run, role, opinion)
    lesson = Lesson(views, config, accelerator, run, judge.known_shares(judgement), training_rows(held_out))
    others = {"unadapted": unadapted.whole}
    lesson, measured = relabelled(lesson, others, labels, teacher, corpus, manifest.temperature)
    if config.distillation == "soft-targets":
        student, judgement = learn_guarded(student, again, lesson, judge, judgement)
    else:
        distil_features(teacher, student, lesson.training_views(), config, accelerator, run)
    whole = lesson.views[0]
    made = Distilled(student, whole, corpus, unadapted, judgement, plan.summary, target, held_out, measured=measured)
    return _calibrated(made, manifest, config, accelerator, run)


def _distilled_box(
    box: BlackBox,
    manifest: Manifest,
    corpus: Corpus,
    labelled: LabelledTexts | None,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> Distilled:
    def make(layers: int | None) -> Classifier:
        with seeded(config.seed):
            return box.student(config, layers)

    untrained = make(config.student_layers)
    require_masks(untrained, config)
    box, corpus = box.within_budget(corpus, config)
    labels = match_labels(labelled, corpus, complete=False)[1] if labelled else None
    config = sufficient(corpus, config)
    held_out = held_out_mask(corpus, labels.rows if labels else None)
    plan = plan_student(untrained, corpus, config, run)

    def again() -> Classifier:
        return plan.build(make(plan.shape.layers))

    student = again()
    # The teacher's own tokenizer is not known: the student's, with its whole vocabulary, stands in for it.
    target = facts_of(untrained, corpus)
    given = _given(config, manifest)
    judge = Judge(box.reading(), manifest.statistics, config.seed, run, given=given, target=target)
    judgement, opinion = JUDGEMENT, None
    if config.method == "second-opinion":
        judgement, opinion = _second_opinion(untrained, judge, box.reading().whole, corpus, config, run)
    views = box.views(student, corpus, opinion.whole if opinion else box.reading().whole, config, run)
    lesson = Lesson(views, config, accelerator, run, judge.known_shares(judgement), training_rows(held_out))
    others = {"unadapted": box.reading().whole}
    lesson, measured = relabelled(lesson, others, labels, untrained, corpus, manifest.temperature)
    student, judgement = learn_guarded(student, again, lesson, judge, judgement)
    whole, read = lesson.views[0], box.reading()
    made = Distilled(student, whole, corpus, read, judgement, plan.summary, target, held_out, measured=measured)
    return _calibrated(made, manifest, config, accelerator, run)


def _calibrated(
    made: Distilled, manifest: Manifest, config: AdaptConfig, accelerator: Accelerator, run: RunDirectory
) -> Distilled:
    """The same, its student's logits on the scale of probabilities."""
    known = (made.unadapted, manifest.statistics, made.held_out)
    temperature = student_temperature(made.student, made.whole, made.corpus, *known, config, accelerator, run)
    scale_logits(made.student.model, 1.0 / temperature)
    return replace(made, temperature=temperature)


def _teacher(source: Path, manifest: Manifest, config: AdaptConfig, accelerator: Accelerator) -> Classifier:
    """The teacher as it came.

    Adaptation and distillation want the scale that label smoothing trained, calibration is for the user.
    """
    teacher = load_classifier(str(source), min(config.max_length, manifest.max_length))
    scale_logits(teacher.model, manifest.temperature)
    teacher.model.to(accelerator.device)
    return teacher


def _adapted(
    teacher: Classifier,
    judge: Judge,
    corpus: Corpus,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> Judgement:
    """Adapt the teacher in place, and say whether it may be used."""
    prior = judge.prior()
    adapt_teacher(teacher, corpus, config, accelerator, run, prior.array())
    if not config.gate:
        return Judgement("accepted", "The gate is off: the adapted teacher is used unseen.", prior)
    return judge.judge(read_texts(teacher, corpus, config, accelerator, run), prior)


def _with_adapted(
    teacher: Classifier,
    judge: Judge,
    unadapted: Reading,
    corpus: Corpus,
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> tuple[Rows, str]:
    """The labels of the teacher and of one that adapts by information maximization, and why the latter had no say.

    `teacher` adapts in place. It learns the texts alone, without spans of them, as it was measured.
    """
    shares = judge.adaptation_prior().array()
    adapt_teacher(teacher, corpus, replace(config, method="shot-im", spans=0), accelerator, run, shares)
    adapted = read_texts(teacher, corpus, config, accelerator, run, "adapted")
    if config.gate:
        judgement = judge.judge(adapted, judge.prior())
        if judgement.adaptation == "refused":
            return unadapted.whole, f" The adapted teacher had no say. {judgement.reason}"
    return Rows([average_teachers(unadapted.whole, adapted.whole, config.adapted_weight)]), ""


def _second_opinion(
    classifier: Classifier,
    judge: Judge,
    votes: Rows,
    corpus: Corpus,
    config: AdaptConfig,
    run: RunDirectory,
    remark: str = "",
) -> tuple[Judgement, SecondOpinion | None]:
    """Ask the words about the teachers' labels, and say whether what they changed may be used."""
    prior = judge.prior()
    shares = prior.array() if prior.known else None
    opinion = second_opinion(
        votes, corpus, classifier, config.opinion_weight, shares, judge.temperature, config.seed, run
    )
    if not config.gate:
        return Judgement("accepted", "The gate is off: the second opinion is used unseen.", prior), opinion
    judgement = judge.judge_opinion(opinion.whole, prior)
    if judgement.adaptation == "refused":
        return judgement, None
    remark += opinion.remark if config.opinion_weight else ""
    return replace(judgement, reason=judgement.reason + remark), opinion


def _given(config: AdaptConfig, manifest: Manifest) -> TargetPrior | None:
    """The class shares that the user gave."""
    return given_prior(config.target_prior, manifest.label_names)


def _untrained_student(
    teacher: Classifier, config: AdaptConfig, layers: int | None, rehearsal: bool = False
) -> Classifier:
    """The student; in a `rehearsal`, one that shows whether it can be made and taught, without what takes time."""
    with seeded(config.seed):
        if config.student == STATIC:
            make = static_shape if rehearsal else static_student
            return make(teacher, config.student_width, static_length(teacher.max_length, config.max_windows))
        return build_student(teacher, config.student, layers)
