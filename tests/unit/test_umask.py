"""Outputs have the permissions of any new file: those that the user's umask leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from distilshift.bundle import Manifest, new_bundle
from distilshift.files import new_file, staged_folder, write_json
from distilshift.output_cache import keep_outputs
from distilshift.packages_fetch import cache_workplace, publish
from distilshift.run import ALONE, open_run

VALUES = {"a": np.zeros(3)}


@pytest.fixture(params=[0o022, 0o077, 0o027, 0o002], ids=oct)
def withheld(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    assert os.umask(before) == request.param


def modes(folder: Path) -> dict[str, int]:
    found = {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    return found | {".": folder.stat().st_mode & 0o777}


def test_a_bundle(tmp_path: Path, withheld: int):
    with new_bundle(tmp_path / "deep" / "b", Manifest("teacher", ["a"], "tiny", 8)) as new:
        (new / "onnx").mkdir()
        (new / "onnx" / "model.onnx").touch(0o600)
        save_file(VALUES, new / "model.safetensors")  # for its owner alone
        (new / "README.md").touch(0o666)
    folders = {".": 0o777, "b": 0o777, "b/onnx": 0o777}
    names = ("onnx/model.onnx", "model.safetensors", "README.md", "distilshift.json")
    expected = folders | {f"b/{name}": 0o666 for name in names}
    assert modes(tmp_path / "deep") == {name: mode & ~withheld for name, mode in expected.items()}


def test_a_folder_that_replaces_another(tmp_path: Path, withheld: int):
    for overwrite in (False, True):
        with staged_folder(tmp_path / "b", overwrite) as new:
            write_json(new / "distilshift.json", {})
    assert modes(tmp_path / "b") == {".": 0o777 & ~withheld, "distilshift.json": 0o666 & ~withheld}


def test_files(tmp_path: Path, withheld: int):
    write_json(tmp_path / "a.json", {})
    with new_file(tmp_path / "b.safetensors") as part:
        save_file(VALUES, part)
    (tmp_path / "c").touch()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~withheld}


def test_a_cache_of_outputs_and_of_packages(tmp_path: Path, withheld: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DISTILSHIFT_CACHE", str(tmp_path / "cache"))
    keep_outputs(tmp_path / "cache" / "outputs", "key", VALUES, ALONE)
    with cache_workplace() as work:
        (work / "wheel").write_bytes(b"x")
        publish(work / "wheel", tmp_path / "cache" / "packages" / "wheel", lambda path: True)
    files = {"outputs/key.safetensors": 0o666, "packages/wheel": 0o666}
    expected = files | {".": 0o777, "outputs": 0o777, "packages": 0o777}
    assert modes(tmp_path / "cache") == {name: mode & ~withheld for name, mode in expected.items()}


def test_a_run_directory_is_no_more_open(tmp_path: Path, withheld: int):
    with open_run(tmp_path / "run", {"stage": "adapt"}) as run:
        run.save("note", lambda path: path.write_text("x"))
        run.arrays("values", lambda: VALUES)
        assert not any(mode & withheld for mode in modes(run.path).values())
        assert modes(run.path)["."] == 0o777 & ~withheld
