"""What a path that was given as a model holds, told from the names of its files, and what to do where it cannot serve.

One look for `import`, `teach --base-model`, `adapt --student` and the errors of commands that take a bundle.
"""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distilshift.errors import ModelError, UnsafeError
from distilshift.files import MARK
from distilshift.scan.json_file import read_object
from distilshift.scan.model_config import MAX_CONFIG_BYTES, MODEL_TYPES
from distilshift.scan.refusal import brief

# A checkpoint with the head that it has, or as an encoder that gets a new one.
Use = Literal["classifier", "encoder"]

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model")
_FORMATS = {
    "*.gguf": "a GGUF file, the format of llama.cpp",
    "*.onnx": "an exported ONNX network",
    "onnx/*.onnx": "an exported ONNX network",
    "tf_model.h5": "TensorFlow weights",
    "saved_model.pb": "a TensorFlow model",
    "flax_model.msgpack": "Flax weights",
    "openvino_model.xml": "an OpenVINO network",
    "rust_model.ot": "Rust weights",
}
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
_WHOLE = "a folder with config.json, model.safetensors and a tokenizer"
# Below this, a name is not like another one.
_ALIKE = 0.6
_BLACK_BOX = (
    "label the target texts with it, write its probabilities to a CSV file (a column per class, named as it; a row per "
    "text) and run distilshift adapt TEXTS --teacher-probabilities FILE --student minilm-l3 -o STUDENT"
)
_OTHER_ENCODER = "name another encoder: minilm-l6, minilm-l3, mpnet-base, or a folder of one of these families"


@dataclass(frozen=True)
class Finding:
    """Why a path cannot serve as a model.

    Attributes:
        what: what it is, in words.
        expected: what would have served.
        fix: what to do.
        lacks: it is a model's folder, or none, in which a file is missing.
    """

    what: str
    expected: str
    fix: str
    lacks: bool = False


def require_model(name: str, use: Use) -> None:
    """Refuse a local path that cannot be a model, before a loader sees it; what looks like a hub id passes.

    Raises:
        ModelError: saying what it is and what to do.
    """
    if found := finding(Path(name), use):
        raise ModelError(f"{name!r} cannot be used", expected=found.expected, got=found.what, fix=found.fix)


def finding(path: Path, use: Use) -> Finding | None:
    """What is wrong with a path as a model; None where nothing is seen to be."""
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        return _missing(path)
    config = _config(path / "config.json")
    for look in (_adapter, _setfit, _foreign, _without_weights, _sentence_encoder, _without_tokenizer):
        if found := look(path, config, use):
            return found
    return None


def instead_of_family(use: Use) -> str:
    """What to do about a model of a family that is not supported."""
    return _BLACK_BOX if use == "classifier" else _OTHER_ENCODER


def near_names(path: Path, accept: Callable[[Path], bool] = Path.is_dir) -> list[str]:
    """Paths beside a missing one whose names are like its own, the likest first; empty where it cannot be looked up."""
    try:
        names = {entry.name: entry for entry in path.parent.iterdir() if accept(entry)}
    except OSError:
        return []
    return [str(names[name]) for name in difflib.get_close_matches(path.name, names, 3, _ALIKE)]


def is_bundle(path: Path) -> bool:
    """Whether a folder says that it is a bundle."""
    return (path / MARK).is_file()


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is of Hugging Face's form."""
    return (path / "config.json").is_file()


def models_inside(path: Path, accept: Callable[[Path], bool]) -> list[str]:
    """Folders within a folder, up to three levels down, that are accepted."""
    found: list[str] = []
    level = [path]
    for _ in range(3):
        level = [entry for folder in level for entry in _folders(folder)]
        found += [str(entry) for entry in level if accept(entry)]
    return found[:3]


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir())[:100]
    except OSError:
        return []


