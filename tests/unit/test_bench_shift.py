"""Label shift in the benchmark: which texts stay, which cells there are, and what they are kept apart by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_data import write_domains
from distilshift.bench import cell as bench_cell
from distilshift.bench.data import Domain, domain_sha256, load_domain
from distilshift.bench.job import Folders, Job
from distilshift.bench.matrix import Cell, make_matrix
from distilshift.bench.resample import largest_count, resample
from distilshift.errors import ConfigError, DataError
from distilshift.journal import fingerprint
from distilshift.types import Example

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
PLAIN = {"table": "t", "pairs": [["pans", "films"]], "methods": ["plain-kd", "distilshift"], "seeds": [0]}
SHIFTED = PLAIN | {"positive_shares": list(SHARES)}


def balanced(half: int, mark: str) -> list[Example]:
    names = ("positive", "negative")
    return [Example(f"{mark} {number}", label=names[number % 2]) for number in range(2 * half)]


def domain_of(train: int = 800, test: int = 200) -> Domain:
    return Domain(balanced(train, "train"), balanced(test, "test"))


def positives(examples: list[Example]) -> int:
    return sum(item.label == "positive" for item in examples)


def test_counts_are_those_of_a_calculation_by_hand():
    found = [resample(domain_of(), share, SHARES, 0) for share in SHARES]
    assert [(len(each.train), positives(each.train)) for each in found] == [
        (889, count) for count in (89, 267, 444, 622, 800)
    ]
    assert [(len(each.test), positives(each.test)) for each in found] == [
        (222, 22),
        (286, 86),
        (400, 200),
        (286, 200),
        (222, 200),
    ]


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.01, 0.99))
def test_the_count_is_the_largest_that_can_be_had(positive: int, others: int, share: float):
    def fits(count: int) -> bool:
        return round(share * count) <= positive and count - round(share * count) <= others

    count = largest_count(positive, others, share)
    assert fits(count)
    assert not any(fits(more) for more in range(count + 1, positive + others + 1))


def test_a_choice_is_the_seeds_and_in_order_without_a_text_twice():
    whole = domain_of(50, 20)
    first, again, other = (resample(whole, 0.3, SHARES, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.train != other.train
    assert first.test == other.test  # seeds are averaged text by text
    rows = [whole.train.index(item) for item in first.train]
    assert rows == sorted(set(rows))


def test_a_choice_does_not_hang_on_the_order_of_the_file():
    whole = domain_of(50, 20)
    turned = Domain(whole.train[::-1], whole.test[::-1])
    assert resample(turned, 0.3, SHARES, 0).train[::-1] == resample(whole, 0.3, SHARES, 0).train


def test_shares_differ_by_as_few_texts_as_can_be():
    few, more = (set(map(str, resample(domain_of(50, 20), share, SHARES, 0).train)) for share in (0.3, 0.5))
    changed = positives(resample(domain_of(50, 20), 0.5, SHARES, 0).train)
    changed -= positives(resample(domain_of(50, 20), 0.3, SHARES, 0).train)
    assert len(few - more) == len(more - few) == changed


def test_adaptation_gets_the_texts_without_their_labels():
    texts = resample(domain_of(50, 20), 0.1, SHARES, 0).train_texts()
    assert {item.label for item in texts} == {None}
    assert len(texts) == 56


def test_texts_without_a_label_are_left_out():
    domain = Domain([*balanced(50, "train"), Example("unrated")], balanced(20, "test"))
    assert Example("unrated") not in resample(domain, 0.5, (0.5,), 0).train
    assert Example("unrated") in domain.train_texts()


@pytest.mark.parametrize("names", [("negative",), ("positive",), ("good", "bad")])
def test_a_domain_without_both_classes_is_refused(names: tuple[str, ...]):
    texts = [Example(str(number), label=names[number % len(names)]) for number in range(40)]
    with pytest.raises(DataError, match="cannot be resampled to 30% positive texts"):
        resample(Domain(texts, texts), 0.3, (0.3,), 0)


def test_every_share_has_its_cells():
    cells = make_matrix(SHIFTED).cells()
    assert len(cells) == 10
    assert [cell.name for cell in cells[:3]] == [
        "pans-films-plain-kd-0-positive-10",
        "pans-films-distilshift-0-positive-10",
        "pans-films-plain-kd-0-positive-30",
    ]
    assert cells[0].title == "pans → films, 10 % positive, plain-kd, seed 0"
    assert {cell.positive_share for cell in make_matrix(PLAIN).cells()} == {None}


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ([0.0], "greater than 0"),
        ([1.0], "less than 1"),
        ([0.1, 0.1], "positive_shares are named twice"),
        ([0.1, 0.1 + 1e-9], "positive_shares are named twice"),  # they would share a file
    ],
)
def test_a_share_that_cannot_be_is_refused(shares: list[float], text: str):
    with pytest.raises(ConfigError, match=text):
        make_matrix(PLAIN | {"positive_shares": shares})


@pytest.fixture
def job(tmp_path: Path) -> Any:
    folders = Folders(write_domains(tmp_path / "data", test=40), tmp_path / "results", tmp_path / "work")

    def make(values: dict[str, Any], share: float | None) -> Job:
        return Job("cell", make_matrix(values), Cell("pans", "films", "plain-kd", 0, share), folders)

    return make


def test_a_cell_without_a_share_is_what_it_was(job: Any):
    """Results from before there were shares still count."""
    old = job(PLAIN, None)
    data = old.folders.data
    assert old.cell.name == "pans-films-plain-kd-0"
    assert old.identity()["data_sha256"] == fingerprint([domain_sha256(data, name) for name in ("pans", "films")])
    assert old.load_target() == load_domain(data, "films")


def test_cells_of_different_shares_are_kept_apart(job: Any):
    jobs = [job(PLAIN, None), *(job(SHIFTED, share) for share in SHARES)]
    for values in ({each.identity()["data_sha256"] for each in jobs}, {each.name for each in jobs}):
        assert len(values) == 6
    assert len({each.teacher for each in jobs}) == 1  # a source is never resampled
    assert Job.from_json(jobs[1].to_json()) == jobs[1]
    # A milder extreme leaves more training texts to every share; a share in between changes nothing.
    milder, between = SHIFTED | {"positive_shares": [0.3, 0.7]}, SHIFTED | {"positive_shares": [0.1, 0.2, 0.3, 0.9]}
    assert job(milder, 0.3).identity() != jobs[2].identity() == job(between, 0.3).identity()


def test_a_jobs_target_is_resampled(job: Any):
    target = job(SHIFTED, 0.9).load_target()
    assert positives(target.train) == round(0.9 * len(target.train))
    assert positives(target.test) == round(0.9 * len(target.test))


@pytest.mark.parametrize(("share", "readings"), [(None, 1), (0.9, 2)])
def test_a_teacher_is_measured_once_for_the_seeds_that_share_its_texts(
    job: Any, monkeypatch: pytest.MonkeyPatch, share: float | None, readings: int
):
    """Which texts a share keeps is the seed's choice."""
    values = (PLAIN if share is None else SHIFTED) | {"seeds": [0, 1], "teacher_seed": 0}
    first = job(values, share)
    second = replace(first, cell=replace(first.cell, seed=1))
    assert first.teacher == second.teacher
    first.teacher.mkdir(parents=True)
    sha256, read = "one", []
    monkeypatch.setattr(Job, "teacher_sha256", lambda job: sha256)
    monkeypatch.setattr(bench_cell, "measure", lambda *args: read.append(args) or {"test_accuracy": len(read)})

    def measured(job: Job, windows: int = 1) -> int:
        found = bench_cell._measured(job, job.teacher, job.load_target(), windows, job.target_sha256())
        return found["test_accuracy"]

    assert [measured(each) for each in (first, second, first, second)] == [1, readings, 1, readings]
    sha256 = "another"
    assert measured(first) == readings + 1
    assert measured(first, windows=6) == readings + 2
    student = first.teacher.with_name("student")
    for _ in range(2):
        bench_cell._measured(first, student, first.load_target(), 1, first.target_sha256())
    assert len(read) == readings + 4


def test_a_matrix_survives_its_file(job: Any):
    made = make_matrix(SHIFTED)
    assert make_matrix(json.loads(json.dumps(made.config.to_dict()))) == made
