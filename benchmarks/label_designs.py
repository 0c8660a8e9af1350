"""Compare corrections of a teacher's labels on what `label_lab.py` kept; writes benchmarks/results/label_designs.json.

    python benchmarks/label_designs.py DIR          # DIR: the outputs of label_lab.py

Two questions, each asked of every development pair as it is and of samples with other class shares. `votes`: whose
labels are averaged (teacher, SHOT-IM, words). `shares`, for two classes: how far labels are moved to the class shares
that the parts of texts tell, and whether intervals hold on domains whose errors they were not made from. True labels
judge. SHOT-IM is not trained anew on the samples: it met the class shares of the whole pair.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from common import RESULTS, REVISION, hardware
from distilshift.files import write_json
from distilshift.judging import signals_of
from distilshift.metrics import softmax
from distilshift.near_copies import near_copies
from distilshift.part_shares import part_share
from distilshift.second_opinion import RIDGE, average_teachers, bias_towards, features, leave_copies_out, similarities
from distilshift.shards import Rows
from distilshift.stage import versions
from distilshift.target_prior import PARTS_ERROR

Array = NDArray[np.float64]
SAMPLES, SAMPLE_TEXTS, LEAST_TEXTS = 8, 700, 300
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SHARE_TEXTS = 800
WORDS, ADAPTED = 0.5, (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Lab:
    """What one teacher said of one target: logits (texts, classes) on the calibrated scale, and the truth."""

    name: str
    whole: Array
    adapted: Array | None
    parts: Array | None
    labels: NDArray[np.int64]
    kernel: Array
    copies: dict[int, NDArray[np.int64]]
    temperature: float

    def accuracy(self, logits: Array) -> float:
        """In percent."""
        return float((logits.argmax(axis=1) == self.labels).mean() * 100)


def load(path: Path) -> Lab:
    """Read one file of `label_lab.py`."""
    kept = np.load(path)
    statistics = json.loads(str(kept["statistics"]))
    teachers = sorted((path.parent / "teachers").iterdir(), key=lambda folder: -len(folder.name))
    teacher = next(folder for folder in teachers if path.stem.startswith(f"{folder.name}-"))
    tokenizer = Tokenizer.from_file(str(teacher / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    special = [index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    found = []
    for text, pair in zip(kept["texts"], kept["pairs"], strict=True):
        read = tokenizer.encode(str(text), str(pair) or None)
        found.append(features(np.array(read.ids, np.int32), np.array(read.type_ids, np.uint8), special))
    scale = statistics["temperature"]
    adapted = kept["shot_im"].astype(np.float64) / scale if "shot_im" in kept else None
    parts = kept.get("parts", None)
    whole = kept["whole"].astype(np.float64) / scale
    return Lab(path.stem, whole, adapted, parts, kept["labels"], similarities(found), near_copies(found), scale)


def sample(lab: Lab, rows: NDArray[np.int64]) -> Lab:
    """Some of the texts, by their numbers in ascending order."""
    place = {int(row): index for index, row in enumerate(rows)}
    copies = {
        place[row]: np.array([place[int(each)] for each in members if int(each) in place])
        for row, members in lab.copies.items()
        if row in place
    }
    adapted = None if lab.adapted is None else lab.adapted[rows]
    parts = None if lab.parts is None else lab.parts[rows]
    kernel = lab.kernel[np.ix_(rows, rows)]
    return Lab(lab.name, lab.whole[rows], adapted, parts, lab.labels[rows], kernel, copies, lab.temperature)


def with_shares(lab: Lab, shares: Array, texts: int, rng: np.random.Generator) -> Lab | None:
    """As many texts as there are, `texts` at the most, with these class shares; None where they are too few."""
    counts = np.bincount(lab.labels, minlength=len(shares))
    most = min(texts, *(int(count / share) for count, share in zip(counts, shares, strict=True) if share > 0.02))
    if most < LEAST_TEXTS:
        return None
    chosen = [
        rng.permutation(np.flatnonzero(lab.labels == index))[: round(share * most)]
        for index, share in enumerate(shares)
    ]
    return sample(lab, np.sort(np.concatenate(chosen)))


def words(lab: Lab, logits: Array) -> Array:
    """The mean of labels and what the words of the other texts make of them."""
    own = logits - logits.mean(axis=1, keepdims=True)
    targets = softmax(own)
    targets -= targets.mean(axis=0)
    said = leave_copies_out(lab.kernel, targets, RIDGE, lab.copies)
    scale = (own - own.mean(axis=0)).std() / max(float(said.std()), 1e-12)
    return (1 - WORDS) * own + WORDS * (own.mean(axis=0) + scale * said)


def votes(lab: Lab) -> dict[str, float]:
    """Gain over the teacher's own labels, in points, by design."""
    plain = lab.accuracy(lab.whole)
    designs = {"words": words(lab, lab.whole)}
    if lab.adapted is not None:
        designs["SHOT-IM"] = lab.adapted
        for weight in ADAPTED:
            both = average_teachers(Rows([lab.whole]), Rows([lab.adapted]), weight).astype(np.float64)
            designs |= {f"teacher and {weight} SHOT-IM": both, f"teacher and {weight} SHOT-IM, words": words(lab, both)}
    return {name: lab.accuracy(logits) - plain for name, logits in designs.items()}


