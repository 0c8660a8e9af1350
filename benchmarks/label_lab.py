"""Keep what teachers say of development targets, so that corrections of their labels can be compared in seconds.

    python benchmarks/label_lab.py --outputs DIR          # all development tasks; continues where it stopped

For each source and target: logits of the teacher for whole texts, for beginnings and for parts, its features, those of
the encoder that it was taught from, the logits after SHOT-IM, and the true labels, which judge and choose nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import HERE, SCRATCH
from distilshift import teach
from distilshift.adaptation import adapt_teacher
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig, TeachConfig
from distilshift.data.corpus import open_corpus
from distilshift.encoder import load_classifier, locate, scale_logits
from distilshift.inference import forward_all
from distilshift.journal import fingerprint
from distilshift.parts import read_parts
from distilshift.stage_run import stage_run
from distilshift.types import Example
from distilshift.views import read_texts

LOGITS = ("whole", "beginnings", "shot_im")
TRAIN_TEXTS = 1_600
SOURCE_TEXTS = 2_500
# Sources (joined with "+") and target of each task: the development column of the protocol, and all other ordered
# pairs of the same domains that report nothing.
REVIEWS = ("kitchen", "dvd", "imdb", "airline")
ISSUES = ("react", "vscode", "tensorflow")
PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "intents": (("hwu", "clinc"),),
    "emotions": (("tweets", "reddit"),),
    "crisis": (("floods", "storms_quakes"), ("storms_quakes", "floods")),
    "aspects": (("restaurants", "laptops"),),
    "issues": (("react+vscode", "tensorflow"), *((a, b) for a in ISSUES for b in ISSUES if a != b)),
    "cross-domain-sentiment": tuple((a, b) for a in REVIEWS for b in REVIEWS if a != b),
}

# SHOT-IM takes longer than all else: on the development column alone.
ADAPTED = {
    ("hwu", "clinc"),
    ("tweets", "reddit"),
    ("floods", "storms_quakes"),
    ("restaurants", "laptops"),
    ("react+vscode", "tensorflow"),
    ("dvd", "kitchen"),
    ("kitchen", "dvd"),
}


def rows_of(task: str, domains: str, split: str, most: int) -> list[Example]:
    """Labelled texts of one or more domains, in a random order."""
    root = Path(os.environ.get("DISTILSHIFT_DATA", HERE.parent.parent / "shared" / "data"))
    found: list[Example] = []
    for domain in domains.split("+"):
        with gzip.open(root / task / f"{domain}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        found += [Example(row["text"], row.get("pair"), row["label"]) for row in rows if row["split"] == split]
    random.Random(0).shuffle(found)
    return found[:most]


def _table(rows: list[Example]) -> tuple[Any, dict[str, Any]]:
    """The rows as a dict of columns, and the options that read it."""
    table = {"text": [row.text for row in rows], "label": [row.label for row in rows]}
    if rows[0].pair is None:
        return table, {}
    return table | {"other": [row.pair for row in rows]}, {"pair_column": "other"}


def teacher_of(task: str, sources: str, outputs: Path) -> Path:
    """The teacher of a task's sources, taught where it is missing."""
    bundle = outputs / "teachers" / f"{task}-{sources}"
    if not bundle.exists():
        bundle.parent.mkdir(parents=True, exist_ok=True)
        table, options = _table(rows_of(task, sources, "train", SOURCE_TEXTS))
        teach(table, bundle, TeachConfig(threads=1), label_names="as-is", **options)
    return bundle


def measure(task: str, sources: str, target: str, outputs: Path) -> None:
    """Let the teacher read the target's training texts, before and after SHOT-IM."""
    path = outputs / f"{task}-{sources}-{target}.npz"
    if path.exists():
        return
    start = time.perf_counter()
    bundle = teacher_of(task, sources, outputs)
    manifest = read_manifest(bundle, "teacher")
    rows = [row for row in rows_of(task, target, "train", TRAIN_TEXTS) if row.label in manifest.label_names]
    table, options = _table(rows)
    del table["label"]
    settings = AdaptConfig(threads=1, method="shot-im", target_prior="uniform", adapt_frozen_layers=0, **options)
    corpus = open_corpus(table, settings)
    found: dict[str, Any] = {"labels": np.array([manifest.label_names.index(str(row.label)) for row in rows])}
    with stage_run("lab", path.with_suffix(""), settings, {"teacher": fingerprint(asdict(manifest))}, True) as opened:
        accelerator, run = opened
        teacher = load_classifier(str(bundle), manifest.max_length)
        scale_logits(teacher.model, manifest.temperature)
        teacher.model.to(accelerator.device)
        reading = read_texts(teacher, corpus, settings, accelerator, run, "unadapted")
        everything = np.arange(len(rows))
        found |= {"whole": reading.whole[everything], "beginnings": reading.beginnings[everything]}
        parts = read_parts(teacher, corpus, accelerator, run, 0)
        if parts is not None:
            found["parts"] = parts
        store = teacher.tokenise(rows)
        found["features"] = forward_all(teacher, store, accelerator.device, accelerator.autocast, features=True)[
            "features"
        ].astype(np.float16)
        found["base"] = base_features(manifest.base_model, rows)
        found["names"] = base_features(manifest.base_model, [Example(str(name)) for name in manifest.label_names])
        if (sources, target) in ADAPTED:
            prior = np.full(len(manifest.label_names), 1 / len(manifest.label_names))
            adapt_teacher(teacher, corpus, replace(settings, spans=0, max_windows=1), accelerator, run, prior)
            adapted = read_texts(teacher, corpus, settings, accelerator, run, "teacher")
            found["shot_im"] = adapted.whole[everything]
    known = json.loads((bundle / "distilshift.json").read_text())["statistics"]
    np.savez_compressed(
        path,
        texts=np.array([row.text for row in rows], object).astype(str),
        pairs=np.array([row.pair or "" for row in rows]),
        statistics=np.array(json.dumps(known)),
        label_names=np.array(manifest.label_names),
        **found,
    )
    right = {name: float((found[name].argmax(axis=1) == found["labels"]).mean()) for name in LOGITS if name in found}
    print(f"{task} {sources} -> {target}: {right}, {time.perf_counter() - start:.0f} s", flush=True)


def base_features(name: str, rows: list[Example]) -> Any:
    """Mean token states of the encoder that the teacher was taught from, (texts, width) float16."""
    from transformers import AutoModel, AutoTokenizer

    folder = locate(name)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    with torch.inference_mode():
        for first in range(0, len(rows), 32):
            part = rows[first : first + 32]
            pairs = [str(row.pair) for row in part] if part[0].pair is not None else None
            inputs = tokenizer(
                [row.text for row in part], pairs, truncation=True, max_length=128, padding=True, return_tensors="pt"
            )
            states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
            found.append(((states * mask).sum(1) / mask.sum(1)).numpy().astype(np.float16))
    return np.concatenate(found)


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=SCRATCH / "label-lab")
    parser.add_argument("--only", action="append", default=[], help="a task; may be repeated")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.outputs.mkdir(parents=True, exist_ok=True)
    for task, pairs in PAIRS.items():
        for sources, target in pairs:
            if not options.only or task in options.only:
                measure(task, sources, target, options.outputs)


if __name__ == "__main__":
    main()
