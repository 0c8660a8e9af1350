"""`teach`: labelled source texts to a teacher bundle."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from distilshift.bundle import Manifest, Statistics, new_bundle, read_manifest
from distilshift.card import teacher_card
from distilshift.config import TeachConfig, overlaid
from distilshift.data.check import telling_of_pairs
from distilshift.data.classes import class_counts, class_weights, is_unequal, name_warnings
from distilshift.data.labelled import read_any_labelled
from distilshift.data.labels import class_order, sorted_labels
from distilshift.data.read import read_labelled, require_classes
from distilshift.data.rows import shown
from distilshift.data.split import stratified_split
from distilshift.encoder import Classifier, load_classifier, scale_logits
from distilshift.encoder_checks import casing_remark
from distilshift.errors import DataError
from distilshift.files import require_apart
from distilshift.inference import forward_all
from distilshift.journal import fingerprint
from distilshift.loop import finished, loop_config, train_once
from distilshift.run import RunDirectory
from distilshift.stage import fingerprint_examples, placed, require_room, seeded, versions
from distilshift.stage_run import stage_run
from distilshift.supervised import BestEpoch, saved_validation
from distilshift.teacher_report import class_records, prediction_warnings
from distilshift.training_log import write_training_log
from distilshift.types import Example, TeachResult
from distilshift.validation import Validation, validated_statistics
from distilshift.vocabulary import used_rows_only

_LOG = logging.getLogger("distilshift")


def teach(
    data: Any,
    output: str | Path,
    config: TeachConfig | None = None,
    *,
    overwrite: bool = False,
    fresh: bool = False,
    **options: Any,
) -> TeachResult:
    """Fine-tune an encoder on labelled texts and write a teacher bundle that holds none of them.

    The epoch and the temperature are chosen on source validation texts: by macro-F1 if a class has less than half of an
    even share of the training texts, by accuracy otherwise. The statistics are cross-fitted, so that they are not
    those of a maximum (`distilshift.validation`).

    Args:
        data: a file with a text and a label column, a folder or a glob of such files, a list of Path objects; a table
            with such columns (pandas, polars, `datasets`, a dict of columns); `(texts, labels)`; or labelled examples.
        output: the bundle's folder; unfinished work lives in `<output>.run`.
        config: the options; the defaults where None.
        overwrite: replace a bundle that is there.
        fresh: discard an unfinished run instead of continuing it.
        options: single fields of TeachConfig.

    Raises:
        DistilshiftError: an input, an option or the output is unusable; nothing is written then.
    """
    start = time.perf_counter()
    settings = overlaid(TeachConfig, config, options)
    folder = Path(output)
    require_room(folder, overwrite)
    require_apart(folder, settings.base_model)
    training, validation = _examples(data, settings)
    settings = telling_of_pairs(settings, training[0])
    names = class_order([str(item.label) for item in training], settings.label_names)
    counts = class_counts(names, training)
    class_weights(settings.class_weights, names, counts)  # unusable ones are refused before any work
    texts = fingerprint([*map(fingerprint_examples, (training, validation))])
    with stage_run("teach", folder, settings, {"texts": texts}, fresh) as (accelerator, run):
        leads = run.crew.leads
        if leads:
            _report_classes(names, counts)
        if not placed(folder, overwrite, run, finished("teach")):
            _teach(folder, names, training, validation, settings, accelerator, run, overwrite)
    result = _result(folder, read_manifest(folder, "teacher"), time.perf_counter() - start)
    for warning in result.warnings if leads else ():
        _LOG.warning("%s", warning)
    return result


def _report_classes(names: Sequence[str], counts: Sequence[int]) -> None:
    """Say which classes there are before the training, which may be long."""
    numbers = ", ".join(f"{shown(name)} {count:,}" for name, count in zip(names, counts, strict=True))
    _LOG.info("%d classes, training texts: %s", len(names), numbers)
    for warning in name_warnings(names):
        _LOG.warning("%s", warning)


def _result(bundle: Path, manifest: Manifest, seconds: float) -> TeachResult:
    known = manifest.statistics
    assert known  # a taught teacher has them
    return TeachResult(
        bundle,
        known.validation_accuracy,
        known.temperature,
        seconds,
        balanced_accuracy=known.balanced_accuracy,
        macro_f1=known.macro_f1,
        classes=class_records(manifest.label_names, known),
        warnings=tuple(prediction_warnings(manifest.label_names, known, manifest.config["class_weights"])),
    )


def _teach(
    folder: Path,
    names: list[str],
    training: list[Example],
    validation: list[Example],
    config: TeachConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    overwrite: bool,
) -> None:
    """Train, calibrate, and write the bundle."""
    with seeded(config.seed):
        classifier = load_classifier(config.base_model, config.max_length, names)
    if remark := casing_remark(classifier.tokenizer):
        _LOG.warning("%s", remark)
    counts = class_counts(names, training)
    found = _fit(classifier, training, validation, counts, config, accelerator, run)
    statistics = validated_statistics(found, counts, config.seed)
    scale_logits(classifier.model, 1.0 / statistics.temperature)
    if run.crew.leads:
        _write(folder, classifier, _manifest(classifier, config, statistics), overwrite, run)


def _examples(data: Any, config: TeachConfig) -> tuple[list[Example], list[Example]]:
    """Training and validation examples."""
    name, examples = read_any_labelled(data, config)
    config = telling_of_pairs(config, examples[0])
    require_classes(examples, name)
    if config.validation is None:
        return stratified_split(examples, config.validation_fraction, config.seed)
    held_out = read_labelled(config.validation, config).examples
    unknown = {item.label for item in held_out} - {item.label for item in examples}
    if unknown:
        raise DataError(
            f"{config.validation} has labels that {name} lacks",
            got=", ".join(sorted_labels(map(str, unknown))),
            fix="use the same label names in both files",
        )
    return examples, list(held_out)


def _label_ids(classifier: Classifier, examples: Sequence[Example]) -> NDArray[np.int64]:
    order = {name: index for index, name in enumerate(classifier.label_names)}
    return np.array([order[str(item.label)] for item in examples], dtype=np.int64)


def _fit(
    classifier: Classifier,
    training: Sequence[Example],
    validation: Sequence[Example],
    counts: Sequence[int],
    config: TeachConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> Validation:
    """Train; returns what each epoch predicts for the validation texts."""
    device, names = accelerator.device, classifier.label_names
    held_out, unequal = _label_ids(classifier, validation), is_unequal(counts)
    weights = class_weights(config.class_weights, names, counts)
    stores = [classifier.tokenise(training), classifier.tokenise(validation)]
    classifier.model.to(device)
    with used_rows_only(classifier.model, stores) as (texts, held_out_texts):

        def validate() -> NDArray[np.float32]:
            return forward_all(classifier, held_out_texts, device, accelerator.autocast, crew=run.crew)["logits"]

        learning = (classifier, texts, _label_ids(classifier, training), config.label_smoothing, device, weights)
        objective = BestEpoch(*learning, validate=validate, held_out=held_out, by_macro_f1=unequal)
        loop = loop_config("teach", config, config.epochs, config.batch_size, config.learning_rate)
        train_once(classifier.model, objective, loop, accelerator, run, lambda: objective.finish(run))
    return saved_validation(run, held_out, unequal)


def _manifest(classifier: Classifier, config: TeachConfig, statistics: Statistics) -> Manifest:
    return Manifest(
        kind="teacher",
        label_names=classifier.label_names,
        base_model=Path(config.base_model).name,
        max_length=classifier.max_length,
        seed=config.seed,
        config=config.portable(),
        versions=versions(),
        statistics=statistics,
    )


def _write(folder: Path, classifier: Classifier, manifest: Manifest, overwrite: bool, run: RunDirectory) -> None:
    with new_bundle(folder, manifest, overwrite) as new:
        classifier.save(new)
        write_training_log(new, run)
        (new / "README.md").write_text(teacher_card(manifest), encoding="utf-8")
