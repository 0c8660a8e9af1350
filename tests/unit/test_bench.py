"""The benchmark's runner with a stand-in for the work: what is run, skipped, taken, postponed and reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_data import write_domains, write_matrix
from distilshift.bench import runner, worker
from distilshift.bench.estimate import in_words, remaining_seconds
from distilshift.bench.job import Folders, Job, is_done, note_matrix
from distilshift.bench.matrix import Cell, chosen_cells, make_matrix, read_matrix
from distilshift.bench.table import read_table
from distilshift.config import AdaptConfig, TeachConfig
from distilshift.errors import ConfigError

SMALL = {"table": "t", "pairs": [["a", "b"]], "methods": ["plain-kd"], "seeds": [0]}


class StandIn:
    """Takes the place of `work`: writes what a job leaves, at once, or fails where it is told to."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failing = ""
        self.teacher_sha256 = "x"
        self.during: Callable[[Job], None] = lambda job: None

    def __call__(self, job: Job, lock: Any) -> str:
        self.done.append(f"teacher {job.cell.source}" if job.kind == "teacher" else job.cell.name)
        self.during(job)
        if self.failing and self.failing in self.done[-1]:
            return "Error: it broke"
        if job.kind == "teacher":
            job.teacher.mkdir(parents=True)
            return ""
        row = {"method": job.cell.method, "test_accuracy": 0.8, "teacher_test_accuracy": 0.7, "seconds": 60}
        row |= {"cell_seconds": 90, "all_accuracy": 0.8, "test_correct": "1110", "teacher_sha256": self.teacher_sha256}
        row |= {
            "config": job.matrix.student_config(job.cell.method, job.cell.seed).portable(),
            "teacher_config": job.matrix.teacher_config(job.cell.seed).portable(),
        }
        job.result.parent.mkdir(parents=True, exist_ok=True)
        job.result.write_text(json.dumps(row | job.identity()))
        return ""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setattr(runner, "work", made)
    monkeypatch.setattr(Job, "teacher_sha256", lambda job: made.teacher_sha256)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.02)
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_domains(tmp_path / "data")
    write_matrix(tmp_path / "m.toml")
    return tmp_path


@pytest.fixture
def bench(run_cli: Any, place: Path) -> Callable[..., Any]:
    def run(*arguments: str) -> Any:
        places = ["--data", place / "data", "--results", place / "results", "--work", place / "work"]
        return run_cli("bench", place / "m.toml", *places, *arguments)

    return run


def job_of(place: Path, method: str = "plain-kd", kind: Any = "cell") -> Job:
    folders = Folders(place / "data", place / "results", place / "work")
    return Job(kind, read_matrix(place / "m.toml"), Cell("pans", "films", method, 0), folders)


def test_a_teacher_is_of_its_source_s_texts(place: Path):
    job = job_of(place)
    before = job.teacher
    for name in ("films", "pans"):
        assert job.teacher == before  # whatever the target has
        write_domains(place / "other", train=61)
        shutil.copy(place / "other" / f"{name}.jsonl.gz", place / "data")
    assert job_of(place).teacher != before


def test_cells_that_share_a_teacher_come_together():
    matrix = make_matrix(SMALL | {"pairs": [["a", "b"], ["c", "a"], ["a", "c"]], "seeds": [4, 5]})
    names = [cell.name for cell in matrix.cells()]
    assert names == [f"{pair}-plain-kd-{seed}" for seed in (4, 5) for pair in ("a-b", "a-c", "c-a")]


def test_domains_give_every_ordered_pair():
    matrix = make_matrix({key: value for key, value in SMALL.items() if key != "pairs"} | {"domains": ["a", "b", "c"]})
    assert len(matrix.pairs()) == 6
    assert len(set(matrix.pairs())) == 6


def test_a_methods_options_win_over_the_matrix_and_the_rest_is_default():
    matrix = make_matrix(SMALL | {"student": {"spans": 2, "student_layers": 1}, "teacher": {"epochs": 1}})
    assert matrix.student_config("plain-kd", 7) == AdaptConfig(
        method="none", spans=0, max_windows=1, student_layers=1, seed=7
    )
    assert matrix.student_config("distilshift", 7) == AdaptConfig(spans=2, student_layers=1, seed=7)
    assert matrix.teacher_config(7) == TeachConfig(epochs=1, seed=7)


