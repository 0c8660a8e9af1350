"""Changes of an ONNX file that a parser may or may not notice, made on its wire format."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from scan_wire import (
    BYTES,
    END_GROUP,
    FIXED32,
    FIXED64,
    GROUP,
    NUMBER_WIRES,
    VARINT,
    Body,
    Case,
    Field,
    as_fields,
    bodies,
    number_at,
    numbers_of,
    put_together,
    taken_apart,
    varint,
)

# Files that external data may name; the fuzz puts them there, so that reading one changes the graph.
CANARIES = ("weights.bin", "../outside/secret.bin")
_HALF_AS_OFTEN_BYTES = 8_000
FORBIDDEN = ("If", "Loop", "Scan", "SequenceMap", "NonZero", "RandomNormal", "Optional", "StringConcat", "Resize")


def wide_key(case: Case) -> None:
    """A key of more than 32 bits, whose lower ones are the field's."""
    body, at = case.field()
    field = body.fields[at]
    high = case.rng.choice((1, 2, 4, 7, 8, 2**3 - 1, 2**31 - 1, case.rng.getrandbits(31) | 1))
    field.key = varint((field.number << 3 | field.wire) | high << 32)


def long_key(case: Case) -> None:
    """A key that is longer than it has to be."""
    body, at = case.field()
    field = body.fields[at]
    field.key = varint(field.number << 3 | field.wire, case.rng.randint(2, 11))


def long_varint(case: Case) -> None:
    """A value or a length that is longer than it has to be, or has more bits than its type."""
    body, at = case.field(case.rng.choice((VARINT, BYTES)))
    field = body.fields[at]
    size = len(put_together(field.content)) if isinstance(field.content, Body) else len(field.content)
    if field.wire == BYTES:
        field.length = case.rng.choice((varint(size, case.rng.randint(2, 11)), varint(size | 1 << 32)))
    elif isinstance(field.content, bytes) and field.wire == VARINT:
        value = number_at(field.content, 0)[0]
        high = 1 << case.rng.choice((31, 32, 33, 62, 63, 64, 68))
        field.content = case.rng.choice((varint(value, case.rng.randint(2, 11)), varint(value | high)))


def duplicate(case: Case) -> None:
    """A field twice, with the same value."""
    body, at = case.field()
    field = body.fields[at]
    case.insert(body, Field(field.number, field.wire, field.content))


def two_values(case: Case) -> None:
    """A field twice, the second with the value of another of its kind."""
    body, at = case.field()
    field = body.fields[at]
    alike = [
        f for each in bodies(case.model) if each.kind is body.kind for f in each.fields if f.number == field.number
    ]
    case.insert(body, Field(field.number, field.wire, case.rng.choice(alike).content))


def reorder(case: Case) -> None:
    """The fields of a message in another order."""
    case.rng.shuffle(case.body().fields)


def remove(case: Case) -> None:
    """A message without one of its fields."""
    body, at = case.field()
    del body.fields[at]


def unknown(case: Case) -> None:
    """A field that no schema has, or of another type; the beginning of a group."""
    wire = case.rng.choice((VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32))
    size = {FIXED64: 8, FIXED32: 4}.get(wire, case.rng.randint(0, 5))
    content = varint(case.rng.getrandbits(30)) if wire == VARINT else case.rng.randbytes(size)
    number = case.rng.choice((case.rng.randint(1, 40), case.rng.choice((0, 99, 2**29 - 1))))
    case.insert(case.body(), Field(number, wire, content))


def wire_type(case: Case) -> None:
    """A field under another wire type."""
    body, at = case.field()
    body.fields[at].wire = case.rng.randint(0, 7)


def packing(case: Case) -> None:
    """Packed numbers one by one, or the other way round; also of fields that are not repeated."""
    body = case.body("TensorProto", "AttributeProto", "Dimension")
    at = case.rng.randrange(len(body.fields))
    field = body.fields[at]
    kind = body.kind.fields_by_number[field.number]
    wire = NUMBER_WIRES.get(kind.type)
    if wire is None or not isinstance(field.content, bytes):
        return
    if field.wire == BYTES:
        body.fields[at : at + 1] = [Field(field.number, wire, part) for part in numbers_of(field.content, wire)]
    else:
        field.wire = BYTES


