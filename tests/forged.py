"""Small bundles made on the spot, and the same with a change that their hashes fit: a forger can hash, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from distilshift.bundle import MANIFEST, Manifest, Statistics, write_manifest
from distilshift.card import teacher_card
from distilshift.files import sha256_of
from distilshift.journal import fingerprint
from encoders import make_checkpoint, make_tokenizer

LABELS = ["negative", "positive"]
STATISTICS = Statistics([0.5, 0.5], [[4, 1], [1, 4]], 0.8, 1.5)
Change = Callable[[Path], Any]


def small_network(rows: int, width: int = 2) -> onnx.ModelProto:
    """Logits that are the mean of a text's embeddings."""
    table = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("ReduceMean", ["vectors", "axes"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def make_student(folder: Path) -> Path:
    """A student bundle whose ONNX file is `small_network`; its safetensors file belongs to no model."""
    (folder / "onnx").mkdir(parents=True)
    tokenizer = make_tokenizer("bert")
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_type": "bert", "vocab_size": len(tokenizer), "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros((2, 3), np.float32)}, folder / "model.safetensors")
    onnx.save(small_network(len(tokenizer)), folder / "onnx" / "model.onnx")
    (folder / "README.md").write_text("# A student\n")
    write_manifest(folder, Manifest("student", LABELS, "tiny", 16, runtime={"default": "fp32", "max_windows": 2}))
    return folder


def make_teacher(folder: Path) -> Path:
    """A teacher bundle of a random network."""
    make_checkpoint(folder, num_labels=2, id2label=dict(enumerate(LABELS)))
    manifest = Manifest("teacher", LABELS, "tiny", 32, statistics=STATISTICS)
    (folder / "README.md").write_text(teacher_card(manifest))
    write_manifest(folder, manifest)
    return folder


def reseal(bundle: Path, **values: Any) -> None:
    """Give a bundle a manifest that fits its files, with some of its values replaced."""
    content = json.loads((bundle / MANIFEST).read_text())
    names = [path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()]
    content["files"] = {name: sha256_of(bundle / name) for name in sorted(names) if name != MANIFEST}
    content |= values
    content.pop("sha256")
    (bundle / MANIFEST).write_text(json.dumps(content | {"sha256": fingerprint(content)}))


def edit_json(name: str, change: Callable[[dict[str, Any]], Any]) -> Change:
    """A change of one JSON file."""

    def apply(bundle: Path) -> None:
        content = json.loads((bundle / name).read_text())
        change(content)
        (bundle / name).write_text(json.dumps(content))

    return apply


def edit_onnx(change: Callable[[onnx.ModelProto], Any]) -> Change:
    """A change of the fp32 network."""

    def apply(bundle: Path) -> None:
        model = onnx.load(bundle / "onnx" / "model.onnx", load_external_data=False)
        change(model)
        (bundle / "onnx" / "model.onnx").write_bytes(model.SerializeToString())

    return apply


def edit_header(change: Callable[[dict[str, Any]], Any], data: bytes | None = None) -> Change:
    """A change of the header of a safetensors file, and of its data where given."""

    def apply(bundle: Path) -> None:
        path = bundle / "model.safetensors"
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        change(header)
        packed = json.dumps(header).encode()
        rest = content[8 + size :] if data is None else data
        path.write_bytes(len(packed).to_bytes(8, "little") + packed + rest)

    return apply
