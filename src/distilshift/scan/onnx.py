"""An ONNX file without the onnx package: only known operators, and every number in the file itself.

Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import dataclasses
import math
import mmap
from pathlib import Path

from distilshift.scan.protobuf import Field, WireError, fields, varints
from distilshift.scan.refusal import brief, unsafe
from distilshift.scan.tensors import Shapes

# Bytes a number by ONNX's data type; strings and what is unknown are left out.
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2, 21: 0.5, 22: 0.5}
# Without a loop, a condition or a sparse tensor; what a BERT, its quantised form and their usual fusions need.
_OPERATORS = {
    "": frozenset(
        {
            *("Abs", "Add", "And", "Cast", "CastLike", "Clip", "Concat", "Constant", "ConstantOfShape", "CumSum"),
            *("DequantizeLinear", "Div", "Dropout", "DynamicQuantizeLinear", "Equal", "Erf", "Exp", "Expand"),
            *("Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "Greater", "GreaterOrEqual"),
            *("Identity", "LayerNormalization", "Less", "LessOrEqual", "Log", "MatMul", "MatMulInteger", "Max"),
            *("Min", "Mul", "Neg", "Not", "Or", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceMax"),
            *("ReduceMean", "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Sign", "Slice", "Softmax", "Split"),
            *("Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Trilu", "Unsqueeze", "Where"),
        }
    ),
    "com.microsoft": frozenset(
        {
            *("Attention", "BiasGelu", "DynamicQuantizeMatMul", "EmbedLayerNormalization", "FastGelu", "FusedGemm"),
            *("FusedMatMul", "Gelu", "MatMulIntegerToFloat", "MatMulNBits", "MultiHeadAttention", "QAttention"),
            *("QEmbedLayerNormalization", "QuickGelu", "SkipLayerNormalization"),
        }
    ),
}
_STANDARD = {"": "", "ai.onnx": "", "com.microsoft": "com.microsoft"}
# Where a message may hold text that no kernel reads: doc_string and metadata_props.
_NOTES = {"model": (6, 14), "graph": (10, 16), "node": (6, 9), "tensor": (12, 16), "value": (3, 4), "attribute": (13,)}
# Names are as free: of the producer, its version and domain, the graph, a node with its inputs and results, a tensor.
_NAMES = {"model": (2, 3, 4), "graph": (2,), "node": (1, 2, 3), "tensor": (8,), "value": (1,)}
_MAX_TENSORS = 100_000
_MAX_DIMENSIONS = 8


@dataclasses.dataclass(frozen=True)
class Network:
    """What an ONNX file holds besides its operators.

    Attributes:
        constants: shapes of its tensors, by a number and the name.
        notes: text that no operator reads, and the text that operators take.
        names: of the file's maker, the graph, its nodes and tensors.
        other_bytes: of the file that are not numbers of a tensor: operators, names, and whatever else is in it.
    """

    constants: Shapes = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    other_bytes: int = 0


def check_onnx(path: Path) -> Network:
    """What an ONNX file holds, after a look at all of it.

    Raises:
        UnsafeError: not ONNX; an operator that is not a BERT's or that runs a graph of its own; data in other files;
            a shape that the file has no bytes for.
    """
    if path.stat().st_size == 0:
        raise unsafe(path, "an empty file", "an ONNX model")
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return _Scan(path).model(memoryview(content))  # the map goes when its last slice does
    except WireError as error:
        raise unsafe(path, str(error), "an ONNX model") from None


class _Scan:
    """A pass over one file."""

    def __init__(self, path: Path) -> None:
        self._path, self._found, self._numbers = path, Network(), 0

    def _note(self, kind: str, field: Field) -> None:
        if field.number in _NOTES[kind] and len(field.data):
            self._found.notes.append(_text(field))
        if field.number in _NAMES.get(kind, ()) and len(field.data):
            self._found.names.append(_text(field))

    def model(self, message: memoryview) -> Network:
        graphs = 0
        for field in fields(message):
            self._note("model", field)
            if field.number in (20, 25):
                raise unsafe(self._path, "functions of its own" if field.number == 25 else "training steps", "a graph")
            if field.number == 7:
                graphs += 1
                self._graph(field.data)
            elif field.number > 26:
                raise unsafe(self._path, f"a part {field.number}", "an ONNX model")
        if graphs != 1:
            raise unsafe(self._path, f"{graphs} graphs", "an ONNX model with one graph")
        return dataclasses.replace(self._found, other_bytes=len(message) - self._numbers)

    def _graph(self, message: memoryview) -> None:
        for field in fields(message):
            self._note("graph", field)
            if field.number == 1:
                self._node(field.data)
            elif field.number == 5:
                self._tensor(field.data)
            elif field.number == 15:
                raise unsafe(self._path, "a sparse tensor", "dense ones")
            elif field.number in (11, 12, 13):
                for part in fields(field.data):
                    self._note("value", part)

    def _node(self, message: memoryview) -> None:
        names, domains = [], []
        for field in fields(message):
            self._note("node", field)
            if field.number == 4:
                names.append(_text(field))
            elif field.number == 7:
                domains.append(_text(field))
            elif field.number == 5:
                self._attribute(field.data)
        # A field given twice counts as its last value; this takes any of them to be meant.
        for domain in domains or [""]:
            for name in names or [""]:
                if name not in _OPERATORS.get(_STANDARD.get(domain, "?"), ()):
                    raise unsafe(self._path, f"the operator {brief(f'{domain}:{name}')}", "operators of a BERT")

    def _attribute(self, message: memoryview) -> None:
        for field in fields(message):
            if field.number in (6, 11):
                raise unsafe(self._path, "a graph in an operator", "no loop and no condition")
            if field.number in (22, 23):
                raise unsafe(self._path, "a sparse tensor in an operator", "dense ones")
            if field.number in (5, 10):
                self._tensor(field.data)
            if field.number in (4, 9):
                self._found.notes.append(_text(field))
            self._note("attribute", field)

    def _tensor(self, message: memoryview) -> None:
        shape: list[int] = []
        kind = raw = loose = 0
        name = ""
        for field in fields(message):
            self._note("tensor", field)
            if field.number == 1:
                shape += varints(field.data) if len(field.data) else [field.value]
            elif field.number == 2:
                kind = field.value
            elif field.number == 8:
                name = _text(field)
            elif field.number == 9:
                raw = len(field.data)
            elif field.number in (4, 5, 7, 10, 11):
                loose += len(field.data) or 1  # a number in a field of its own has a byte at least
            elif field.number == 13 or (field.number == 14 and field.value):
                raise unsafe(self._path, f"the tensor {brief(name)} with data in another file", "data in this file")
        self._check_tensor(name, shape, kind, raw, loose)
        self._numbers += raw + loose
        self._found.constants[f"{len(self._found.constants)} {name}"] = tuple(shape)

    def _check_tensor(self, name: str, shape: list[int], kind: int, raw: int, loose: int) -> None:
        """`raw` bytes, or `loose` bytes of numbers of at least one byte each, must be enough for the shape."""
        if kind not in _ITEM_BYTES:
            raise unsafe(self._path, f"the tensor {brief(name)} of data type {kind}", "numbers")
        if len(self._found.constants) >= _MAX_TENSORS or len(shape) > _MAX_DIMENSIONS or max(shape, default=0) >= 2**63:
            raise unsafe(self._path, f"the tensor {brief(name)} of shape {brief(shape)}", "a shape")
        size = math.prod(shape)
        enough = math.ceil(size * _ITEM_BYTES[kind]) == raw if raw else size <= 2 * loose
        if not enough:
            raise unsafe(
                self._path, f"the tensor {brief(name)} of shape {brief(shape)} in {raw or loose:,} bytes", "its bytes"
            )


def _text(field: Field) -> str:
    return bytes(field.data[:200]).decode("utf-8", "backslashreplace")
