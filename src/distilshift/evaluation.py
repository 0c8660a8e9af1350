"""`evaluate`: a bundle's numbers on labelled texts; a student runs as on the device, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.abstention import RiskCoverage, required_confidence
from distilshift.bundle import Manifest, read_manifest, verify
from distilshift.config import AdaptConfig, EvaluateConfig, RuntimeConfig, overlaid
from distilshift.data.check import require_pairs
from distilshift.data.label_ids import label_ids
from distilshift.data.labelled import read_any_labelled
from distilshift.data.labels import is_number
from distilshift.errors import ConfigError
from distilshift.metrics import (
    accuracy,
    balanced_accuracy,
    calibration_error,
    class_recalls,
    confusion_matrix,
    macro_f1,
    negative_log_likelihood,
    softmax,
)
from distilshift.network import load_network
from distilshift.types import Evaluation, Example


def evaluate(bundle: str | Path, data: Any, config: EvaluateConfig | None = None, **options: Any) -> Evaluation:
    """Measure a teacher or a student bundle on labelled texts.

    Args:
        bundle: the folder.
        data: a file with a text and a label column, a folder or a glob of such files, a list of Path objects; a table
            with such columns (pandas, polars, `datasets`, a dict of columns); `(texts, labels)`; or labelled examples.
        config: the options; the defaults where None.
        options: single fields of EvaluateConfig.

    Raises:
        DistilshiftError: the bundle or the file is unusable, or a label is not one of the bundle's.
    """
    settings = overlaid(EvaluateConfig, config, options)
    folder = Path(bundle)
    manifest = read_manifest(folder)
    require_own_form(folder, manifest, settings)
    _require_curve(folder, manifest, settings)
    curve = RiskCoverage.from_json((manifest.runtime or {}).get("abstention"))
    required = required_confidence(curve, settings.min_accuracy, settings.abstain_below)
    examples, labels = labelled_examples(manifest, data, settings)
    logits = _logits(folder, manifest, examples, settings)
    return score(logits, labels, manifest.label_names, required)


def labelled_examples(
    manifest: Manifest, data: Any, config: EvaluateConfig
) -> tuple[Sequence[Example], NDArray[np.int64]]:
    """Labelled texts as a bundle can be measured on them, and the index of each one's label.

    Raises:
        DataError: they are unusable, have one text where the bundle reads two, or a label that is not the bundle's.
    """
    if config.label_names is None and all(map(is_number, manifest.label_names)):
        config = replace(config, label_names="as-is")  # the bundle's own names are numbers
    where, examples = read_any_labelled(data, config, manifest.label_names)
    require_pairs(examples, manifest.pair_column)
    return examples, label_ids(examples, manifest.label_names, where)


def require_own_form(bundle: Path, manifest: Manifest, config: RuntimeConfig) -> None:
    """Refuse the choice of an ONNX file for a teacher.

    Raises:
        ConfigError: the bundle is a teacher, and `model` is not auto.
    """
    if manifest.kind == "teacher" and config.model != "auto":
        raise ConfigError(
            f"{bundle} is a teacher, which has no {config.model} network",
            expected="model auto, or a student",
            got=config.model,
            fix="leave --model out, or name the student",
        )


def _require_curve(bundle: Path, manifest: Manifest, config: EvaluateConfig) -> None:
    if manifest.kind == "teacher" and config.min_accuracy is not None:
        raise ConfigError(
            f"{bundle} is a teacher, which has no risk-coverage curve",
            expected="a student, or abstain_below",
            got=f"min_accuracy {config.min_accuracy:g}",
            fix="name the student, or set the confidence with --abstain-below",
        )


def score(
    logits: NDArray[np.floating],
    labels: NDArray[np.int64],
    label_names: Sequence[str],
    required: float | None = None,
) -> Evaluation:
    """The numbers of an evaluation from (texts, classes) logits and (texts,) label indices.

    `required` is the confidence that a label needs not to be withheld.
    """
    probabilities, confusion = softmax(logits), confusion_matrix(labels, logits.argmax(axis=1), len(label_names))
    return Evaluation(
        examples=len(labels),
        accuracy=accuracy(confusion),
        balanced_accuracy=balanced_accuracy(confusion),
        macro_f1=macro_f1(confusion),
        calibration_error=calibration_error(probabilities, labels),
        negative_log_likelihood=negative_log_likelihood(probabilities, labels),
        label_names=tuple(label_names),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        class_recall=tuple(class_recalls(confusion)),
        **_answered(probabilities, labels, required),
    )


def _answered(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], required: float | None
) -> dict[str, float | None]:
    """The share of labels that are not withheld, and how many of these are right."""
    if required is None:
        return {}
    given = probabilities.max(axis=1) >= required
    right = probabilities.argmax(axis=1)[given] == labels[given]
    return {"answered": float(given.mean()), "answered_accuracy": float(right.mean()) if len(right) else None}


def _logits(
    bundle: Path, manifest: Manifest, examples: Sequence[Example], config: EvaluateConfig
) -> NDArray[np.float32]:
    if manifest.kind == "student":
        network = load_network(bundle, manifest, config.model, config.threads, config.max_windows)
        return network.logits(examples, config.batch_size)
    verify(bundle, manifest)
    # Only a teacher needs PyTorch, and only here.
    from distilshift.inference import bundle_logits

    windows = config.max_windows or AdaptConfig.max_windows
    return bundle_logits(bundle, manifest.max_length, examples, config.batch_size, config.threads, windows)
