"""`config.json` and `tokenizer_config.json`: what they may ask of a loader."""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import Any

from distilshift.scan.json_file import read_object
from distilshift.scan.refusal import brief, require_whole, unsafe

MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_CLASSES = 10_000
MAX_LAYERS = 256
# Stacks at encoder.layer or transformer.layer, in code that transformers itself holds.
MODEL_TYPES = frozenset(
    {
        *("bert", "camembert", "distilbert", "electra", "megatron-bert", "mpnet", "roberta", "xlm-roberta"),
    }
)
# What makes transformers run code that is not its own, or fetch another model, a kernel or a quantiser.
_REDIRECTING = (
    *("auto_map", "custom_pipelines", "trust_remote_code", "gguf_file", "transformers_weights", "per_layer_config"),
    *("attn_implementation", "_attn_implementation", "experts_implementation", "quantization_config"),
    *("compression_config", "base_model_name_or_path", "init_inputs", "use_kernels", "kernel_config", "pruned_heads"),
    *("text_config", "backbone", "backbone_config", "encoder", "decoder"),
    *("configuration_files", "fast_tokenizer_files"),
    # A string here is the path of a file whose lines become the vocabulary.
    *("vocab", "merges"),
)
# Endings of options that hold a path: vocab_file, source_spm.
_PATHS = ("_file", "_spm")
_HARMLESS: tuple[Any, ...] = (None, False, {}, [], "")
_BUILT_IN_ATTENTION = frozenset({"eager", "sdpa"})
_NAME_CLASSES = 'number the classes in id2label from "0" on, and give each a name in quotes'
# The families' own names of the same sizes.
_SIZES = {
    "hidden_size": ("hidden_size", "dim"),
    "intermediate_size": ("intermediate_size", "hidden_dim"),
    "num_hidden_layers": ("num_hidden_layers", "n_layers"),
    "num_attention_heads": ("num_attention_heads", "n_heads"),
    "vocab_size": ("vocab_size",),
    "max_position_embeddings": ("max_position_embeddings",),
    "type_vocab_size": ("type_vocab_size",),
    "embedding_size": ("embedding_size",),
    "relative_attention_num_buckets": ("relative_attention_num_buckets",),
}
_SMALL = frozenset({"num_hidden_layers", "num_attention_heads", "relative_attention_num_buckets"})


def check_model_config(path: Path, held: int | None = None) -> dict[str, Any]:
    """A `config.json` that a loader may see.

    Args:
        path: the file.
        held: numbers in the weights beside it; the sizes must not ask for more. None where no weights are loaded.

    Returns:
        its content.

    Raises:
        UnsafeError: it asks for foreign code, a model type that is not known, or more memory than the weights fill.
    """
    config = read_object(path, MAX_CONFIG_BYTES)
    _refuse_redirection(path, config)
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        known = ", ".join(sorted(MODEL_TYPES))
        raise unsafe(path, f"model_type {brief(kind)}", f"one of {known}", "use a model of one of these types")
    _check_classes(path, config)
    sizes = _sizes(path, config)
    if held is not None and (asked := parameters(sizes)) > held:
        fix = "put the config.json and the weights of one model together"
        raise unsafe(path, f"sizes for {asked:,} parameters", f"at most the {held:,} that the weights hold", fix)
    return config


def check_tokenizer_config(path: Path) -> None:
    """Check a `tokenizer_config.json`, or another small JSON file that transformers reads beside it.

    Raises:
        UnsafeError: it asks for foreign code or another file.
    """
    _refuse_redirection(path, read_object(path, MAX_CONFIG_BYTES))


def parameters(sizes: dict[str, int]) -> int:
    """Parameters of the embedding tables and the layers' matrices: somewhat fewer than the whole model's.

    Args:
        sizes: as config.json has them, by BERT's names.
    """
    width, inner = sizes.get("hidden_size", 0), sizes.get("intermediate_size", 0)
    rows = sum(sizes.get(name, 0) for name in ("vocab_size", "max_position_embeddings", "type_vocab_size"))
    layer = 4 * width * width + 2 * width * inner
    return rows * sizes.get("embedding_size", width) + sizes.get("num_hidden_layers", 0) * layer


def _refuse_redirection(path: Path, config: dict[str, Any]) -> None:
    for name in _REDIRECTING:
        value = config.get(name)
        built_in = name.endswith("attn_implementation") and isinstance(value, str) and value in _BUILT_IN_ATTENTION
        if value not in _HARMLESS and not built_in:
            fix = f"remove {name} from it if the model needs no such thing, or use another model"
            raise unsafe(path, f"{name} {brief(value)}", "a model that needs no code but transformers' own", fix)
    for name, value in config.items():
        if name.endswith(_PATHS) and isinstance(value, str) and _leads_out(path.parent, value):
            fix = f"remove {name} from it, or use another model"
            raise unsafe(path, f"{name} {brief(value)}", "files in the model's own folder", fix)


def _leads_out(folder: Path, value: str) -> bool:
    """Return whether a path leads upwards or to an existing file outside a folder.

    Many published configs contain an absolute path of their author's machine. It does no harm where it does not exist.
    """
    if ".." in value.replace("\\", "/").split("/"):
        return True
    exists = os.path.exists(value)  # noqa: PTH110 - Path.exists raises for a name that is too long
    return exists and not Path(value).absolute().is_relative_to(folder.absolute())


def _check_classes(path: Path, config: dict[str, Any]) -> None:
    for name in ("num_labels", "_num_labels"):
        if config.get(name) is not None:
            require_whole(path, name, config[name], 1, MAX_CLASSES)
    names = config.get("id2label")
    if names is None:
        return
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        raise unsafe(path, f"id2label {brief(names)}", "a name for each class", _NAME_CLASSES)
    if set(names) != {str(index) for index in range(len(names))} or len(names) > MAX_CLASSES:
        expected = f"classes 0, 1, … and at most {MAX_CLASSES:,} of them"
        raise unsafe(path, f"id2label {brief(names)}", expected, _NAME_CLASSES)


def _sizes(path: Path, config: dict[str, Any]) -> dict[str, int]:
    """The sizes by BERT's names, each a number that a model of this kind could have."""
    sizes = {}
    for name, spellings in _SIZES.items():
        low, high = int(name != "type_vocab_size"), MAX_LAYERS if name in _SMALL else 2**31
        found = [require_whole(path, s, config[s], low, high) for s in spellings if config.get(s) is not None]
        if found:
            sizes[name] = max(found)
    return sizes
