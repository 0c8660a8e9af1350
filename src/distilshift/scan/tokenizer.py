"""`tokenizer.json`: pieces and rules that cost what the text costs, and no more.

The tokenizers library runs what the file says. A file of a few bytes can double a text fifty times, pad it to a
billion pieces, or match a pattern for hours, so rules come from a list, and each of their numbers has a bound.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distilshift.scan.json_file import read_object
from distilshift.scan.refusal import brief, require_whole, unsafe

MAX_TOKENIZER_BYTES = 32 * 1024 * 1024
MAX_ID = 2**31 - 1
# All replacements together may make a text so many times longer.
MAX_GROWTH = 64
_MAX_PIECE_CHARS = 512
_MAX_WORD_CHARS = 1_000
_MAX_AFFIX_CHARS = 16
_MAX_SPECIAL = 64
_MAX_PADDING = 8_192
_MODELS = frozenset({"WordPiece", "BPE", "Unigram", "WordLevel"})
_NORMALIZERS = frozenset(
    {
        *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend", "Replace"),
        *("Sequence", "Strip", "StripAccents"),
    }
)
_PRE_TOKENIZERS = frozenset(
    {
        *("BertPreTokenizer", "ByteLevel", "Digits", "Metaspace", "Punctuation", "Sequence", "Split", "Whitespace"),
        "WhitespaceSplit",
    }
)
_POST_PROCESSORS = frozenset({"BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"})
_DECODERS = frozenset(
    {
        *("BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Sequence", "Strip"),
        "WordPiece",
    }
)
_OTHER_MODEL = "use a model whose tokenizer has none but these"
# Patterns that known tokenizers use; each takes time in proportion to the text.
_REGEXES = frozenset({" {2,}", r"\s+", r"\n", r"\r"})


def check_tokenizer(path: Path) -> int:
    """Check a `tokenizer.json`.

    Returns:
        the highest id that it can give.

    Raises:
        UnsafeError: it is too large, a rule is not a known one, or one could cost far more than the text is long.
    """
    content = read_object(path, MAX_TOKENIZER_BYTES)
    highest = [_check_model(path, content.get("model")), *_added_ids(path, content.get("added_tokens") or [])]
    _check_normalizers(path, content.get("normalizer"))
    for role, known in (("pre_tokenizer", _PRE_TOKENIZERS), ("decoder", _DECODERS)):
        for rule in _rules(path, role, content.get(role), known):
            _check_pattern(path, role, rule)
    for rule in _rules(path, "post_processor", content.get("post_processor"), _POST_PROCESSORS):
        highest += _special_ids(path, rule)
    _check_padding(path, content.get("padding"))
    return max(highest)


def _rules(path: Path, role: str, rule: Any, known: frozenset[str]) -> Iterator[dict[str, Any]]:
    """A rule, and those in it where it is a sequence."""
    if rule is None:
        return
    kind = rule.get("type") if isinstance(rule, dict) else rule
    if not isinstance(kind, str) or kind not in known:
        raise unsafe(path, f"{role} {brief(kind)}", f"one of {', '.join(sorted(known))}", _OTHER_MODEL)
    if kind != "Sequence":
        yield rule
        return
    for parts in rule.values():  # whatever their key: a parser that skips unknown ones shall not find more than this
        for part in parts if isinstance(parts, list) else []:
            yield from _rules(path, role, part, known)


def _check_pattern(path: Path, role: str, rule: dict[str, Any]) -> None:
    pattern = rule.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    if regex is not None and (not isinstance(regex, str) or regex not in _REGEXES):
        raise unsafe(
            path, f"{role} with the pattern {brief(regex)}", "patterns that are known to be fast", _OTHER_MODEL
        )


def _check_normalizers(path: Path, normalizer: Any) -> None:
    growth = 1.0
    for rule in _rules(path, "normalizer", normalizer, _NORMALIZERS):
        _check_pattern(path, "normalizer", rule)
        if rule["type"] == "Replace":
            growth *= max(1.0, _length(path, rule.get("content")) / _matched(rule.get("pattern")))
        elif rule["type"] == "Prepend":
            growth *= 1 + _length(path, rule.get("prepend"))
        elif rule["type"] == "Precompiled":
            growth *= _longest_replacement(path, rule.get("precompiled_charsmap"))
        if growth > MAX_GROWTH:
            raise unsafe(path, f"normalizers that make a text {growth:,.0f} times longer", f"at most {MAX_GROWTH}")


def _length(path: Path, text: Any) -> int:
    if not isinstance(text, str):
        raise unsafe(path, f"a normalizer with {brief(text)}", "a text")
    return len(text)


def _matched(pattern: Any) -> int:
    """Characters that a match takes, at least; an empty pattern matches everywhere."""
    text = pattern.get("String") if isinstance(pattern, dict) else None
    return max(1, len(text)) if isinstance(text, str) else 1


def _longest_replacement(path: Path, charsmap: Any) -> int:
    """Bytes of the longest text that a SentencePiece character map gives: a trie's size, the trie, then texts."""
    try:
        data = base64.b64decode(charsmap or "", validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise unsafe(path, f"precompiled_charsmap {brief(charsmap)}", "base64") from None
    size = int.from_bytes(data[:4], "little")
    if size % 4 or size > max(0, len(data) - 4):
        raise unsafe(path, f"a character map of {size:,} bytes in {len(data):,}", "the whole map")
    # An accented letter may become two or three: growth in bytes, with three of them to one character on average.
    return max(1, max(map(len, data[4 + size :].split(b"\0"))) // 3)


def _check_model(path: Path, model: Any) -> int:
    """The highest id of a model."""
    if not isinstance(model, dict):
        raise unsafe(path, f"model {brief(model)}", "a model")
    kind = model.get("type") or ("Unigram" if isinstance(model.get("vocab"), list) else None)
    if kind is not None and (not isinstance(kind, str) or kind not in _MODELS):
        raise unsafe(path, f"model {brief(kind)}", f"one of {', '.join(sorted(_MODELS))}", _OTHER_MODEL)
    if model.get("max_input_chars_per_word") is not None:
        require_whole(path, "max_input_chars_per_word", model["max_input_chars_per_word"], 1, _MAX_WORD_CHARS)
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if len(str(model.get(name) or "")) > _MAX_AFFIX_CHARS:
            raise unsafe(path, f"{name} {brief(model[name])}", f"at most {_MAX_AFFIX_CHARS} characters")
    return _highest_id(path, model.get("vocab"))


def _highest_id(path: Path, vocabulary: Any) -> int:
    if isinstance(vocabulary, list):
        pieces: list[Any] = [entry[0] if isinstance(entry, list) and entry else entry for entry in vocabulary]
        ids: list[Any] = [len(vocabulary) - 1]
    elif isinstance(vocabulary, dict):
        pieces, ids = list(vocabulary), list(vocabulary.values())
    else:
        pieces, ids = [], []
    if not pieces:
        raise unsafe(path, f"vocab {brief(vocabulary)}", "pieces")
    # A look at each, as an added token gets, would take as long as loading: most vocabularies have no fault.
    if set(map(type, pieces)) != {str} or max(map(len, pieces)) > _MAX_PIECE_CHARS:
        for piece in pieces:
            _check_piece(path, piece)
    if set(map(type, ids)) != {int} or min(ids) < 0:
        for value in ids:
            require_whole(path, "the id of a piece", value, 0, MAX_ID)
    return require_whole(path, "the id of a piece", max(ids), 0, MAX_ID)


def _check_piece(path: Path, piece: Any, shortest: int = 0) -> None:
    if not isinstance(piece, str) or not shortest <= len(piece) <= _MAX_PIECE_CHARS:
        raise unsafe(path, f"the piece {brief(piece)}", f"a text of at most {_MAX_PIECE_CHARS} characters")


def _added_ids(path: Path, added: Any) -> Iterator[int]:
    for entry in added if isinstance(added, list) else [added]:
        if not isinstance(entry, dict):
            raise unsafe(path, f"the added token {brief(entry)}", "an object")
        _check_piece(path, entry.get("content"), 1)
        yield require_whole(path, "the id of an added token", entry.get("id"), 0, MAX_ID)


def _special_ids(path: Path, rule: dict[str, Any]) -> list[int]:
    """Ids that a post-processor adds to every text, which are not looked up in the vocabulary."""
    ids = [value[1] for key in ("sep", "cls") if isinstance(value := rule.get(key), list) and len(value) == 2]
    for key in ("single", "pair"):
        template = rule.get(key) or []
        if not isinstance(template, list | str) or len(template) > _MAX_SPECIAL:
            raise unsafe(path, f"the template {brief(template)}", f"at most {_MAX_SPECIAL} pieces")
    special = rule.get("special_tokens") or {}
    for entry in special.values() if isinstance(special, dict) else []:
        found = entry.get("ids") if isinstance(entry, dict) else None
        if not isinstance(found, list) or len(found) > _MAX_SPECIAL:
            raise unsafe(path, f"the special token {brief(entry)}", f"at most {_MAX_SPECIAL} ids")
        ids += found
    return [require_whole(path, "the id of a special token", value, 0, MAX_ID) for value in ids]


def _check_padding(path: Path, padding: Any) -> None:
    if padding is None:
        return
    strategy = padding.get("strategy") if isinstance(padding, dict) else padding
    fixed = strategy.get("Fixed") if isinstance(strategy, dict) else 1
    multiple = (padding.get("pad_to_multiple_of") if isinstance(padding, dict) else None) or 1
    require_whole(path, "padding to", fixed, 0, _MAX_PADDING)
    require_whole(path, "padding to a multiple of", multiple, 1, _MAX_PADDING)
