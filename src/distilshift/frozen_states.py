"""What a model's frozen layers make of texts: computed once where several epochs train on the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from distilshift.data.batch import TokenStore, sorted_batches
from distilshift.encoder import Classifier, layers_of
from distilshift.first_token import FAMILIES
from distilshift.frozen import frozen_count
from distilshift.run import Crew

# Of all texts together, in memory; what would take more is computed in each epoch again.
MOST_BYTES = 2**29
BATCH_TEXTS = 32


class StateStore(TokenStore):
    """Texts of which the output of the frozen layers is known: their batches hold that in the place of token ids.

    It has what a training asks of a TokenStore, lengths and batches, and nothing else: there are no ids to renumber.
    """

    def __init__(self, store: TokenStore, states: NDArray[np.float32]) -> None:
        """Args: the texts; the states of their tokens end to end, (tokens, width)."""
        self.lengths, self._store, self._states = store.lengths, store, states
        self._firsts = np.cumsum([0, *store.lengths])

    def __len__(self) -> int:
        return len(self._store)

    def batch(self, indices: NDArray[np.integer], multiple: int = 1) -> dict[str, NDArray[Any]]:
        """As a TokenStore's, with `inputs_embeds`, (len(indices), width, hidden) float32, for `input_ids`."""
        inputs = self._store.batch(indices, multiple)
        states = np.zeros((*inputs.pop("input_ids").shape, self._states.shape[1]), np.float32)
        for row, index in enumerate(indices):
            states[row, : self.lengths[index]] = self._states[self._firsts[index] : self._firsts[index + 1]]
        return inputs | {"inputs_embeds": states}


@contextmanager
def computed_once(
    classifier: Classifier,
    wanted: int,
    stores: Sequence[TokenStore],
    uses: Sequence[int],
    accelerator: Accelerator,
    crew: Crew,
) -> Iterator[list[TokenStore]]:
    """Inside the block, the frozen layers run once, and not in each epoch, over texts that are used more than once.

    Exact but for the order of sums. Only without dropout, and for models whose layers have BERT's parts by BERT's
    names; others, and texts whose states would take more than `MOST_BYTES`, run as they always do.

    Args:
        classifier: on the accelerator's device, inside `frozen.frozen_layers`.
        wanted: its lowest layers that are frozen, as given there.
        stores: views of the texts, tokenised for it.
        uses: in how many epochs each of them is trained on.
        accelerator: where it runs.
        crew: processes that share the work; each has all states.

    Yields:
        the stores, or what takes their place in a training inside the block.
    """
    model = classifier.model
    count = frozen_count(len(layers_of(model)), wanted)
    worth = [count > 0 and times > 1 and _starts_with_layers(model) for times in uses]
    tokens = sum(int(store.lengths.sum()) for store, known in zip(stores, worth, strict=True) if known)
    if not tokens or tokens * model.config.hidden_size * np.dtype(np.float32).itemsize > MOST_BYTES:
        yield list(stores)
        return
    given = [
        StateStore(store, _states(classifier, count, store, accelerator, crew)) if known else store
        for store, known in zip(stores, worth, strict=True)
    ]
    with _started_above(model, count):
        yield given


def _starts_with_layers(model: Any) -> bool:
    """Whether nothing stands between embeddings and layers, as ELECTRA's projection does."""
    return model.config.model_type in FAMILIES and not hasattr(model.base_model, "embeddings_project")


def _states(
    classifier: Classifier, count: int, store: TokenStore, accelerator: Accelerator, crew: Crew
) -> NDArray[np.float32]:
    """The output of the lowest layers, of all texts' tokens end to end, (tokens, width)."""
    model, device = classifier.model, accelerator.device
    firsts = np.cumsum([0, *store.lengths])
    states = np.zeros((firsts[-1], model.config.hidden_size), np.float32)
    was_training = model.training
    model.eval()
    with ExitStack() as skipped:
        for layer in layers_of(model)[count:]:
            skipped.enter_context(_replaced(layer, lambda states, *_, **__: states))
        for step, indices in enumerate(sorted_batches(store.lengths, BATCH_TEXTS)):
            if step % crew.size == crew.rank:
                with torch.inference_mode(), accelerator.autocast():
                    found = model.base_model(**classifier.inputs(store, indices, device)).last_hidden_state
                rows = found.float().cpu().numpy()
                for row, index in zip(rows, indices, strict=True):
                    states[firsts[index] : firsts[index + 1]] = row[: store.lengths[index]]
    model.train(was_training)
    return crew.total(states)


@contextmanager
def _started_above(model: Any, count: int) -> Iterator[None]:
    """Inside the block, `inputs_embeds` are taken for the output of the lowest layers; token ids run as ever."""
    embeddings, known = model.base_model.embeddings, [False]
    embed = embeddings.forward

    def start(*args: Any, **inputs: Any) -> Any:
        states = inputs.get("inputs_embeds")
        known[0] = states is not None
        return states if known[0] else embed(*args, **inputs)

    def passing(forward: Any) -> Any:
        return lambda states, *args, **inputs: states if known[0] else forward(states, *args, **inputs)

    with ExitStack() as replaced:
        replaced.enter_context(_replaced(embeddings, start))
        for layer in layers_of(model)[:count]:
            replaced.enter_context(_replaced(layer, passing(layer.forward)))
        yield


@contextmanager
def _replaced(module: Any, forward: Any) -> Iterator[None]:
    """Inside the block, the module runs this in the place of its own forward."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
