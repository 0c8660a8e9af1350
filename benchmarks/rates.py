"""How many operations a transformer takes, and how many a second this machine can multiply."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

# A map's training step multiplies three times as much as its forward pass: again for the gradient of its inputs, and
# again for that of its weights.
TRAINING_FACTOR = 3
# Time enough for a median that one interruption does not move.
RATE_SECONDS = 1.0
RATE_PASSES = 5


def transformer_flops(config: Any, lengths: NDArray[np.integer]) -> int:
    """Floating-point operations of a BERT classifier's forward pass over texts, padding not counted.

    A product of (m, k) and (k, n) is 2 m n k. Counted are a layer's four maps of width h (queries, keys, values,
    output), the two between h and the intermediate width i, the scores and the weighted sum of attention (2 l l h
    each, for a text of l tokens, all heads together), the pooler and the head, once a text. Not counted is whatever
    is no matrix product (embeddings, softmax, normalisation, GELU): a few per cent.

    Args:
        config: a BERT config: num_hidden_layers, hidden_size, intermediate_size, num_labels.
        lengths: (texts,) tokens of each text, special ones included.
    """
    return config.num_hidden_layers * _layer_flops(config, lengths) + _head_flops(config, lengths)


def lean_forward_flops(config: Any, lengths: NDArray[np.integer]) -> int:
    """The same where the last layer computes its first token alone (`distilshift.first_token`)."""
    whole = (config.num_hidden_layers - 1) * _layer_flops(config, lengths)
    return whole + _first_token_flops(config, lengths) + _head_flops(config, lengths)


def lean_training_flops(config: Any, lengths: NDArray[np.integer], frozen: int, epochs: int = 1) -> int:
    """Forward and backward passes of `lean_forward_flops`, where the lowest layers do not learn.

    Args:
        config: as above, of more than `frozen` layers.
        lengths: (texts,).
        frozen: layers that only compute; the maps into the lowest layer that learns need no gradient of their inputs
            then. With 0 the embeddings learn, and it does.
        epochs: passes over the texts; layers that only compute do so once (`distilshift.frozen_states`).
    """
    below = frozen * _layer_flops(config, lengths)
    learning = TRAINING_FACTOR * (lean_forward_flops(config, lengths) - below)
    learning -= _entry_flops(config, lengths, config.num_hidden_layers - frozen) if frozen else 0
    return below + epochs * learning


def _layer_flops(config: Any, lengths: NDArray[np.integer]) -> int:
    hidden, intermediate = config.hidden_size, config.intermediate_size
    tokens, pairs = int(lengths.sum()), int((lengths.astype(np.int64) ** 2).sum())
    return 2 * tokens * hidden * (4 * hidden + 2 * intermediate) + 2 * 2 * pairs * hidden


def _first_token_flops(config: Any, lengths: NDArray[np.integer]) -> int:
    """Keys and values of every token; queries, output, feed-forward part and attention of one a text."""
    hidden, intermediate = config.hidden_size, config.intermediate_size
    tokens, texts = int(lengths.sum()), len(lengths)
    once = 2 * texts * hidden * (2 * hidden + 2 * intermediate)
    return 2 * tokens * hidden * 2 * hidden + once + 2 * 2 * tokens * hidden


def _entry_flops(config: Any, lengths: NDArray[np.integer], layers_above: int) -> int:
    """The maps from a layer's input to queries, keys and values, in the last layer or in one below it."""
    tokens, texts, hidden = int(lengths.sum()), len(lengths), config.hidden_size
    queries = texts if layers_above == 1 else tokens
    return 2 * (2 * tokens + queries) * hidden * hidden


def _head_flops(config: Any, lengths: NDArray[np.integer]) -> int:
    return 2 * len(lengths) * config.hidden_size * (config.hidden_size + config.num_labels)


def matmul_flops_per_second(rows: int, config: Any, dtype: torch.dtype) -> float:
    """What this machine reaches on a layer's own six linear maps and nothing else, operations a second.

    The maps run one after another on inputs that are of this dtype already, so that each counts for as much of the
    time as it takes; the median of the passes of about a second, after one that is not timed.

    Args:
        rows: tokens of a batch.
        config: a BERT config: hidden_size, intermediate_size.
        dtype: torch.float32 or torch.bfloat16.
    """
    hidden, intermediate = config.hidden_size, config.intermediate_size
    shapes = [(hidden, hidden)] * 4 + [(hidden, intermediate), (intermediate, hidden)]
    weights = [torch.randn(width_out, width_in, dtype=dtype) for width_in, width_out in shapes]
    inputs = {width: torch.randn(rows, width, dtype=dtype) for width in {hidden, intermediate}}
    seconds: list[float] = []
    with torch.inference_mode():
        while len(seconds) <= RATE_PASSES or sum(seconds) < RATE_SECONDS:
            start = time.perf_counter()
            for weight in weights:
                F.linear(inputs[weight.shape[1]], weight)
            seconds.append(time.perf_counter() - start)
    flops = sum(2 * rows * width_in * width_out for width_in, width_out in shapes)
    return flops / float(np.median(seconds[1:]))
