"""A teacher's inner states for a student to learn from: computed once for texts that several epochs train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distilshift.data.batch import TokenStore, sorted_batches
from distilshift.encoder import Classifier
from distilshift.inner import Seen, watching

# Of all texts together, in memory; what would take more is computed in each epoch again.
MOST_BYTES = 2**29
BATCH_TEXTS = 32


class TeacherPass:
    """What a teacher's layers give for batches of texts.

    Args:
        teacher: on `device`.
        stores: the views of the texts, tokenised for it.
        layers: those whose hidden states are wanted, and those whose queries, keys and values are, as of `watching`.
        device: where it runs.
        first_token_only: nobody looks at other tokens; then all states have a length of 1.
    """

    def __init__(
        self,
        teacher: Classifier,
        stores: Sequence[TokenStore],
        layers: tuple[Sequence[int], Sequence[int]],
        device: torch.device,
        first_token_only: bool = False,
    ) -> None:
        self._teacher, self._stores, self._layers, self._device = teacher, stores, layers, device
        self._first_token_only = first_token_only
        self._known: dict[int, list[list[Tensor]]] = {}

    def __call__(self, view: int, indices: NDArray[np.integer]) -> tuple[Seen, Tensor]:
        """States of these texts of a view, and their mask, (batch, length) bool, true at real tokens."""
        inputs = self._teacher.inputs(self._stores[view], indices, self._device)
        mask = inputs["attention_mask"].bool()
        if view not in self._known:
            return self._run(inputs), mask
        texts, width = [self._known[view][index] for index in indices], 1 if self._first_token_only else mask.shape[1]
        padded = [_padded(list(parts), width).to(self._device) for parts in zip(*texts, strict=True)]
        return self._named(padded), mask

    def _run(self, inputs: dict[str, Tensor]) -> Seen:
        self._teacher.model.eval()
        with torch.no_grad(), watching(self._teacher.model, *self._layers) as seen:
            self._teacher.model(**inputs)
        if not self._first_token_only:
            return seen
        return self._named([each[:, :1] for each in _tensors(seen)])

    def _named(self, tensors: list[Tensor]) -> Seen:
        """The opposite of `_tensors`."""
        rest = iter(tensors)
        states = {number: next(rest) for number in self._layers[0]}
        return Seen(states, {number: (next(rest), next(rest), next(rest)) for number in self._layers[1]})

    def run_once(self, uses: Sequence[int], autocast: Callable[[], Any]) -> None:
        """Run over the views that are used more than once, unless their states would take more than `MOST_BYTES`.

        Exact but for the order of sums: a text's states are those of another batch.

        Args:
            uses: in how many epochs each view is trained on.
            autocast: the precision's context.
        """
        views = [view for view, times in enumerate(uses) if times > 1]
        with autocast():
            if sum(map(self._bytes, views)) <= MOST_BYTES:
                self._known = {view: self._all(view) for view in views}

    def _bytes(self, view: int) -> int:
        lengths = self._stores[view].lengths
        a_token = sum(each.shape[-1] * each.element_size() for each in _tensors(self(view, np.arange(1))[0]))
        return a_token * (len(lengths) if self._first_token_only else int(lengths.sum()))

    def _all(self, view: int) -> list[list[Tensor]]:
        """Of each text, its states without padding: (tokens, width) each, on the CPU."""
        lengths = self._stores[view].lengths
        found: list[list[Tensor]] = [[] for _ in lengths]
        for indices in sorted_batches(lengths, BATCH_TEXTS):
            tensors = [each.cpu() for each in _tensors(self(view, indices)[0])]
            for row, index in enumerate(indices):
                found[index] = [each[row, : lengths[index]].clone() for each in tensors]
        return found


def _tensors(seen: Seen) -> list[Tensor]:
    """Hidden states, then queries, keys and values, in the order of the layers that were asked for."""
    return [*seen.states.values(), *(part for parts in seen.projections.values() for part in parts)]


def _padded(parts: list[Tensor], width: int) -> Tensor:
    """(texts, width, …) of tensors of (tokens, …), zeros at the end of each."""
    whole = parts[0].new_zeros(len(parts), width, *parts[0].shape[1:])
    for row, part in enumerate(parts):
        whole[row, : len(part)] = part
    return whole
