"""An ONNX export of a BERT encoder, back to a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.errors import MissingExtraError, ModelError

Tensors = dict[str, NDArray[np.float32]]


def convert_bert(onnx_file: Path, prefix: str, heads: int, folder: Path) -> None:
    """Write `model.safetensors` and `config.json` of a BertModel without pooler.

    Args:
        onnx_file: an export by torch of a BertModel with GELU and 1e-12 in its layer norms.
        prefix: what precedes the BertModel's own parameter names in the export.
        heads: attention heads a layer; the weights do not tell.
        folder: where to write.

    Raises:
        MissingExtraError: onnx or safetensors is not installed.
        ModelError: the graph is not such a model.
        OSError: the folder cannot be written.
    """
    try:
        import onnx
        from safetensors.numpy import save
    except ImportError as error:
        raise MissingExtraError(
            "this encoder is converted from ONNX", got=str(error), fix="pip install '.[train]' in the checkout"
        ) from error
    tensors = named_tensors(onnx.load(onnx_file).graph, prefix)
    config = _bert_config(tensors, heads)
    # transformers refuses a file that does not say which framework's layout it has.
    # Written here, since safetensors' own file could be read by its owner alone.
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def named_tensors(graph: Any, prefix: str) -> Tensors:
    """A torch module's parameters under their own names.

    The exporter keeps the names of biases, embeddings and layer norms. A Linear's weight it transposes and
    renames; the Add that follows its MatMul still names the bias, which gives the weight away.

    Args:
        graph: an onnx.GraphProto.
        prefix: left off the names; parameters without it are left out.

    Raises:
        ModelError: a bias has no weight.
    """
    from onnx.numpy_helper import to_array

    stored = {tensor.name: tensor for tensor in graph.initializer}
    named = {name.removeprefix(prefix): to_array(stored[name]) for name in stored if name.startswith(prefix)}
    for bias, weight in _linear_weights(graph, set(stored)).items():
        if bias.startswith(prefix):
            named[bias.removeprefix(prefix).removesuffix("bias") + "weight"] = to_array(stored[weight]).T
    orphans = [name for name in named if name.endswith(".bias") and f"{name.removesuffix('bias')}weight" not in named]
    if orphans:
        problem, fix = "the ONNX graph cannot be read back", "choose another packaged encoder"
        raise ModelError(problem, expected="a weight for each bias", got=orphans[0], fix=fix)
    return {name: np.ascontiguousarray(value) for name, value in named.items()}


def _linear_weights(graph: Any, stored: set[str]) -> dict[str, str]:
    """Bias name to weight name of each Add(MatMul(input, weight), bias), in either order of the sum."""
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    sums = [tuple(node.input) for node in graph.node if node.op_type == "Add"]
    pairs = [pair for left, right in sums for pair in ((left, right), (right, left))]
    return {bias: products[term] for bias, term in pairs if bias in stored and products.get(term) in stored}


def _bert_config(tensors: Tensors, heads: int) -> dict[str, Any]:
    """The config.json that the shapes imply."""
    try:
        vocab_size, width = tensors["embeddings.word_embeddings.weight"].shape
        inner = tensors["encoder.layer.0.intermediate.dense.weight"].shape[0]
        positions = len(tensors["embeddings.position_embeddings.weight"])
        token_types = len(tensors["embeddings.token_type_embeddings.weight"])
    except KeyError as error:
        problem, fix = "the ONNX graph is not a BERT encoder", "choose another packaged encoder"
        raise ModelError(problem, expected=f"a parameter {error}", fix=fix) from error
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_hidden_layers": len({name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")}),
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "type_vocab_size": token_types,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": 0,
    }
