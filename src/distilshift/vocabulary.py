"""Training only those rows of the embedding that the texts use.

A BERT vocabulary has 30,522 pieces; a few thousand texts use a third of them. The other rows get no gradient, yet a
dense optimiser reads and writes them at each step. They are left out while training, and put back unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distilshift.data.batch import TokenStore


@contextmanager
def used_rows_only(model: Any, stores: Sequence[TokenStore]) -> Iterator[list[TokenStore]]:
    """Shrink the model's token embedding to the rows that the stores use; it is whole again afterwards.

    Args:
        model: a Hugging Face model; its embedding is replaced by one of the used rows.
        stores: all texts that it will see in the meantime.

    Yields:
        the stores, for the shrunken embedding.
    """
    whole: nn.Embedding = model.get_input_embeddings()
    used = used_rows(whole.num_embeddings, stores)
    places = np.zeros(whole.num_embeddings, np.int64)
    places[used] = np.arange(len(used))
    rows = torch.from_numpy(used).to(whole.weight.device)
    padding = None if whole.padding_idx is None else int(places[whole.padding_idx])
    # Made of its rows, so that none are drawn first from the caller's random numbers.
    small = nn.Embedding.from_pretrained(
        whole.weight[rows].detach().clone(), freeze=not whole.weight.requires_grad, padding_idx=padding
    )
    model.set_input_embeddings(small)
    try:
        yield [store.renumbered(places) for store in stores]
    finally:
        with torch.no_grad():
            whole.weight[rows] = small.weight
        model.set_input_embeddings(whole)


def used_rows(rows: int, stores: Sequence[TokenStore]) -> NDArray[np.int64]:
    """The ids that occur, in order, of a vocabulary of so many."""
    seen = np.zeros(rows, bool)
    for store in stores:
        store.mark(seen)
    return np.flatnonzero(seen)
