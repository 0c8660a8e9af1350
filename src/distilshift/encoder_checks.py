"""What a loaded checkpoint must fulfil to serve as a classifier, what it states of itself, and its new head."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from torch import nn

from distilshift.errors import ModelError
from distilshift.model_folder import Use, instead_of_family
from distilshift.scan.model_config import MODEL_TYPES

log = logging.getLogger("distilshift")

# Below this a stated limit is no limit: special pieces alone would fill it.
SHORTEST = 8
# Share of a vocabulary's cased letters from which it is taken to be a cased one; those of uncased models have none.
CASED_SHARE = 0.05


def require_family(name: str, config: Any, use: Use) -> None:
    """Refuse what transformers would load as something else, or what the rest would stumble over."""
    if config.model_type not in MODEL_TYPES:
        raise ModelError(
            f"{name!r} is of another family",
            expected=f"one of {', '.join(sorted(MODEL_TYPES))}",
            got=f"model_type {config.model_type!r}",
            fix=instead_of_family(use),
        )
    positions = getattr(config, "position_embedding_type", None)
    if positions not in (None, "absolute"):
        raise ModelError(
            f"{name!r} has relative positions", expected="absolute ones", got=positions, fix=instead_of_family(use)
        )


def require_head(name: str, model: Any, missing: Sequence[str]) -> None:
    """Refuse a model without a trained head of its own that gives one of several classes."""
    if missing:
        raise ModelError(
            f"{name!r} is not a classification checkpoint",
            expected="trained weights for every layer",
            got=f"none for {', '.join(sorted(missing)[:3])}",
            fix=f"fine-tune it first: distilshift teach LABELLED --base-model {shlex.quote(name)} -o TEACHER",
        )
    problem = model.config.problem_type
    if model.config.num_labels < 2 or problem not in (None, "single_label_classification"):
        raise ModelError(
            f"{name!r} is not a single-label classifier",
            expected="two classes or more, one a text",
            got=f"num_labels {model.config.num_labels}, problem_type {problem}",
            fix="choose another checkpoint"
            if model.config.num_labels < 2
            else 'if each text has one of its classes, set "problem_type": null in its config.json',
        )
    if set(model.config.id2label) != set(range(model.config.num_labels)):
        raise ModelError(
            f"{name!r} does not number its classes in order",
            expected=f"id2label with 0 to {model.config.num_labels - 1}",
            got=", ".join(map(str, list(model.config.id2label)[:8])),
            fix="correct id2label in its config.json",
        )


def require_fit(name: str, model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that is not fast, cannot pad, or gives ids that the model has no row for."""
    if not tokenizer.is_fast:
        raise ModelError(
            f"{name!r} has no fast tokenizer",
            expected="tokenizer.json",
            fix="save it again with transformers' AutoTokenizer",
        )
    rows, pieces = model.config.vocab_size, max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))
    special = len(tokenizer.all_special_ids)  # all there is where transformers finds no file and makes one up
    if not special < pieces <= rows:
        raise ModelError(
            f"the tokenizer of {name!r} is of another model",
            expected=f"more than {special} and at most {rows} pieces",
            got=str(pieces),
            fix="put the tokenizer files of the model in its folder, and no others",
        )
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer of {name!r} has no padding token", fix="set pad_token in its tokenizer_config.json"
        )


def renew_head(name: str, model: Any, report: dict[str, Any]) -> None:
    """Give a model a new, random head where the checkpoint has one of its own, whatever its classes.

    Args:
        name: for messages.
        model: as loaded; what lies outside its encoder is the head.
        report: what transformers says of the load.

    Raises:
        ModelError: weights of the encoder itself are not of the sizes in its config.
    """
    body, missing = f"{model.base_model_prefix}.", set(report["missing_keys"])
    resized = {entry[0] for entry in report["mismatched_keys"]}
    if wrong := sorted(key for key in resized if key.startswith(body)):
        raise ModelError(
            f"the weights of {name!r} do not fit its config.json",
            expected="tensors of the sizes there",
            got=f"{wrong[0]} of another size",
            fix="put the config.json and the weights of one model together",
        )
    head = [key for key in model.state_dict() if not key.startswith(body)]
    if not any(key not in missing for key in head):
        return  # an encoder alone: its head is random already
    _tell_of_new_head(name)
    parts = [module for part, module in model.named_modules() if not f"{part}.".startswith(body)]
    for module in parts:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=model.config.initializer_range)
            nn.init.zeros_(module.bias)


@cache  # a student is built several times
def _tell_of_new_head(name: str) -> None:
    log.info("%s has a classification head of its own, which is replaced by a new one.", name)


def stated_length(tokenizer: Any) -> int:
    """Maximum number of tokens per text that a tokenizer's files state; sys.maxsize where they state none.

    As in transformers' own pipelines, model_max_length comes first.
    """
    truncation = tokenizer.backend_tokenizer.truncation or {}
    stated = (tokenizer.model_max_length, truncation.get("max_length", 0))
    return next((int(length) for length in stated if SHORTEST <= length < sys.maxsize), sys.maxsize)


def casing_remark(tokenizer: Any) -> str:
    """A warning where a tokenizer's case rule does not fit its vocabulary; empty where it does."""
    rule = tokenizer.backend_tokenizer.normalizer
    lowercases = rule is not None and rule.normalize_str("A") == "a"
    share = _cased_share(
        set(tokenizer.get_vocab()) - set(tokenizer.get_added_vocab()) - set(tokenizer.all_special_tokens)
    )
    if lowercases and share >= CASED_SHARE:
        return (
            f"The tokenizer turns texts into lower case, but {share:.0%} of its vocabulary's pieces have capitals. If "
            'the model was trained on cased texts, set "do_lower_case": false in its tokenizer_config.json.'
        )
    if not lowercases and share == 0:
        return (
            "The tokenizer keeps capitals, but no piece of its vocabulary has one, so that words with capitals become "
            'unknown. If the model was trained on lowercased texts, set "do_lower_case": true in its '
            "tokenizer_config.json."
        )
    return ""


def _cased_share(pieces: Iterable[str]) -> float:
    """Share of pieces with a capital among those with letters that have cases; -1 without any."""
    cased = [piece for piece in pieces if piece.lower() != piece.upper()]
    return sum(piece != piece.lower() for piece in cased) / len(cased) if cased else -1.0
