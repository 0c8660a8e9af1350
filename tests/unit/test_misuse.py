"""What users do that nobody asked them to: outputs inside inputs, pairs for single texts, types of another kind."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distilshift import Predictor, adapt, evaluate, import_checkpoint, pareto, teach
from distilshift.bundle import read_manifest, verify
from distilshift.data.check import named, require_usable
from distilshift.errors import BundleError, ConfigError, DataError, DistilshiftError, OutputError
from distilshift.files import staged_folder
from distilshift.types import Example
from texts import make_texts

QUICK: dict[str, Any] = {"method": "none", "spans": 0, "distil_epochs": 1, "precision": "fp32", "max_length": 32}


def pairs(count: int) -> list[Example]:
    return [Example(text, "second", label) for text, label in make_texts(count, 3)]


def quick_teacher(data: Any, output: Path, encoder: Path, **options: Any) -> Path:
    given: dict[str, Any] = {"epochs": 1, "learning_rate": 3e-3, "max_length": 32, "precision": "fp32"}
    return teach(data, output, base_model=str(encoder), **given | options).bundle


@pytest.fixture
def teacher(teacher_bundle: Path, tmp_path: Path) -> Path:
    """A copy that may be put in danger."""
    return Path(shutil.copytree(teacher_bundle, tmp_path / "teacher"))


@pytest.mark.parametrize("way", [".", "../old", "deeper/.."])
def test_an_output_may_lead_to_the_current_folder(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Which is renamed meanwhile, so that paths that begin there lead elsewhere."""
    (tmp_path / "old" / "deeper").mkdir(parents=True)
    (tmp_path / "old" / "distilshift.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "old")
    with staged_folder(Path(way), overwrite=True) as part:
        (part / "new").write_text("")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["old", "old/new"]


@pytest.mark.parametrize("names", [["a.csv"], ["/data/part-0.jsonl.gz", "part 1.PARQUET"], ("here/notes",) * 60])
def test_strings_that_name_files_are_not_taken_for_texts(
    teacher_bundle: Path, student_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "notes").touch()
    said = rf"the names of files where texts are read: expected texts, got '{re.escape(names[0])}'"
    for call in (
        lambda: adapt(teacher_bundle, names, tmp_path / "s"),
        lambda: adapt(teacher_bundle, iter(names), tmp_path / "s"),
        lambda: evaluate(teacher_bundle, names),
    ):
        with pytest.raises(DataError, match=rf"{said}.*Fix: pass pathlib.Path objects"):
            call()
    with pytest.raises(DataError, match=rf"{said}.*Fix: `distilshift predict` reads files"):
        Predictor.load(student_bundle).predict(names)


def test_texts_that_are_like_names_remain_texts(student_bundle: Path):
    for texts in (["wow.cool", "yes/no", "https://example.org"], ["a.csv", "was not read"], ["good"]):
        assert len(Predictor.load(student_bundle).predict(texts)) == len(texts)


@pytest.mark.parametrize("name", ["o" * 241, "é" * 121])
def test_a_name_that_leaves_no_room_is_refused_before_any_work(name: str, tmp_path: Path, teacher_bundle: Path):
    for make in (teach, adapt, import_checkpoint):
        arguments = (teacher_bundle, "texts.txt") if make is adapt else ("source.csv",)
        with pytest.raises(OutputError, match="a name of 240 bytes at the most"):
            make(*arguments, tmp_path / name)  # type: ignore[operator]
    assert not [*tmp_path.iterdir()]


def test_a_bundle_with_too_long_a_name_is_none():
    with pytest.raises(BundleError, match="is not a bundle"):
        Predictor.load("a" * 5000)


def test_nothing_is_put_into_a_bundle_that_is_read(
    run_cli: Any, teacher: Path, student_bundle: Path, target_file: Path
):
    calls: list[Callable[[], Any]] = [
        lambda: adapt(teacher, target_file, teacher / "small"),
        lambda: pareto(teacher, target_file, teacher / "front"),
        lambda: import_checkpoint(str(teacher), teacher, overwrite=True),
        lambda: teach(target_file, teacher / "t", base_model=str(teacher)),
    ]
    for call in calls:
        with pytest.raises(OutputError, match="which is read: got "):
            call()
    for verb, option in (("predict", "-o"), ("evaluate", "--json")):
        done = run_cli(verb, student_bundle, target_file, option, student_bundle / "new.jsonl")
        assert (done.code, "which is read" in done.err) == (2, True)
    verify(teacher, read_manifest(teacher))
    verify(student_bundle, read_manifest(student_bundle))


def test_numbers_replace_no_file_by_accident(run_cli: Any, student_bundle: Path, source_file: Path, tmp_path: Path):
    data, other = Path(shutil.copy(source_file, tmp_path / source_file.name)), tmp_path / "other.json"
    before = data.read_bytes()
    for options in ([], ["--overwrite"]):
        assert run_cli("evaluate", student_bundle, data, "--json", data, *options).code == 2
    other.write_text("{}")
    assert run_cli("evaluate", student_bundle, data, "--json", other).code == 2
    assert other.read_text() == "{}"
    assert run_cli("evaluate", student_bundle, data, "--json", other, "--overwrite").code == 0
    assert json.loads(other.read_text())["examples"] == 200
    assert data.read_bytes() == before


def test_a_hyphen_is_standard_output(
    run_cli: Any, student_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert json.loads(run_cli("predict", student_bundle, "--text", "good", "-o", "-").out)["text"] == "good"
    assert not [*tmp_path.iterdir()]


@pytest.mark.usefixtures("quick_export")
def test_pairs_and_single_texts_are_told_apart_from_the_teacher_on(
    tiny_encoder: Path, target_file: Path, tmp_path: Path
):
    teacher = quick_teacher(pairs(80), tmp_path / "teacher", tiny_encoder)
    assert read_manifest(teacher).pair_column == "pair"  # they came from memory, and the bundle says so all the same
    with pytest.raises(DataError, match="the bundle labels pairs of texts"):
        adapt(teacher, target_file, tmp_path / "s", **QUICK)
    with pytest.raises(DataError, match="the bundle labels pairs of texts"):
        pareto(teacher, target_file, tmp_path / "p", adapt_options=QUICK)
    unlabelled = [(item.text, str(item.pair)) for item in pairs(80)]
    student = adapt(teacher, unlabelled, tmp_path / "s", **QUICK).bundle
    assert read_manifest(student).pair_column == "pair"
    single = quick_teacher([Example(*row) for row in zip(*_columns(80), strict=True)], tmp_path / "t2", tiny_encoder)
    with pytest.raises(DataError, match="the bundle labels single texts: expected one text, got two"):
        adapt(single, unlabelled, tmp_path / "s2", **QUICK)
    with pytest.raises(DataError, match="the bundle labels single texts"):
        evaluate(single, pairs(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "t2", "teacher"]


def _columns(count: int) -> tuple[list[str], list[None], list[str]]:
    texts, labels = zip(*make_texts(count, 4), strict=True)
    return list(texts), [None] * count, list(labels)


def test_names_of_labels_hold_for_examples_too(teacher_bundle: Path):
    numbered = [Example("good film", None, "1"), Example("bad film", None, " 0 ")]
    assert [item.label for item in named(numbered, "0=negative,1=positive")] == ["positive", "negative"]
    assert [item.label for item in named(numbered, None)] == ["1", "0"]
    with pytest.raises(DataError, match="index 1: --label-names has no name for a label"):
        named(numbered, "1=positive,2=negative")
    assert evaluate(teacher_bundle, numbered, label_names="0=negative,1=positive").accuracy == 1.0


@pytest.mark.parametrize(
    ("examples", "text"),
    [
        ([("good", "positive")], r"got \('good', 'positive'\) at index 0. Fix: make them: Example"),
        (["good"], "got 'good' at index 0"),
        ([{"text": "good"}], "got {'text': 'good'} at index 0"),
        (3, "a list of examples, got 3"),
        ([Example("good", None, "\ud800")], "whole characters in labels"),
        ([Example("good", None, "a\0")], "whole characters in labels"),
    ],
)
def test_what_is_no_example_is_told(examples: Any, text: str):
    with pytest.raises(DataError, match=text):
        require_usable(examples, labelled=True)


def test_examples_may_come_from_anything_that_can_be_gone_through():
    made = [Example("good", None, "a"), Example("bad", None, "b")]
    array = np.empty(2, object)
    array[:] = made
    for several in (made, iter(made), array, tuple(made)):
        assert require_usable(several, labelled=True) == made


def test_options_of_another_kind_are_told(student_bundle: Path, source_file: Path):
    with pytest.raises(ConfigError, match="expected EvaluateConfig, got dict"):
        evaluate(student_bundle, source_file, {"batch_size": 3})  # type: ignore[arg-type]
    predictor = Predictor.load(student_bundle)
    calls: list[Callable[[], Any]] = [
        lambda: predictor.predict(["good"], batch_size="3"),  # type: ignore[arg-type]
        lambda: predictor.predict(["good"], batch_size=3.5),  # type: ignore[arg-type]
        lambda: list(predictor.stream(["good"], batch_size=3.0)),  # type: ignore[arg-type]
        lambda: Predictor.load(student_bundle, threads=1.5),  # type: ignore[arg-type]
        lambda: Predictor.load(student_bundle, max_windows=None),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="is no whole number"):
            call()
    assert len(predictor.predict(["good"], batch_size=np.int64(3))) == 1  # type: ignore[arg-type]


def test_a_row_with_a_problem_has_no_label(student_bundle: Path):
    with pytest.raises(DataError, match="row 3 is bad"):
        Predictor.load(student_bundle).predict([Example("", problem="row 3 is bad")])  # type: ignore[list-item]


def test_training_leaves_the_callers_random_numbers_alone(tiny_encoder: Path, tmp_path: Path):
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    quick_teacher([Example(*row) for row in zip(*_columns(80), strict=True)], tmp_path / "t", Path(tiny_encoder))
    assert torch.equal(torch.rand(1), wanted)


def test_options_that_are_paths_may_be_such(source_file: Path, tiny_encoder: Path, tmp_path: Path):
    held_out = Path(shutil.copy(source_file, tmp_path / source_file.name))
    done = teach(
        source_file, tmp_path / "t", base_model=tiny_encoder, validation=held_out, epochs=1, max_length=32,
        precision="fp32",
    )  # fmt: skip
    assert read_manifest(done.bundle).base_model == tiny_encoder.name


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_prior": "bad=1"},
        {"span_min_words": 90},
        {"distillation": "pkd"},
        {"teacher_probabilities": "p.csv"},
        {"mlm_head": "/nowhere/x"},
    ],
)
def test_a_comparison_that_began_with_a_mistake_can_be_begun_again(
    wrong: dict[str, Any], teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(DistilshiftError):
        pareto(teacher_bundle, target_file, tmp_path / "p", students="base,small", adapt_options=QUICK | wrong)
    assert not [*(tmp_path / "p").glob("students/*")]

    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("distilshift.front.adapt", stop)
    lines = target_file.read_text().splitlines()
    with pytest.raises(KeyboardInterrupt):  # that is, it would be made now; a generator of texts will do
        pareto(teacher_bundle, iter(lines), tmp_path / "p", students="base", adapt_options=QUICK)  # type: ignore[arg-type]


def test_a_teachers_probabilities_are_utf_8_whatever_the_texts_are(tmp_path: Path):
    from distilshift.black_box import _read

    for encoding in ("utf-8", "latin-1", "utf-16"):
        (tmp_path / "p.csv").write_text("négatif,positif\n0.5,0.5\n", encoding="utf-8")
        assert _read(str(tmp_path / "p.csv"), encoding).label_names == ["négatif", "positif"]
        (tmp_path / "p.csv").write_text("négatif,positif\n0.5,0.5\n", encoding=encoding)
        assert _read(str(tmp_path / "p.csv"), encoding).label_names == ["négatif", "positif"]
