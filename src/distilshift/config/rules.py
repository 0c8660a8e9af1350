"""Which options do not go together."""

from __future__ import annotations

from distilshift.config.adapt import STATES_FIRST, AdaptConfig
from distilshift.errors import ConfigError


def require_compatible(config: AdaptConfig) -> None:
    """Refuse options of `adapt` that do not go together.

    Raises:
        ConfigError: with what would go together.
    """
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
    if config.span_min_words > config.span_max_words:
        raise ConfigError(
            "the shortest span is longer than the longest",
            expected="span_min_words <= span_max_words",
            got=f"{config.span_min_words} > {config.span_max_words}",
            fix="swap them",
        )