def votes_of(lab: Lab) -> dict[str, Any]:
    """As it is, and over samples with other class shares: as they are, even more unequal, or drawn at random."""
    rng = np.random.default_rng(0)
    natural = np.bincount(lab.labels) / len(lab.labels)
    classes, found = len(natural), []
    for index in range(SAMPLES):
        drawn = (natural, rng.dirichlet(np.full(classes, 3.0)), natural * rng.dirichlet(np.full(classes, 2.0)))[
            index % 3
        ]
        part = with_shares(lab, drawn / drawn.sum(), SAMPLE_TEXTS, rng)
        found += [votes(part)] if part else []
    names = found[0] if found else {}
    resampled = {name: [round(each[name], 2) for each in found] for name in names}
    return {"teacher": lab.accuracy(lab.whole), "gain": votes(lab), "gain_resampled": resampled}


def share_rows(lab: Lab) -> list[dict[str, float]]:
    """For many class shares: what parts tell, and what moving labels by each rule gains."""
    rng, rows = np.random.default_rng(0), []
    for share in SHARES:
        part = with_shares(lab, np.array([1 - share, share]), SHARE_TEXTS, rng)
        if part is None or part.parts is None:
            continue
        found = part_share(signals_of(part.parts, lab.temperature))
        if found is None:
            continue
        own = float(softmax(part.whole)[:, 1].mean())
        rows.append({"share": share, "labels": own, "parts": found.share, "error": found.error, "common": found.common})
        plain = part.accuracy(part.whole)
        for name, errors in (("all the way", 0.0), ("to one error", 1.0), ("to 1.64 errors", 1.64)):
            wanted = own + np.sign(found.share - own) * max(
                0.0, abs(found.share - own) - errors * np.hypot(found.error, PARTS_ERROR)
            )
            moved = part.whole + bias_towards(part.whole, np.array([1 - wanted, wanted]).clip(0.02, 0.98))
            rows[-1][name] = part.accuracy(moved) - plain
    return rows


def beyond_bootstrap(rows: dict[str, list[dict[str, float]]]) -> float:
    """The standard error of the estimate by parts that its bootstrap leaves out, of the domain where it is largest.

    The largest, since few domains are known and a new one may be as bad as the worst.
    """
    by_target: dict[str, list[float]] = {}
    for name, each in rows.items():
        excess = [(row["parts"] - row["share"]) ** 2 - row["error"] ** 2 for row in each]
        by_target.setdefault(name.split("-")[-1], []).extend(excess)
    return max((max(0.0, float(np.mean(each))) for each in by_target.values()), default=0.0) ** 0.5


def coverage(rows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Whether 95 % intervals hold on a target where no error was taken from pairs with its domain."""
    held: dict[str, list[bool]] = {"bootstrap": [], "with the model's error": []}
    for target in sorted({name.split("-")[-1] for name in rows}):
        others = {name: each for name, each in rows.items() if target not in name.split("-")[-2:]}
        if not others:
            continue
        beyond = beyond_bootstrap(others)
        for row in (row for name, each in rows.items() if name.endswith(f"-{target}") for row in each):
            off = abs(row["parts"] - row["share"])
            held["bootstrap"].append(off <= 1.96 * row["error"])
            held["with the model's error"].append(off <= 1.96 * float(np.hypot(row["error"], beyond)))
    return {
        "held": {name: float(np.mean(each)) for name, each in held.items()},
        "cases": len(held["bootstrap"]),
        "beyond_bootstrap": beyond_bootstrap(rows),
    }


def main() -> None:
    """Compare on all files that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path)
    labs = [load(path) for path in sorted(parser.parse_args().outputs.glob("*.npz"))]
    rows = {lab.name: share_rows(lab) for lab in labs if lab.parts is not None}
    found = {
        "votes": {lab.name: votes_of(lab) for lab in labs},
        "shares": rows,
        "coverage": coverage(rows),
        "code_revision": REVISION,
        "versions": versions(),
        "hardware": hardware(),
    }
    write_json(RESULTS / "label_designs.json", found)
    print(json.dumps({"coverage": found["coverage"]}, indent=1))
    for name, each in found["votes"].items():
        print(name, {key: round(value, 1) for key, value in each["gain"].items()})
    for rule in ("all the way", "to one error", "to 1.64 errors"):
        gains = [row[rule] for each in rows.values() for row in each]
        print(
            rule, f"mean {np.mean(gains):+.2f}, worst {min(gains):+.1f}, below -1: {np.mean(np.array(gains) < -1):.2f}"
        )


if __name__ == "__main__":
    main()