def _config(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where it is missing or unusable, which others report."""
    try:
        return read_object(path, MAX_CONFIG_BYTES)
    except (OSError, UnsafeError):
        return {}


def _file(path: Path) -> Finding:
    if is_checkpoint(path.parent):
        return Finding("a file", "a folder", f"name the folder that it is in: {path.parent}")
    kinds = {pattern.removeprefix("*"): what for pattern, what in _FORMATS.items() if pattern.startswith("*.")}
    what = kinds.get(path.suffix, "a file")
    return Finding(what, _WHOLE, _use_original(what))


def _missing(path: Path) -> Finding | None:
    """A path that leads nowhere, unless it may be a hub id."""
    given = str(path)
    if not (path.is_absolute() or given.startswith(("./", "../", "~")) or len(path.parts) > 2):
        return None
    names = near_names(path)
    fix = f"did you mean {' or '.join(names)}?" if names else "check the path"
    return Finding("no such folder", "a folder, a packaged encoder or a hub id", fix)


def _adapter(path: Path, config: Mapping[str, Any], use: Use) -> Finding | None:
    if not any(
        (path / name).exists() for name in ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
    ):
        return None
    base = _config(path / "adapter_config.json").get("base_model_name_or_path")
    kind = "AutoPeftModelForSequenceClassification" if use == "classifier" else "AutoPeftModel"
    classes = ", num_labels=N" if use == "classifier" else ""
    of = f" of {brief(base)}" if isinstance(base, str) else ""
    merged = f"{path}-merged"
    code = (
        f"from peft import {kind} as M; from transformers import AutoTokenizer as T; "
        f"M.from_pretrained({_quoted(path)}{classes}).merge_and_unload().save_pretrained({_quoted(merged)}); "
        f"T.from_pretrained({_quoted(base if isinstance(base, str) else path)}).save_pretrained({_quoted(merged)})"
    )
    note = ", with N as the number of classes" if classes else ""
    return Finding(
        f"a LoRA adapter{of}, which is no model by itself",
        "a whole model",
        f"merge it into its base where peft is installed: {_command(code)}{note}; then name {shlex.quote(merged)}",
    )


def _setfit(path: Path, config: Mapping[str, Any], use: Use) -> Finding | None:
    if use == "encoder" or not any((path / name).exists() for name in ("config_setfit.json", "model_head.pkl")):
        return None
    code = "SetFitModel.from_pretrained(...).predict_proba(texts)"
    return Finding(
        "a SetFit model, whose classifier is a pickle beside a sentence encoder",
        "a Hugging Face classifier",
        f"{_BLACK_BOX}; setfit gives them by {code}",
    )


def _foreign(path: Path, config: Mapping[str, Any], use: Use) -> Finding | None:
    family, families = config.get("model_type"), f"one of {', '.join(sorted(MODEL_TYPES))}"
    fix = instead_of_family(use)
    if config.get("auto_map"):
        return Finding("a model that needs code of its own (auto_map), which is never run", families, fix)
    if isinstance(family, str) and family not in MODEL_TYPES:
        return Finding(f"model_type {family!r}, a family that is not supported", families, fix)
    if config.get("quantization_config"):
        return Finding("quantized weights", "weights as they were trained", "use the checkpoint that was quantized")
    return None


def _without_weights(path: Path, config: Mapping[str, Any], use: Use) -> Finding | None:
    if config and any((path / name).is_file() for name in _WEIGHTS):
        return None
    expected = "a folder with config.json, model.safetensors and a tokenizer"
    if config and any(any(path.glob(pattern)) for pattern in _PICKLES):
        return Finding(
            "PyTorch's pickled weights only, which can run code when loaded", expected, _convert(path, config, use)
        )
    if what := next((what for pattern, what in _FORMATS.items() if any(path.glob(pattern))), None):
        return Finding(what, _WHOLE, _use_original(what))
    if inside := models_inside(path, is_checkpoint):
        return Finding("a folder that holds models", "the folder of one", f"name {' or '.join(inside)}")
    lacking = "model.safetensors" if config or is_checkpoint(path) else "config.json"
    if lacking == "model.safetensors" and not config:
        return None  # an unusable config.json, which its own check explains
    return Finding(f"no {lacking}", _WHOLE, "save the model again with save_pretrained, or copy the missing file", True)


def _sentence_encoder(path: Path, config: Mapping[str, Any], use: Use) -> Finding | None:
    if use == "encoder" or not (path / "modules.json").is_file() or _is_classifier(config):
        return None
    return Finding(
        "a sentence-transformers encoder, which has no classes",
        "a classifier",
        f"teach it on labelled texts: distilshift teach LABELLED --base-model {shlex.quote(str(path))} -o TEACHER",
    )


def _without_tokenizer(path: Path, config: Mapping[str, Any], use: Use) -> Finding | None:
    if any((path / name).is_file() for name in _TOKENIZERS):
        return None
    origin = config.get("_name_or_path") or "MODEL"
    code = f"from transformers import AutoTokenizer as T; T.from_pretrained({_quoted(origin)}).save_pretrained"
    of = ", where MODEL is the model that it was trained from" if origin == "MODEL" else ""
    return Finding(
        "no tokenizer",
        "tokenizer.json, or the files to make one",
        f"save the tokenizer of its model in it: {_command(f'{code}({_quoted(path)})')}{of}",
        True,
    )


def _is_classifier(config: Mapping[str, Any]) -> bool:
    return any(str(name).endswith("ForSequenceClassification") for name in _architectures(config))


def _architectures(config: Mapping[str, Any]) -> list[Any]:
    named = config.get("architectures")
    return named if isinstance(named, list) else []


def _convert(path: Path, config: Mapping[str, Any], use: Use) -> str:
    """How to save pickled weights as safetensors: a command that works as it is."""
    masked = any(str(name).endswith(("ForMaskedLM", "ForPreTraining")) for name in _architectures(config))
    kind = "AutoModelForMaskedLM" if masked else "AutoModel"
    if _is_classifier(config) or (use == "classifier" and not _architectures(config)):
        kind = "AutoModelForSequenceClassification"  # of an encoder it would save a random head as if it were trained
    target = f"{path}-safetensors"
    code = (
        f"from transformers import {kind} as M, AutoTokenizer as T; "
        f"M.from_pretrained({_quoted(path)}).save_pretrained({_quoted(target)}); "
        f"T.from_pretrained({_quoted(path)}).save_pretrained({_quoted(target)})"
    )
    return f"if you trust where it comes from, convert it: {_command(code)}; then name {shlex.quote(target)}"


def _use_original(what: str) -> str:
    if what == "a file":
        return "name a folder"
    return f"name the Hugging Face checkpoint that it was made from; without that, {_BLACK_BOX}"


def _quoted(value: object) -> str:
    return json.dumps(str(value))


def _command(code: str) -> str:
    return f"python -c {shlex.quote(code)}"
