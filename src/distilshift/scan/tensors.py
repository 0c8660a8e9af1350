"""The header of a safetensors file: what it claims must be what the file holds."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from distilshift.scan.json_file import parse_object
from distilshift.scan.refusal import brief, require_whole, unsafe

MAX_HEADER_BYTES = 16 * 1024 * 1024
_MAX_DIMENSIONS = 8
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}

Shapes = dict[str, tuple[int, ...]]


def tensor_shapes(path: Path) -> Shapes:
    """The tensors of a safetensors file by name, after their shapes are held against the bytes that are there.

    Nothing is allocated: a shape that is larger than the file is refused.

    Raises:
        UnsafeError: the header is too long or no header, a shape is absurd, or tensors overlap or leave gaps.
    """
    header, data_bytes = _header(path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise unsafe(path, f"__metadata__ {brief(metadata)}", "strings by name")
    shapes: Shapes = {}
    spans = []
    for name, entry in header.items():
        shapes[name], span = _tensor(path, name, entry)
        spans.append(span)
    _require_contiguous(path, sorted(spans), data_bytes)
    return shapes


def metadata_of(path: Path) -> dict[str, str]:
    """The free-form strings of a safetensors file that `tensor_shapes` has passed."""
    return dict(_header(path)[0].get("__metadata__", {}))


def elements(shapes: Shapes) -> int:
    """Numbers in all tensors together."""
    return sum(math.prod(shape) for shape in shapes.values())


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes follow it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise unsafe(path, f"a header of {length:,} bytes in a file of {size:,}", "safetensors")
        return parse_object(path, file.read(length)), size - 8 - length


def _tensor(path: Path, name: str, entry: Any) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Shape, and first and last byte, of one entry."""
    what = f"tensor {brief(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise unsafe(path, f"{what} with {brief(entry)}", "dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    width = _ITEM_BYTES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if width is None:
        raise unsafe(path, f"{what} of dtype {brief(entry['dtype'])}", "a dtype of numbers")
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise unsafe(path, f"{what} of shape {brief(shape)}", f"at most {_MAX_DIMENSIONS} dimensions")
    if not isinstance(offsets, list) or len(offsets) != 2:
        raise unsafe(path, f"{what} at {brief(offsets)}", "two offsets")
    size = path.stat().st_size
    first, last = (require_whole(path, f"{what}: an offset", value, 0, size) for value in offsets)
    sides = tuple(require_whole(path, f"{what}: a dimension", value, 0, size) for value in shape)
    if math.prod(sides) * width != last - first:
        raise unsafe(path, f"{what} of shape {brief(shape)} in {last - first:,} bytes", "bytes for its shape")
    return sides, (first, last)


def _require_contiguous(path: Path, spans: list[tuple[int, int]], data_bytes: int) -> None:
    ends = [(0, 0), *spans, (data_bytes, data_bytes)]
    for (_, before), (after, _) in pairwise(ends):
        if before != after:
            raise unsafe(path, f"tensors that end at byte {before:,} and go on at {after:,}", "each byte in one tensor")
