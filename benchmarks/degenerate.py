"""Plain distillation against distilshift's default on targets that no adaptation can help with.

    python benchmarks/degenerate.py                      # all kinds
    python benchmarks/degenerate.py noise one-class      # some

Each kind is one JSON file in benchmarks/results/soak/degenerate, and is not run again while that is there for the same
configuration and data; a run that was killed continues. Target labels are read once, to measure the finished students:
on the target's test split where the texts are of the target, else on nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
from common import SCRATCH, hardware, load, revision, taught
from distilshift import AdaptConfig, adapt, evaluate
from distilshift.config import PLAIN_DISTILLATION
from distilshift.files import write_json
from distilshift.journal import fingerprint
from distilshift.stage import fingerprint_examples, versions
from distilshift.types import Example

RESULTS = common.RESULTS / "soak" / "degenerate"
METHODS: dict[str, dict[str, Any]] = {"plain-kd": PLAIN_DISTILLATION, "distilshift": {}}
NOISE_SHARE = 0.9
COPIES = 50
# Words of no language, spelt from Greek letters: every one is unknown to an English vocabulary, or in single letters.
LETTERS = "αβγδεζηθικλμνξοπρστυφχψω"


@dataclass(frozen=True)
class Target:
    """A degenerate target.

    Attributes:
        texts: what `adapt` sees, without labels.
        test: labelled texts of the same kind; empty where nobody could label them.
    """

    texts: list[Example]
    test: list[Example]


def _words(rng: random.Random, text: str) -> str:
    """As many made-up words as a text has, up to 100."""
    return " ".join("".join(rng.choices(LETTERS, k=rng.randint(2, 9))) for _ in text.split()[:100])


def _garbage(rng: random.Random, text: str) -> str:
    """The text's own letters and signs in a random order."""
    return "".join(rng.sample(text, len(text)))


def thirty_texts(train: list[Example], test: list[Example]) -> Target:
    """Too few texts to learn from."""
    return Target(train[:30], test)


def one_class(train: list[Example], test: list[Example]) -> Target:
    """Only the first label of them all, which adaptation must not divide in two."""
    first = min(str(item.label) for item in train)
    return Target([i for i in train if i.label == first], [i for i in test if i.label == first])


def duplicates(train: list[Example], test: list[Example]) -> Target:
    """Few texts, each many times."""
    return Target(train[: len(train) // COPIES] * COPIES, test)


def other_language(train: list[Example], test: list[Example]) -> Target:
    """Words that the teacher cannot know."""
    rng = random.Random(0)
    return Target([Example(_words(rng, item.text)) for item in train], [])


def noise(train: list[Example], test: list[Example]) -> Target:
    """Nine texts of ten are their own letters in a random order."""
    rng = random.Random(0)
    mixed = [Example(_garbage(rng, i.text)) if rng.random() < NOISE_SHARE else i for i in train]
    return Target(mixed, test)


def off_topic(train: list[Example], test: list[Example]) -> Target:
    """News editorials, which review nothing."""
    from distilshift.demo_data import vader_domain

    return Target([Example(snippet.text) for snippet in vader_domain("editorials").snippets][: len(train)], [])


KINDS: dict[str, Callable[[list[Example], list[Example]], Target]] = {
    "one-class": one_class,
    "duplicates": duplicates,
    "thirty-texts": thirty_texts,
    "other-language": other_language,
    "noise": noise,
    "off-topic": off_topic,
}


def _run(teacher: Path, target: Target, config: AdaptConfig, student: Path) -> dict[str, Any]:
    """Adapt or distil, and measure where labels exist."""
    start = time.perf_counter()
    texts = [Example(item.text) for item in target.texts]
    summary = adapt(teacher, texts, student, config, overwrite=True).summary
    return {
        "accuracy": evaluate(student, target.test, model="fp32").accuracy if target.test else None,
        "adaptation": summary["adaptation"],
        "reason": summary["adaptation_reason"],
        "seconds": time.perf_counter() - start,
    }


def run_kind(kind: str, source: str, target: str, work: Path, options: dict[str, Any]) -> None:
    """Measure one kind, unless its file is there and made from the same inputs."""
    made = KINDS[kind](load(target, "train"), load(target, "test"))
    configs = {name: AdaptConfig(**(values | options)) for name, values in METHODS.items()}
    key = {
        "config_sha256": fingerprint([config.to_dict() for config in configs.values()]),
        "data_sha256": fingerprint_examples([*load(source), *made.texts, *made.test]),
    }
    path = RESULTS / f"{kind}.json"
    if path.exists() and key.items() <= json.loads(path.read_text()).items():
        return
    teacher = taught(source, 0, work)
    row: dict[str, Any] = {"kind": kind, "source": source, "target": target, "texts": len(made.texts)}
    for name, config in configs.items():
        student = work / f"degenerate-{kind}-{name}-{key['config_sha256'][:8]}"
        row[name] = _run(teacher, made, config, student)
    row |= {"teacher": evaluate(teacher, made.test).accuracy if made.test else None, **key}
    row |= {"revision": revision(), "hardware": hardware(), "versions": versions()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(path, row)
    print(kind, row["plain-kd"]["accuracy"], row["distilshift"]["accuracy"], row["distilshift"]["reason"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the kinds that have no result yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="by default all")
    parser.add_argument("--source", default="electronics")
    parser.add_argument("--target", default="books")
    parser.add_argument("--work", type=Path, default=SCRATCH)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(arguments)
    for kind in options.kinds or KINDS:
        run_kind(kind, options.source, options.target, options.work, {"threads": options.threads})


if __name__ == "__main__":
    main()
