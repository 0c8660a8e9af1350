"""Time and memory of `adapt` as the number of texts grows: a straight line, and flat.

    python benchmarks/scale.py --sizes 2000 20000 200000
    python benchmarks/scale.py --teacher tiny --sizes 2000 20000 200000 1000000

The tiny teacher is an untrained network: what memory the data take, and how their time grows, without a day of matrix
products.
Texts are sentences of 12 to 30 words of the review domains and of the demo's movie reviews. Where real ones run out
they are repeated with a tenth of their words left out, which the result says. Each size is a process of its own, so
that its peak memory is its own; a size whose result is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from common import DOMAINS, RESULTS, REVISION, SCRATCH, hardware, load, taught
from distilshift import AdaptConfig, import_checkpoint
from distilshift.demo_data import movie_sentences
from distilshift.encoder import load_classifier
from distilshift.files import write_json
from distilshift.journal import fingerprint
from distilshift.pipeline import make_student
from distilshift.stage import peak_memory_bytes, versions

WORDS = (12, 30)
DROPPED = 0.1
TINY = {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


def sentences() -> list[str]:
    """Real sentences, each once, in a fixed random order."""
    texts = [example.text for domain in DOMAINS for example in load(domain)]
    texts += [example.text for example in movie_sentences()]
    found = {" ".join(part.split()) for text in texts for part in re.split(r"(?<=[.!?])\s+", text)}
    fitting = sorted(part for part in found if WORDS[0] <= len(part.split()) <= WORDS[1])
    return [fitting[index] for index in np.random.default_rng(0).permutation(len(fitting))]


def endless(real: list[str]) -> Iterator[str]:
    """The real sentences, and then noisy copies of them."""
    yield from real
    rng = np.random.default_rng(1)
    while True:
        for text in real:
            words = text.split()
            kept = rng.random(len(words)) >= DROPPED
            kept[0] = True
            yield " ".join(word for word, keep in zip(words, kept, strict=True) if keep)


def tiny_teacher(work: Path) -> Path:
    """An untrained BERT of 3 layers and width 32 with the packaged encoder's tokenizer, as a teacher bundle."""
    bundle, folder = work / "tiny-bert-3x32", work / "tiny-checkpoint"
    if not bundle.exists():
        tokenizer = load_classifier("minilm-l6", 128, ["negative", "positive"]).tokenizer
        torch.manual_seed(0)
        BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **TINY)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        import_checkpoint(str(folder), bundle, label_names="0=negative,1=positive")
    return bundle


def measure(size: int, teacher: Path, config: AdaptConfig, work: Path) -> dict[str, Any]:
    """Run `adapt` on so many texts in this process."""
    real = sentences()
    texts = work / f"texts-{size}.txt"
    with texts.open("w", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in islice(endless(real), size))
    at_start, start = peak_memory_bytes(), time.perf_counter()
    make_student(teacher, texts, work / f"student-{size}", config, overwrite=True)
    seconds = time.perf_counter() - start
    texts.unlink()
    return {
        "texts": size,
        "real_texts": min(size, len(real)),
        "seconds": seconds,
        "milliseconds_a_text": 1e3 * seconds / size,
        "peak_memory_bytes": peak_memory_bytes(),
        "memory_before_bytes": at_start,
    }


def teacher_of(name: str | None, work: Path) -> Path:
    """The bundle that `--teacher` names."""
    if name is None:
        return taught("electronics", 0, work)
    return tiny_teacher(work) if name == "tiny" else Path(name)


def main() -> None:
    """Run the sizes that are missing, smallest first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[2_000, 20_000, 200_000])
    parser.add_argument("--teacher", help="a teacher bundle, or tiny; by default, electronics' of seed 0")
    parser.add_argument("--method", default=AdaptConfig().method)
    parser.add_argument("--work", type=Path, default=SCRATCH)
    parser.add_argument("--out", type=Path, default=RESULTS / "speed" / "scale")
    parser.add_argument("--one", action="store_true", help="measure one size in this process")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    teacher = teacher_of(args.teacher, args.work)
    # One pass each: the slope is what is measured.
    config = AdaptConfig(method=args.method, adapt_epochs=1, distil_epochs=2, spans=1, max_length=64)
    for size in sorted(args.sizes):
        path = args.out / f"{teacher.name}-{args.method}-{size}.json"
        if path.exists():
            continue
        if not args.one:
            command = [sys.executable, __file__, "--one", "--sizes", str(size), "--teacher", str(teacher)]
            command += ["--method", args.method, "--work", str(args.work), "--out", str(args.out)]
            subprocess.run(command, check=True)
            continue
        row = measure(size, teacher, config, args.work)
        row |= {"teacher": teacher.name, "config": config.to_dict(), "config_sha256": fingerprint(config.to_dict())}
        row |= {"code_revision": REVISION, "versions": versions(), "hardware": hardware()}
        write_json(path, row)
        print(json.dumps({name: row[name] for name in ("texts", "seconds", "peak_memory_bytes")}), flush=True)


if __name__ == "__main__":
    main()
