"""An ONNX file taken apart into the fields of its wire format, down to the last message, and put together again.

The schema is the onnx package's, whole; lengths fit unless they are written by hand.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
# Wire types of numbers, by their type in the schema.
NUMBER_WIRES = {
    **dict.fromkeys((FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_ENUM), VARINT),
    FieldDescriptor.TYPE_UINT64: VARINT,
    FieldDescriptor.TYPE_FLOAT: FIXED32,
    FieldDescriptor.TYPE_DOUBLE: FIXED64,
}


@dataclass
class Field:
    """One field: `key` and `length` as they are written, if not in the shortest form."""

    number: int
    wire: int
    content: bytes | Body
    key: bytes | None = None
    length: bytes | None = None


@dataclass
class Body:
    """The fields of a message of a known type."""

    kind: Descriptor
    fields: list[Field]


def varint(value: int, size: int = 0) -> bytes:
    """A number, made longer than it has to be with zero bits up to `size` bytes."""
    found = []
    while value >= 0x80 or len(found) + 1 < size:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def taken_apart(data: bytes, kind: Descriptor = onnx.ModelProto.DESCRIPTOR) -> Body:
    """The fields of a sound message."""
    body, at = Body(kind, []), 0
    while at < len(data):
        key, at = number_at(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            end = number_at(data, at)[1]
        elif wire == BYTES:
            size, at = number_at(data, at)
            end = at + size
        else:
            end = at + (4 if wire == FIXED32 else 8)
        content: bytes | Body = data[at:end]
        inner = kind.fields_by_number[number].message_type
        if inner is not None:
            content = taken_apart(data[at:end], inner)
        body.fields.append(Field(number, wire, content))
        at = end
    return body


def number_at(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next thing begins."""
    value = shift = 0
    while data[at] >= 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def put_together(body: Body) -> bytes:
    """The bytes of a message."""
    parts = []
    for field in body.fields:
        content = put_together(field.content) if isinstance(field.content, Body) else field.content
        parts.append(field.key or varint(field.number << 3 | field.wire))
        if field.wire == BYTES:
            parts.append(field.length or varint(len(content)))
        parts.append(content)
    return b"".join(parts)


def as_fields(message: Any) -> Body:
    """A message of the onnx package, taken apart."""
    return taken_apart(message.SerializeToString(), message.DESCRIPTOR)


def bodies(body: Body) -> list[Body]:
    """A message and all in it."""
    found = [body]
    for field in body.fields:
        if isinstance(field.content, Body):
            found += bodies(field.content)
    return found


def numbers_of(data: bytes, wire: int) -> list[bytes]:
    """The parts of packed numbers."""
    found, at = [], 0
    while at < len(data):
        end = number_at(data, at)[1] if wire == VARINT else at + (4 if wire == FIXED32 else 8)
        found.append(data[at:end])
        at = end
    return found


@dataclass
class Case:
    """What a mutation works on: a model taken apart, others to take parts from, and its own randomness."""

    model: Body
    others: Sequence[Body]
    rng: random.Random

    def graph(self) -> Body:
        """The model's graph, or the model if that has been taken from it."""
        graphs = [f.content for f in self.model.fields if f.number == 7 and isinstance(f.content, Body)]
        return graphs[0] if graphs else self.model

    def body(self, *kinds: str) -> Body:
        """A message, of each type with the same chance, or of one of these types."""
        by_kind: dict[str, list[Body]] = {}
        for each in bodies(self.model):
            if each.fields and (not kinds or each.kind.name in kinds):
                by_kind.setdefault(each.kind.full_name, []).append(each)
        return self.rng.choice(by_kind[self.rng.choice(sorted(by_kind))])

    def field(self, wire: int | None = None) -> tuple[Body, int]:
        """A field, by its message and its place in that."""
        for _ in range(50):
            body = self.body()
            places = [i for i, field in enumerate(body.fields) if wire is None or field.wire == wire]
            if places:
                return body, self.rng.choice(places)
        return self.model, 0

    def insert(self, body: Body, field: Field) -> None:
        """Put a field somewhere into a message."""
        body.fields.insert(self.rng.randint(0, len(body.fields)), field)

    def disguise(self, field: Field) -> Field:
        """Write a field's key, or its length, so that only some parsers see what it is."""
        key = field.number << 3 | field.wire
        way = self.rng.choice(("wide", "wide", "wide", "long", "number", "length", "plain"))
        if way == "wide":
            field.key = varint(key | self.rng.getrandbits(self.rng.choice((1, 3, 3, 31))) << 32 | 1 << 32)
        elif way == "long":
            field.key = varint(key, self.rng.randint(2, 11))
        elif way == "number":
            field.number = self.rng.choice((0, 2**29 - 1, 19_000, 99, *range(1, 31)))
        elif way == "length" and field.wire == BYTES:
            content = put_together(field.content) if isinstance(field.content, Body) else field.content
            field.length = self.rng.choice((varint(len(content), 9), varint(len(content) | 1 << 32)))
        return field

    def name(self) -> str:
        """A name that the graph has: what a hidden node should read."""
        names = [
            f.content for each in self.graph().fields if isinstance(each.content, Body) for f in each.content.fields
        ]
        return self.rng.choice(
            [n.decode("latin-1") for n in names if isinstance(n, bytes) and n[:1].isalpha()] or ["x"]
        )
