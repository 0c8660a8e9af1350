"""A static student as an ONNX graph: a table of what each word piece adds, their mean over the text, and the head.

Two forms of the table have fewer bits. Rows are averaged and not used one by one, so their scales go into the weights
of the mean, and halves of bytes are taken apart after it: few operations touch every token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

TABLE, ROWS = "token_table", "token_rows"
OPSET, IR_VERSION = 20, 10

Constants = dict[str, NDArray[Any]]


def write_static(constants: Constants, norm_epsilon: float, path: Path) -> None:
    """Write `path`: int64 input_ids and attention_mask (batch, sequence) to float32 `logits` (batch, classes).

    Token types are no input: a static student does not tell the texts of a pair apart.

    Args:
        constants: as `static_student.folded` gives them.
        norm_epsilon: of the two normalisations.
        path: the file.
    """
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    classes = len(constants["classifier"])
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])]
    stored = [numpy_helper.from_array(v, name) for name, v in (constants | {"axis_1": np.array([1])}).items()]
    graph = helper.make_graph([*_weights(), *_plain_mean(), *_head(norm_epsilon)], "static", inputs, outputs, stored)
    opset = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="distilshift"), path)


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, [output], name=output, **attributes)


def _weights() -> list[NodeProto]:
    """`token_weights`, (batch, sequence): 1 at real tokens; `token_count`, (batch, 1): how many there are."""
    return [
        _node("Cast", ["attention_mask"], "token_weights", to=TensorProto.FLOAT),
        _node("ReduceSum", ["token_weights", "axis_1"], "token_count", keepdims=1),
    ]


def _plain_mean() -> list[NodeProto]:
    """`token_sum`, (batch, 1, width)."""
    return [
        _node("Gather", [TABLE, "input_ids"], ROWS),
        _node("Unsqueeze", ["token_weights", "axis_1"], "row_weights"),
        _node("MatMul", ["row_weights", ROWS], "token_sum"),
    ]


def _head(epsilon: float) -> list[NodeProto]:
    return [
        _node("Squeeze", ["token_sum", "axis_1"], "text_sum"),
        _node("Div", ["text_sum", "token_count"], "text_mean"),
        _node("Add", ["text_mean", "bias"], "text_state"),
        _node("LayerNormalization", ["text_state", "inner_gain", "inner_shift"], "inner", epsilon=epsilon),
        _node("LayerNormalization", ["inner", "outer_gain", "outer_shift"], "outer", epsilon=epsilon),
        _node("Gemm", ["outer", "pooler", "pooler_bias"], "dense", transB=1),
        _node("Tanh", ["dense"], "pooled"),
        _node("Gemm", ["pooled", "classifier", "classifier_bias"], "logits", transB=1),
    ]


def has_table(model: onnx.ModelProto) -> bool:
    """Whether a graph is one of these, its table in fp32."""
    return any(node.output[0] == ROWS and node.input[0] == TABLE for node in model.graph.node)


def quantised_table(model: onnx.ModelProto, bits: Literal[4, 8]) -> onnx.ModelProto:
    """A copy whose table has numbers of 4 or 8 bits and a scale for each row; the head stays as it is.

    Args:
        model: as `export_static` writes it.
        bits: 4 where the width is even.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    write = _mean_of_4_bits if bits == 4 else _mean_of_8_bits
    constants, nodes = write(stored.pop(TABLE))
    replaced = {node.output[0] for node in _plain_mean()}
    kept = [node for node in model.graph.node if node.output[0] not in replaced]
    place = 1 + next(index for index, node in enumerate(kept) if node.output[0] == "token_count")
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend([*kept[:place], *nodes, *kept[place:]])
    made.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in (stored | constants).items())
    return made


def _scaled_weights() -> list[NodeProto]:
    """`row_weights`, (batch, 1, sequence): each token's weight times the scale of its row."""
    return [
        _node("Gather", ["table_scale", "input_ids"], "scale_rows"),
        _node("Squeeze", ["scale_rows", "last_axis"], "scales"),
        _node("Mul", ["token_weights", "scales"], "scaled_weights"),
        _node("Unsqueeze", ["scaled_weights", "axis_1"], "row_weights"),
    ]


def _mean_of_8_bits(table: NDArray[np.float32]) -> tuple[Constants, list[NodeProto]]:
    numbers, scales = _numbers(table, 127)
    constants: Constants = {"table_int8": numbers.astype(np.int8), "table_scale": scales, "last_axis": np.array([-1])}
    nodes = [
        *_scaled_weights(),
        _node("Gather", ["table_int8", "input_ids"], "whole_rows"),
        _node("Cast", ["whole_rows"], ROWS, to=TensorProto.FLOAT),
        _node("MatMul", ["row_weights", ROWS], "token_sum"),
    ]
    return constants, nodes


def _mean_of_4_bits(table: NDArray[np.float32]) -> tuple[Constants, list[NodeProto]]:
    """Two numbers a byte, of the first and of the second half of a row.

    The sums of whole bytes and of their high halves give those of the low halves: 16 times the one plus the other.
    """
    numbers, scales = _numbers(table, 7)
    first, second = np.split((numbers + 8).astype(np.uint8), 2, axis=1)
    constants: Constants = {"table_int4": first | second << 4, "table_scale": scales, "last_axis": np.array([-1])}
    constants |= {name: np.array(value, np.float32) for name, value in _HALVES.items()}
    nodes = [
        *_scaled_weights(),
        _node("Gather", ["table_int4", "input_ids"], "byte_rows"),
        _node("Cast", ["byte_rows"], ROWS, to=TensorProto.FLOAT),
        _node("Mul", [ROWS, "sixteenth"], "sixteenths"),
        _node("Floor", ["sixteenths"], "high_rows"),
        _node("MatMul", ["row_weights", ROWS], "byte_sum"),
        _node("MatMul", ["row_weights", "high_rows"], "high_sum"),
        _node("Mul", ["high_sum", "sixteen"], "high_part"),
        _node("Sub", ["byte_sum", "high_part"], "low_sum"),
        _node("Concat", ["low_sum", "high_sum"], "half_sums", axis=-1),
        # All numbers are stored with 8 added.
        _node("ReduceSum", ["row_weights", "last_axis"], "weight_sum", keepdims=1),
        _node("Mul", ["weight_sum", "eight"], "excess"),
        _node("Sub", ["half_sums", "excess"], "token_sum"),
    ]
    return constants, nodes


_HALVES = {"sixteenth": 1 / 16, "sixteen": 16, "eight": 8}


def _numbers(table: NDArray[np.float32], limit: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Whole numbers from -limit to limit, and a scale for each row, (rows, 1)."""
    largest = np.abs(table).max(axis=1, keepdims=True)
    scales = np.maximum(largest, np.finfo(np.float32).tiny).astype(np.float32) / np.float32(limit)
    return np.rint(table / scales).astype(np.int32), scales
