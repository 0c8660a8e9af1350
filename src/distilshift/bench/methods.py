"""The rows of the tables: what each method does, by name. A row that needs options only is one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from distilshift.config import PLAIN_DISTILLATION, AdaptConfig

# How a row's classifier is made; `cell.MAKERS` has the function for each.
Kind = Literal[
    "teacher",
    "teacher-windows",
    "adapt",
    "adapt-on-source",
    "labels-of-source",
    "labels-of-target",
    "labels-of-target-windows",
    "adversarial",
]


@dataclass(frozen=True)
class Method:
    """A row.

    Attributes:
        title: as tables show it.
        kind: how its classifier is made.
        options: fields of AdaptConfig, over the matrix's own.
        uses: what the row has beyond unlabelled target texts: "source data" or "target labels", which source-free
            adaptation may not have, or "class shares".
    """

    title: str
    kind: Kind = "adapt"
    options: Mapping[str, Any] = field(default_factory=dict)
    uses: Literal["", "source data", "target labels", "class shares"] = ""

    @property
    def compresses(self) -> bool:
        """Whether its classifier is a student."""
        return not self.kind.startswith("teacher")


def _then_plain(method: str, **options: Any) -> dict[str, Any]:
    """Adapt the whole teacher by a method as its authors do, whatever comes of it, then distil plainly."""
    authors = {"gate": False, "target_prior": "uniform", "adapt_frozen_layers": 0}
    return PLAIN_DISTILLATION | {"method": method} | authors | options


def _in_windows(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with windows as the default, or the matrix, sets them."""
    return {key: value for key, value in options.items() if key != "max_windows"}


def _inner(form: str) -> dict[str, Any]:
    """Plain distillation of inner states too."""
    return PLAIN_DISTILLATION | {"distillation": form}


# The help of `adapt_learning_rate` says why.
TENT_RATE = 1e-3

# Its authors choose 0, 1, 2 or 5 for each data set; at 5 the whole teacher may drift to one class (LOG, 2026-11-26).
AAD_DECAY = 0.0

# In the order of the tables.
METHODS: dict[str, Method] = {
    "teacher": Method("teacher, neither adapted nor compressed", "teacher"),
    "teacher-windows": Method("teacher, long texts read in windows", "teacher-windows"),
    "plain-kd": Method("plain distillation", options=PLAIN_DISTILLATION),
    "plain-kd-windows": Method(
        "plain distillation, long texts read in windows", options=_in_windows(PLAIN_DISTILLATION)
    ),
    "distilbert": Method("DistilBERT's distillation", options=_inner("distilbert")),
    "pkd": Method("BERT-PKD", options=_inner("pkd")),
    "tinybert": Method("TinyBERT", options=_inner("tinybert")),
    "minilmv2": Method("MiniLMv2", options=_inner("minilmv2")),
    "tent-kd": Method("TENT, then distillation", options=_then_plain("tent", adapt_learning_rate=TENT_RATE)),
    "shot-im-kd": Method("SHOT-IM, then distillation", options=_then_plain("shot-im")),
    "shot-im-kd-windows": Method(
        "SHOT-IM, then distillation, long texts read in windows", options=_in_windows(_then_plain("shot-im"))
    ),
    "shot-kd": Method("SHOT, then distillation", options=_then_plain("shot")),
    "nrc-kd": Method("NRC, then distillation", options=_then_plain("nrc")),
    "aad-source-free-kd": Method(
        "AaD (attracting, dispersing), then distillation", options=_then_plain("aad", dispersion_decay=AAD_DECAY)
    ),
    "dine": Method("DINE", options=PLAIN_DISTILLATION | {"method": "dine"}),
    "distilshift": Method("**distilshift**"),
    "shares-known": Method(
        "distilshift, told that classes are equally frequent",
        options={"target_prior": "uniform"},
        uses="class shares",
    ),
    "default-size": Method(
        "distilshift at its default size, small", options={"size": AdaptConfig().size, "student_layers": None}
    ),
    "two-layers": Method("distilshift, small with two layers", options={"size": "small", "student_layers": 2}),
    "tiny": Method("distilshift, tiny", options={"size": "tiny", "student_layers": None}),
    "static": Method(
        "distilshift, a static student",
        options={"student": "static", "size": AdaptConfig().size, "student_layers": None},
    ),
    "six-layers": Method("distilshift, a student of six layers", options={"student_layers": 6}),
    "with-shot-im": Method("distilshift with SHOT-IM for the second opinion", options={"method": "shot-im"}),
    "joint": Method("distilshift, joint", options={"feedback": 0.5}),
    "masked": Method("distilshift with masked copies", options={"masked_consistency": 1.0}),
    "without-adaptation": Method("distilshift without adaptation", options={"method": "none"}),
    "without-windows": Method("distilshift without windows", options={"max_windows": 1}),
    "without-spans": Method("distilshift without spans", options={"spans": 0}),
    "student-source": Method("student, fine-tuned on source labels", "labels-of-source", {}, "source data"),
    "kd-source": Method("distillation on source texts", "adapt-on-source", PLAIN_DISTILLATION, "source data"),
    "aad-kd": Method("AAD (adversarial), then distillation", "adversarial", PLAIN_DISTILLATION, "source data"),
    "oracle": Method("oracle: student, fine-tuned on target labels", "labels-of-target", {}, "target labels"),
    "oracle-windows": Method("oracle, long texts read in windows", "labels-of-target-windows", {}, "target labels"),
}
