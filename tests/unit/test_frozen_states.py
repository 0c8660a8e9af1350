"""The output of frozen layers, computed once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distilshift import frozen_states
from distilshift.config import TrainingConfig
from distilshift.encoder import Classifier, layers_of, load_classifier
from distilshift.frozen import frozen_layers
from distilshift.frozen_states import StateStore, computed_once
from distilshift.inference import forward_all
from distilshift.precision import make_accelerator
from distilshift.run import ALONE
from distilshift.types import Example
from distilshift.views import view_of, view_uses
from encoders import FAMILIES, make_checkpoint

WORDS = "good bad film plot kitchen knife the was a very"
TEXTS = [Example(" ".join(np.random.default_rng(n).choice(WORDS.split(), 3 + 5 * n))) for n in range(6)]
ORDER = np.array([4, 0, 2])


def classifier_of(tmp_path: Path, family: str = "bert") -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path / family, family=family, layers=3, num_labels=2)), 32)


@contextmanager
def known(classifier: Classifier, uses: int = 2) -> Iterator[Any]:
    store = classifier.tokenise(TEXTS)
    with (
        frozen_layers(classifier.model, 1),
        computed_once(
            classifier, 1, [store], [uses], make_accelerator(TrainingConfig(precision="fp32")), ALONE
        ) as stores,
    ):
        yield stores[0]


def step(classifier: Classifier, store: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits and gradients of a training step."""
    model = classifier.model.eval()
    model.zero_grad()
    logits = model(**classifier.inputs(store, ORDER, torch.device("cpu"))).logits
    logits.square().sum().backward()
    return logits.detach(), {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_logits_and_gradients_stay_as_they_are(tmp_path: Path, family: str):
    classifier = classifier_of(tmp_path, family)
    with frozen_layers(classifier.model, 1):
        logits, gradients = step(classifier, classifier.tokenise(TEXTS))
    with known(classifier) as store:
        found, others = step(classifier, store)
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-5, rtol=1e-4)


def test_frozen_layers_do_not_run_again(tmp_path: Path):
    classifier = classifier_of(tmp_path)
    calls = []
    hook = layers_of(classifier.model)[0].attention.register_forward_hook(lambda *_: calls.append(1))
    with known(classifier) as store:
        assert isinstance(store, StateStore)
        assert len(store) == len(TEXTS)
        before = len(calls)
        step(classifier, store)
        assert before == len(calls) > 0
        step(classifier, classifier.tokenise(TEXTS))  # token ids still run through all layers
        assert len(calls) == before + 1
    hook.remove()


def test_a_pass_without_learning_takes_states_too(tmp_path: Path):
    classifier = classifier_of(tmp_path)

    def reduced() -> Any:
        return torch.autocast("cpu", torch.bfloat16)

    plain = forward_all(classifier, classifier.tokenise(TEXTS), torch.device("cpu"), reduced)["logits"]
    with known(classifier) as store:
        found = forward_all(classifier, store, torch.device("cpu"), reduced)["logits"]
    np.testing.assert_allclose(found, plain, atol=2e-2)


def test_states_are_those_of_all_tokens(tmp_path: Path):
    classifier = classifier_of(tmp_path)
    with known(classifier) as store:
        batch = store.batch(ORDER, 8)
    lengths = classifier.tokenise(TEXTS).lengths[ORDER]
    assert "input_ids" not in batch
    assert batch["inputs_embeds"].shape[1] % 8 == 0
    for row, length in zip(batch["inputs_embeds"], lengths, strict=True):
        assert np.abs(row[:length]).sum(axis=1).all()
        assert not row[length:].any()


@pytest.mark.parametrize("reason", ["used once", "too many", "learning"])
def test_where_it_does_not_pay_ids_stay_ids(tmp_path: Path, reason: str, monkeypatch: pytest.MonkeyPatch):
    classifier = classifier_of(tmp_path)
    if reason == "too many":
        monkeypatch.setattr(frozen_states, "MOST_BYTES", 1000)
    frozen, uses = int(reason != "learning"), 1 + (reason != "used once")
    store = classifier.tokenise(TEXTS)
    with computed_once(
        classifier, frozen, [store], [uses], make_accelerator(TrainingConfig(precision="fp32")), ALONE
    ) as stores:
        assert stores == [store]


def test_the_model_is_itself_again(tmp_path: Path):
    classifier = classifier_of(tmp_path)
    model, before = classifier.model, set(classifier.model.state_dict())
    with known(classifier):
        assert set(model.state_dict()) == before
    assert not any("forward" in vars(part) for part in model.modules())


def test_uses_are_counted_by_view():
    assert view_uses(6, 4) == [3, 1, 1, 1]
    assert view_uses(6, 1) == [6]
    assert view_uses(7, 3) == [[view_of(epoch, 3) for epoch in range(7)].count(view) for view in range(3)]
