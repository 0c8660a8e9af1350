"""What the second opinion does to a teacher's labels where classes are not equally frequent.

    python benchmarks/label_shift.py benchmarks/scratch/teachers/*-0-*
    python benchmarks/label_shift.py benchmarks/scratch/teachers/*-0-* --rare

benchmarks/results/label_shift.json and one_class.json are of an earlier rule, by which labels moved further; beside
what parts of the texts tell, they have the estimates by EM and BBSE, which were tried and are not part of the package.

The second command is of targets with hardly a text of one class, or none; `--pairs airline:imdb imdb:airline …` names
the pairs of benchmarks/results/one_class.json, which are not all that its teachers have.

For each teacher bundle (a folder named after its source, as `distilshift bench` keeps them) and target, the target's
training texts are resampled to several shares of positive ones, equally many of them at each share. Compared are the
labels that a student would learn: the teacher's own, of whole texts, and those with the second opinion of the words,
as the gate lets them pass and as they are. No teacher adapts here. Labels of texts choose which texts stay, and
measure.
`benchmarks/configs/label-shift.toml` is for students.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import DOMAINS, RESULTS, REVISION, add_teachers, hardware, load, source_of, teachers_of
from distilshift.bench.resample import POSITIVE, choose, largest_count
from distilshift.bundle import Manifest, read_manifest
from distilshift.config import AdaptConfig
from distilshift.data.corpus import Corpus, open_corpus
from distilshift.encoder import Classifier, load_classifier, scale_logits
from distilshift.files import write_json
from distilshift.judging import Judge, signals_of
from distilshift.part_shares import part_share
from distilshift.parts import read_parts
from distilshift.precision import make_accelerator
from distilshift.run import open_run
from distilshift.second_opinion import second_opinion
from distilshift.shards import Rows
from distilshift.stage import versions
from distilshift.types import Example
from distilshift.views import Reading, read_texts

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
RARE_SHARES = (0.0, 0.02, 0.05, 0.95, 0.98, 1.0)
CONFIG = AdaptConfig()


def chosen(examples: list[Example], share: float, shares: Sequence[float]) -> NDArray[np.bool_]:
    """Which texts stay: as many at each share as the most extreme of all `shares` allows."""
    positive = sum(item.label == POSITIVE for item in examples)
    size = min(largest_count(positive, len(examples) - positive, each) for each in shares)
    kept = {id(item) for item in choose(examples, share, size, CONFIG.seed)}
    return np.array([id(item) in kept for item in examples])


def measure(bundle: Path, target: str, shares: Sequence[float]) -> list[dict[str, Any]]:
    """A row a share."""
    manifest = read_manifest(bundle, "teacher")
    examples = load(target, "train")
    labels = np.array([manifest.label_names.index(str(item.label)) for item in examples])
    classifier, accelerator = load_classifier(str(bundle), manifest.max_length), make_accelerator(CONFIG)
    scale_logits(classifier.model, manifest.temperature)
    corpus = open_corpus([replace(item, label=None) for item in examples], CONFIG)
    with tempfile.TemporaryDirectory() as folder, open_run(Path(folder) / "run", {}) as run:
        reading = read_texts(classifier, corpus, CONFIG, accelerator, run)
        own = [np.array(rows[np.arange(len(examples))]) for rows in (reading.beginnings, reading.whole)]
        parts = read_parts(classifier, corpus, accelerator, run, CONFIG.seed)
    return [
        {"source": source_of(bundle), "target": target, "share": share, "texts": int(mask.sum())}
        | _at_share(
            classifier,
            manifest,
            corpus.only(mask),
            [each[mask] for each in own],
            None if parts is None else parts[mask],
            labels[mask],
        )
        for share, mask in ((share, chosen(examples, share, shares)) for share in shares)
    ]


def _at_share(
    classifier: Classifier,
    manifest: Manifest,
    corpus: Corpus,
    own: list[NDArray[np.float32]],
    parts: NDArray[np.float32] | None,
    labels: NDArray[np.int64],
) -> dict[str, Any]:
    reading = Reading(*(Rows([each]) for each in own))
    with tempfile.TemporaryDirectory() as folder, open_run(Path(folder) / "run", {}) as run:
        judge = Judge(reading, manifest.statistics, CONFIG.seed, run, lambda: parts)
        prior = judge.prior()
        known = prior.array() if prior.known else None
        wanted = (CONFIG.opinion_weight, known, judge.temperature, CONFIG.seed)
        opinion = second_opinion(reading.whole, corpus, classifier, *wanted, run)
        judgement = judge.judge_opinion(opinion.whole, prior)
        revised = np.array(opinion.whole[np.arange(len(labels))])
    used = revised if judgement.adaptation == "accepted" else own[1]

    def right(logits: NDArray[np.float32]) -> float:
        return float((logits.argmax(axis=1) == labels).mean())

    positive = manifest.label_names.index(POSITIVE)
    return {
        "positive": _estimates(manifest, own[1], parts, positive) | {"expected": prior.shares[positive]},
        "beginnings": right(own[0]),
        "whole": right(own[1]),
        "second_opinion": right(used),
        "second_opinion_ungated": right(revised),
        "adaptation": judgement.adaptation,
        "correlation": opinion.correlation,
        "expected_by": prior.origin,
    }


def _estimates(
    manifest: Manifest, own: NDArray[np.float32], parts: NDArray[np.float32] | None, positive: int
) -> dict[str, float | None]:
    """The share of positive texts as each way to tell it without labels has it."""
    found = None if parts is None else part_share(signals_of(parts, manifest.temperature))
    return {
        "predicted": float((own.argmax(axis=1) == positive).mean()),
        "parts": found and (found.share if positive == 1 else 1 - found.share),
        "parts_error": found and found.error,
        "parts_common": found and found.common,
    }


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_teachers(parser)
    parser.add_argument("--pairs", nargs="+", help="only these, as source:target; all pairs of the Amazon domains")
    parser.add_argument("--rare", action="store_true", help="shares next to 0 and 1 instead, in one_class.json")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    shares = RARE_SHARES if options.rare else SHARES
    out = options.out or RESULTS / ("one_class.json" if options.rare else "label_shift.json")
    rows: list[dict[str, Any]] = []
    wanted = options.pairs or [":".join(pair) for pair in permutations(DOMAINS[:4], 2)]
    found = teachers_of(parser, options)
    teachers = {source_of(bundle): bundle for bundle in found}
    if unknown := [pair for pair in wanted if pair not in map(":".join, product(teachers, DOMAINS))]:
        parser.error(f"no such pair of a teacher here and a domain: {', '.join(unknown)}")
    for source, bundle in teachers.items():
        for target in (name for name in DOMAINS if name != source and f"{source}:{name}" in wanted):
            rows += [row | {"teacher_sha256": found[bundle]} for row in measure(bundle, target, shares)]
            for row in rows[-len(shares) :]:
                print({key: row[key] for key in ("source", "target", "share", "whole", "second_opinion")}, flush=True)
    result = {"table": "label-shift-of-labels", "code_revision": REVISION, "versions": versions()}
    write_json(out, result | {"hardware": hardware(), "config": CONFIG.to_dict(), "rows": rows})


if __name__ == "__main__":
    main()
