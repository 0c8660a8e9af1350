"""Which options do not go together, and which are used only beside others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distilshift.config.adapt import STATES_FIRST, AdaptConfig
from distilshift.errors import ConfigError

TRAINED = ("shot-im", "shot", "nrc", "aad")


@dataclass(frozen=True)
class Use:
    """What an option belongs to.

    Attributes:
        belongs: in words, for messages.
        holds: whether a config uses it.
    """

    belongs: str
    holds: Callable[[AdaptConfig], bool]


def _methods(*names: str) -> Use:
    *others, last = names
    return Use(f"method {', '.join(others)} or {last}" if others else f"method {last}", lambda c: c.method in names)


def _adapting(*names: str, trained: tuple[str, ...] = TRAINED) -> Use:
    """An option of training the teacher, by one of these methods or as a part of second-opinion."""
    use = _methods(*trained, *names)
    return Use(
        f"{use.belongs}, or second-opinion with adapted_weight above 0 and a teacher bundle",
        lambda c: (
            use.holds(c) or (c.method == "second-opinion" and c.adapted_weight > 0 and not c.teacher_probabilities)
        ),
    )


_SHARES = Use("a method other than none, or feedback", lambda c: c.method != "none" or c.feedback > 0)
_SPANS = Use("spans above 0", lambda c: c.spans > 0)
_STATIC = Use("student static", lambda c: c.student == "static")
_LABELS = Use("labels", lambda c: c.labels is not None)
_LAYERED = Use("a student other than static", lambda c: c.student != "static")

# Options that only some methods or students use; `adapt` uses all others whatever is chosen.
USES: dict[str, Use] = {
    "opinion_weight": _methods("second-opinion"),
    "adapted_weight": Use(
        "method second-opinion and a teacher bundle",
        lambda c: c.method == "second-opinion" and c.teacher_probabilities is None,
    ),
    "adapt_epochs": _adapting("dine"),
    "adapt_learning_rate": _adapting("tent", "dine"),
    "adapt_frozen_layers": _adapting("tent"),
    "adapt_batch_size": _adapting("tent", "dine"),
    "diversity_weight": _adapting("dine", trained=("shot-im", "shot", "nrc")),
    "target_prior": _SHARES,
    "gate": _SHARES,
    "pseudo_label_weight": _methods("shot"),
    "neighbours": _methods("nrc", "aad"),
    "dispersion_decay": _methods("aad"),
    "mixup_weight": _methods("dine"),
    "student_layers": _LAYERED,
    "student_width": _STATIC,
    "span_min_words": _SPANS,
    "span_max_words": _SPANS,
    "span_text_weight": Use(
        "spans above 0 and a teacher bundle", lambda c: c.spans > 0 and c.teacher_probabilities is None
    ),
    "feedback_every": Use("feedback above 0", lambda c: c.feedback > 0),
    "label_column": _LABELS,
    "label_names": _LABELS,
    "mlm_weight": Use("mlm_head", lambda c: c.mlm_head is not None),
    "mask_fraction": Use(
        "masked_consistency or mlm_head", lambda c: c.masked_consistency > 0 or c.mlm_head is not None
    ),
}


def unused_options(config: AdaptConfig) -> dict[str, str]:
    """The options that were given and that the others leave without effect, with what they belong to."""
    given = config.chosen()
    return {name: use.belongs for name, use in USES.items() if given.get(name) is not None and not use.holds(config)}


def require_used(config: AdaptConfig) -> None:
    """Refuse options of `adapt` that would be ignored, even where they are given with their default value.

    Raises:
        ConfigError: listing each with what it belongs to.
    """
    unused = unused_options(config)
    if unused:
        raise ConfigError(
            f"{', '.join(unused)} would be ignored",
            expected="; ".join(f"{name} with {belongs}" for name, belongs in unused.items()),
            got=f"method {config.method}, student {config.student}, spans {config.spans}",
            fix="leave these options out, or choose what they belong to",
        )


def require_compatible(config: AdaptConfig) -> None:
    """Refuse options of `adapt` that do not go together.

    Raises:
        ConfigError: with what would go together.
    """
    if config.labels and config.teacher_probabilities and config.max_texts:
        raise ConfigError(
            "max_texts may leave out texts whose labels are given",
            expected="labels and teacher_probabilities without max_texts",
            got=f"max_texts {config.max_texts}",
            fix="leave --max-texts out, or give fewer texts and their probabilities",
        )
    if config.method == "dine" and config.distillation != "soft-targets":
        raise ConfigError(
            "method dine knows a teacher's probabilities only",
            expected="distillation soft-targets",
            got=config.distillation,
            fix="leave --distillation out, or choose another --method",
        )
    if (config.feedback or config.masked_consistency or config.mlm_head) and (
        config.method == "dine" or config.distillation != "soft-targets"
    ):
        raise ConfigError(
            "feedback, masked_consistency and mlm_head go with plain soft targets",
            expected="distillation soft-targets, and another method than dine, which has its own feedback",
            got=f"distillation {config.distillation}, method {config.method}",
            fix="leave these options out, or choose another --distillation or --method",
        )
    if config.feedback and config.feedback_every >= config.distil_epochs:
        raise ConfigError(
            "feedback comes after the student has learnt",
            expected=f"feedback_every of less than the {config.distil_epochs} distil_epochs",
            got=str(config.feedback_every),
            fix="lower --feedback-every, or leave --feedback out",
        )
    if config.student == "static" and (config.distillation != "soft-targets" or config.mlm_head):
        raise ConfigError(
            "a static student has no inner states to learn from",
            expected="distillation soft-targets, without mlm_head",
            got=f"mlm_head {config.mlm_head}" if config.mlm_head else f"distillation {config.distillation}",
            fix="leave --distillation and --mlm-head out, or choose another --student",
        )
    if config.distillation in STATES_FIRST and config.distil_epochs < 2:
        raise ConfigError(
            f"distillation {config.distillation} takes two trainings, of inner states and of soft targets",
            expected="distil_epochs of 2 or more",
            got=f"{config.distil_epochs}",
            fix="raise --distil-epochs, or choose another --distillation",
        )
