"""A finished classifier's numbers on a domain's labelled texts, the only reading of target labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.bench.data import Domain
from distilshift.bench.resample import POSITIVE
from distilshift.bundle import Manifest, read_manifest, verify
from distilshift.config import OnnxChoice
from distilshift.encoder import load_classifier
from distilshift.errors import DataError
from distilshift.inference import bundle_logits
from distilshift.metrics import calibration_error, confusion_matrix, macro_f1, softmax
from distilshift.network import load_network
from distilshift.types import Example

BATCH = 32
# What a student's bundle says that was decided or guessed without labels: names here to names there.
WITHOUT_LABELS = {
    "estimated_accuracy": "estimated_accuracy",
    "estimated_accuracy_interval": "estimated_accuracy_interval",
    "adaptation": "adaptation",
    "adaptation_reason": "adaptation_reason",
    "estimated_prior": "target_prior",
    "estimated_prior_reason": "target_prior_reason",
}


def require_labels(target: Domain, names: Sequence[str], to_learn: bool) -> None:
    """Whether a target can measure a classifier with these classes, and teach one: before anything is trained.

    Raises:
        DataError: a test text has no label, a label is not one of the names, or none is there to learn from.
    """
    if any(item.label is None for item in target.test):
        raise DataError("a test text of the target has no label", fix="leave it out, or move it to split train")
    _require_known([*target.test, *target.labelled()], names)
    if to_learn and not target.labelled():
        raise DataError("the target's training texts have no labels to learn from", fix="leave the row out")


def _require_known(examples: Sequence[Example], names: Sequence[str]) -> None:
    if unknown := {str(item.label) for item in examples} - set(names):
        raise DataError(
            "the target has other labels than the source", got=", ".join(sorted(unknown)), fix="rename them"
        )


def right(logits: NDArray[np.float32], examples: Sequence[Example], names: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the texts (texts,) are labelled right by logits (texts, classes).

    Raises:
        DataError: a label is not one of the names.
    """
    return logits.argmax(axis=1) == _classes(examples, names)


def _classes(examples: Sequence[Example], names: Sequence[str]) -> NDArray[np.int64]:
    """Return the examples' classes (texts,)."""
    _require_known(examples, names)
    return np.array([names.index(str(item.label)) for item in examples], np.int64)


def of_classes(logits: NDArray[np.float32], examples: Sequence[Example], names: Sequence[str]) -> dict[str, float]:
    """Return what an accuracy does not show: macro-F1 and expected calibration error.

    Raises:
        DataError: a label is not one of the names.
    """
    labels = _classes(examples, names)
    return {
        "test_macro_f1": macro_f1(confusion_matrix(labels, logits.argmax(axis=1), len(names))),
        "test_calibration_error": calibration_error(softmax(logits), labels),
    }


def class_shares(examples: Sequence[Example], names: Sequence[str]) -> dict[str, float] | None:
    """Return how frequent each class is among labelled examples; None without any.

    Raises:
        DataError: a label is not one of the names.
    """
    if not examples:
        return None
    shares = np.bincount(_classes(examples, names), minlength=len(names)) / len(examples)
    return dict(zip(names, shares.tolist(), strict=True))


def logits_of(
    bundle: Path, manifest: Manifest, examples: Sequence[Example], model: OnnxChoice, threads: int, windows: int = 1
) -> NDArray[np.float32]:
    """(texts, classes): of a student as its device runs it, of a teacher in PyTorch, which reads so many windows."""
    if manifest.kind == "student":
        return load_network(bundle, manifest, model, threads).logits(examples, BATCH)
    verify(bundle, manifest)
    return bundle_logits(bundle, manifest.max_length, examples, BATCH, threads, windows)


def measure(bundle: Path, target: Domain, threads: int, windows: int = 1) -> dict[str, Any]:
    """A bundle's part of a result.

    Args:
        bundle: a student, or a teacher.
        target: the domain.
        threads: CPU threads; 0 takes all cores.
        windows: that a teacher reads of a long text at the most; a student's bundle says so itself.

    Returns:
        test_accuracy and all_accuracy (the fp32 network's, fractions), what `of_classes` gives of the test texts,
        test_accuracy_int8 and test_accuracy_beginning (of texts' beginnings, where long ones are read in windows
        otherwise; both null without an export), train_shares and test_shares (class shares of each split's labelled
        texts), estimated_accuracy and its interval, adaptation (accepted, refused or none), estimated_prior (the class
        shares that adaptation expected) and why (all null where the bundle has none), predicted_share_positive (on the
        test texts), train_texts and test_texts (how many), and test_correct, a digit a test text, 1 where it is
        labelled right.
    """
    manifest = read_manifest(bundle)
    names, count = manifest.label_names, len(target.test)
    examples = [*target.test, *target.labelled()]
    logits = logits_of(bundle, manifest, examples, "fp32", threads, windows)
    correct = right(logits, examples, names)
    runtime = manifest.runtime
    int8 = logits_of(bundle, manifest, target.test, "int8", threads) if runtime else None
    beginning = logits[:count] if runtime else None
    if runtime and runtime["max_windows"] > 1:
        beginning = load_network(bundle, manifest, "fp32", threads, 1).logits(target.test, BATCH)
    positive = float(np.mean(logits[:count].argmax(axis=1) == names.index(POSITIVE))) if POSITIVE in names else None
    return {
        "test_accuracy": float(correct[:count].mean()),
        "all_accuracy": float(correct.mean()),
        **of_classes(logits[:count], target.test, names),
        "train_shares": class_shares(target.labelled(), names),
        "test_shares": class_shares(target.test, names),
        "test_accuracy_int8": None if int8 is None else float(right(int8, target.test, names).mean()),
        "test_accuracy_beginning": None if beginning is None else float(right(beginning, target.test, names).mean()),
        **{key: (runtime or {}).get(name) for key, name in WITHOUT_LABELS.items()},
        "predicted_share_positive": positive,
        "train_texts": len(target.train),
        "test_texts": count,
        "test_correct": "".join(map(str, correct[:count].astype(int))),
    }


def measure_teacher(bundle: Path, target: Domain, threads: int) -> dict[str, Any]:
    """Return a teacher's test_accuracy and what `of_classes` gives, when it reads the beginnings of the test texts.

    And long_texts: how many of the target's texts, training texts among them, are longer than it reads at once.
    """
    manifest = read_manifest(bundle, "teacher")
    logits = logits_of(bundle, manifest, target.test, "fp32", threads)
    accuracy = float(right(logits, target.test, manifest.label_names).mean())
    classifier = load_classifier(str(bundle), manifest.max_length)
    counts = classifier.windows([*target.train, *target.test], 2).counts
    numbers = {"test_accuracy": accuracy, "long_texts": sum(count > 1 for count in counts)}
    return numbers | of_classes(logits, target.test, manifest.label_names)
