"""Measure how often `drift` raises a false alarm, and how often it detects another domain.

    python benchmarks/drift.py make        # one student per domain; continues where it stopped
    python benchmarks/drift.py report      # writes benchmarks/results/drift.json

Each domain's student is small and learns from few passes: the test looks at the texts and at the student's predictions,
not at its accuracy. `as shipped` compares samples of the domain's test texts, and of the other domains', with the
reference that `adapt` wrote; `mixed` samples have some texts of another domain. `split again` compares each tenth of
all texts of a domain with a reference of the other nine, so that many samples are independent; it has no predictions.
`with predictions` adds, to the references of students that were trained on all texts, the predictions for half of the
test texts, and compares the other half. The design was chosen on dvd, kitchen, airline and imdb.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import RESULTS, REVISION, SCRATCH, hardware
from distilshift import Drift, adapt, teach
from distilshift.bundle import read_manifest
from distilshift.config import DriftConfig
from distilshift.drift import Outputs, Reference, compare, make_reference, read_reference
from distilshift.files import write_json
from distilshift.metrics import softmax
from distilshift.network import load_network
from distilshift.projection import Projected, project
from distilshift.stage import versions
from distilshift.types import Example
from estimate_error import rows_of

# Task to domains, each with the domain whose teacher labels it.
TASKS: dict[str, dict[str, str]] = {
    "cross-domain-sentiment": {
        **dict.fromkeys(("books", "dvd", "electronics", "airline", "imdb"), "kitchen"),
        "kitchen": "imdb",
    },
    "intents": {"clinc": "hwu", "hwu": "clinc"},
    "crisis": {
        **dict.fromkeys(("storms_quakes", "fires_haze", "accidents", "attacks"), "floods"),
        "floods": "storms_quakes",
    },
}
DEVELOPMENT = ("dvd", "kitchen", "airline", "imdb")
TEACHER = {"base_model": "minilm-l3", "epochs": 1, "max_length": 64}
STUDENT: dict[str, Any] = {"student": "static", "method": "none", "spans": 0, "max_windows": 1, "distil_epochs": 4}
TEACHER_TEXTS, ALL = 600, 10**6
SIZES = (50, 100, 200, 500)
SAME_DRAWS, OTHER_DRAWS = 50, 10
# Shares of foreign texts in a sample.
MIXTURES, MIXED_SIZE = (0.05, 0.1, 0.2, 0.4), 200
LEVEL = DriftConfig.level
FOLDER = SCRATCH / "drift"


@dataclass(frozen=True)
class Texts:
    """Texts as one student sees them."""

    projected: Projected
    unknown: NDArray[np.bool_]
    outputs: Outputs

    def __len__(self) -> int:
        return len(self.unknown)

    def at(self, rows: NDArray[np.integer]) -> Texts:
        """Some of them."""
        projected = Projected(self.projected.words[rows], self.projected.lengths[rows])
        outputs = Outputs(self.outputs.classes[rows], self.outputs.confidence[rows])
        return Texts(projected, self.unknown[rows], outputs)


@cache
def texts_of(task: str, domain: str, split: str) -> list[Example]:
    """All texts of a domain's split, without labels."""
    return [replace(row, label=None) for row in rows_of(task, domain, split, ALL)]


@cache
def projected(task: str, domain: str, split: str) -> Projected:
    """Their words and lengths, the same for all students."""
    return project(texts_of(task, domain, split))


def teacher_of(task: str, domain: str) -> Path:
    """The teacher of a domain, taught where it is missing."""
    bundle = FOLDER / f"teacher-{task}-{domain}"
    if not bundle.exists():
        rows = rows_of(task, domain, "train", TEACHER_TEXTS)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "rows.jsonl"
            file.write_text("".join(json.dumps({"text": r.text, "label": r.label}) + "\n" for r in rows))
            teach(file, bundle, label_names="as-is", **TEACHER)
    return bundle


