"""What the benchmark's cells are made from: joined domains, text pairs, limited numbers of texts, committed configs."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_data import write_domains
from distilshift.bench.data import Domain, data_folder, domain_sha256, draw, load_domain, rank
from distilshift.bench.families import FAMILIES
from distilshift.bench.job import Folders, Job
from distilshift.bench.matrix import Cell, make_matrix, read_matrix
from distilshift.bench.measure import require_labels
from distilshift.errors import ConfigError, DataError
from distilshift.types import Example

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "benchmarks" / "configs"
FOUR_ROWS = {"plain-kd", "plain-kd-windows", "shot-im-kd", "distilshift"}
NEW = ("intents", "emotions", "crisis", "issues", "aspects")
PLAIN = {"table": "t", "pairs": [["pans+games", "films"]], "methods": ["plain-kd"], "seeds": [0]}
LIMITS = {"max_source_texts": 30, "max_target_texts": 20, "max_test_texts": 10}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_bytes(gzip.compress("".join(f"{json.dumps(row)}\n" for row in rows).encode()))
    return path


@pytest.fixture
def job(tmp_path: Path) -> Any:
    folders = Folders(write_domains(tmp_path / "data"), tmp_path / "results", tmp_path / "work")

    def make(**changes: Any) -> Job:
        matrix = make_matrix(PLAIN | changes)
        return Job("cell", matrix, Cell(*matrix.pairs()[0], "plain-kd", 0), folders)

    return make


def test_joined_domains_follow_one_another(tmp_path: Path):
    data = write_domains(tmp_path / "data")
    both, first, second = (load_domain(data, name) for name in ("pans+games", "pans", "games"))
    assert both == Domain(first.train + second.train, first.test + second.test)
    hashes = [domain_sha256(data, name) for name in ("pans", "games", "pans+games", "games+pans")]
    assert len(set(hashes)) == 4
    with pytest.raises(DataError, match=r"kettles\.jsonl\.gz does not exist"):
        load_domain(data, "pans+kettles")


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([["a+b", "b"]], "a pair needs two domains"),
        ([["a+a", "b"]], "domains are named twice: got a"),
        ([["a+", "b"]], "cannot be a file's name"),
    ],
)
def test_joined_domains_are_different_ones(pairs: list[list[str]], text: str):
    with pytest.raises(ConfigError) as error:
        make_matrix(PLAIN | {"pairs": pairs})
    assert text in str(error.value)


def test_pairs_of_texts_stay_together_and_their_labels_out(tmp_path: Path):
    row = {"text": "the screen is bright", "pair": "screen", "label": "positive"}
    write(tmp_path / "a.jsonl.gz", row | {"split": "train"}, row | {"pair": "price", "split": "test"})
    domain = load_domain(tmp_path, "a")
    assert domain.train_texts() == [Example("the screen is bright", pair="screen")]
    assert domain.test == [Example("the screen is bright", pair="price", label="positive")]
    write(tmp_path / "a.jsonl.gz", row | {"pair": " ", "split": "train"})
    with pytest.raises(DataError, match="line 1, is not usable"):
        load_domain(tmp_path, "a")


def test_the_same_texts_are_drawn_whatever_their_labels_and_order():
    examples = [Example(str(number % 50), pair=str(number), label="a") for number in range(100)]
    drawn = draw(examples, 20)
    assert len(drawn) == 20
    assert sorted(drawn, key=lambda item: int(str(item.pair))) == drawn
    others = [replace(item, label="b") for item in reversed(examples)]
    assert {item.pair for item in draw(others, 20)} == {item.pair for item in drawn}
    assert set(map(str, draw(examples, 10))) < set(map(str, drawn))
    assert draw(examples, None) == draw(examples, 100) == examples
    assert rank(examples[0], 0) != rank(examples[50], 0)  # one sentence, two aspects


def test_a_cell_is_made_from_as_many_texts_as_the_matrix_allows(job: Any):
    limited, whole = job(**LIMITS), job()
    source, target = limited.load_source(), limited.load_target()
    assert (len(source.train), len(target.train), len(target.test)) == (30, 20, 10)
    assert {item in whole.load_target().train for item in target.train} == {True}
    assert len(whole.load_source().train) == 120


def test_a_limit_makes_another_cell_and_that_of_the_source_another_teacher(job: Any):
    plain = job()
    for key in LIMITS:
        limited = job(**{key: LIMITS[key]})
        assert limited.identity()["data_sha256"] != plain.identity()["data_sha256"]
        assert (limited.teacher != plain.teacher) == (key == "max_source_texts")
        assert Job.from_json(limited.to_json()) == limited


def test_a_result_of_other_limits_is_a_strangers(job: Any):
    limited, plain = job(**LIMITS), job()
    row = {"config": plain.matrix.student_config("plain-kd", 0).portable()}
    row |= {"teacher_config": plain.matrix.teacher_config(0).portable()}
    assert plain.matrix.has_options_of(plain.cell, row)  # from before there were limits
    assert not limited.matrix.has_options_of(plain.cell, row)
    assert limited.matrix.has_options_of(plain.cell, row | {"limits": LIMITS})
    assert not plain.matrix.has_options_of(plain.cell, row | {"limits": LIMITS})


def test_a_data_set_is_a_folder_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "intents").mkdir()
    monkeypatch.setenv("DISTILSHIFT_DATA", str(tmp_path))
    assert data_folder(None, "intents") == tmp_path / "intents"
    assert data_folder(tmp_path, "intents") == tmp_path
    with pytest.raises(ConfigError, match="emotions is no folder"):
        data_folder(None, "emotions")


@pytest.mark.parametrize("name", [*NEW, *(f"dev-{name}" for name in NEW)])
def test_a_family_s_table_has_its_rows_and_limits(name: str):
    matrix = read_matrix(CONFIGS / f"{name}.toml")
    family = FAMILIES[name.removeprefix("dev-")]
    assert matrix.config.table == name
    assert name in family.tables
    assert set(matrix.config.methods) >= FOUR_ROWS
    assert matrix.limits().keys() == LIMITS.keys()
    assert (set(matrix.pairs()) == set(family.development)) == name.startswith("dev-")
    assert bool(set(matrix.pairs()) & set(family.development)) == name.startswith("dev-")


def test_reviews_are_tuned_on_the_development_pairs_alone():
    assert set(read_matrix(CONFIGS / "dev-minilm.toml").pairs()) == set(FAMILIES["reviews"].development)


@pytest.mark.parametrize("name", NEW)
def test_the_texts_that_a_source_keeps_have_all_labels_of_its_targets(name: str, tmp_path: Path):
    """With the real texts, where they are."""
    folder = Path(os.environ.get("DISTILSHIFT_DATA", ROOT.parent / "shared" / "data")) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set DISTILSHIFT_DATA")
    for table in (name, f"dev-{name}"):
        matrix = read_matrix(CONFIGS / f"{table}.toml")
        for pair in matrix.pairs():
            job = Job("cell", matrix, Cell(*pair, "plain-kd", 0), Folders(folder, tmp_path, tmp_path))
            names = {str(item.label) for item in job.load_source().labelled()}
            require_labels(job.load_target(), sorted(names), to_learn=True)