def test_some_methods_have_the_first_seed_only():
    chosen = {"methods": ["plain-kd", "tent-kd"], "seeds": [4, 5, 6], "first_seed_only": ["tent-kd"]}
    matrix = make_matrix(SMALL | chosen)
    names = [f"a-b-{cell}" for cell in ("plain-kd-4", "tent-kd-4", "plain-kd-5", "plain-kd-6")]
    assert [cell.name for cell in matrix.cells()] == names


def test_one_teacher_may_have_students_of_several_seeds(place: Path):
    matrix = make_matrix(SMALL | {"pairs": [["pans", "films"]], "teacher_seed": 4, "seeds": [0, 1]})
    assert matrix.teacher_config(0) == matrix.teacher_config(1) == TeachConfig(seed=4)
    assert matrix.student_config("plain-kd", 1).seed == 1
    (teacher,) = {replace(job_of(place), matrix=matrix, cell=cell).teacher for cell in matrix.cells()}
    assert teacher.name.startswith("pans-4-")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"colour": 1}, "colour is unknown"),
        ({"student": {"colour": 1}}, "colour is unknown"),
        ({"teacher": {"epochs": 0}}, "epochs"),
        ({"student": {"seed": 1}}, "seed is no option of [teacher] or [student]. Fix: name it in seeds"),
        ({"teacher": {"threads": 1}}, "Fix: pass --threads"),
        ({"methods": ["plain-kd", "magic"]}, "expected some of teacher, teacher-windows, plain-kd"),
        ({"methods": []}, "methods is empty"),
        ({"first_seed_only": ["tent-kd"]}, "first_seed_only are unknown: expected some of plain-kd, got tent-kd"),
        ({"seeds": [1, 1]}, "seeds are named twice"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"pairs": [["a", "a"]]}, "a pair needs two domains"),
        ({"pairs": [], "domains": ["a"]}, "a pair needs two domains"),
        ({"pairs": [["a", "b-c"], ["a-b", "c"]]}, "names of pairs are named twice: got a-b-c"),
        ({"pairs": []}, "either domains or pairs"),
        ({"domains": ["a", "b"]}, "either domains or pairs"),
        ({"table": "../x"}, "cannot be a file's name"),
        ({"table": ""}, "cannot be a file's name"),
    ],
)
def test_a_matrix_with_a_mistake_says_which(changes: dict[str, Any], text: str):
    with pytest.raises(ConfigError) as error:
        make_matrix(SMALL | changes)
    assert text in str(error.value)


def test_filters_choose_methods_pairs_and_seeds_and_refuse_what_is_not_there():
    pairs, methods = [["a", "b"], ["b", "a"]], ["plain-kd", "distilshift"]
    two = make_matrix(SMALL | {"pairs": pairs, "methods": methods, "seeds": [0, 1]})
    assert [cell.name for cell in chosen_cells(two, ["a-b", "1", "distilshift"])] == ["a-b-distilshift-1"]
    assert {cell.seed for cell in chosen_cells(two, ["0"])} == {0}
    matrix = make_matrix(SMALL | {"pairs": pairs, "methods": methods})
    assert [cell.name for cell in chosen_cells(matrix, ["a-b", "distilshift"])] == ["a-b-distilshift-0"]
    assert len(chosen_cells(matrix, ["a-b", "b-a", "plain-kd"])) == 2
    assert len(chosen_cells(matrix, [])) == 4
    with pytest.raises(ConfigError, match="filters are unknown"):
        chosen_cells(matrix, ["a-c"])


def test_a_job_survives_its_line(place: Path):
    job = job_of(place)
    assert Job.from_json(job.to_json()) == job


def test_every_cell_is_run_once_after_its_teacher(bench: Any, stand_in: StandIn):
    done = bench()
    assert done.code == 0, done.err
    pairs = ["pans-films", "pans-games"]
    assert stand_in.done == ["teacher pans", *(f"{pair}-{m}-0" for pair in pairs for m in ("plain-kd", "distilshift"))]
    assert "4 cells measured" in done.out
    assert "3 of 4 done, left: about 2 min; now pans → games, distilshift, seed 0" in done.err
    assert "0 cells measured" in bench().out
    assert len(stand_in.done) == 5


