"""A strict reader of protocol buffers: bytes that parsers could read differently are refused.

Parsers differ in what they make of an over-long number, of a field that they do not know or of one that occurs twice;
some truncate, some skip, some merge. A message that has none of these reads the same everywhere.
Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Wire type, and struct format of one number of a fixed width.
_WIRE = {"int32": _VARINT, "int64": _VARINT, "uint64": _VARINT, "float": _FIXED32, "double": _FIXED64}
_FORMATS = {"float": "<f", "double": "<d"}
# What the whole file may have; the largest BERT has some 100,000.
MAX_FIELDS = 500_000
# A number that goes on after its tenth byte, has more than 64 bits, an end of zero bits, or no end.
_BAD_64 = re.compile(rb"[\x80-\xff]{9}[^\x01]|[\x80-\xff](?:\x00|\Z)")
# A number that begins with four bytes and has more than 32 bits, or 64 that are no negative number of 32.
_BAD_32 = re.compile(rb"(?<![\x80-\xff])[\x80-\xff]{4}(?![\x01-\x07]|[\xf8-\xff]\xff{4}\x01)")
_CONTINUED = bytes(range(0x80, 0x100))
_MAX_KEY = 2**32

Message = dict[str, Any]


class WireError(ValueError):
    """Bytes that are not a message of the schema, or that parsers could read differently."""


@dataclass(frozen=True)
class Entry:
    """One field of a schema.

    Attributes:
        name: as in the schema's source.
        kind: int32, int64, uint64, float, double, string, bytes, or the schema of a message. An enum is an int32.
        repeated: it may occur any number of times.
    """

    name: str
    kind: str | Schema
    repeated: bool = False


@dataclass(frozen=True)
class Schema:
    """The fields that a message may have.

    Attributes:
        name: of the message type, as in the schema's source.
        fields: by number.
        refused: by number, what some of the fields that are not allowed would be, for the error.
    """

    name: str
    fields: Mapping[int, Entry]
    refused: Mapping[int, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Numbers:
    """A repeated number, packed or not: each part has numbers in their wire format, one after the other."""

    kind: str
    parts: list[memoryview]

    def __len__(self) -> int:
        """How many numbers there are, without reading them."""
        if self.kind in _FORMATS:
            return sum(map(len, self.parts)) // struct.calcsize(_FORMATS[self.kind])
        return sum(len(bytes(part).translate(None, _CONTINUED)) for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """Bytes that the numbers take in the file."""
        return sum(map(len, self.parts))

    def values(self) -> list[Any]:
        """The numbers."""
        if self.kind in _FORMATS:
            return [value for part in self.parts for (value,) in struct.iter_unpack(_FORMATS[self.kind], part)]
        found = []
        for part in self.parts:
            at = 0
            while at < len(part):
                value, at = _varint(part, at)
                found.append(_signed(self.kind, value))
        return found


def decode(data: memoryview, schema: Schema, max_fields: int = MAX_FIELDS) -> Message:
    """Read a message.

    Args:
        data: the whole message.
        schema: what it may have.
        max_fields: how many fields it may have, those of messages in it included.

    Returns:
        the fields that are there, by name: `Numbers`, a list of texts, bytes or messages where repeated, one otherwise.

    Raises:
        WireError: it is cut off; a field is not in the schema, of another wire type, or twice where it may be once; a
            number is longer than it has to be or has more bits than its type; a string is not UTF-8.
    """
    return _Reader(max_fields).message(data, schema)


class _Reader:
    """One pass over a file; counts the fields, so that a small file cannot fill the memory."""

    def __init__(self, max_fields: int) -> None:
        self._fields, self._max = 0, max_fields

    def message(self, data: memoryview, schema: Schema) -> Message:
        found: Message = {}
        at = 0
        while at < len(data):
            self._fields += 1
            if self._fields > self._max:
                raise WireError(f"more than {self._max:,} fields")
            number, wire, at = _key(data, at)
            entry = schema.fields.get(number)
            if entry is None:
                raise WireError(schema.refused.get(number, f"a part {number} of {schema.name}"))
            start, at = _extent(data, at, wire)
            self._add(found, entry, wire, data[start:at])
        return found

    def _add(self, found: Message, entry: Entry, wire: int, data: memoryview) -> None:
        name, kind = entry.name, entry.kind
        expected = _WIRE.get(kind, _BYTES) if isinstance(kind, str) else _BYTES
        if wire != expected and not (entry.repeated and wire == _BYTES):
            raise WireError(f"{name} of wire type {wire}, which is not its own")
        if isinstance(kind, str) and expected != _BYTES:
            _require_canonical(name, kind, data)
            if entry.repeated:
                found.setdefault(name, Numbers(kind, [])).parts.append(data)
                return
            value: Any = Numbers(kind, [data]).values()[0]
        else:
            value = self.message(data, kind) if isinstance(kind, Schema) else _text(name, kind, data)
        if entry.repeated:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise WireError(f"{name} twice")
        else:
            found[name] = value


def _key(data: memoryview, at: int) -> tuple[int, int, int]:
    """A field's number and wire type, and where its content begins."""
    key, after = _varint(data, at)
    if key >= _MAX_KEY or (after - at > 1 and not data[after - 1]):
        raise WireError(f"a field's key of {after - at} bytes at byte {at}")
    if key >> 3 == 0:
        raise WireError(f"the field number 0 at byte {at}")
    return key >> 3, key & 7, after


def _extent(data: memoryview, at: int, wire: int) -> tuple[int, int]:
    """Where a field's content starts and ends; a length is no part of it."""
    if wire == _VARINT:
        return at, _varint(data, at)[1]
    if wire in (_FIXED32, _FIXED64):
        start, size = at, 4 if wire == _FIXED32 else 8
    elif wire == _BYTES:
        size, start = _varint(data, at)
        _require_canonical("a length", "uint64", data[at:start])
    else:
        raise WireError(f"wire type {wire} at byte {at}")
    if start + size > len(data):
        raise WireError(f"{size:,} bytes where {len(data) - start:,} are left")
    return start, start + size


def _require_canonical(name: str, kind: str, data: memoryview) -> None:
    """Numbers of one kind, one or many, each whole, as short as it can be, and within its type."""
    if kind in _FORMATS:
        if len(data) % struct.calcsize(_FORMATS[kind]):
            raise WireError(f"{name} of {len(data)} bytes, which is not a whole number of {kind}s")
    elif _BAD_64.search(data) or (kind == "int32" and _BAD_32.search(data)):
        raise WireError(f"{name} with a number that is over-long, cut off or not an {kind}")


def _text(name: str, kind: str, data: memoryview) -> memoryview | str:
    if kind == "bytes":
        return data
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise WireError(f"{name} that is not UTF-8") from None


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number of at most ten bytes, and where the next thing begins."""
    if at < len(data) and data[at] < 0x80:  # nearly all are short
        return data[at], at + 1
    value = 0
    for index, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise WireError(f"a number without an end at byte {at}")


def _signed(kind: str, value: int) -> int:
    return value - 2**64 if kind != "uint64" and value >= 2**63 else value