def splice(case: Case) -> None:
    """A part of a message replaced by one of another model, of the same type or of any."""
    body, at = case.field(BYTES)
    field = body.fields[at]
    other = case.rng.choice(case.others)
    same = isinstance(field.content, Body) and case.rng.random() < 0.7
    found = [b for b in bodies(other) if not same or b.kind is getattr(field.content, "kind", None)]
    if found:
        chosen = case.rng.choice(found)
        field.content = taken_apart(put_together(chosen), chosen.kind)  # a copy


def scalar(case: Case) -> None:
    """Another small number, or a text of another place."""
    body, at = case.field(case.rng.choice((VARINT, BYTES)))
    field = body.fields[at]
    if field.wire == VARINT:
        field.content = varint(case.rng.choice((0, 1, 2, 8, 16, 2**31, 2**63, 2**64 - 1, case.rng.randint(0, 99))))
    elif isinstance(field.content, bytes):
        texts = [
            f.content for b in bodies(case.model) for f in b.fields if isinstance(f.content, bytes) and f.wire == BYTES
        ]
        field.content = case.rng.choice((case.rng.choice(texts), b"", b"\xff", field.content + b"\0"))


def numbers_elsewhere(case: Case) -> None:
    """A tensor's raw bytes in the field of a type, in two fields, or in none."""
    body = case.body("TensorProto")
    raw = next((f for f in body.fields if f.number == 9), None)
    if raw is None or not isinstance(raw.content, bytes):
        return
    number = case.rng.choice((4, 5, 7, 10, 11))
    values = b"".join(map(varint, raw.content)) if number in (5, 7, 11) else raw.content
    case.insert(body, Field(number, BYTES, values))
    if case.rng.random() < 0.7:
        body.fields.remove(raw)


def _node(case: Case, kind: str, domain: str = "", **attributes: Any) -> Field:
    name = f"extra{case.rng.randrange(1000)}"
    node = onnx.helper.make_node(kind, [case.name()], [name], name, domain=domain, **attributes)
    return Field(1, BYTES, as_fields(node))


def hidden_node(case: Case) -> None:
    """A node more, allowed or not, open or under a key that some parsers take for another field."""
    kind = case.rng.choice((*FORBIDDEN, "Identity", "Identity", "Relu", "Shape"))
    domain = case.rng.choice(("", "", "", "com.microsoft", "ai.onnx", "evil"))
    case.insert(case.graph(), case.disguise(_node(case, kind, domain)))


def control_flow(case: Case) -> None:
    """If, Loop or Scan with a graph in it, open or disguised at one of the levels."""
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Constant", [], ["b"], value_float=1.0)],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("b", 1, None)],
    )
    names = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}
    kind = case.rng.choice(sorted(names))
    node = _node(case, kind, **dict.fromkeys(names[kind], branch))
    levels = [node, *(f for f in getattr(node.content, "fields", []) if f.number == 5)]
    case.disguise(case.rng.choice(levels))
    case.insert(case.graph(), node)


def constant(case: Case) -> None:
    """Numbers in an operator, of the kinds that an attribute may have."""
    tensor = onnx.numpy_helper.from_array(_table(case), "t")
    sparse = onnx.helper.make_sparse_tensor(tensor, onnx.numpy_helper.from_array(np.arange(1)), [4])
    values = {"value": tensor, "value_floats": [1.0], "value_ints": [3], "value_string": b"x", "sparse_value": sparse}
    name = case.rng.choice(sorted(values))
    node = onnx.helper.make_node("Constant", [], [f"extra{case.rng.randrange(1000)}"], **{name: values[name]})
    case.insert(case.graph(), Field(1, BYTES, as_fields(node)))


def _table(case: Case) -> Any:
    return np.arange(1 + case.rng.randrange(4)).astype(case.rng.choice(("float32", "float64", "int8", "int64", "bool")))


def external(case: Case) -> None:
    """A tensor whose numbers are in another file, open or disguised."""
    body = case.body("TensorProto")
    where = [f for f in body.fields if f.number not in (4, 5, 7, 9, 10, 11)]
    for key, value in (("location", case.rng.choice(CANARIES)), ("offset", "0")):
        entry = onnx.StringStringEntryProto(key=key, value=value)
        where.append(case.disguise(Field(13, BYTES, as_fields(entry))))
    if case.rng.random() < 0.9:
        where.append(case.disguise(Field(14, VARINT, varint(1))))
    body.fields[:] = where if case.rng.random() < 0.8 else [*body.fields, *where[-3:]]


