"""`inspect --strict`, of weights and networks: the tensors of the architecture, and nothing beside them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distilshift.bundle import Manifest
from distilshift.expected_tensors import expected_shapes, unexpected_tensors
from distilshift.scan.json_file import read_object
from distilshift.scan.model_config import MAX_CONFIG_BYTES, MAX_LAYERS
from distilshift.scan.onnx import Network, check_onnx
from distilshift.scan.refusal import brief
from distilshift.scan.tensors import Shapes, elements, metadata_of, tensor_shapes
from distilshift.scan.tokenizer import MAX_TOKENIZER_BYTES

WEIGHTS = "model.safetensors"
NETWORKS = ("onnx/model.onnx", "onnx/model_quantized.onnx")
_MAX_NOTE_CHARS = 64
# Of a network's parts, as exporters make them.
_NAME = re.compile(r"[\w.:/+\-]{1,160}", re.ASCII)
# Rows that an embedding may have beyond its vocabulary: sizes are rounded up for speed.
_SPARE_ROWS = 128
_SMALL_CONSTANT = 4_096
# What a network may have beside numbers, in bytes: int8 forms take some 3,000 and 7,000 a layer.
_GRAPH_BYTES, _LAYER_BYTES = 30_000, 10_000
# Parts of a table of several numbers to a byte: the bytes, their blocks' scales and zeros.
_PACKED_PARTS = 3
# Rows of a matrix that multiply in fp32 in an int8 form: those of a few input channels.
_FEW_ROWS = 4


def in_tensors(bundle: Path, manifest: Manifest) -> Iterator[str]:
    """What a verified bundle's tensors and networks have beside those of its architecture, each in a few words."""
    config = read_object(bundle / "config.json", MAX_CONFIG_BYTES)
    if WEIGHTS in manifest.files:
        shapes = tensor_shapes(bundle / WEIGHTS)
        yield from unexpected_tensors(shapes, config, len(manifest.label_names))
        notes = {k: v for k, v in metadata_of(bundle / WEIGHTS).items() if (k, v) != ("format", "pt")}
        if notes:
            yield f"{WEIGHTS}: notes {brief(notes)}"
    else:  # a device's, which has a network alone
        shapes = expected_shapes(config, len(manifest.label_names))
    spare = int(config.get("vocab_size") or 0) - _pieces(bundle)
    if spare > _SPARE_ROWS:
        yield f"{spare} rows of the embedding that belong to no piece of the tokenizer"
    for name in NETWORKS:
        if name in manifest.files:
            network = check_onnx(bundle / name)
            yield from (f"{Path(name).name}: {what}" for what in _in_network(network, shapes, _layers(config)))


def _pieces(bundle: Path) -> int:
    content = read_object(bundle / "tokenizer.json", MAX_TOKENIZER_BYTES)
    vocabulary = content["model"]["vocab"]
    highest = max(vocabulary.values()) if isinstance(vocabulary, dict) else len(vocabulary) - 1
    return 1 + max([highest, *(entry["id"] for entry in content.get("added_tokens") or [])])


def _layers(config: dict[str, Any]) -> int:
    return min(MAX_LAYERS, int(config.get("num_hidden_layers") or config.get("n_layers") or 0))


def _in_network(network: Network, tensors: Shapes, layers: int) -> Iterator[str]:
    """A network's constants are the model's tensors, transposed or quantised, and small things that go with them."""
    others = _beside(network.constants, tensors)
    for name, shape in others.items():
        if elements({name: shape}) > _SMALL_CONSTANT:
            yield f"the constant {name.partition(' ')[2]} {list(shape)}"
    small = elements(others)
    if small > elements(tensors) // 50 + _SMALL_CONSTANT:
        yield f"{small:,} numbers in small constants"
    if network.other_bytes > _GRAPH_BYTES + layers * _LAYER_BYTES:
        yield f"{network.other_bytes:,} bytes that are no numbers"
    yield from (f"a note, {brief(note)}" for note in network.notes if len(note) > _MAX_NOTE_CHARS)
    yield from (f"the name {brief(name)}" for name in network.names if not _NAME.fullmatch(name))


def _beside(constants: Shapes, tensors: Shapes) -> Shapes:
    """The constants left when each tensor of the model was taken for one, a packed table's parts, or a few rows."""
    left = Counter(_sides(shape) for shape in tensors.values())
    packed = {shape: _PACKED_PARTS for shape in tensors.values() if len(shape) == 2}
    few = Counter(side for shape in tensors.values() if len(shape) == 2 for side in set(shape))
    others = {}
    for name, shape in constants.items():
        if left[_sides(shape)]:
            left[_sides(shape)] -= 1
        elif table := next((t for t, parts in packed.items() if parts and _is_packed(shape, t)), None):
            packed[table] -= 1
        elif len(shape) == 2 and shape[0] <= _FEW_ROWS and few[shape[1]]:
            few[shape[1]] -= 1
        else:
            others[name] = shape
    return others


def _is_packed(shape: tuple[int, ...], table: tuple[int, ...]) -> bool:
    """Whether it may be a table of several numbers to a byte, or its blocks' scales: narrower by a whole factor."""
    return len(shape) == 2 and table[0] == shape[0] and 0 < shape[1] < table[1] and table[1] % shape[1] == 0


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(side for side in shape if side != 1))
