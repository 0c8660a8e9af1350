"""A tiny benchmark: three made-up domains, and a matrix of seconds."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from texts import make_texts

DOMAINS = {"pans": 11, "films": 12, "games": 13}
MATRIX = """
table = "tiny"
pairs = [["pans", "films"], ["pans", "games"]]
methods = ["plain-kd", "distilshift"]
seeds = [0]

[teacher]
base_model = "{encoder}"
epochs = {epochs}
learning_rate = 3e-3
max_length = 32
precision = "fp32"

[student]
student_layers = 1
distil_epochs = 2
adapt_epochs = 1
precision = "fp32"
"""


def write_domains(folder: Path, train: int = 60, test: int = 20) -> Path:
    """Files as a benchmark reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in DOMAINS.items():
        texts = make_texts(train + test, seed)
        rows = [
            json.dumps({"id": index, "text": text, "label": label, "split": "train" if index < train else "test"})
            for index, (text, label) in enumerate(texts)
        ]
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress("\n".join(rows).encode(), mtime=0))
    return folder


def write_matrix(path: Path, encoder: str | Path = "minilm-l6", epochs: int = 2) -> Path:
    """The tiny matrix."""
    path.write_text(MATRIX.format(encoder=encoder, epochs=epochs))
    return path