def other_part(case: Case) -> None:
    """Functions, training steps, sparse tensors, annotations, types that are no tensors: open or disguised."""
    model: tuple[tuple[int, Any], ...] = (
        (20, onnx.TrainingInfoProto(algorithm=onnx.GraphProto(name="t"))),
        (25, onnx.helper.make_function("evil", "F", ["x"], ["y"], [], [onnx.helper.make_opsetid("", 20)])),
        (14, onnx.StringStringEntryProto(key="ort_config", value='{"session_options": {}}')),
        (8, onnx.helper.make_opsetid(case.rng.choice(("", "ai.onnx", "evil")), case.rng.choice((1, 13, 21)))),
    )
    graph: tuple[tuple[int, Any], ...] = (
        (15, onnx.SparseTensorProto(dims=[4])),
        (14, onnx.TensorAnnotation(tensor_name="x")),
        (11, onnx.helper.make_tensor_sequence_value_info("s", 1, None)),
        (12, onnx.helper.make_tensor_value_info(case.name(), 1, None)),
        (5, onnx.numpy_helper.from_array(_table(case), case.name())),
    )
    target, options = case.rng.choice(((case.model, model), (case.graph(), graph)))
    number, message = case.rng.choice(options)
    case.insert(target, case.disguise(Field(number, BYTES, as_fields(message))))


def bit_flips(data: bytes, rng: random.Random) -> bytes:
    """Some bits, half of the time in the first part, where the operators are."""
    changed = bytearray(data)
    end = len(data) if rng.random() < 0.5 else min(len(data), 6_000)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def byte_edits(data: bytes, rng: random.Random) -> bytes:
    """Bytes inserted, cut out, cut off or added."""
    at, size = rng.randrange(len(data)), rng.randint(1, 8)
    inserted = data[:at] + rng.randbytes(size) + data[at:]
    return rng.choice((inserted, data[:at] + data[at + size :], data[:-size], data + rng.randbytes(size)))


def _by_name(*made: Callable[..., Any]) -> dict[str, Any]:
    return {each.__name__: each for each in made}


_RAW: dict[str, Callable[[bytes, random.Random], bytes]] = _by_name(bit_flips, byte_edits)
_STRUCTURED: dict[str, Callable[[Case], None]] = _by_name(
    *(wide_key, long_key, long_varint, duplicate, two_values, reorder, remove, unknown, wire_type, packing, splice),
    *(scalar, numbers_elsewhere, hidden_node, control_flow, constant, external, other_part),
)
KINDS = (*sorted(_STRUCTURED), *sorted(_RAW))


@dataclass(frozen=True)
class Mutated:
    """A changed model: the kind of its (first) mutation, the sound model that it came from, and its bytes."""

    kind: str
    seed: str
    data: bytes


class Mutator:
    """Changed models of some sound ones.

    Args:
        seeds: the sound models, by name.
    """

    def __init__(self, seeds: Mapping[str, bytes]) -> None:
        self._seeds = seeds
        self._apart = {name: taken_apart(data) for name, data in seeds.items()}
        self._names = sorted(seeds)
        # A small one takes less time, and more of its changes are in its structure.
        self._weights = [1 / (1 + len(seeds[name]) / _HALF_AS_OFTEN_BYTES) for name in self._names]

    def one(self, rng: random.Random) -> Mutated:
        """A model with a mutation of a random kind; one in five has a second one."""
        name, kind = rng.choices(self._names, self._weights)[0], rng.choice(KINDS)
        if kind in _RAW:
            return Mutated(kind, name, _RAW[kind](self._seeds[name], rng))
        case = Case(taken_apart(self._seeds[name]), list(self._apart.values()), rng)
        _STRUCTURED[kind](case)
        if rng.random() < 0.2:
            with suppress(LookupError):  # what it would change may be gone
                rng.choice(list(_STRUCTURED.values()))(case)
        return Mutated(kind, name, put_together(case.model))