def student_of(task: str, domain: str) -> Path:
    """The student of a domain, made where it is missing."""
    bundle = FOLDER / f"student-{task}-{domain}"
    if not bundle.exists():
        texts = [item.text for item in texts_of(task, domain, "train")]
        adapt(teacher_of(task, TASKS[task][domain]), texts, bundle, **STUDENT)
    return bundle


def seen_by(bundle: Path, task: str, domain: str, split: str) -> Texts:
    """The texts of a split as a student sees them."""
    network, examples = load_network(bundle, read_manifest(bundle)), texts_of(task, domain, split)
    outputs = Outputs.of(softmax(network.logits(examples)))
    return Texts(projected(task, domain, split), network.has_unknown(examples), outputs)


def joined(first: Texts, second: Texts) -> Texts:
    """Texts of both."""
    one, two = first.projected, second.projected
    words = Projected(np.concatenate([one.words, two.words]), np.concatenate([one.lengths, two.lengths]))
    parts = ("classes", "confidence")
    outputs = Outputs(*(np.concatenate([getattr(each.outputs, name) for each in (first, second)]) for name in parts))
    return Texts(words, np.concatenate([first.unknown, second.unknown]), outputs)


def compared(reference: Reference, texts: Texts, names: list[str]) -> Drift:
    """The answer of `drift`."""
    return compare(reference, texts.projected, texts.unknown, texts.outputs, names, LEVEL)


def draws(texts: Texts, size: int, count: int, generator: np.random.Generator) -> Iterator[Texts]:
    """Random samples of some texts; none if there are too few."""
    if size <= len(texts):
        for _ in range(count):
            yield texts.at(generator.permutation(len(texts))[:size])


def summary(found: Iterable[Drift]) -> dict[str, Any]:
    """Counts of answers, and which statistic moved how often."""
    answers = list(found)
    names = ("words", "length", "unknown pieces", "share", "confidence")
    moved = [[each.name for each in answer.statistics if each.moved] for answer in answers]
    return {
        "samples": len(answers),
        "drifted": sum(answer.drifted for answer in answers),
        "at_5_percent": sum(answer.p_value <= 0.05 for answer in answers),
        "moved": {name: sum(any(each.startswith(name) for each in one) for one in moved) for name in names},
    }


def rows_of_student(task: str, domain: str) -> Iterator[dict[str, Any]]:
    """All measurements of one student."""
    bundle, generator = student_of(task, domain), np.random.default_rng(0)
    manifest = read_manifest(bundle)
    reference, names = read_reference(bundle, manifest), manifest.label_names
    seen = {other: seen_by(bundle, task, other, "test") for other in TASKS[task]}
    own = {"task": task, "domain": domain, "predictions": reference.classes is not None}
    for other, size in product(seen, SIZES):
        count = SAME_DRAWS if other == domain else OTHER_DRAWS
        found = summary(compared(reference, each, names) for each in draws(seen[other], size, count, generator))
        if found["samples"]:
            yield own | {"design": "as shipped", "other": other, "size": size} | found
    if reference.classes is None:
        yield from _with_predictions(own, reference, seen, names)
    whole = joined(seen_by(bundle, task, domain, "train"), seen[domain])
    for size in SIZES:
        found = summary(_split_again(whole, size, names))
        if found["samples"]:
            yield own | {"design": "split again", "other": domain, "size": size, "predictions": False} | found


