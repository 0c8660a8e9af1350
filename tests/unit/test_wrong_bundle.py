"""What is given in the place of a bundle is named, and the advice works when it is followed."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilshift import Predictor, adapt, evaluate, import_checkpoint
from distilshift.bundle import MANIFEST, read_manifest
from distilshift.errors import BundleError
from distilshift.journal import JOURNAL
from distilshift.stage import run_path
from encoders import make_checkpoint

TEXTS = ["good film", "bad book"] * 40
CALLS: dict[str, Callable[[Path], Any]] = {
    "predict": Predictor.load,
    "adapt": lambda path: adapt(path, TEXTS, path.parent / "out"),
    "evaluate": lambda path: evaluate(path, []),
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def refused(call: Callable[[Path], Any], path: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        call(path)
    return caught.value


@calls
def test_a_hugging_face_folder_is_named_and_can_be_imported_as_advised(call: Any, tmp_path: Path):
    folder = make_checkpoint(tmp_path / "my model")
    error = refused(call, folder)
    assert error.got == "a Hugging Face checkpoint"
    words = shlex.split(str(error.fix).replace("TEACHER", str(tmp_path / "t")))
    assert words[:2] == ["distilshift", "import"]
    bundle = import_checkpoint(words[2], words[words.index("-o") + 1])
    assert read_manifest(bundle).kind == "teacher"


@calls
def test_a_mistyped_bundle_is_proposed(call: Any, teacher_bundle: Path, tmp_path: Path):
    shutil.copytree(teacher_bundle, tmp_path / "reviews-teacher")
    error = refused(call, tmp_path / "review-teacher")
    assert (error.got, error.fix) == ("no such folder", f"did you mean {tmp_path / 'reviews-teacher'}?")
    assert "check the path" in str(refused(call, tmp_path / "zzz").fix)


@calls
def test_a_file_of_a_bundle_and_another_file_are_told_apart(call: Any, teacher_bundle: Path, tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,label\n")
    assert refused(call, teacher_bundle / MANIFEST).fix == f"name the folder that it is in: {teacher_bundle}"
    assert str(refused(call, tmp_path / "a.csv").fix).startswith("name a folder; distilshift import makes")


@calls
def test_a_folder_above_bundles_names_them(call: Any, student_bundle: Path, tmp_path: Path):
    """As `pareto` makes one."""
    shutil.copytree(student_bundle, tmp_path / "sizes" / "students" / "tiny")
    assert refused(call, tmp_path / "sizes").fix == f"name {tmp_path / 'sizes' / 'students' / 'tiny'}"


@calls
def test_an_unfinished_run_is_no_bundle_yet(call: Any, tmp_path: Path):
    run = run_path(tmp_path / "student")
    run.mkdir()
    (run / JOURNAL).write_text("{}")
    error = refused(call, run)
    assert (error.got, error.fix) == ("an unfinished run", "repeat the command that began it, which continues it")


@calls
def test_formats_of_others_are_named(call: Any, tmp_path: Path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").write_bytes(b"")
    assert refused(call, tmp_path / "m").got == "an exported ONNX network"
    (tmp_path / "empty").mkdir()
    assert refused(call, tmp_path / "empty").got == "none"


def test_a_teacher_is_no_student(teacher_bundle: Path):
    error = refused(Predictor.load, teacher_bundle)
    assert (error.expected, error.got) == ("a student", "a teacher")
    assert error.fix == f"distilshift adapt {teacher_bundle} TEXTS -o STUDENT makes a student of it; name that"


def test_a_student_becomes_a_teacher_as_advised(student_bundle: Path, tmp_path: Path):
    error = refused(CALLS["adapt"], student_bundle)
    assert (error.expected, error.got) == ("a teacher", "a student")
    words = shlex.split(str(error.fix).partition("; ")[2])
    assert words[:3] == ["distilshift", "import", str(student_bundle)]
    bundle = import_checkpoint(words[2], tmp_path / "t")
    found, wanted = read_manifest(bundle, "teacher"), read_manifest(student_bundle, "student")
    assert (found.label_names, found.max_length) == (wanted.label_names, wanted.max_length)
