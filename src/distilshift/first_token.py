"""The last layer where it matters: a classifier on `[CLS]` reads one token of its output, so only that one is computed.

Keys and values still need every token. The query, the output map and the feed-forward part, five sixths of the
layer's operations, need the first alone: exact, and 28 % of a 3-layer student's work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor
from transformers.models.bert.modeling_bert import BertCrossAttention

from distilshift.encoder import layers_of

# Models whose head reads the first token, and whose layers have BERT's parts by BERT's names.
FAMILIES = {"bert", "electra", "roberta", "xlm-roberta", "camembert"}
# Their masks are (batch, 1, queries, keys), or None where nothing is padded.
ATTENTIONS = {"eager", "sdpa"}


@contextmanager
def first_token_only(model: Any) -> Iterator[None]:
    """Inside the block, the model's last layer gives its first token alone; logits and gradients stay as they are.

    A model of another family runs as it always does.
    """
    layer = layers_of(model)[-1]
    fits = model.config.model_type in FAMILIES and model.config._attn_implementation in ATTENTIONS
    if not fits or "forward" in vars(layer):  # a pass without learning may come in the middle of a training
        yield
        return
    layer.forward = partial(_first_token, layer)
    try:
        yield
    finally:
        del layer.forward


def _first_token(layer: Any, states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    """BERT's layer for its first token: (batch, tokens, width) to (batch, 1, width)."""
    first = states[:, :1]
    mask = None if attention_mask is None else attention_mask[:, :, :1]
    # Attention from one sequence to another is what transformers calls cross-attention; the maps are the layer's own.
    attended, _weights = BertCrossAttention.forward(layer.attention.self, first, states, mask)
    return layer.feed_forward_chunk(layer.attention.output(attended, first))