def _with_predictions(
    own: dict[str, Any], reference: Reference, seen: dict[str, Texts], names: list[str]
) -> Iterator[dict[str, Any]]:
    """Halves of the test texts: one gives the reference's predictions, the other is compared."""
    generator, domain = np.random.default_rng(1), own["domain"]
    found: dict[str, list[Drift]] = {other: [] for other in seen}
    half = len(seen[domain]) // 2
    for _ in range(SAME_DRAWS):
        order = generator.permutation(len(seen[domain]))
        held_out = seen[domain].at(order[:half])
        made = make_reference(held_out.projected, held_out.unknown, held_out.outputs, len(names))
        assert made is not None
        with_outputs = replace(reference, classes=made.classes, confidence=made.confidence)
        found[domain].append(compared(with_outputs, seen[domain].at(order[half:]), names))
        for other in seen if len(found[domain]) <= OTHER_DRAWS else ():
            if other != domain:
                found[other] += [compared(with_outputs, each, names) for each in draws(seen[other], half, 1, generator)]
    for other, answers in found.items():
        values = {"design": "with predictions", "other": other, "size": half, "predictions": True}
        yield own | values | summary(answers)


def _split_again(whole: Texts, size: int, names: list[str]) -> Iterator[Drift]:
    """A sample from each tenth of the texts, against the other nine."""
    parts = np.array_split(np.random.default_rng(2).permutation(len(whole)), 10)
    for part in parts:
        rest = whole.at(np.setdiff1d(np.arange(len(whole)), part))
        reference = make_reference(rest.projected, rest.unknown, None, len(names))
        if reference is not None and size <= len(part):
            yield compared(reference, whole.at(part[:size]), names)


def mixed_rows(task: str, domain: str) -> Iterator[dict[str, Any]]:
    """Samples of 200 texts of which some are of another domain."""
    bundle, generator = student_of(task, domain), np.random.default_rng(3)
    manifest = read_manifest(bundle)
    reference, names = read_reference(bundle, manifest), manifest.label_names
    seen = {other: seen_by(bundle, task, other, "test") for other in TASKS[task]}
    for other, share in product([other for other in seen if other != domain], MIXTURES):
        foreign = round(share * MIXED_SIZE)
        own = draws(seen[domain], MIXED_SIZE - foreign, OTHER_DRAWS, generator)
        mixed = map(joined, own, draws(seen[other], foreign, OTHER_DRAWS, generator))
        found = summary(compared(reference, each, names) for each in mixed)
        values = {"task": task, "domain": domain, "other": other, "size": MIXED_SIZE, "share": share}
        yield values | {"design": "mixed", "predictions": reference.classes is not None} | found


MEASUREMENTS = {"rows": rows_of_student, "mixed": mixed_rows}


def report() -> None:
    """Write the result file from the students' own."""
    paths = [path for kind in MEASUREMENTS for path in sorted(FOLDER.glob(f"{kind}-*.json"))]
    rows = [row for path in paths for row in json.loads(path.read_text()) if row["samples"]]
    result = {
        "table": "drift",
        "code_revision": REVISION,
        "versions": versions(),
        "hardware": hardware(),
        "level": LEVEL,
        "teacher": TEACHER | {"texts": TEACHER_TEXTS},
        "student": STUDENT,
        "development": DEVELOPMENT,
        "rows": rows,
    }
    write_json(RESULTS / "drift.json", result)
    for design, size in product(("as shipped", "with predictions", "split again"), SIZES):
        for same in (True, False):
            some = [r for r in rows if (r["design"], r["size"], r["domain"] == r["other"]) == (design, size, same)]
            if some:
                drifted, samples = (sum(row[name] for row in some) for name in ("drifted", "samples"))
                print(design, size, "same" if same else "other", f"{drifted}/{samples} = {drifted / samples:.1%}")


def main() -> None:
    """Measure what is missing, or report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["make", "report"])
    parser.add_argument("--seconds", type=float, default=200.0, help="begin no student after this time")
    options = parser.parse_args()
    start = time.perf_counter()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.what == "report":
        report()
        return
    students = [(task, domain) for task, domains in TASKS.items() for domain in domains]
    for (kind, make), (task, domain) in product(MEASUREMENTS.items(), students):
        path = FOLDER / f"{kind}-{task}-{domain}.json"
        if path.exists():
            continue
        if time.perf_counter() - start > options.seconds:
            raise SystemExit("to be continued")
        write_json(path, list(make(task, domain)))
        print(kind, task, domain, f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
