"""Which texts to ask about: designs of `query` against random choice, on outputs of unadapted teachers.

    python benchmarks/query.py LAB/*.npz

Each file has a teacher's outputs on the target texts of a development pair (benchmarks/label_lab.py). Half of the texts
are the pool, half are the test. Answers correct the labels by a simple model, kernel ridge regression of what the
teacher got wrong on its features; and they measure the teacher's accuracy and the class shares by 1 / inclusion. The
mean over draws and over tasks says which design is better. A file that was measured by the same code is not again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import RESULTS, REVISION, hardware
from distilshift.files import sha256_of, write_json
from distilshift.metrics import softmax
from distilshift.query_design import Emphasis, Pool, draw
from distilshift.text_sketch import hashed_words, near_copy_groups, unit_vectors, word_vectors
from distilshift.types import Example

RIDGE, DRAWS, COUNTS = 1.0, 20, (10, 50, 200)
# The default in two batches, as a person would ask who looks at the first answers.
TWO_BATCHES = "query, two batches"
DESIGNS: dict[str, Emphasis | None] = {
    "random": None,
    "query": Emphasis(),
    TWO_BATCHES: Emphasis(),
    "spread alone": Emphasis(1, 1, 0, 1),
    "no uncertainty": Emphasis(uncertainty=1),
    "uncertainty 10": Emphasis(uncertainty=10),
    "no equal classes": Emphasis(equal_classes=0),
    "sharp": Emphasis(uncertainty=20, equal_texts=0.1),
}


def pools(path: Path) -> tuple[dict[str, Any], Pool, Pool]:
    """A lab file's arrays, and its texts as a teacher and as a student sees them."""
    with np.load(path, allow_pickle=False) as stored:
        lab = {name: stored[name] for name in ("whole", "labels", "features", "texts", "pairs", "statistics")}
    scale = json.loads(str(lab["statistics"]))["temperature"]
    pairs = [str(pair) or None for pair in lab["pairs"]] if len(lab["pairs"]) else [None] * len(lab["texts"])
    words = hashed_words(Example(str(text), pair) for text, pair in zip(lab["texts"], pairs, strict=True))
    probabilities, groups = softmax(lab["whole"] / scale), near_copy_groups(words)
    states = lab["features"].astype(np.float64)
    lab["probabilities"] = probabilities
    lab["states"] = unit_vectors((states - states.mean(axis=0)) / (states.std(axis=0) + 1e-3))
    return (
        lab,
        Pool(probabilities, unit_vectors(states - states.mean(axis=0)), groups),
        Pool(probabilities, word_vectors(words), groups),
    )


def chosen(name: str, pool: Pool, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Texts of a design and their weights."""
    emphasis, size = DESIGNS[name], len(pool.groups)
    if emphasis is None:
        return np.random.default_rng(seed).permutation(size)[:count], np.ones(min(count, size))
    asked, weights = np.zeros(0, np.int64), np.zeros(0)
    for part in (count // 2, count - count // 2) if name == TWO_BATCHES else (count,):
        found = draw(pool, asked, weights, part, seed, emphasis)
        asked = np.concatenate([asked, found.batch.rows])
        weights = np.concatenate([found.asked_weights, found.weights])
    return asked, weights


def corrected(lab: dict[str, Any], asked: NDArray[np.int64], test: NDArray[np.int64]) -> float:
    """Accuracy on the test texts, in percent, of probabilities corrected by what the asked ones show."""
    states, probabilities = lab["states"], lab["probabilities"]
    residuals = np.eye(probabilities.shape[1])[lab["labels"][asked]] - probabilities[asked]
    kernel = states[asked] @ states[asked].T + 1.0 / 8
    solved = np.linalg.solve(kernel + RIDGE * np.eye(len(asked)), residuals)
    moved = probabilities[test] + (states[test] @ states[asked].T + 1.0 / 8) @ solved
    return 100 * float((moved.argmax(axis=1) == lab["labels"][test]).mean())


def one_draw(lab: dict[str, Any], pool: Pool, name: str, count: int, seed: int) -> dict[str, float]:
    """What the answers to one draw are worth, in points."""
    order = np.random.default_rng([seed, 1]).permutation(len(pool.groups))
    inside, test = order[: len(order) // 2], order[len(order) // 2 :]
    half = Pool(pool.probabilities[inside], pool.vectors[inside], pool.groups[inside])
    rows, weights = chosen(name, half, count, seed)
    labels, right = lab["labels"], lab["labels"] == lab["probabilities"].argmax(axis=1)
    asked, classes = inside[rows], np.eye(lab["probabilities"].shape[1])
    shares = (weights @ classes[labels[asked]]) / weights.sum()
    return {
        "corrected": corrected(lab, asked, test),
        "accuracy_error": 100 * (float(weights @ right[asked] / weights.sum()) - float(right[inside].mean())),
        "share_error": 50 * float(np.abs(shares - classes[labels[inside]].mean(axis=0)).sum()),
        "classes": len(set(labels[asked].tolist())),
    }


def summary(draws: list[dict[str, float]]) -> dict[str, float]:
    """Means over draws; the root mean square of the error of the accuracy, and its mean, which shows a bias."""
    means = {name: float(np.mean([each[name] for each in draws])) for name in draws[0]}
    errors = np.array([each["accuracy_error"] for each in draws])
    return {name: round(value, 3) for name, value in means.items()} | {
        "accuracy_rmse": round(float(np.sqrt((errors**2).mean())), 3)
    }


def measure(path: Path, draws: int, designs: list[str], advance: Callable[[str], None]) -> dict[str, Any]:
    """All designs on one lab file."""
    lab, teacher, student = pools(path)
    found: dict[str, Any] = {"teacher": 100 * float((lab["probabilities"].argmax(axis=1) == lab["labels"]).mean())}
    for count in COUNTS:
        for name in designs:
            advance(f"{path.stem} {count} {name}")
            found[f"{name} {count}"] = summary([one_draw(lab, teacher, name, count, seed) for seed in range(draws)])
        found[f"query, words {count}"] = summary(
            [one_draw(lab, student, "query", count, seed) for seed in range(draws)]
        )
    return found


def means(tasks: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of each design over all tasks; the gain is over the teacher alone."""
    found = {}
    for design in next(iter(tasks.values())):
        if design == "teacher":
            continue
        rows = [task[design] | {"gain": task[design]["corrected"] - task["teacher"]} for task in tasks.values()]
        kept = ("gain", "accuracy_rmse", "share_error", "classes")
        found[design] = {name: round(float(np.mean([row[name] for row in rows])), 2) for name in kept}
    return found


def main() -> None:
    """Measure what is not measured yet, and write results/query.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lab", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--output", type=Path, default=RESULTS / "query.json")
    options = parser.parse_args()
    same = {"revision": REVISION, "draws": options.draws, "designs": options.designs}
    old = json.loads(options.output.read_text()) if options.output.exists() else {}
    tasks = old.get("tasks", {}) if {name: old.get(name) for name in same} == same else {}
    hashes = dict(old.get("lab", {}))
    for path in options.lab:
        if path.stem not in tasks or hashes.get(path.stem) != sha256_of(path):
            tasks[path.stem] = measure(path, options.draws, options.designs, lambda text: print(text, flush=True))
            hashes[path.stem] = sha256_of(path)
        content = same | {"hardware": hardware(), "lab": hashes, "means": means(tasks), "tasks": tasks}
        write_json(options.output, content)
    for design, row in means(tasks).items():
        print(f"{design:28}", row)


if __name__ == "__main__":
    main()
