"""The wire format of protocol buffers, as much of it as a look at an ONNX file needs.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: its number in the schema.
        value: of a whole number, else 0.
        data: the bytes of a string, a message or packed numbers, else empty.
    """

    number: int
    value: int
    data: memoryview


class WireError(ValueError):
    """Bytes that are no message."""


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in the order of the file.

    Raises:
        WireError: it is cut off, or has groups, which ONNX never had.
    """
    nothing, at = message[:0], 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield Field(number, value, nothing)
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise WireError(f"wire type {wire} at byte {at}")
        if number == 0 or at + size > len(message):
            raise WireError(f"field {number} of {size:,} bytes where {len(message) - at:,} are left")
        yield Field(number, 0, message[at : at + size])
        at += size


def varints(packed: memoryview) -> Iterator[int]:
    """Packed whole numbers."""
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number, and where the next thing begins."""
    value = 0
    for index, byte in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise WireError(f"a number without an end at byte {at}")
