"""A classifier to ONNX, fp32, with inputs by name and both axes dynamic."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilshift.encoder import Classifier, input_names
from distilshift.first_token import first_token_only
from distilshift.static_graph import write_static
from distilshift.static_student import folded, is_static

OPSET = 20


class _LogitsOnly(nn.Module):
    """The model as a function of named tensors, for the exporter."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits


def export_onnx(classifier: Classifier, path: Path) -> None:
    """Write `path`: int64 inputs (batch, sequence) to float32 `logits` (batch, classes).

    The model is on the CPU afterwards, in evaluation mode. A static student's graph has no token types.
    """
    import onnx

    model = classifier.model.cpu().eval()
    if is_static(model):
        write_static(folded(classifier), model.config.layer_norm_eps, path)
        return
    names = input_names(model)
    # A tensor each: the exporter takes one tensor in several places for one input, and reads the last name's.
    example = tuple(torch.ones(2, min(16, classifier.max_length), dtype=torch.int64) for _ in names)
    # dynamic_shapes of a *args function are one tuple; eager attention traces to fewer nodes than SDPA.
    shapes = ({0: "batch", 1: "sequence"},) * len(names)
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with _quiet_exporter(), torch.no_grad(), first_token_only(model):
            torch.onnx.export(
                _LogitsOnly(model, names),
                example,
                str(path),
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=(shapes,),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        model.set_attn_implementation(attention)
    graph = onnx.load(path)
    # The exporter's shape notes contradict the transposed weights that the quantiser makes.
    del graph.graph.value_info[:]
    _strip_notes(graph)
    onnx.save(graph, path)


def _strip_notes(model: Any) -> None:
    """Leave out the exporter's stack traces: they name the folders of the machine, and a bundle travels."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's notices about its own internals from the user."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
