"""The sides of `edge.py`: whatever turns texts into logits, each on one thread, none reading beyond `max_length`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from distilshift.bundle import read_manifest
from distilshift.data.batch import sorted_batches
from distilshift.encoder import load_classifier
from distilshift.export import export_onnx
from distilshift.network import ONNX_FILES, Network, OnnxName
from distilshift.packages import packaged_encoder
from distilshift.quantise import measured_ranges
from distilshift.quantise_graph import Form, quantised
from distilshift.tokens import load_tokenizer
from distilshift.types import Example

__all__ = ["Model2Vec", "TorchRunner", "onnx_runner", "teacher_onnx"]


class TorchRunner:
    """A bundle's PyTorch model in fp32, as transformers runs it."""

    def __init__(self, bundle: Path) -> None:
        self._classifier = load_classifier(str(bundle), read_manifest(bundle).max_length)
        self._classifier.model.eval()

    def logits(self, examples: Sequence[Example], batch_size: int = 32) -> NDArray[np.float32]:
        """(texts, classes)."""
        store = self._classifier.tokenise(examples)
        rows: dict[int, NDArray[np.float32]] = {}
        for indices in sorted_batches(store.lengths, batch_size):
            with torch.inference_mode():
                values = self._classifier.model(**self._classifier.inputs(store, indices, torch.device("cpu"))).logits
            rows |= dict(zip(indices.tolist(), values.numpy(), strict=True))
        return np.stack([rows[index] for index in range(len(examples))])


def onnx_runner(bundle: Path, file: Path, threads: int = 1, windows: int = 1) -> Network:
    """An ONNX file with the tokenizer of a bundle."""
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(bundle / "tokenizer.json", read_manifest(bundle).max_length, config)
    return Network(file, tokenizer, int(config.get("pad_token_id") or 0), threads, windows)


def teacher_onnx(bundle: Path, work: Path, texts: Sequence[Example]) -> dict[OnnxName, Path]:
    """A teacher's ONNX files, made where they are missing: fp32, and int8 with embeddings of 8 bits.

    Ranges of its inner states are measured on `texts`.
    """
    files: dict[OnnxName, Path] = {name: work / f"{bundle.name}-{name}.onnx" for name in ONNX_FILES}
    if not files["fp32"].exists():
        export_onnx(load_classifier(str(bundle), read_manifest(bundle).max_length), files["fp32"])
    if not files["int8"].exists():
        model = onnx.load(files["fp32"])
        ranges = measured_ranges(model, onnx_runner(bundle, files["fp32"]), texts)
        onnx.save(quantised(model, Form("int8, 8-bit embeddings", outliers=True), ranges), files["int8"])
    return files


class Model2Vec:
    """model2vec's classifier: static embeddings of the teacher's own encoder, trained on labels given.

    Its package is no dependency of ours: `pip install model2vec datasets skeletoken` beside the training extra.

    Args:
        texts: unlabelled texts.
        labels: what another model says of them.
        classes: names in the order of the logits.
        seed: of its training.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[str], classes: Sequence[str], seed: int) -> None:
        from model2vec.distill import distill
        from model2vec.train import StaticModelForClassification

        static = distill(str(packaged_encoder("minilm-l6")), device="cpu")
        trained = StaticModelForClassification.from_static_model(model=static, out_dim=len(classes))
        trained.fit(list(texts), list(labels), device="cpu", random_seed=seed)
        self._pipeline = trained.to_pipeline()
        self._order = [list(self._pipeline.classes_).index(name) for name in classes]

    def logits(self, examples: Sequence[Example], batch_size: int = 32) -> NDArray[np.float32]:
        """Logarithms of the probabilities, (texts, classes)."""
        found = self._pipeline.predict_proba([each.text for each in examples], batch_size=batch_size)
        return np.log(np.maximum(found, 1e-12))[:, self._order].astype(np.float32)

    def save(self, folder: Path) -> None:
        """Its files as it ships them."""
        self._pipeline.save_pretrained(str(folder))