def test_a_changed_option_or_text_runs_the_cells_that_it_touches_again(bench: Any, stand_in: StandIn, place: Path):
    bench()
    matrix = place / "m.toml"
    matrix.write_text(matrix.read_text() + "spans = 1\n")  # of distilshift alone: plain distillation has none
    stand_in.done.clear()
    bench()
    assert stand_in.done == ["pans-films-distilshift-0", "pans-games-distilshift-0"]

    matrix.write_text(matrix.read_text().replace("epochs = 2\nlearning", "epochs = 3\nlearning"))
    stand_in.done.clear()
    bench()
    assert len(stand_in.done) == 5  # another teacher

    write_domains(place / "other", train=61)
    (place / "other" / "games.jsonl.gz").replace(place / "data" / "games.jsonl.gz")
    stand_in.done.clear()
    bench()
    assert stand_in.done == ["pans-games-plain-kd-0", "pans-games-distilshift-0"]


def test_the_plan_lists_what_would_run_and_runs_nothing(bench: Any, stand_in: StandIn, place: Path):
    bench("--only", "pans-films")
    stand_in.done.clear()
    done = bench("--plan")
    assert (done.code, stand_in.done) == (0, [])
    assert done.out.splitlines() == [
        "pans → games, plain-kd, seed 0",
        "pans → games, distilshift, seed 0",
        "2 of 4 cells to run.",
        "Time: about 3 min, and 0 teachers to teach.",
    ]


def test_a_cell_that_another_runner_holds_is_left_to_it(bench: Any, stand_in: StandIn, place: Path):
    with worker.claimed(job_of(place)) as lock:
        assert lock is not None
        done = bench()
    assert done.code == 0
    assert "pans-films-plain-kd-0" not in stand_in.done
    assert "3 cells measured" in done.out
    assert "1 cells are another runner's" in done.out
    bench()
    assert stand_in.done[-1] == "pans-films-plain-kd-0"


def test_a_teacher_that_another_runner_teaches_is_waited_for(bench: Any, stand_in: StandIn, place: Path, monkeypatch):
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:  # the other runner has finished
            job_of(place).teacher.mkdir(parents=True)

    monkeypatch.setattr(runner.time, "sleep", nap)
    with worker.claimed(job_of(place, kind="teacher")) as lock:
        assert lock is not None
        done = bench()
    assert len(naps) == 2
    assert "teacher pans" not in stand_in.done
    assert "4 cells measured" in done.out


def test_a_cell_that_fails_stops_no_other(bench: Any, stand_in: StandIn):
    stand_in.failing = "films-plain-kd"
    done = bench()
    assert done.code == 1
    assert len(stand_in.done) == 5
    assert "Failed: pans → films, plain-kd, seed 0: Error: it broke (see " in done.err
    stand_in.failing = ""
    assert bench().code == 0


def test_a_teacher_that_fails_is_tried_once(bench: Any, stand_in: StandIn):
    stand_in.failing = "teacher"
    done = bench()
    assert done.code == 1
    assert stand_in.done == ["teacher pans"]
    assert done.err.count("its teacher failed: Error: it broke") == 8  # as it happens, and at the end


def test_results_of_another_teacher_are_named_once(bench: Any, stand_in: StandIn):
    assert "another teacher" not in bench("--only", "plain-kd").err
    stand_in.teacher_sha256 = "taught on another machine"
    done = bench()
    assert done.code == 0
    assert done.err.count("pans, seed 0: 2 results are of another teacher than ") == 1
    assert "Fix: remove them (pans-films-plain-kd-0.json …)" in done.err


