"""`inspect --strict`: what in a bundle could be a text, or say something of a single text.

A bundle that passes has the tensors of its architecture and nothing else, and no string or list that is long enough for
a text or for a number a text. What weights themselves have learnt, no such look can tell: see SECURITY.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from distilshift.bundle import MANIFEST, Manifest, Statistics, read_manifest, verify
from distilshift.card import student_card, teacher_card
from distilshift.config import AdaptConfig, ImportConfig, TeachConfig
from distilshift.errors import LeakError
from distilshift.expected_tensors import unexpected_tensors
from distilshift.scan.json_file import read_object
from distilshift.scan.model_config import MAX_CONFIG_BYTES
from distilshift.scan.onnx import check_onnx
from distilshift.scan.refusal import brief
from distilshift.scan.tensors import Shapes, elements, metadata_of, tensor_shapes
from distilshift.scan.tokenizer import MAX_TOKENIZER_BYTES

_FILES = frozenset(
    {
        *("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json"),
    }
)
_ONNX = ("onnx/model.onnx", "onnx/model_quantized.onnx")
# Sentences that distilshift writes itself are shorter; of a text no more than its beginning could hide below.
MAX_TEXT_CHARS, MAX_REASON_CHARS = 120, 400
_REASONS = frozenset({"adaptation_reason", "target_prior_reason", "feedback_reason"})
# 40 bootstrap quantiles are the longest list of a manifest but for the classes.
MAX_LIST = 64
# Options of one string for all classes.
_BY_CLASS = ("label_names", "target_prior")
# Strings and numbers of a file, and characters of its strings: for all, for a class, and for a pair of classes.
_MAX_VALUES = (2_000, 8, 1)
_MAX_CHARS = (30_000, 4 * MAX_TEXT_CHARS, 0)
_MAX_PIECE_WORDS, _MAX_PIECE_CHARS = 3, 128
_MAX_NOTE_CHARS = 64
# Of a network's parts, as exporters make them.
_NAME = re.compile(r"[\w.:/+\-]{1,160}", re.ASCII)
# Rows that an embedding may have beyond its vocabulary: sizes are rounded up for speed.
_SPARE_ROWS = 128
_SMALL_CONSTANT = 4_096


def require_strict(bundle: Path) -> Manifest:
    """Verify a bundle, and that nothing in it could be a text or stand for one.

    Raises:
        BundleError: as of `bundle.verify`.
        LeakError: naming what was found.
    """
    manifest = read_manifest(bundle)
    verify(bundle, manifest)
    found = list(findings(bundle, manifest))
    if found:
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise LeakError(
            f"{bundle} may hold texts, or values of single texts",
            expected="the network, its tokenizer and aggregates",
            got="; ".join(found[:5]) + more,
            fix="make the bundle again with distilshift, from a checkpoint without additions",
        )
    return manifest


def findings(bundle: Path, manifest: Manifest) -> Iterator[str]:
    """What a verified bundle has that distilshift would not have put there, each in a few words."""
    allowed = _FILES | set(_ONNX if manifest.kind == "student" else ())
    yield from (f"the file {name}" for name in sorted(manifest.files) if name not in allowed)
    yield from _in_manifest(bundle, manifest)
    for name in sorted(manifest.files):
        if name.endswith(".json") and name != "tokenizer.json":
            yield from _long_values(read_object(bundle / name, MAX_CONFIG_BYTES), name, len(manifest.label_names))
    yield from _in_tokenizer(bundle)
    yield from _in_tensors(bundle, manifest)
    yield from _in_card(bundle, manifest)


def _in_manifest(bundle: Path, manifest: Manifest) -> Iterator[str]:
    content = read_object(bundle / MANIFEST, MAX_CONFIG_BYTES)
    known = {"": {entry.name for entry in fields(Manifest)} | {"sha256"}}
    known["config"] = {entry.name for kind in (TeachConfig, ImportConfig, AdaptConfig) for entry in fields(kind)}
    known["statistics"] = {entry.name for entry in fields(Statistics)}
    for part, names in known.items():
        values = (content.get(part) if part else content) or {}
        yield from (f"{part or MANIFEST} has {brief(name)}" for name in values if name not in names)
    rest = {key: value for key, value in content.items() if key not in ("files", "label_names")}
    rest["config"] = _split(rest.get("config") or {})
    yield from _long_values(rest, MANIFEST, len(manifest.label_names))
    yield from (f"a label {brief(name)}" for name in manifest.label_names if len(name) > MAX_TEXT_CHARS)


def _split(config: Any) -> Any:
    """A manifest's options, with those apart that have an entry a class."""
    if not isinstance(config, dict):
        return config
    named = {name: value for name in _BY_CLASS if isinstance(value := config.get(name), str)}
    return config | {name: value.split(",") for name, value in named.items()}


def _long_values(content: Any, where: str, classes: int) -> Iterator[str]:
    """Strings that could be a text, and lists, or a whole, that could have an entry a text."""
    waiting: list[tuple[str, Any]] = [("", content)]
    leaves = characters = 0
    while waiting:
        key, value = waiting.pop()
        limit = MAX_REASON_CHARS if key in _REASONS else MAX_TEXT_CHARS
        if isinstance(value, str) and len(value) > limit:
            yield f"{where}: a string of {len(value)} characters, {brief(value)}"
        elif isinstance(value, list):
            if len(value) > max(MAX_LIST, classes):
                yield f"{where}: a list of {len(value)} values at {brief(key)}"
            waiting += [(key, entry) for entry in value]
        elif isinstance(value, dict):
            if len(value) > max(2 * MAX_LIST, classes):
                yield f"{where}: {len(value)} values at {brief(key)}"
            waiting += [*value.items(), *(("", name) for name in value)]
        leaves += not isinstance(value, list | dict)
        characters += len(value) if isinstance(value, str) else 0
    for count, what, limits in ((leaves, "values", _MAX_VALUES), (characters, "characters", _MAX_CHARS)):
        if count > sum(limit * classes**power for power, limit in enumerate(limits)):
            yield f"{where}: {count:,} {what} in all"


