"""An ONNX file without the onnx package: only known operators, and every number in the file itself."""

from __future__ import annotations

import dataclasses
import math
import mmap
from collections.abc import Iterable
from pathlib import Path

from distilshift.scan.onnx_operators import OPERATORS, STANDARD
from distilshift.scan.onnx_schema import MODEL
from distilshift.scan.protobuf import Message, WireError, decode
from distilshift.scan.refusal import brief, unsafe
from distilshift.scan.tensors import Shapes

# Bytes a number by ONNX's data type; strings and what is unknown are left out.
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2, 21: 0.5, 22: 0.5}
# Where a tensor of each data type has its numbers if not in raw_data.
_DATA_FIELDS = {1: "float_data", 7: "int64_data", 11: "double_data", 12: "uint64_data", 13: "uint64_data"}
_LOOSE_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
# The field that an attribute of each type has its value in, and whether that is a list.
_VALUE_FIELDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings", 9: "tensors"}
_LISTS = frozenset({6, 7, 8, 9})
_MAX_TENSORS = 100_000
_MAX_DIMENSIONS = 8
# Bytes 4 to 8 of onnxruntime's own format, which it takes a model in memory for before it looks for ONNX.
_ORT_MARK = b"ORTM"


@dataclasses.dataclass(frozen=True)
class Network:
    """What an ONNX file holds besides its operators.

    Attributes:
        constants: shapes of its tensors, by a number and the name.
        notes: text that no operator reads, and the text that operators take.
        names: of the file's maker, the graph, its nodes, tensors and dimensions.
        other_bytes: of the file that are not numbers of a tensor: operators, names, and whatever else is in it.
    """

    constants: Shapes = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    other_bytes: int = 0


def read_onnx(path: Path) -> Message:
    """The fields of an ONNX file, by their names in onnx.proto.

    Raises:
        UnsafeError: not ONNX, or with bytes that onnxruntime could read differently: see `protobuf.decode`.
    """
    if path.stat().st_size == 0:
        raise unsafe(path, "an empty file", "an ONNX model")
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if content[4:8] == _ORT_MARK:
        raise unsafe(path, "the mark of onnxruntime's own format", "an ONNX model")
    try:
        return decode(memoryview(content), MODEL)  # the map goes when its last slice does
    except WireError as error:
        raise unsafe(path, str(error), "an ONNX model") from None


def check_onnx(path: Path) -> Network:
    """What an ONNX file holds, after a look at all of it.

    Raises:
        UnsafeError: as of `read_onnx`; an operator that is not a BERT's or that runs a graph of its own; data in other
            files; a shape that the file has no bytes for; two things of one name.
    """
    model = read_onnx(path)
    return _Check(path).model(model, path.stat().st_size)


