"""Distilling what goes on inside the teacher too: DistilBERT, BERT-PKD, TinyBERT and MiniLMv2 on target texts.

Each is the soft targets of plain distillation and a term on inner states, at once or one after the other. The teacher
runs beside the student where its states are too large to be kept. Masked language modelling and labels, which some of
the papers have besides, need what is not there: a head for it, and source-free labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from distilshift.config import STATES_FIRST, AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.distil import DistilObjective
from distilshift.encoder import Classifier, layers_of
from distilshift.errors import ConfigError
from distilshift.inner import Seen, attention_scores, watching
from distilshift.loop import LoopConfig, finished, loop_config, train_once
from distilshift.losses.features import (
    attention_relation_divergence,
    attention_score_error,
    hidden_cosine_distance,
    hidden_state_error,
    normalised_state_error,
)
from distilshift.parallel import Batch
from distilshift.run import RunDirectory
from distilshift.stage import seeded
from distilshift.teacher_states import TeacherPass
from distilshift.views import LabelledView, view_uses
from distilshift.vocabulary import used_rows_only

Form = Literal["distilbert", "pkd", "tinybert", "minilmv2"]
# Beside a weight of 1 for the soft targets. DistilBERT: the authors' 1 for the cosine and 5 for the soft targets.
# BERT-PKD: beta, from the 10 to 1000 that they search. TinyBERT: 1 for every layer. MiniLMv2: 1 for each relation.
WEIGHTS: dict[Form, float] = {"distilbert": 0.2, "pkd": 100.0, "tinybert": 1.0, "minilmv2": 1.0}
# MiniLMv2 cuts heads anew, 48 for a teacher of BERT-base's width: so wide is each of those. Wider where so many
# do not divide both widths.
RELATION_WIDTH = 16


@dataclass(frozen=True)
class Plan:
    """Which layer of the student learns from which of the teacher, counted from 1; 0 is the embeddings.

    Attributes:
        states: pairs of layers whose hidden states are compared.
        projections: pairs of layers whose queries, keys and values are.
    """

    states: list[tuple[int, int]]
    projections: list[tuple[int, int]]


def plan_of(form: Form, student_layers: int, teacher_layers: int) -> Plan:
    """The layer map of a form; where all layers have a part it is uniform, so that last meets last."""
    uniform = [(layer, layer * teacher_layers // student_layers) for layer in range(1, student_layers + 1)]
    return {
        "distilbert": Plan(uniform[-1:], []),
        "pkd": Plan(uniform[:-1], []),
        "tinybert": Plan([(0, 0), *uniform], uniform),
        "minilmv2": Plan([], uniform[-1:]),
    }[form]


@dataclass(frozen=True)
class Comparison:
    """One batch inside both models, ready to be compared.

    Attributes:
        plan: what with what.
        student, teacher: what they gave.
        mask: (batch, length) bool, true at real tokens.
        heads: attention heads of both, or relation heads.
        projection: (student width, teacher width), or None where they are equal.
    """

    plan: Plan
    student: Seen
    teacher: Seen
    mask: Tensor
    heads: int
    projection: Tensor | None = None


def _last_state(seen: Comparison) -> Tensor:
    ((own, other),) = seen.plan.states
    return hidden_cosine_distance(seen.student.states[own], seen.teacher.states[other], seen.mask)


def _first_tokens(seen: Comparison) -> Tensor:
    own = torch.stack([seen.student.states[layer][:, 0] for layer, _ in seen.plan.states], dim=1)
    other = torch.stack([seen.teacher.states[layer][:, 0] for _, layer in seen.plan.states], dim=1)
    return normalised_state_error(own, other)


def _states_and_scores(seen: Comparison) -> Tensor:
    terms = [
        hidden_state_error(seen.student.states[own], seen.teacher.states[other], seen.mask, seen.projection)
        for own, other in seen.plan.states
    ]
    for own, other in seen.plan.projections:
        pair = (seen.student.projections[own], seen.teacher.projections[other])
        scores = [attention_scores(queries, keys, seen.heads) for queries, keys, _ in pair]
        terms.append(attention_score_error(scores[0], scores[1], seen.mask))
    return torch.stack(terms).sum(dim=0)


def _relations(seen: Comparison) -> Tensor:
    ((own, other),) = seen.plan.projections
    pair = (seen.student.projections[own], seen.teacher.projections[other])
    return attention_relation_divergence(*pair, seen.mask, seen.heads)


# One number a text, (batch,).
TERMS: dict[Form, Callable[[Comparison], Tensor]] = {
    "distilbert": _last_state,
    "pkd": _first_tokens,
    "tinybert": _states_and_scores,
    "minilmv2": _relations,
}


class FeatureObjective(DistilObjective):
    """Soft targets and a term on inner states; of the forms in `STATES_FIRST` the term alone."""

    def __init__(
        self,
        form: Form,
        sides: tuple[Classifier, Classifier],
        views: Sequence[LabelledView],
        teacher_stores: Sequence[TokenStore],
        temperature: float,
        device: torch.device,
    ) -> None:
        """Compare two classifiers.

        Args:
            form: which term.
            sides: student and teacher, on the device.
            views: tokenised for the student.
            teacher_stores: the same views for the teacher, token by token.
            temperature: of the soft targets.
            device: where both are.
        """
        student, teacher = sides
        super().__init__(student, views, temperature, device)
        self._form, self._plan = form, plan_of(form, *(len(layers_of(side.model)) for side in sides))
        layers = [other for _, other in self._plan.states], [other for _, other in self._plan.projections]
        self.teacher_pass = TeacherPass(teacher, teacher_stores, layers, device, first_token_only=form == "pkd")
        self._heads = relation_heads(*sides) if form == "minilmv2" else student.model.config.num_attention_heads
        self.needs_all_tokens = form != "pkd"  # which leaves the last layer out

    def loss(self, model: Any, batch: Batch) -> Tensor:
        projection: Tensor | None = getattr(self._student.model, "state_projection", None)
        own_layers = ([own for own, _ in self._plan.states], [own for own, _ in self._plan.projections])
        with watching(self._student.model, *own_layers) as student:
            soft = super().loss(model, batch)
        teacher, mask = self.teacher_pass(self.view_number(batch.epoch), batch.indices)
        seen = Comparison(self._plan, student, teacher, mask, self._heads, projection)
        # With a weight of 0 too: several processes wait for the gradient of every parameter.
        soft_weight = 0.0 if self._form in STATES_FIRST else 1.0
        return soft_weight * soft + WEIGHTS[self._form] * batch.mean(TERMS[self._form](seen))


def relation_heads(student: Classifier, teacher: Classifier) -> int:
    """The most relation heads, none of the teacher's below `RELATION_WIDTH`, that divide the widths of both sides."""
    widths = [side.model.config.hidden_size for side in (student, teacher)]
    most = max(1, widths[1] // RELATION_WIDTH)
    return next(heads for heads in range(most, 0, -1) if not any(width % heads for width in widths))


@contextmanager
def _projected(student: Classifier, teacher: Classifier, form: Form, seed: int) -> Iterator[None]:
    """Inside the block, a student of another width has TinyBERT's linear map to the teacher's, which learns with it."""
    own, other = student.model.config.hidden_size, teacher.model.config.hidden_size
    if form != "tinybert" or own == other:
        yield
        return
    with seeded(seed):
        weight = nn.Linear(other, own, bias=False).weight.detach()
    student.model.register_parameter("state_projection", nn.Parameter(weight.to(student.model.device)))
    try:
        yield
    finally:
        del student.model.state_projection


def distil_features(
    teacher: Classifier,
    student: Classifier,
    views: Sequence[LabelledView],
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> None:
    """Train the student in place on the teacher's predictions and inner states; see `require_comparable`."""
    form, sides = _form(config), (student, teacher)
    later = config.distil_epochs // 2 if form in STATES_FIRST else 0
    first = _loop("states" if later else "distil", config, config.distil_epochs - later)
    student.model.to(accelerator.device)
    teacher.model.to(accelerator.device)
    whole = [view.texts for view in views]
    with used_rows_only(student.model, whole) as stores:
        compact = [replace(view, texts=store) for view, store in zip(views, stores, strict=True)]
        with _projected(student, teacher, form, config.seed):
            states = FeatureObjective(form, sides, compact, whole, config.temperature, accelerator.device)
            if run.crew.size == 1 and finished(first.name) not in run:  # of several processes each would keep all of it
                states.teacher_pass.run_once(view_uses(first.epochs, len(views)), accelerator.autocast)
            train_once(student.model, states, first, accelerator, run)
        if later:
            soft = DistilObjective(student, compact, config.temperature, accelerator.device, first.epochs)
            train_once(student.model, soft, _loop("distil", config, later), accelerator, run)


def _loop(name: str, config: AdaptConfig, epochs: int) -> LoopConfig:
    return loop_config(name, config, epochs, config.distil_batch_size, config.distil_learning_rate)


def _form(config: AdaptConfig) -> Form:
    if config.distillation == "soft-targets":
        raise ValueError("soft targets have no inner states")
    return config.distillation


def require_comparable(teacher: Classifier, student: Classifier, config: AdaptConfig) -> None:
    """Refuse, before anything is computed, a student whose inner states cannot be held against the teacher's.

    Raises:
        ConfigError: other tokens, another width or number of heads where the form needs the same, or too many or too
            few layers.
    """
    if config.distillation == "soft-targets":
        return
    found = _mismatch(_form(config), teacher, student)
    if found:
        expected, got = found
        raise ConfigError(
            f"distillation {config.distillation} cannot compare this student with its teacher",
            expected=expected,
            got=got,
            fix="choose --student cut with fewer layers than the teacher and two at least, or another --distillation",
        )


def _mismatch(form: Form, teacher: Classifier, student: Classifier) -> tuple[str, str] | None:
    """What is expected and what is there, where that differs."""
    width, own_width = (side.model.config.hidden_size for side in (teacher, student))
    heads, own_heads = (side.model.config.num_attention_heads for side in (teacher, student))
    layers, own_layers = (len(layers_of(side.model)) for side in (teacher, student))
    if not _same_tokens(teacher, student):
        return "the teacher's tokenizer and max_length", "others"
    if form in ("distilbert", "pkd") and width != own_width:
        return f"the teacher's width, {width}", str(own_width)
    if form == "tinybert" and heads != own_heads:
        return f"as many attention heads as the teacher, {heads}", str(own_heads)
    if form in ("pkd", "tinybert") and own_layers > layers:
        return f"at most the teacher's {layers} layers", str(own_layers)
    if form == "pkd" and own_layers < 2:
        return "two layers or more, since the last one has no part", str(own_layers)
    return None


def _same_tokens(teacher: Classifier, student: Classifier) -> bool:
    if student.tokenizer is teacher.tokenizer:
        return True
    return _rules(teacher) == _rules(student) and teacher.max_length == student.max_length


def _rules(classifier: Classifier) -> dict[str, Any]:
    """The tokenizer's file, without what a call to it sets."""
    rules: dict[str, Any] = json.loads(classifier.tokenizer.backend_tokenizer.to_str())
    return rules | {"truncation": None, "padding": None}