def _in_tokenizer(bundle: Path) -> Iterator[str]:
    content = read_object(bundle / "tokenizer.json", MAX_TOKENIZER_BYTES)
    vocabulary = content["model"]["vocab"]
    pieces = vocabulary if isinstance(vocabulary, dict) else [entry[0] for entry in vocabulary]
    added = [entry["content"] for entry in content.get("added_tokens") or []]
    for piece in [*pieces, *added]:
        if len(piece.split()) > _MAX_PIECE_WORDS:
            yield f"tokenizer.json: a piece of {len(piece.split())} words, {brief(piece)}"
        elif len(piece) > _MAX_PIECE_CHARS:  # not all languages write spaces
            yield f"tokenizer.json: a piece of {len(piece)} characters, {brief(piece)}"
    known = {*pieces, *added}
    for merge in content["model"].get("merges") or []:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not {*parts, "".join(parts)} <= known:
            yield f"tokenizer.json: a merge of no pieces, {brief(merge)}"
    model = {key: value for key, value in content["model"].items() if key not in ("vocab", "merges")}
    yield from _long_values(model, "tokenizer.json", 0)
    rest = {key: value for key, value in content.items() if key not in ("model", "added_tokens")}
    charsmap = "precompiled_charsmap"
    for key in ("normalizer",):
        rest[key] = _without(rest.get(key), charsmap)
    yield from _long_values(rest, "tokenizer.json", 0)


def _without(value: Any, key: str) -> Any:
    """Values without an entry, however deep: SentencePiece's map of characters is one long string."""
    if isinstance(value, list):
        return [_without(entry, key) for entry in value]
    if isinstance(value, dict):
        return {name: _without(entry, key) for name, entry in value.items() if name != key}
    return value


def _in_tensors(bundle: Path, manifest: Manifest) -> Iterator[str]:
    config = read_object(bundle / "config.json", MAX_CONFIG_BYTES)
    shapes = tensor_shapes(bundle / "model.safetensors")
    yield from unexpected_tensors(shapes, config, len(manifest.label_names))
    spare = int(config.get("vocab_size") or 0) - _pieces(bundle)
    if spare > _SPARE_ROWS:
        yield f"{spare} rows of the embedding that belong to no piece of the tokenizer"
    notes = {k: v for k, v in metadata_of(bundle / "model.safetensors").items() if (k, v) != ("format", "pt")}
    if notes:
        yield f"model.safetensors: notes {brief(notes)}"
    for name in _ONNX:
        if name in manifest.files:
            yield from _in_network(bundle / name, shapes)


def _pieces(bundle: Path) -> int:
    content = read_object(bundle / "tokenizer.json", MAX_TOKENIZER_BYTES)
    vocabulary = content["model"]["vocab"]
    highest = max(vocabulary.values()) if isinstance(vocabulary, dict) else len(vocabulary) - 1
    return 1 + max([highest, *(entry["id"] for entry in content.get("added_tokens") or [])])


def _in_network(path: Path, tensors: Shapes) -> Iterator[str]:
    """A network's constants are the model's tensors, transposed or quantised, and small things that go with them."""
    known, network = {_sides(shape) for shape in tensors.values()}, check_onnx(path)
    constants = network.constants.items()
    others = {name: s for name, s in constants if _sides(s) not in known and not _is_packed(s, tensors)}
    for name, shape in others.items():
        if elements({name: shape}) > _SMALL_CONSTANT:
            yield f"{path.name}: the constant {name.partition(' ')[2]} {list(shape)}"
    small = elements(others)
    if small > elements(tensors) // 50 + _SMALL_CONSTANT:
        yield f"{path.name}: {small:,} numbers in small constants"
    yield from (f"{path.name}: a note, {brief(n)}" for n in network.notes if len(n) > _MAX_NOTE_CHARS)
    yield from (f"{path.name}: the name {brief(name)}" for name in network.names if not _NAME.fullmatch(name))


def _is_packed(shape: tuple[int, ...], tensors: Shapes) -> bool:
    """Whether it may be a table of several numbers to a byte, or its blocks' scales: narrower by a whole factor."""
    tables = [table for table in tensors.values() if len(table) == len(shape) == 2]
    return any(rows == shape[0] and shape[1] and width % shape[1] == 0 for rows, width in tables)


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(side for side in shape if side != 1))


def _in_card(bundle: Path, manifest: Manifest) -> Iterator[str]:
    if "README.md" not in manifest.files:
        return
    runtime = manifest.runtime or {}
    try:
        card = student_card(manifest, runtime) if manifest.kind == "student" else teacher_card(manifest)
    except (KeyError, TypeError, ValueError):
        yield "runtime lacks what a student's card says"
        return
    written = (bundle / "README.md").read_text(encoding="utf-8").splitlines()
    yield from (f"README.md: a line of its own, {brief(line)}" for line in written if line not in card.splitlines())