def test_another_table_with_the_same_cell_is_taken_over(bench: Any, stand_in: StandIn, place: Path):
    bench()
    measured = len(stand_in.done)
    matrix = place / "m.toml"
    text = matrix.read_text()
    table = read_matrix(matrix).config.table
    matrix.write_text(text.replace(f'"{table}"', '"wider"'))
    plan = bench("--plan").out
    assert "0 of 4 cells to run.\n4 more are another table's or row's, with the same teacher." in plan
    assert "cells are those of another table" in bench().out
    assert len(stand_in.done) == measured
    paths = sorted((place / "results" / table).glob("*-*.json"))
    assert len(paths) == 4
    for path in paths:
        own = json.loads((place / "results" / "wider" / path.name).read_text())
        assert own == json.loads(path.read_text()) | {"table": "wider", "measured_for": table}
    # A cell of another teacher is measured.
    stand_in.teacher_sha256 = "another teacher's"
    matrix.write_text(text.replace(f'"{table}"', '"widest"'))
    bench()
    assert len(stand_in.done) == measured + len(paths)


def test_a_cell_is_measured_once_though_another_runner_replaces_its_result(bench: Any, stand_in: StandIn, place: Path):
    """One with other options of the same table; the two would take turns for ever."""
    first = job_of(place)

    def replace_first(job: Job) -> None:
        if job.kind == "cell" and job.cell != first.cell:
            first.result.write_text("{}")

    stand_in.during = replace_first
    assert bench().code == 0
    assert stand_in.done.count(first.cell.name) == 1


def test_an_interrupt_ends_the_runner(bench: Any, stand_in: StandIn):
    def interrupt(job: Job) -> None:
        if job.kind == "cell":
            raise KeyboardInterrupt

    stand_in.during = interrupt
    with pytest.raises(KeyboardInterrupt):  # the entry point makes exit code 130 of it: test_cli
        bench()


def test_a_result_from_before_an_option_existed_is_kept_only_if_asked(stand_in: StandIn, place: Path):
    job = job_of(place)
    stand_in(job, None)
    assert is_done(job)
    row = json.loads(job.result.read_text())
    del row["config"]["span_text_weight"]
    job.result.write_text(json.dumps(row | {"config_sha256": "older"}))
    keeping = Job(**vars(job) | {"keep_older": True})
    assert (is_done(job), is_done(keeping)) == (False, True)
    row["config"]["temperature"] = 3.0
    job.result.write_text(json.dumps(row | {"config_sha256": "older"}))
    assert not is_done(keeping)


def test_a_result_counts_only_while_the_folder_of_its_encoder_is_as_it_was(stand_in: StandIn, place: Path):
    encoder = place / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text("{}")
    write_matrix(place / "m.toml", encoder)
    job = job_of(place)
    stand_in(job, None)
    note_matrix(job)
    keeping, teacher = replace(job, keep_older=True), job.teacher
    assert is_done(job)
    (encoder / "config.json").write_text('{"num_hidden_layers": 3}')
    assert not is_done(job)
    assert not is_done(keeping)
    assert job.teacher != teacher
    assert read_table(job.result.parent).rows.keys() == {job.cell}  # and is shown
    (encoder / "config.json").write_text("{}")
    assert is_done(job)
    assert job.teacher == teacher
    shutil.rmtree(encoder)
    assert read_table(job.result.parent).rows.keys() == {job.cell}  # so it is where the encoder is gone


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--only", "magic"], "filters are unknown: expected some of plain-kd, distilshift, pans-films, pans-games"),
        (["--threads", "-1"], "--threads"),
        (["--data", "/nowhere"], "/nowhere is no folder"),
    ],
)
def test_a_wrong_argument_is_one_line(bench: Any, arguments: list[str], text: str):
    done = bench(*arguments)
    assert done.code == 2
    assert text in done.err
    assert "Traceback" not in done.err


def test_a_domain_without_a_file_is_found_before_any_work(bench: Any, stand_in: StandIn, place: Path):
    (place / "data" / "games.jsonl.gz").unlink()
    done = bench()
    assert done.code == 2
    assert "games.jsonl.gz does not exist: expected one of films, pans" in done.err
    assert stand_in.done == []


def test_durations_are_said_in_words():
    assert [in_words(s) for s in (None, 20, 100, 5000)] == [
        "no cell has been timed yet",
        "less than a minute",
        "about 2 min",
        "about 1 h 23 min",
    ]
    cells = [Cell("a", "b", method, 0) for method in ("x", "y", "z")]
    assert remaining_seconds(cells, {"x": 10.0, "y": 30.0}) == 60.0  # z counts as the median of both
    assert remaining_seconds(cells, {}) is None
