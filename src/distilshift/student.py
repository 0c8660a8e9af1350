"""Building the student: some of the teacher's layers, or another encoder with a tokenizer of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from distilshift.encoder import Classifier, layers_of, load_classifier
from distilshift.errors import ConfigError

# Layers of a student where nothing says otherwise: half of what the small sentence encoders have.
BASE_LAYERS = 3


def kept_layers(teacher_layers: int, student_layers: int) -> list[int]:
    """Evenly spread layer indices, the first included: 6 to 3 keeps 0, 2, 4.

    Raises:
        ConfigError: the student would be deeper than the encoder it is cut from.
    """
    if student_layers > teacher_layers:
        raise ConfigError(
            "student_layers is too large",
            expected=f"at most {teacher_layers}, the encoder's own layers",
            got=str(student_layers),
            fix="ask for fewer layers",
        )
    return [index * teacher_layers // student_layers for index in range(student_layers)]


def cut(classifier: Classifier, student_layers: int) -> Classifier:
    """A copy with some of the layers, the same embeddings, head and tokenizer."""
    stack = layers_of(classifier.model)
    kept = kept_layers(len(stack), student_layers)
    model = copy.deepcopy(classifier.model)
    owner = _owner_of(model, layers_of(model))
    owner.layer = nn.ModuleList([layers_of(model)[index] for index in kept])
    model.config.num_hidden_layers = student_layers
    return Classifier(model, classifier.tokenizer, classifier.max_length)


def _owner_of(model: nn.Module, stack: nn.ModuleList) -> nn.Module:
    return next(module for module in model.modules() if getattr(module, "layer", None) is stack)


def build_student(teacher: Classifier, student: str, student_layers: int | None) -> Classifier:
    """The untrained student.

    Args:
        teacher: what it is cut from, and whose classes it takes.
        student: 'cut', or an encoder's name (see `teach --base-model`), which gets a new head.
        student_layers: transformer layers; an encoder that has no more than these stays whole. None: `BASE_LAYERS` at
            the most.

    Raises:
        ConfigError: the teacher has fewer layers.
        ModelError: the encoder cannot be loaded.
    """
    if student == "cut":
        return cut(teacher, student_layers or min(BASE_LAYERS, len(layers_of(teacher.model))))
    made = new_student(student, teacher.max_length, teacher.label_names, student_layers)
    made.tokenizer.truncation_side = teacher.tokenizer.truncation_side  # the student reads what the teacher labelled
    return made


def new_student(encoder: str, max_length: int, label_names: Sequence[str], student_layers: int | None) -> Classifier:
    """An encoder with a new head, cut to `student_layers` if it has more.

    Args:
        encoder: its name (see `teach --base-model`).
        max_length: tokens of a text that it shall see.
        label_names: of the new head.
        student_layers: transformer layers at the most; None: `BASE_LAYERS`.

    Raises:
        ModelError: the encoder cannot be loaded.
    """
    other = load_classifier(encoder, max_length, label_names)
    most = student_layers or BASE_LAYERS
    return cut(other, most) if len(layers_of(other.model)) > most else other
