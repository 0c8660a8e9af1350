"""Cutting a classifier to a shape: narrower feed-forward parts, fewer pieces, a shorter position table.

What is left is a plain model of its family, which any loader takes by its config.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from distilshift.encoder import layers_of, position_limit
from distilshift.pieces import Ids

# The feed-forward maps of a layer, in and out, by their names in each family.
_FEED_FORWARD = (("intermediate.dense", "output.dense"), ("ffn.lin1", "ffn.lin2"))
_INNER_NAMES = ("intermediate_size", "hidden_dim")
_TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "decoder_start_token_id")


def inner_width(model: Any) -> int:
    """Width of the feed-forward parts."""
    return int(_feed_forward(layers_of(model)[0])[0].out_features)


def narrow_feed_forward(model: Any, inner: int) -> None:
    """Keep the `inner` units of each layer's feed-forward part that weigh most, in place and in their order.

    A unit's weight is the product of the norms of its row into and its column out of the part: no text is needed.
    """
    for layer in layers_of(model):
        first, second = _feed_forward(layer)
        if first.out_features <= inner:
            continue
        weight = first.weight.norm(dim=1) * second.weight.norm(dim=0)
        kept = weight.topk(inner).indices.sort().values
        first.weight, first.bias = _part(first.weight[kept]), _part(first.bias[kept])
        second.weight = _part(second.weight[:, kept])
        first.out_features = second.in_features = inner
    for name in _INNER_NAMES:
        if hasattr(model.config, name):
            setattr(model.config, name, inner_width(model))


def keep_pieces(model: Any, kept: Ids) -> None:
    """Leave only these rows of the token embedding, in place, numbered from 0."""
    whole: nn.Embedding = model.get_input_embeddings()
    places = {int(old): new for new, old in enumerate(kept)}
    padding = None if whole.padding_idx is None else places[whole.padding_idx]
    rows = whole.weight[torch.from_numpy(kept).to(whole.weight.device)]
    model.set_input_embeddings(_table(rows, padding))
    model.config.vocab_size = len(kept)
    for name in _TOKEN_IDS:
        if getattr(model.config, name, None) is not None:
            setattr(model.config, name, places.get(getattr(model.config, name)))


def shorten_positions(model: Any, positions: int) -> None:
    """Leave only the first rows of the position table, in place."""
    embeddings = model.base_model.embeddings
    table = embeddings.position_embeddings
    shorter = _table(table.weight[:positions], table.padding_idx)
    shorter.weight.requires_grad_(table.weight.requires_grad)  # a static student's never learns
    embeddings.position_embeddings = shorter
    for name in ("position_ids", "token_type_ids"):
        if (buffer := getattr(embeddings, name, None)) is not None:
            setattr(embeddings, name, buffer[:, :positions].clone())
    model.config.max_position_embeddings = positions


def positions_for(model: Any, max_length: int) -> int:
    """Rows of the position table that so many tokens need."""
    unused = int(model.config.max_position_embeddings) - position_limit(model)
    return min(int(model.config.max_position_embeddings), max_length + unused)


def _feed_forward(layer: nn.Module) -> tuple[nn.Linear, nn.Linear]:
    for names in _FEED_FORWARD:
        try:
            first, second = (layer.get_submodule(name) for name in names)
        except AttributeError:
            continue
        return first, second  # type: ignore[return-value]  # linear maps in all families
    raise ValueError(f"{type(layer).__name__} has no feed-forward part that is known")


def _part(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone())


def _table(rows: Tensor, padding: int | None) -> nn.Embedding:
    # Made of its rows, so that none are drawn first from the caller's random numbers.
    return nn.Embedding.from_pretrained(rows.detach().clone(), freeze=False, padding_idx=padding)
