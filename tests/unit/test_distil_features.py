"""Learning from a teacher's inner states: what is seen, which layers meet, the losses by hand, and who is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from distilshift import adapt, pipeline, teacher_states
from distilshift import distil_features as distil_features_module
from distilshift.config import STATES_FIRST, AdaptConfig, require_compatible
from distilshift.distil import DistilObjective
from distilshift.distil_features import (
    WEIGHTS,
    FeatureObjective,
    Form,
    Plan,
    distil_features,
    plan_of,
    relation_heads,
    require_comparable,
)
from distilshift.encoder import Classifier, layers_of, load_classifier
from distilshift.errors import ConfigError
from distilshift.inner import attention_scores, watching
from distilshift.loop import loop_config, train, train_once
from distilshift.losses.distil import soft_target_divergence
from distilshift.losses.features import (
    attention_relation_divergence,
    hidden_cosine_distance,
    hidden_state_error,
    normalised_state_error,
)
from distilshift.parallel import Batch
from distilshift.precision import make_accelerator
from distilshift.run import RunDirectory, open_run
from distilshift.shards import Rows
from distilshift.student import cut
from distilshift.teacher_states import TeacherPass
from distilshift.types import Example
from distilshift.views import LabelledView
from encoders import FAMILIES, make_checkpoint

FORMS: tuple[Form, ...] = get_args(Form)
TEXTS = [Example(text) for text in ("good book it was", "bad", "very nice pan", "the plot and the film") * 5]
CONFIG = AdaptConfig(precision="fp32", distil_epochs=6, distil_batch_size=10, distil_learning_rate=3e-3, spans=0)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with open_run(tmp_path / "run", {}) as opened:
        yield opened


@pytest.fixture
def teacher(tmp_path: Path) -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path / "teacher", layers=4)), 32)


def views_of(teacher: Classifier) -> list[LabelledView]:
    said = np.random.default_rng(0).normal(size=(len(TEXTS), 2)).astype(np.float32)
    return [LabelledView(teacher.tokenise(TEXTS), Rows([said]))]


def with_form(form: Form) -> AdaptConfig:
    return AdaptConfig(**CONFIG.to_dict() | {"distillation": form})


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_seen_is_what_transformers_gives(tmp_path: Path, family: str):
    """Hidden states as they are, and scores whose softmax is the attention; MPNet adds its distances to them."""
    classifier = load_classifier(str(make_checkpoint(tmp_path / family, family, layers=3)), 32)
    model = classifier.model.eval()
    model.set_attn_implementation("eager")
    store = classifier.tokenise([Example("good book and pan")])
    inputs = classifier.inputs(store, np.arange(1), torch.device("cpu"))
    length = int(store.lengths[0])
    inputs = {name: value[:, :length] for name, value in inputs.items()}
    with watching(model, range(4), [1, 3]) as seen:
        wanted = model(**inputs, output_hidden_states=True, output_attentions=True)
    for layer in range(4):
        torch.testing.assert_close(seen.states[layer], wanted.hidden_states[layer])
    for layer in (1, 3):
        queries, keys, values = seen.projections[layer]
        assert queries.shape == keys.shape == values.shape == (1, length, 32)
        if family != "mpnet":
            attention = attention_scores(queries, keys, 2).softmax(dim=-1)
            torch.testing.assert_close(attention, wanted.attentions[layer - 1])
    before = dict(seen.states)
    model(**inputs)
    assert seen.states == before  # the hooks are gone


@pytest.mark.parametrize(
    ("form", "states", "projections"),
    [
        ("distilbert", [(3, 6)], []),
        ("pkd", [(1, 2), (2, 4)], []),
        ("tinybert", [(0, 0), (1, 2), (2, 4), (3, 6)], [(1, 2), (2, 4), (3, 6)]),
        ("minilmv2", [], [(3, 6)]),
    ],
)
def test_layers_meet_as_in_the_papers(form: Form, states: list[Any], projections: list[Any]):
    assert plan_of(form, 3, 6) == Plan(states, projections)
    assert set(FORMS) == set(WEIGHTS)


def by_hand(form: Form, student: Classifier, teacher: Classifier, chosen: list[int]) -> Tensor:
    """The term on inner states, from transformers' own hidden states, text by text and so without padding."""
    values = []
    for index in chosen:
        sides = []
        for side in (student, teacher):
            store = side.tokenise([TEXTS[index]])
            inputs = {
                k: v[:, : store.lengths[0]] for k, v in side.inputs(store, np.arange(1), torch.device("cpu")).items()
            }
            with watching(side.model, [], range(1, len(layers_of(side.model)) + 1)) as seen:
                out = side.model(**inputs, output_hidden_states=True)
            sides.append((out.hidden_states, seen.projections))
        (own, own_parts), (other, other_parts) = sides
        mask = torch.ones(own[0].shape[:2])
        if form == "distilbert":
            values.append(hidden_cosine_distance(own[2], other[4], mask))
        if form == "pkd":
            values.append(normalised_state_error(own[1][:, :1], other[2][:, :1]))
        if form == "minilmv2":
            values.append(attention_relation_divergence(own_parts[2], other_parts[4], mask, 2))
        if form == "tinybert":
            hidden = sum(hidden_state_error(own[a], other[b], mask) for a, b in ((0, 0), (1, 2), (2, 4)))
            for a, b in ((1, 2), (2, 4)):
                first = attention_scores(*own_parts[a][:2], 2)
                gap = first - attention_scores(*other_parts[b][:2], 2)
                hidden = hidden + gap.square().mean(dim=(1, 2, 3))
            values.append(hidden)
    return torch.cat(values).mean()


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_loss_by_hand(teacher: Classifier, form: Form, once: bool, monkeypatch: pytest.MonkeyPatch):
    """Whether the teacher runs beside the student or has run before, in other batches."""
    student, views, device = cut(teacher, 2), views_of(teacher), torch.device("cpu")
    objective = FeatureObjective(form, (student, teacher), views, [views[0].texts], 2.0, device)
    student.model.eval()
    teacher.model.eval()
    if once:
        objective.teacher_pass.run_once([2], nullcontext)
        monkeypatch.setattr(objective.teacher_pass, "_run", lambda inputs: pytest.fail("the teacher ran again"))
    chosen = [0, 1, 7]
    batch = Batch.share(0, np.array(chosen), make_accelerator(CONFIG))
    logits = student.model(**student.inputs(views[0].texts, np.array(chosen), device)).logits
    soft = soft_target_divergence(logits, views[0].targets(np.array(chosen)), 2.0).mean()
    feature = WEIGHTS[form] * by_hand(form, student, teacher, chosen)
    assert feature > 1e-3
    wanted = feature if form in STATES_FIRST else soft + feature
    torch.testing.assert_close(objective.loss(student.model, batch), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_which_trainings_a_form_takes(
    teacher: Classifier, run: RunDirectory, form: Form, monkeypatch: pytest.MonkeyPatch
):
    """Inner states, then soft targets with a schedule of their own; the views go on where the first training left."""
    seen: list[tuple[str, int, type, list[int]]] = []

    def watched(model: Any, objective: Any, loop: Any, *rest: Any) -> None:
        turns = [objective.view_number(epoch) for epoch in range(loop.epochs)]
        seen.append((loop.name, loop.epochs, type(objective), turns))
        train_once(model, objective, loop, *rest)

    monkeypatch.setattr(distil_features_module, "train_once", watched)
    config = replace(with_form(form), distil_epochs=5)
    student, views = cut(teacher, 2), views_of(teacher) * 3
    distil_features(teacher, student, views, config, make_accelerator(config), run)
    if form in STATES_FIRST:
        assert seen == [("states", 3, FeatureObjective, [0, 1, 0]), ("distil", 2, DistilObjective, [2, 0])]
    else:
        assert seen == [("distil", 5, FeatureObjective, [0, 1, 0, 2, 0])]


@pytest.mark.parametrize("form", STATES_FIRST)
def test_two_trainings_want_two_epochs(form: Form):
    with pytest.raises(ConfigError, match=r"expected distil_epochs of 2 or more, got 1\. Fix: raise --distil-epochs"):
        require_compatible(replace(with_form(form), distil_epochs=1))
    require_compatible(replace(with_form(form), distil_epochs=2))


@pytest.mark.parametrize("form", FORMS)
def test_the_term_falls_and_the_teacher_stays(teacher: Classifier, run: RunDirectory, form: Form):
    student, views = cut(teacher, 2), views_of(teacher)
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    accelerator, chosen = make_accelerator(CONFIG), [0, 1, 2, 3]
    student.model.eval()
    first = by_hand(form, student, teacher, chosen)
    objective = FeatureObjective(form, (student, teacher), views, [views[0].texts], 2.0, accelerator.device)
    lengths: set[bool] = set()
    layers_of(student.model)[-1].register_forward_hook(lambda module, args, out: lengths.add(out.shape[1] > 1))
    train(student.model, objective, loop_config("distil", CONFIG, 10, 10, 3e-3), accelerator, run)
    assert lengths == {form != "pkd"}  # the last layer computes the first token only where that is enough
    student.model.eval()
    assert by_hand(form, student, teacher, chosen) < 0.9 * first
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in teacher.model.parameters())