class _Check:
    """A pass over the fields of one file."""

    def __init__(self, path: Path) -> None:
        self._path, self._found, self._numbers = path, Network(), 0

    def model(self, model: Message, size_bytes: int) -> Network:
        if "graph" not in model:
            raise unsafe(self._path, "no graph", "an ONNX model")
        self._remember(model, "producer_name", "producer_version", "domain")
        domains = [entry.get("domain", "") for entry in model.get("opset_import", ())]
        self._found.names.extend(filter(None, domains))
        self._require_unique("operator set", (STANDARD.get(name, name) for name in domains))
        self._require_unique("note", (entry.get("key", "") for entry in model.get("metadata_props", ())))
        self._graph(model["graph"])
        return dataclasses.replace(self._found, other_bytes=size_bytes - self._numbers)

    def _graph(self, graph: Message) -> None:
        self._remember(graph, "name")
        for node in graph.get("node", ()):
            self._node(node)
        stored = graph.get("initializer", ())
        for tensor in stored:
            self._tensor(tensor)
        self._require_unique("initializer", (tensor.get("name", "") for tensor in stored))
        for role in ("input", "output", "value_info"):
            values = graph.get(role, ())
            self._require_unique(role, (value.get("name", "") for value in values))
            for value in values:
                self._value(value)

    def _node(self, node: Message) -> None:
        self._remember(node, "name", "input", "output")
        domain, kind = node.get("domain", ""), node.get("op_type", "")
        if kind not in OPERATORS.get(STANDARD.get(domain, "?"), ()):
            raise unsafe(self._path, f"the operator {brief(f'{domain}:{kind}')}", "operators of a BERT")
        attributes = node.get("attribute", ())
        self._require_unique("attribute", (attribute.get("name", "") for attribute in attributes))
        for attribute in attributes:
            self._attribute(attribute)

    def _attribute(self, attribute: Message) -> None:
        self._remember(attribute, "name")
        kind = attribute.get("type")
        held = [name for name in _VALUE_FIELDS.values() if name in attribute]
        field = _VALUE_FIELDS.get(kind)  # type: ignore[arg-type]
        if held != [field] and not (kind in _LISTS and not held):
            got = f"the attribute {brief(attribute.get('name', ''))} of type {kind} with {', '.join(held) or 'nothing'}"
            raise unsafe(self._path, got, "one value, of its type")
        for tensor in [*([attribute["t"]] if "t" in attribute else []), *attribute.get("tensors", ())]:
            self._tensor(tensor)
        texts = [*([attribute["s"]] if "s" in attribute else []), *attribute.get("strings", ())]
        self._found.notes.extend(str(text, "utf-8", "backslashreplace") for text in texts)

    def _value(self, value: Message) -> None:
        self._remember(value, "name")
        kind = value.get("type", {})
        self._remember(kind, "denotation")
        for dimension in kind.get("tensor_type", {}).get("shape", {}).get("dim", ()):
            self._remember(dimension, "dim_param", "denotation")
            if {"dim_value", "dim_param"} <= set(dimension):
                raise unsafe(self._path, f"a dimension of {brief(value.get('name', ''))} with two sizes", "one")

    def _tensor(self, tensor: Message) -> None:
        self._remember(tensor, "name")
        name, kind, dims = brief(tensor.get("name", "")), tensor.get("data_type", 0), tensor.get("dims", ())
        if kind not in _ITEM_BYTES:
            raise unsafe(self._path, f"the tensor {name} of data type {kind}", "numbers")
        if tensor.get("data_location", 0):
            raise unsafe(self._path, f"the tensor {name} with data in another file", "data in this file")
        if len(self._found.constants) >= _MAX_TENSORS or len(dims) > _MAX_DIMENSIONS:
            raise unsafe(self._path, f"the tensor {name} of a shape of {len(dims):,} dimensions", "a shape")
        shape = dims.values() if dims else []
        if min(shape, default=0) < 0:
            raise unsafe(self._path, f"the tensor {name} of shape {brief(shape)}", "a shape")
        self._require_numbers(tensor, kind, shape)
        self._found.constants[f"{len(self._found.constants)} {tensor.get('name', '')}"] = tuple(shape)

    def _require_numbers(self, tensor: Message, kind: int, shape: list[int]) -> None:
        """All numbers of the shape are there, in one place: raw bytes, or the field of their type."""
        held = [name for name in ("raw_data", *_LOOSE_FIELDS) if name in tensor]
        size, item = math.prod(shape), _ITEM_BYTES[kind]
        if held == ["raw_data"]:
            taken, enough = len(tensor["raw_data"]), math.ceil(size * item) == len(tensor["raw_data"])
        elif held == [_DATA_FIELDS.get(kind, "int32_data")]:
            numbers = tensor[held[0]]
            # One number an entry, but two of 4 bits.
            taken, enough = numbers.size_bytes, math.ceil(size * min(1, item)) == len(numbers)
        else:
            taken, enough = 0, size == 0 and not held
        if not enough:
            name = brief(tensor.get("name", ""))
            got = f"the tensor {name} of shape {brief(shape)} in {taken:,} bytes of {', '.join(held) or 'nothing'}"
            raise unsafe(self._path, got, "its bytes")
        self._numbers += taken

    def _remember(self, message: Message, *names: str) -> None:
        """Keep the names of a message, and what notes it has."""
        for name in names:
            value = message.get(name, ())
            self._found.names.extend(filter(None, [value] if isinstance(value, str) else value))
        if message.get("doc_string"):
            self._found.notes.append(message["doc_string"])
        for note in message.get("metadata_props", ()):
            self._found.notes.append(f"{note.get('key', '')} {note.get('value', '')}")

    def _require_unique(self, what: str, names: Iterable[str]) -> None:
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise unsafe(self._path, f"two of the name {brief(name)}: {what}", "each name once")
            seen.add(name)
