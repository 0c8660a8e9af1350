"""What a network sees of a text before it decides: mean token states of a layer at two thirds of its depth.

Layers near the end of a classifier keep little beside its own decision, so that texts it takes for one class look alike
whether it is right or wrong. There, errors cannot be told from what is right; two thirds of the way, they can
(benchmarks/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distilshift.data.batch import TokenStore, sorted_batches
from distilshift.encoder import Classifier, layers_of
from distilshift.inner import watching
from distilshift.run import ALONE, Crew

DEPTH = 2 / 3
BATCH_TEXTS = 32


def middle_states(
    classifier: Classifier,
    store: TokenStore,
    device: torch.device,
    autocast: Callable[[], Any],
    *,
    span: slice = slice(None),
    crew: Crew = ALONE,
    advance: Callable[[int], None] = lambda units: None,
) -> NDArray[np.float32]:
    """Return the mean over the tokens of each text of the states after the middle layer, (texts, width).

    Args:
        classifier: on `device`.
        store: its tokens.
        device: where it runs.
        autocast: the precision's context.
        span: only these texts.
        crew: processes that share the work; each returns all of it.
        advance: told how many texts are done.
    """
    model = classifier.model
    number = max(1, round(DEPTH * len(layers_of(model))))
    first, last, _ = span.indices(len(store))
    found = np.zeros((last - first, model.config.hidden_size), np.float32)
    was_training = model.training
    model.eval()
    try:
        with watching(model, [number], []) as seen:
            for step, indices in enumerate(sorted_batches(store.lengths, BATCH_TEXTS, slice(first, last))):
                if step % crew.size == crew.rank:
                    inputs = classifier.inputs(store, indices, device)
                    with torch.inference_mode(), autocast():
                        model(**inputs)
                    mask = inputs["attention_mask"].unsqueeze(-1)
                    means = (seen.states[number].float() * mask).sum(dim=1) / mask.sum(dim=1)
                    found[indices - first] = means.cpu().numpy()
                advance(len(indices))
    finally:
        model.train(was_training)
    return np.asarray(crew.total(found))
