"""Which tensors a BERT-family classifier has, and of what shape, told from its config without PyTorch."""

from __future__ import annotations

import re
from typing import Any

from distilshift.scan.model_config import MAX_LAYERS
from distilshift.scan.tensors import Shapes

_BASE = re.compile(r"(bert|roberta|mpnet|electra|distilbert)\.")
_LAYER = r"(?:encoder|transformer)\.layer\.(\d+)\."
_ATTENTION = r"attention\.(?:self\.|attn\.|output\.)?(?:query|key|value|q|k|v|o|q_lin|k_lin|v_lin|out_lin|dense)"
_NORMS = (
    r"(?:attention\.output\.LayerNorm|attention\.LayerNorm|output\.LayerNorm|sa_layer_norm|output_layer_norm"
    r"|(?:attention\.)?ln)"  # Megatron's, which come before what they serve
)
# A name, without the encoder's own, to the sizes of its sides: vocabulary, positions, types, embedding, hidden, inner,
# classes, buckets, attention heads.
_RULES = {
    r"embeddings\.word_embeddings\.weight": "ve",
    r"embeddings\.position_embeddings\.weight": "pe",
    r"embeddings\.token_type_embeddings\.weight": "te",
    r"embeddings\.(?:position_ids|token_type_ids)": "1p",
    r"embeddings\.LayerNorm\.(?:weight|bias)": "e",
    r"encoder\.ln\.(?:weight|bias)": "h",
    r"embeddings_project\.weight": "he",
    r"embeddings_project\.bias": "h",
    r"encoder\.relative_attention_bias\.weight": "ba",
    _LAYER + _ATTENTION + r"\.weight": "hh",
    _LAYER + _ATTENTION + r"\.bias": "h",
    _LAYER + r"(?:intermediate\.dense|ffn\.lin1)\.weight": "ih",
    _LAYER + r"(?:intermediate\.dense|ffn\.lin1)\.bias": "i",
    _LAYER + r"(?:output\.dense|ffn\.lin2)\.weight": "hi",
    _LAYER + r"(?:output\.dense|ffn\.lin2)\.bias": "h",
    _LAYER + _NORMS + r"\.(?:weight|bias)": "h",
    r"(?:(?:pooler|classifier)\.dense|pre_classifier)\.weight": "hh",
    r"(?:(?:pooler|classifier)\.dense|pre_classifier)\.bias": "h",
    r"classifier(?:\.out_proj)?\.weight": "ch",
    r"classifier(?:\.out_proj)?\.bias": "c",
}
_PATTERNS = {re.compile(pattern): sides for pattern, sides in _RULES.items()}


def unexpected_tensors(shapes: Shapes, config: dict[str, Any], classes: int) -> list[str]:
    """The tensors that the architecture does not have, or not of this shape, each in a few words.

    Args:
        shapes: of the tensors, by name.
        config: the content of config.json.
        classes: the number of labels.
    """
    sizes, layers = _sizes(config, classes), _size(config, "num_hidden_layers", "n_layers")
    return [
        f"the tensor {name} {list(shape)}"
        for name, shape in shapes.items()
        if not _fits(_BASE.sub("", name, count=1) if _BASE.match(name) else name, shape, sizes, layers)
    ]


def expected_shapes(config: dict[str, Any], classes: int) -> Shapes:
    """The shapes of the tensors that a model of this config has, by names that are not its own.

    Args:
        config: the content of config.json.
        classes: the number of labels.
    """
    layer = [*["hh", "h"] * 4, "ih", "i", "hi", *["h"] * 5]
    once = ["ve", "pe", "te", "e", "e", "he", "h", "ba", "hh", "h", "ch", "c"]
    sides = once + layer * min(MAX_LAYERS, _size(config, "num_hidden_layers", "n_layers"))
    sizes = _sizes(config, classes)
    return {f"{index} {each}": tuple(sizes[side] for side in each) for index, each in enumerate(sides)}


def _fits(name: str, shape: tuple[int, ...], sizes: dict[str, int], layers: int) -> bool:
    for pattern, sides in _PATTERNS.items():
        if found := pattern.fullmatch(name):
            within = not found.groups() or int(found.group(1)) < layers
            return within and shape == tuple(sizes[side] for side in sides)
    return False


def _size(config: dict[str, Any], *names: str, default: int = 0) -> int:
    return next((int(config[name]) for name in names if config.get(name) is not None), default)


def _sizes(config: dict[str, Any], classes: int) -> dict[str, int]:
    """Sizes by letter; those that a config leaves out are the family's own defaults."""
    hidden = _size(config, "hidden_size", "dim", default=768)
    return {
        "1": 1,
        "v": _size(config, "vocab_size", default=30_522),
        "p": _size(config, "max_position_embeddings", default=512),
        "t": _size(config, "type_vocab_size", default=2),
        "e": _size(config, "embedding_size", default=hidden),
        "h": hidden,
        "i": _size(config, "intermediate_size", "hidden_dim", default=3072),
        "c": classes,
        "b": _size(config, "relative_attention_num_buckets", default=32),
        "a": _size(config, "num_attention_heads", "n_heads", default=12),
    }
