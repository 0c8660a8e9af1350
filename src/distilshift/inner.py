"""Looking inside a BERT-family model as it runs: hidden states, queries, keys and values of chosen layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distilshift.encoder import layers_of

# What the families call the maps to queries, keys and values.
QUERIES, KEYS, VALUES = {"query", "q", "q_lin"}, {"key", "k", "k_lin"}, {"value", "v", "v_lin"}


@dataclass
class Seen:
    """What a pass gave; layers count from 1.

    Attributes:
        states: (batch, length, width) after each chosen layer; of layer 0, what the first one is given.
        projections: queries, keys and values of each chosen layer, each (batch, length, width), heads side by side.
    """

    states: dict[int, Tensor] = field(default_factory=dict)
    projections: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)


@contextmanager
def watching(model: Any, states: Iterable[int], projections: Iterable[int]) -> Iterator[Seen]:
    """Inside the block, the latest forward pass leaves these layers' inner states in what is yielded."""
    layers, seen = layers_of(model), Seen()
    with ExitStack() as stack:
        for number in states:
            stack.callback(_watch_state(layers, number, seen).remove)
        parts: dict[int, list[Tensor]] = {number: [] for number in projections}
        for number, found in parts.items():
            for names in (QUERIES, KEYS, VALUES):
                stack.callback(_linear(layers[number - 1], names).register_forward_hook(partial(_keep, found)).remove)
        yield seen
        seen.projections.update({number: (found[-3], found[-2], found[-1]) for number, found in parts.items() if found})


def _watch_state(layers: nn.ModuleList, number: int, seen: Seen) -> Any:
    def before(layer: nn.Module, args: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        seen.states[0] = args[0] if args else named["hidden_states"]

    def after(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.states[number] = output if isinstance(output, Tensor) else output[0]

    if number == 0:
        return layers[0].register_forward_pre_hook(before, with_kwargs=True)
    return layers[number - 1].register_forward_hook(after)


def _keep(found: list[Tensor], module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
    found.append(output)


def _linear(layer: nn.Module, names: set[str]) -> nn.Module:
    return next(part for name, part in layer.named_modules() if name.rsplit(".", 1)[-1] in names)


def attention_scores(queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Scaled products before the softmax, (batch, heads, length, length) float32, padding included.

    Args:
        queries: (batch, length, width), heads side by side.
        keys: (batch, length, width).
        heads: how many there are.
    """
    with torch.autocast(queries.device.type, enabled=False):
        first, second = (part.float().unflatten(2, (heads, -1)).transpose(1, 2) for part in (queries, keys))
        return first @ second.transpose(2, 3) / first.shape[-1] ** 0.5
