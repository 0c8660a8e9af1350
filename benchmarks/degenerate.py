"""Plain distillation against distilshift's default on targets that no adaptation can help with.

    python benchmarks/degenerate.py                                  # all kinds
    python benchmarks/degenerate.py noise one-class --texts 1600     # some, from all texts there are
    python benchmarks/degenerate.py --teacher runs/my-teacher        # with a teacher that is there

A third student is distilled as the default does it, from whole texts and spans, but by `method none`: where adaptation
was refused, the default's weights must be the same bytes. A cell is a kind and a method, and one JSON file in
benchmarks/results/soak/degenerate; it is not run again while that is there for the same configuration, teacher and
data, and a run that was killed continues. Target labels are read once, to measure the finished students: on the
target's test split where the texts are of the target, else on nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import common
from common import REVISION, SCRATCH, hardware, load, taught
from distilshift import AdaptConfig, adapt, evaluate
from distilshift.bundle import read_manifest
from distilshift.config import PLAIN_DISTILLATION
from distilshift.files import sha256_of, write_json
from distilshift.journal import fingerprint
from distilshift.stage import fingerprint_examples, versions
from distilshift.types import Example

RESULTS = common.RESULTS / "soak" / "degenerate"
METHODS: dict[str, dict[str, Any]] = {
    "plain-kd": PLAIN_DISTILLATION,
    "without-adaptation": {"method": "none"},
    "distilshift": {},
}
NOISE_SHARE = 0.9
COPIES = 40
# What refuses adaptation is seen in a few hundred texts; more cost time and change nothing of that.
TEXTS = 320
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


def thirty_texts(train: list[Example], test: list[Example], count: int) -> Target:
    """Too few texts to learn from."""
    return Target(train[:30], test)


def one_class(train: list[Example], test: list[Example], count: int) -> Target:
    """Only the first label of them all, which adaptation must not divide in two."""
    first = min(str(item.label) for item in train)
    return Target([i for i in train if i.label == first][:count], [i for i in test if i.label == first])


def duplicates(train: list[Example], test: list[Example], count: int) -> Target:
    """Few texts, each many times."""
    return Target(train[: count // COPIES] * COPIES, test)


def other_language(train: list[Example], test: list[Example], count: int) -> Target:
    """Words that the teacher cannot know."""
    rng = random.Random(0)
    return Target([Example(_words(rng, item.text)) for item in train[:count]], [])


def noise(train: list[Example], test: list[Example], count: int) -> Target:
    """Nine texts of ten are their own letters in a random order."""
    rng = random.Random(0)
    mixed = [Example(_garbage(rng, i.text)) if rng.random() < NOISE_SHARE else i for i in train[:count]]
    return Target(mixed, test)


def off_topic(train: list[Example], test: list[Example], count: int) -> Target:
    """News editorials, which review nothing."""
    from distilshift.demo_data import vader_domain

    return Target([Example(snippet.text) for snippet in vader_domain("editorials").snippets][:count], [])


KINDS: dict[str, Callable[[list[Example], list[Example], int], Target]] = {
    "one-class": one_class,
    "duplicates": duplicates,
    "thirty-texts": thirty_texts,
    "other-language": other_language,
    "noise": noise,
    "off-topic": off_topic,
}


@dataclass(frozen=True)
class Setting:
    """What all cells share.

    Attributes:
        source, target: domains.
        teacher: the source's bundle.
        texts: how many target texts at the most.
        work: folder for unfinished work.
        threads: CPU threads; 0 leaves it to PyTorch.
    """

    source: str
    target: str
    teacher: Path
    texts: int
    work: Path
    threads: int


def _run(setting: Setting, target: Target, config: AdaptConfig, student: Path) -> dict[str, Any]:
    """Adapt or distil, and measure where labels exist."""
    start = time.perf_counter()
    texts = [Example(item.text) for item in target.texts]
    summary = adapt(setting.teacher, texts, student, config, overwrite=True).summary
    return {
        "accuracy": evaluate(student, target.test, model="fp32").accuracy if target.test else None,
        "adaptation": summary["adaptation"],
        "reason": summary["adaptation_reason"],
        "weights_sha256": sha256_of(student / "model.safetensors"),
        "seconds": time.perf_counter() - start,
    }


def run_cell(kind: str, method: str, setting: Setting) -> None:
    """Measure one method on one kind, unless its file is there and made from the same inputs."""
    train, test = load(setting.target, "train"), load(setting.target, "test")
    made = KINDS[kind](train, test, setting.texts)
    # Thirty texts, and copies of a few, are an error otherwise.
    config = AdaptConfig(**(METHODS[method] | {"threads": setting.threads, "force": True}))
    key = {
        "config_sha256": fingerprint(config.to_dict()),
        "data_sha256": fingerprint_examples([*made.texts, *made.test]),
        "teacher_sha256": fingerprint(asdict(read_manifest(setting.teacher, "teacher"))),
    }
    path = RESULTS / f"{kind}-{method}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if known and (known["source"], known["target"]) != (setting.source, setting.target):
        sys.exit(
            f"Error: {path} is of {known['source']} and {known['target']}. Fix: name these, or move {RESULTS} away"
        )
    if known and key.items() <= known.items():
        return
    row: dict[str, Any] = {"kind": kind, "method": method, "source": setting.source, "target": setting.target}
    row |= {"texts": len(made.texts), "test_texts": len(made.test)}
    student = setting.work / f"degenerate-{kind}-{method}-{fingerprint(key)[:8]}"
    row |= _run(setting, made, config, student)
    row |= {**key, "revision": REVISION, "hardware": hardware(), "versions": versions()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(path, row)
    shutil.rmtree(student, ignore_errors=True)
    print(f"{kind} {method}: {row['accuracy']}, {row['seconds']:.0f} s; {row['reason']}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cells that have no result yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="by default all")
    parser.add_argument("--source", default="electronics")
    parser.add_argument("--target", default="books")
    parser.add_argument("--teacher", type=Path, help="its bundle; by default one is taught on the source")
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--work", type=Path, default=SCRATCH)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args(arguments)
    teacher = given.teacher or taught(given.source, 0, given.work)
    setting = Setting(given.source, given.target, teacher, given.texts, given.work, given.threads)
    for kind in given.kinds or KINDS:
        for method in METHODS:
            run_cell(kind, method, setting)


if __name__ == "__main__":
    main()
