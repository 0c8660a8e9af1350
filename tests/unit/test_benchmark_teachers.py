"""Which teachers a script of benchmarks/ takes of those that lie there."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest

from common import add_teachers, teachers_of
from distilshift.bundle import read_manifest


def read(paths: list[Path], *more: str) -> dict[Path, str]:
    parser = argparse.ArgumentParser()
    add_teachers(parser)
    return teachers_of(parser, parser.parse_args([*map(str, paths), *more]))


@pytest.fixture
def teachers(teacher_bundle: Path, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(teacher_bundle, tmp_path / f"{name}-0-1")) for name in ("books", "dvd")]


def test_bundles_are_told_apart_and_other_files_are_passed_over(
    teachers: list[Path], teacher_bundle: Path, tmp_path: Path
):
    encoder = read_manifest(teacher_bundle).base_model
    (tmp_path / "books-0-1-on-dvd.json").write_text("{}")
    found = read([*teachers, tmp_path / "books-0-1-on-dvd.json"], "--base-model", encoder)
    assert list(found) == teachers
    assert len(set(found.values())) == 1  # copies


def test_two_teachers_of_one_source_or_none_are_refused(
    teachers: list[Path], teacher_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    encoder = read_manifest(teacher_bundle).base_model
    again = Path(shutil.copytree(teacher_bundle, tmp_path / "books-0-2"))
    with pytest.raises(SystemExit) as caught:
        read([*teachers, again], "--base-model", encoder)
    assert caught.value.code == 2
    assert "more than one teacher of books" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        read(teachers, "--base-model", "another")
    assert "no teacher of another among 2 paths" in capsys.readouterr().err