@pytest.mark.parametrize(("most", "uses", "passes"), [(0, [6], 6), (2**29, [6], 1), (2**29, [1], 6)])
def test_the_teacher_runs_once_where_that_is_worth_it(
    teacher: Classifier, monkeypatch: pytest.MonkeyPatch, most: int, uses: list[int], passes: int
):
    store, device, ran = teacher.tokenise(TEXTS), torch.device("cpu"), []
    monkeypatch.setattr(teacher_states, "MOST_BYTES", most)
    states = TeacherPass(teacher, [store], ([2, 4], [4]), device)
    teacher.model.register_forward_hook(lambda module, inputs, output: ran.append(output.logits.shape[0]))
    states.run_once(uses, nullcontext)
    for epoch in range(6):
        seen, mask = states(0, np.random.default_rng(epoch).permutation(len(TEXTS)))
        assert seen.states[2].shape[:2] == seen.projections[4][0].shape[:2] == mask.shape
    assert ran.count(len(TEXTS)) == passes


def other_student(folder: Path, **options: Any) -> Classifier:
    return load_classifier(str(make_checkpoint(folder, layers=2, seed=3, **options)), 32)


def test_tinybert_projects_a_student_of_another_width(teacher: Classifier, run: RunDirectory, tmp_path: Path):
    """The map learns with the student, and is gone when it is done; so is a continued run's."""
    student, config = other_student(tmp_path / "narrow", hidden_size=16), with_form("tinybert")
    require_comparable(teacher, student, config)
    names = set(student.model.state_dict())
    distil_features(teacher, student, views_of(teacher), config, make_accelerator(config), run)
    assert set(student.model.state_dict()) == names
    again = other_student(tmp_path / "narrow", hidden_size=16)
    distil_features(teacher, again, views_of(teacher), config, make_accelerator(config), run)
    pairs = zip(student.model.state_dict().values(), again.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_minilm_takes_a_student_of_another_width(teacher: Classifier, run: RunDirectory, tmp_path: Path):
    student, config = other_student(tmp_path / "narrow", hidden_size=24), with_form("minilmv2")
    require_comparable(teacher, student, config)
    assert relation_heads(student, teacher) == 2
    distil_features(teacher, student, views_of(teacher), config, make_accelerator(config), run)


@pytest.mark.parametrize(
    ("form", "layers", "options", "message"),
    [
        ("distilbert", 2, {"hidden_size": 16}, "expected the teacher's width, 32, got 16"),
        ("pkd", 2, {"hidden_size": 16}, "expected the teacher's width, 32, got 16"),
        ("pkd", 5, {}, "expected at most the teacher's 4 layers, got 5"),
        ("pkd", 1, {}, "expected two layers or more, since the last one has no part, got 1"),
        ("tinybert", 2, {"num_attention_heads": 4}, "expected as many attention heads as the teacher, 2, got 4"),
        ("tinybert", 5, {}, "expected at most the teacher's 4 layers, got 5"),
    ],
)
def test_a_student_that_cannot_be_compared_is_refused(
    teacher: Classifier, tmp_path: Path, form: Form, layers: int, options: dict[str, Any], message: str
):
    other = load_classifier(str(make_checkpoint(tmp_path / "other", layers=layers, **options)), 32)
    require_comparable(teacher, other, CONFIG)
    with pytest.raises(ConfigError, match=rf"{message}\. Fix: "):
        require_comparable(teacher, other, with_form(form))


@pytest.mark.parametrize("kind", ["family", "length"])
def test_other_tokens_are_refused(teacher: Classifier, tmp_path: Path, kind: str):
    folder = make_checkpoint(tmp_path / "other", "roberta" if kind == "family" else "bert", layers=2)
    other = load_classifier(str(folder), 32 if kind == "family" else 16)
    with pytest.raises(ConfigError, match="expected the teacher's tokenizer and max_length, got others"):
        require_comparable(teacher, other, with_form("minilmv2"))


def test_refusals_come_before_any_work(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "adapt_teacher", lambda *args: pytest.fail("the teacher was adapted"))
    with pytest.raises(ConfigError, match="distillation pkd cannot compare"):
        adapt(teacher_bundle, target_file, tmp_path / "s", distillation="pkd", student_layers=1)
    with pytest.raises(ConfigError, match="expected distillation soft-targets, got tinybert"):
        adapt(teacher_bundle, target_file, tmp_path / "s", distillation="tinybert", method="dine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
def test_each_form_learns_in_bfloat16(teacher: Classifier, run: RunDirectory, tmp_path: Path, form: Form):
    width = 16 if form in ("tinybert", "minilmv2") else 32
    student = other_student(tmp_path / "other", hidden_size=width)
    config = AdaptConfig(**with_form(form).to_dict() | {"precision": "bf16", "distil_epochs": 2})
    before = {name: value.clone() for name, value in student.model.state_dict().items()}
    distil_features(teacher, student, views_of(teacher), config, make_accelerator(config), run)
    after = student.model.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
