"""`inspect --strict`: what in a bundle could be a text, or say something of a single text.

A bundle that passes has the tensors of its architecture and nothing else, and no string or list that is long enough for
a text or for a number a text. What weights themselves have learnt, no such look can tell: see SECURITY.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from distilshift.bundle import MANIFEST, Manifest, Statistics, Verified, read_manifest, verify
from distilshift.card import earlier_wording, student_card, teacher_card
from distilshift.config import AdaptConfig, ImportConfig, TeachConfig
from distilshift.errors import LeakError
from distilshift.scan.drift_reference import REFERENCE
from distilshift.scan.json_file import read_object
from distilshift.scan.model_config import MAX_CONFIG_BYTES
from distilshift.scan.refusal import brief
from distilshift.scan.tokenizer import MAX_TOKENIZER_BYTES
from distilshift.strict_tensors import NETWORKS, in_tensors
from distilshift.training_log import TRAINING_LOG, foreign_value

_FILES = frozenset(
    {
        *("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json", TRAINING_LOG),
    }
)
# Sentences that distilshift writes itself are shorter; of a text no more than its beginning could hide below.
MAX_TEXT_CHARS, MAX_REASON_CHARS = 120, 400
_REASONS = frozenset(
    {"adaptation_reason", "target_prior_reason", "feedback_reason", "estimated_accuracy_reason", "warnings"}
)
# 40 bootstrap quantiles are the longest list of a manifest but for the classes.
MAX_LIST = 64
# Twice as many as `student_warnings` can return.
MAX_WARNINGS = 12
# Options of one string for all classes.
_BY_CLASS = ("label_names", "target_prior", "class_weights")
# Strings and numbers of a file, and characters of its strings: for all, for a class, and for a pair of classes.
_MAX_VALUES = (2_000, 8, 1)
_MAX_CHARS = (30_000, 4 * MAX_TEXT_CHARS, 0)
# Of pieces: words where they may have a space; characters of the longest (rulers of dashes), and on average (some 6).
_MAX_PIECE_WORDS, _MAX_PIECE_CHARS, _MAX_MEAN_CHARS = 3, 128, 16
_TOKENIZER = "tokenizer.json"
_OF_ADDED = frozenset({"content", "id", "lstrip", "normalized", "rstrip", "single_word", "special"})
# SentencePiece's own, of XLM-RoBERTa, has some 320,000.
_MAX_MAP_CHARS = 512 * 1024


def require_strict(bundle: Path) -> Manifest:
    """Verify a bundle, and that nothing in it could be a text or stand for one.

    Raises:
        BundleError: as of `bundle.verify`.
        LeakError: naming what was found.
    """
    manifest = read_manifest(bundle)
    refuse_texts(bundle, manifest, verify(bundle, manifest))
    return manifest


def refuse_texts(bundle: Path, manifest: Manifest, verified: Verified) -> None:
    """Refuse a verified bundle that could hold a text or stand for one; errors as of `require_strict`."""
    unlisted = [f"{name}, which the manifest does not list" for name in verified.unlisted]
    found = [*unlisted, *findings(bundle, manifest)]
    if found:
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise LeakError(
            f"{bundle} may hold texts, or values of single texts",
            expected="the network, its tokenizer and aggregates",
            got="; ".join(found[:5]) + more,
            fix="remove what was added, or make the bundle again with distilshift, from a checkpoint without additions",
        )


def findings(bundle: Path, manifest: Manifest) -> Iterator[str]:
    """What a verified bundle has that distilshift would not have put there, each in a few words."""
    allowed = _FILES | {*NETWORKS, REFERENCE} if manifest.kind == "student" else _FILES
    yield from (f"the file {name}" for name in sorted(manifest.files) if name not in allowed)
    yield from _in_manifest(bundle, manifest)
    for name in sorted(manifest.files):
        if name == TRAINING_LOG:
            entry = foreign_value(read_object(bundle / name, MAX_CONFIG_BYTES))
            yield from () if entry is None else (f"{name}: an entry that is not losses, {brief(entry)}",)
        elif name.endswith(".json") and name not in (_TOKENIZER, REFERENCE):  # a scan has looked at all of the latter
            yield from _long_values(read_object(bundle / name, MAX_CONFIG_BYTES), name, len(manifest.label_names))
    yield from _in_tokenizer(bundle)
    yield from in_tensors(bundle, manifest)
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
    warnings = (manifest.runtime or {}).get("warnings")
    if isinstance(warnings, list):
        yield from [f"{len(warnings)} warnings"] if len(warnings) > MAX_WARNINGS else []
        rest["runtime"] = rest["runtime"] | {"warnings": _without_names(warnings, manifest.label_names)}
    yield from _long_values(rest, MANIFEST, len(manifest.label_names))
    yield from (f"a label {brief(name)}" for name in manifest.label_names if len(name) > MAX_TEXT_CHARS)


def _without_names(warnings: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Return warnings without the quoted names of classes, whose own length is limited elsewhere."""
    quoted = re.compile("|".join(re.escape(repr(name)) for name in sorted(names, key=len, reverse=True)))
    return [quoted.sub("", warning) if isinstance(warning, str) else warning for warning in warnings]


