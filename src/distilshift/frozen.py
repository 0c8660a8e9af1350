"""What stays as it is while the rest of a model learns: its lowest layers, and all units, where dropout is off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from distilshift.encoder import layers_of

# What reads [CLS] in the last layer and what gathers it there, at least.
LEARNING_LAYERS = 2


def frozen_count(layers: int, wanted: int) -> int:
    """How many of a model's layers do not learn: two go on learning, and a model of two or fewer learns whole."""
    return max(0, min(wanted, layers - LEARNING_LAYERS))


@contextmanager
def frozen_layers(model: Any, count: int) -> Iterator[None]:
    """Inside the block, the embeddings and the lowest `count` layers do not learn; with 0 everything does.

    No gradient is computed for them: a step's backward pass ends where the learning layers begin.
    """
    stack = layers_of(model)
    fewer = frozen_count(len(stack), count)
    frozen = [model.base_model.embeddings, *stack[:fewer]] if fewer else []
    parameters = [parameter for part in frozen for parameter in part.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """Inside the block, nothing is dropped while the model trains."""
    shares = {module: module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    for module in shares:
        module.p = 0.0
    try:
        yield
    finally:
        for module, share in shares.items():
            module.p = share
