"""Layers that do not learn, and dropout that is off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from distilshift.encoder import layers_of
from distilshift.frozen import frozen_layers, without_dropout
from encoders import FAMILIES, make_checkpoint


def model_of(tmp_path: Path, family: str = "bert", layers: int = 3) -> Any:
    made = make_checkpoint(tmp_path / "model", family=family, layers=layers, num_labels=2)
    return AutoModelForSequenceClassification.from_pretrained(made)


def step(model: Any) -> set[str]:
    """The names of the parameters that a training step reaches."""
    ids = torch.randint(5, 30, (4, 9))
    model.zero_grad()
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().sum().backward()
    return {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_gradients_end_above_the_frozen_layers(tmp_path: Path, family: str):
    model = model_of(tmp_path, family)
    everything = step(model)
    stack = layers_of(model)
    lowest = {id(value) for part in (model.base_model.embeddings, stack[0]) for value in part.parameters()}
    below = {name for name, value in model.named_parameters() if id(value) in lowest}
    assert below & everything
    with frozen_layers(model, 1):
        reached = step(model)
    assert not below & reached
    above = {id(value) for value in stack[1].parameters()}
    assert any(id(value) in above for name, value in model.named_parameters() if name in reached)
    assert step(model) == everything


def test_none_frozen_leaves_the_embeddings_learning(tmp_path: Path):
    model = model_of(tmp_path)
    with frozen_layers(model, 0):
        assert all(value.requires_grad for value in model.parameters())


def test_two_layers_go_on_learning(tmp_path: Path):
    model = model_of(tmp_path, layers=3)
    with frozen_layers(model, 7):
        learning = [all(value.requires_grad for value in layer.parameters()) for layer in layers_of(model)]
        assert learning == [False, True, True]


def test_a_model_of_two_layers_learns_whole(tmp_path: Path):
    model = model_of(tmp_path, layers=2)
    with frozen_layers(model, 1):
        assert all(value.requires_grad for value in model.parameters())


def test_what_was_frozen_before_stays_so(tmp_path: Path):
    model = model_of(tmp_path)
    word = model.get_input_embeddings().weight.requires_grad_(False)
    with frozen_layers(model, 1):
        pass
    assert not word.requires_grad
    assert all(value.requires_grad for value in layers_of(model)[0].parameters())


def test_dropout_is_off_and_comes_back(tmp_path: Path):
    model = model_of(tmp_path).train()
    ids = torch.randint(5, 30, (4, 9))
    shares = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert max(shares) > 0
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    with without_dropout(model):
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == shares
