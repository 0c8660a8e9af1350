"""An ONNX graph with fewer bits: products in int8, embeddings of 8 or 4 bits.

Inputs of products are quantized with scales that are fixed in the file, measured on target texts. A scale computed from
the batch, as onnxruntime's quantizer writes it, makes a text's label depend on the other texts of the batch and on
padding; a scale computed for each token does not, but is slower (benchmarks/int8_designs.py).

Written here rather than left to onnxruntime's quantizer, which rewrites a 70 MB file in seconds; the search for a form
that keeps the labels needs dozens of them. All operators are ONNX's own: onnxruntime's for 4 bits are missing where a
browser runs the network.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from distilshift.activation_ranges import ActivationRange, Interval
from distilshift.static_graph import quantised_table

# Signed weights of 7 bits. x86 CPUs without VNNI add products in pairs in 16 bits, where two of 255 x 127 do not fit
# and are cut off without notice; two of 255 x 64 do. So the sums are the same on every CPU: benchmarks/LOG.md.
WEIGHT_LIMIT = 64
# A smaller matrix saves nothing.
MIN_WEIGHTS = 1000
# Numbers of an embedding of 4 bits that share a scale, where the width is a multiple of it.
BLOCK = 32

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Form:
    """How the numbers of a network are stored.

    Attributes:
        name: as the report says it.
        outliers: the few input channels that are much larger than the others are multiplied in fp32.
        embedding_bits: 4 or 8 for the largest table, 8 for the others then; 32 leaves all as they are.
        fp32_share: of the products that cost most precision, so many multiply in fp32, with weights of 8 bits.
        static: of a static student, whose table alone has fewer bits.
    """

    name: str
    embedding_bits: Literal[4, 8, 32] = 8
    outliers: bool = False
    fp32_share: float = 0.0
    static: bool = False


def constant_products(graph: onnx.GraphProto) -> list[str]:
    """The products with a constant matrix that are worth quantising, each by the name of its result.

    The last map, to the classes, is small and is what the logits hang on most.
    """
    stored, results = _stored(graph), {output.name for output in graph.output}
    return [node.output[0] for node in graph.node if _is_product(node, stored) and node.output[0] not in results]


def quantised(
    model: onnx.ModelProto, form: Form, ranges: Mapping[str, ActivationRange], spared: Collection[str] = ()
) -> onnx.ModelProto:
    """A copy of the model in another form.

    Args:
        model: fp32, with named results; constant matrices are initialisers.
        form: what to make of it.
        ranges: of the inputs of its products, by name; not looked at for a static student.
        spared: results of products that multiply in fp32.
    """
    if form.static:
        return quantised_table(model, 4 if form.embedding_bits == 4 else 8)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    writer = _Writer(made.graph)
    tables = [] if form.embedding_bits == 32 else _tables(made.graph)
    largest = max(tables, key=lambda name: _size(writer.stored[name]), default="")
    products = constant_products(model.graph)
    for node in model.graph.node:
        if node.output[0] in products:
            _product(writer, node, None if node.output[0] in spared else ranges[node.input[0]], form.outliers)
        elif node.op_type == "Gather" and node.input[0] in tables:
            _lookup(writer, node, 4 if form.embedding_bits == 4 and node.input[0] == largest else 8)
        else:
            writer.nodes.append(node)
    writer.finish()
    return made


class _Writer:
    """The new nodes and constants of a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self.stored, self.nodes = _stored(graph), []  # type: dict[str, TensorProto], list[NodeProto]
        self.results: set[str] = set()

    def constant(self, name: str, values: NDArray[Any]) -> str:
        if name not in self.stored:
            self.stored[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node unless there is one with this result: queries, keys and values are of the same states."""
        if output in self.results:
            return output
        self.results.add(output)
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def finish(self) -> None:
        """Put them into the graph, without the constants that nothing reads any more."""
        read = {name for node in self.nodes for name in node.input}
        del self._graph.node[:], self._graph.initializer[:]
        self._graph.node.extend(self.nodes)
        self._graph.initializer.extend(tensor for name, tensor in self.stored.items() if name in read)


def _stored(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}


def _size(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims))


def _is_matrix(tensor: TensorProto | None) -> bool:
    if tensor is None or tensor.data_type != TensorProto.FLOAT:
        return False
    return len(tensor.dims) == 2 and _size(tensor) >= MIN_WEIGHTS


def _is_product(node: NodeProto, stored: dict[str, TensorProto]) -> bool:
    plain = node.op_type == "MatMul" or (node.op_type == "Gemm" and _is_plain_gemm(node))
    return plain and _is_matrix(stored.get(node.input[1]))


def _is_plain_gemm(node: NodeProto) -> bool:
    given = _attributes(node)
    return (given.get("alpha", 1.0), given.get("beta", 1.0), given.get("transA", 0)) == (1.0, 1.0, 0)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def _tables(graph: onnx.GraphProto) -> list[str]:
    """The constant matrices that rows are looked up in, and that nothing else reads."""
    stored = _stored(graph)
    lookups = [n for n in graph.node if n.op_type == "Gather" and _attributes(n).get("axis", 0) == 0]
    names = {node.input[0] for node in lookups if _is_matrix(stored.get(node.input[0]))}
    otherwise = {name for node in graph.node if node not in lookups for name in node.input}
    return sorted(names - otherwise)


def _product(writer: _Writer, node: NodeProto, found: ActivationRange | None, outliers: bool) -> None:
    """Write a product in int8, or in fp32 without a range of its inputs."""
    weights = numpy_helper.to_array(writer.stored[node.input[1]])
    if _attributes(node).get("transB", 0):
        weights = weights.T
    few = list(found.outliers) if found and outliers else []
    bias, result = (node.input[2] if len(node.input) > 2 else None), node.output[0]
    most = f"{result}_most" if few else result
    product = f"{result}_product" if bias else most
    if found is None:
        _fp32_product(writer, node, weights, product)
    else:
        _int8_product(writer, node, weights, product, (found.rest if few else found.whole), few)
    if bias:  # right after the product, where onnxruntime makes one operator of the two
        writer.node("Add", [product, bias], most)
    if few:
        writer.node("Add", [most, _few_channels(writer, node, weights, few)], result)


def _few_channels(writer: _Writer, node: NodeProto, weights: Weights, few: list[int]) -> str:
    """The part of a product that some channels of its input have in it, in fp32."""
    source, result = node.input[0], node.output[0]
    numbers = writer.constant(f"{source}_outliers", np.array(few, np.int64))
    values = writer.node("Gather", [source, numbers], f"{source}_few", axis=-1)
    rows = writer.constant(f"{result}_few_rows", weights[few])
    return writer.node("MatMul", [values, rows], f"{result}_few")


def _fp32_product(writer: _Writer, node: NodeProto, weights: Weights, result: str) -> None:
    """Weights of 8 bits in the file, which onnxruntime makes fp32 once, when it loads the network."""
    matrix = node.input[1]
    values, scales = _columns(weights, 127)
    stored = writer.constant(f"{matrix}_int8", values), writer.constant(f"{matrix}_scale", scales)
    real = writer.node("Cast", [stored[0]], f"{matrix}_real", to=TensorProto.FLOAT)
    writer.node("MatMul", [node.input[0], writer.node("Mul", [real, stored[1]], f"{matrix}_fp32")], result)


def _columns(weights: Weights, limit: int) -> tuple[NDArray[np.int8], Weights]:
    """Whole numbers of at most `limit`, and a scale for each column."""
    largest = np.abs(weights).max(axis=0)
    scales = np.maximum(largest, np.finfo(np.float32).tiny).astype(np.float32) / limit
    return np.clip(np.rint(weights / scales), -limit, limit).astype(np.int8), scales


def _int8_product(
    writer: _Writer, node: NodeProto, weights: Weights, result: str, interval: Interval, left_out: list[int]
) -> None:
    source, matrix = node.input[0], node.input[1]
    rows = weights.copy()
    rows[left_out] = 0
    values, scales = _columns(rows, WEIGHT_LIMIT)
    stem = node.output[0] if left_out else matrix  # another product of the same matrix may leave other rows out
    constants = writer.constant(f"{stem}_int8", values), writer.constant(f"{stem}_scale", scales)
    scale = writer.constant(f"{source}_scale", np.array(interval.scale))
    zero = writer.constant(f"{source}_zero_point", np.array(interval.zero_point))
    quantized = writer.node("QuantizeLinear", [source, scale, zero], f"{source}_quantized")
    whole = writer.node("MatMulInteger", [quantized, constants[0], zero], f"{result}_whole")
    real = writer.node("Cast", [whole], f"{result}_real", to=TensorProto.FLOAT)
    # The scale again, as a result: onnxruntime would fold a product of two constants into one, and then finds no
    # pattern to make one operator of product, scales and bias, which is a tenth of the time of a batch.
    one = writer.constant("one_uint8", np.array(1, np.uint8))
    step = writer.node("DequantizeLinear", [one, scale], f"{source}_step")
    writer.node("Mul", [real, writer.node("Mul", [step, constants[1]], f"{result}_factor")], result)


def _lookup(writer: _Writer, node: NodeProto, bits: int) -> None:
    block = math.gcd(writer.stored[node.input[0]].dims[1], BLOCK)
    if bits == 4 and block >= 8:
        _lookup_4_bit(writer, node, block)
    else:
        _lookup_8_bit(writer, node)


def _lookup_4_bit(writer: _Writer, node: NodeProto, block: int) -> None:
    """Two numbers a byte, of the first and of the second half of a row; a scale for each block.

    Taken apart in floating point, where 16 times the one plus the other is exact.
    """
    table, ids, result = node.input[0], node.input[1], node.output[0]
    values = numpy_helper.to_array(writer.stored[table])
    numbers, scales = _blocks(values, block)
    first, second = np.split((numbers + 8).astype(np.uint8), 2, axis=1)
    packed = writer.constant(f"{table}_int4", first | second << 4)

    def number(value: float) -> str:
        return writer.constant(f"{table}_{value:g}", np.array(value, np.float32))

    def part(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        return writer.node(kind, inputs, f"{result}_{name}", **attributes)

    both = part("Cast", [part("Gather", [packed, ids], "bytes")], "both", to=TensorProto.FLOAT)
    high = part("Floor", [part("Mul", [both, number(1 / 16)], "sixteenth")], "high")
    low = part("Sub", [both, part("Mul", [high, number(16)], "sixteen")], "low")
    whole = part("Sub", [part("Concat", [low, high], "halves", axis=-1), number(8)], "whole")
    rows = part("Reshape", [whole, writer.constant(f"{table}_blocks", np.array([-1, block]))], "blocks")
    looked = part("Gather", [writer.constant(f"{table}_scale", scales), ids], "scales")
    factor = part("Reshape", [looked, writer.constant(f"{table}_column", np.array([-1, 1]))], "factor")
    width = writer.constant(f"{table}_width", np.array([values.shape[1]]))
    shape = part("Concat", [part("Shape", [ids], "places"), width], "shape", axis=0)
    writer.node("Reshape", [part("Mul", [rows, factor], "real"), shape], result)


def _lookup_8_bit(writer: _Writer, node: NodeProto) -> None:
    """A scale for each row, in operators of the standard."""
    table, ids, result = node.input[0], node.input[1], node.output[0]
    values = numpy_helper.to_array(writer.stored[table])
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / 127
    numbers = writer.constant(f"{table}_int8", np.rint(values / scales).astype(np.int8))
    whole = writer.node("Gather", [numbers, ids], f"{result}_whole")
    real = writer.node("Cast", [whole], f"{result}_real", to=TensorProto.FLOAT)
    factor = writer.node("Gather", [writer.constant(f"{table}_scale", scales), ids], f"{result}_factor")
    writer.node("Mul", [real, factor], result)


def _blocks(values: Weights, block: int) -> tuple[NDArray[np.int32], Weights]:
    """Numbers from -8 to 7, in the shape of the values, and a scale for each block, (rows, blocks).

    The value of largest size becomes -8, which has no positive counterpart.
    """
    blocks = values.reshape(len(values), -1, block)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
    scales = largest / -8
    numbers = np.clip(np.rint(blocks / np.where(scales == 0, 1, scales)), -8, 7).astype(np.int32)
    return numbers.reshape(values.shape), scales[..., 0].astype(np.float32)
