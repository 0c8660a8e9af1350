"""Running a PyTorch classifier over many texts without learning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from distilshift import progress
from distilshift.data.batch import TokenStore, sorted_batches
from distilshift.data.windows import mean_over_windows
from distilshift.encoder import Classifier, final_linear, head_inputs, load_classifier
from distilshift.first_token import first_token_only
from distilshift.metrics import softmax
from distilshift.run import ALONE, Crew
from distilshift.types import Example


def forward_all(
    classifier: Classifier,
    store: TokenStore,
    device: torch.device,
    autocast: Callable[[], Any],
    *,
    batch_size: int = 32,
    features: bool = False,
    span: slice = slice(None),
    crew: Crew = ALONE,
    advance: Callable[[int], None] = lambda units: None,
) -> dict[str, NDArray[np.float32]]:
    """One pass without learning over all texts, in evaluation mode.

    Args:
        classifier: on `device`.
        store: its tokens.
        device: where it runs.
        autocast: the precision's context.
        batch_size: texts a step.
        features: also return what the last linear map sees.
        span: only these texts.
        crew: processes that share the work; each returns all of it.
        advance: told how many texts are done.

    Returns:
        `logits` (texts, classes) and, where asked for, `features` (texts, width).
    """
    model = classifier.model
    head = final_linear(model)
    first, last, _ = span.indices(len(store))
    found = {"logits": np.zeros((last - first, head.out_features), np.float32)}
    if features:
        found["features"] = np.zeros((last - first, head.in_features), np.float32)
    was_training, weights = model.training, _reduced_weights(model, device, autocast)
    precision = nullcontext if weights else autocast
    model.eval()
    try:
        for step, indices in enumerate(sorted_batches(store.lengths, batch_size, slice(first, last))):
            if step % crew.size == crew.rank:
                inputs = _as_precise(classifier.inputs(store, indices, device), weights)
                with torch.inference_mode(), precision(), first_token_only(model), head_inputs(model) as seen:
                    logits = functional_call(model, weights, kwargs=inputs).logits
                found["logits"][indices - first] = logits.float().cpu().numpy()
                if features:
                    found["features"][indices - first] = seen[-1].float().cpu().numpy()
            advance(len(indices))
    finally:
        model.train(was_training)
    return {name: crew.total(rows) for name, rows in found.items()}


def _reduced_weights(model: Any, device: torch.device, autocast: Callable[[], Any]) -> dict[str, Tensor]:
    """The weights in the precision that autocast multiplies in; none where that is their own.

    Cast once, and not at each batch; what runs between the products is then in this precision too, a fifth less time
    on a CPU. Predictions differ from autocast's as those do from fp32's: in the third digit.
    """
    with autocast():
        if not torch.is_autocast_enabled(device.type):
            return {}
        dtype = torch.get_autocast_dtype(device.type)
    return {name: value.detach().to(dtype) for name, value in model.named_parameters()}


def _as_precise(inputs: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs, with states of layers that have run already in the weights' precision."""
    dtype = next((value.dtype for value in weights.values()), torch.float32)
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}


def bundle_logits(
    bundle: Path, max_length: int, examples: Sequence[Example], batch_size: int, threads: int = 0, max_windows: int = 1
) -> NDArray[np.float32]:
    """Logits (texts, classes) of a bundle's PyTorch model; arguments and values as of `bundle_outputs`."""
    return bundle_outputs(bundle, max_length, examples, batch_size, threads, max_windows)["logits"]


def bundle_outputs(
    bundle: Path,
    max_length: int,
    examples: Sequence[Example],
    batch_size: int,
    threads: int = 0,
    max_windows: int = 1,
    features: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Outputs of a bundle's PyTorch model, on the CPU in fp32; 0 threads leaves PyTorch's number.

    Of a text that is read in windows: the log of their mean probabilities, as of `predict.Network.logits`, and the mean
    of their features.

    Returns:
        `logits` (texts, classes) and, if asked for, `features` (texts, width), as of `forward_all`.
    """
    classifier = load_classifier(str(bundle), max_length)
    windows = classifier.windows(examples, max_windows)
    store = TokenStore.from_rows(windows.ids, windows.type_ids, classifier.tokenizer.pad_token_id)
    with cpu_threads(threads), progress.stage("reading", len(store)) as advance:
        found = forward_all(
            classifier,
            store,
            torch.device("cpu"),
            nullcontext,
            batch_size=batch_size,
            features=features,
            advance=advance,
        )
    if len(store) == len(examples):
        return found
    counts = np.array(windows.counts)
    found["logits"] = np.log(mean_over_windows(softmax(found["logits"]), counts)).astype(np.float32)
    if features:
        found["features"] = mean_over_windows(found["features"], counts).astype(np.float32)
    return found


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """PyTorch's number of threads inside the block; 0 leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