def _split(config: Any) -> Any:
    """A manifest's options, with those apart that have an entry a class."""
    if not isinstance(config, dict):
        return config
    named = {name: value for name in _BY_CLASS if isinstance(value := config.get(name), str)}
    return config | {name: value.split(",") for name, value in named.items()}


def _long_values(content: Any, where: str, classes: int = 0) -> Iterator[str]:
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
    model, added = content["model"], content.get("added_tokens") or []
    pieces = list(model["vocab"]) if isinstance(model["vocab"], dict) else [entry[0] for entry in model["vocab"]]
    names = [entry["content"] for entry in added]
    words = 1 if model.get("type") == "WordPiece" else _MAX_PIECE_WORDS
    yield from _in_pieces(pieces, words)
    yield from _in_pieces(names, _MAX_PIECE_WORDS)
    known = {*pieces, *names}
    for merge in _listed(model.get("merges")):
        parts = merge.split(" ") if isinstance(merge, str) else _listed(merge)
        if not all(isinstance(part, str) for part in parts) or not {*parts, "".join(parts)} <= known:
            yield f"tokenizer.json: a merge of no pieces, {brief(merge)}"
    for entry in added:
        yield from (f"tokenizer.json: an added token has {brief(key)}" for key in entry if key not in _OF_ADDED)
    yield from _long_values({key: value for key, value in model.items() if key not in ("vocab", "merges")}, _TOKENIZER)
    rest = {key: value for key, value in content.items() if key not in ("model", "added_tokens")}
    yield from _long_values(_without_character_maps(rest), _TOKENIZER)


def _listed(value: Any) -> list[Any]:
    """A list as it is, nothing as an empty one, and anything else as the one entry of one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _in_pieces(pieces: list[str], words: int) -> Iterator[str]:
    for piece in pieces:
        if len(piece.split()) > words or (words == 1 and piece != piece.strip()):
            yield f"tokenizer.json: a piece of {len(piece.split())} words, {brief(piece)}"
        elif len(piece) > _MAX_PIECE_CHARS:  # not all languages write spaces
            yield f"tokenizer.json: a piece of {len(piece)} characters, {brief(piece)}"
    mean = sum(map(len, pieces)) / max(1, len(pieces))
    if mean > _MAX_MEAN_CHARS:
        yield f"tokenizer.json: pieces of {mean:.0f} characters on average, {brief(pieces[-1])} the last"


def _without_character_maps(value: Any) -> Any:
    """Values without SentencePiece's maps of characters, however deep: each is one long string."""
    if isinstance(value, list):
        return [_without_character_maps(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    charsmap = value.get("precompiled_charsmap")
    is_map = value.get("type") == "Precompiled" and isinstance(charsmap, str) and len(charsmap) <= _MAX_MAP_CHARS
    dropped = "precompiled_charsmap" if is_map else None
    return {key: _without_character_maps(entry) for key, entry in value.items() if key != dropped}


def _in_card(bundle: Path, manifest: Manifest) -> Iterator[str]:
    if "README.md" not in manifest.files:
        return
    runtime = manifest.runtime or {}
    try:
        card = student_card(manifest, runtime) if manifest.kind == "student" else teacher_card(manifest)
    # What values of other types come to, in arithmetic and in `next`, too.
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, StopIteration):
        yield "runtime lacks what a student's card says"
        return
    written = (bundle / "README.md").read_text(encoding="utf-8").splitlines()
    known = {*card.splitlines(), *earlier_wording(card).splitlines()}
    yield from (f"README.md: a line of its own, {brief(line)}" for line in written if line not in known)
