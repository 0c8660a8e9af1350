"""The run directory: one owner, work done once, damage and mix-ups named, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift.bundle import MANIFEST
from distilshift.config import TeachConfig
from distilshift.errors import OutputError, RunError
from distilshift.journal import fingerprint
from distilshift.run import RunDirectory, fingerprint_array, open_run
from distilshift.stage import identity, placed, require_room, run_path

IDENTITY = {"stage": "adapt", "seed": 0, "learning_rate": 1e-4, "texts": "abc"}


class StopError(Exception):
    """Stands for whatever stops a run."""


def work_and_stop(run: RunDirectory, work: Callable[[RunDirectory], Any]) -> None:
    work(run)
    raise StopError


def interrupted(path: Path, work: Callable[[RunDirectory], Any], identity: dict[str, Any] = IDENTITY) -> None:
    """Do some work in a run, then fail."""
    with pytest.raises(StopError), open_run(path, identity) as run:
        work_and_stop(run, work)


def save_text(run: RunDirectory, name: str = "note", text: str = "x") -> None:
    run.save(name, lambda path: path.write_text(text), step=3)


def saved_file(path: Path, name: str = "note") -> Path:
    (found,) = path.glob(f"{name}.*")
    return found


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "student.run"


def test_arrays_are_computed_once_however_often_the_run_starts(path: Path):
    calls = []

    def compute() -> dict[str, Any]:
        calls.append(1)
        return {"logits": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": np.array([2**40])}

    seen = []
    for _ in range(3):
        interrupted(path, lambda run: seen.append(run.arrays("outputs", compute)))
    assert len(calls) == 1
    for values in seen:
        assert values["logits"].dtype == np.float32
        assert values["logits"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert values["ids"].tolist() == [2**40]


def test_a_transposed_array_is_kept_as_it_reads(path: Path):
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    with open_run(path, IDENTITY) as run:
        assert run.arrays("turned", lambda: {"values": turned})["values"].tolist() == turned.tolist()


def test_facts_are_kept_and_the_old_version_of_a_file_goes(path: Path):
    interrupted(path, lambda run: (save_text(run, text="first"), save_text(run, text="second")))
    assert names(path) == {"lock", "journal.json", "note.2"}
    with open_run(path, IDENTITY) as run:
        assert "note" in run
        assert "other" not in run
        assert run.file("note").read_text() == "second"
        assert run.facts("note") == {"step": 3}
        run.drop("note")
        assert "note" not in run
        run.drop("note")  # twice does no harm
        assert names(path) == {"lock", "journal.json"}


def test_success_removes_the_run_and_failure_keeps_it(path: Path):
    interrupted(path, save_text)
    assert path.is_dir()
    with open_run(path, IDENTITY) as run:
        assert "note" in run
    assert not path.exists()


@pytest.mark.parametrize("saves", [False, True])
def test_new_folders_above_a_run_stay_only_with_it(tmp_path: Path, saves: bool):
    path = tmp_path / "new" / "deep" / "out.run"
    interrupted(path, lambda run: run.save("note", lambda file: file.write_text("x")) if saves else None)
    assert path.exists() == (tmp_path / "new").exists() == saves


def test_a_failure_with_nothing_saved_leaves_nothing(path: Path):
    """Else a mistyped model name would make the corrected command 'another run'."""
    interrupted(path, lambda run: None)
    assert not path.exists()
    with open_run(path, IDENTITY | {"base_model": "right"}):
        assert path.is_dir()


@pytest.mark.parametrize("damage", [lambda f: f.write_text("y"), Path.unlink], ids=["edited", "missing"])
def test_a_damaged_file_is_named(path: Path, damage: Callable[[Path], Any]):
    interrupted(path, save_text)
    damage(saved_file(path))
    with (
        pytest.raises(RunError, match=r"note\.1 is damaged: expected sha256 .*--fresh"),
        open_run(path, IDENTITY) as run,
    ):
        run.file("note")
    with open_run(path, IDENTITY, fresh=True) as run:
        assert "note" not in run


@pytest.mark.parametrize("content", ["", '{"identity": ', "[]", "{}"])
def test_a_damaged_journal_is_named(path: Path, content: str):
    interrupted(path, save_text)
    (path / "journal.json").write_text(content)
    with pytest.raises(RunError, match=r"journal.json is damaged. Fix: .*--fresh"), open_run(path, IDENTITY):
        pytest.fail("the run was opened")
    with open_run(path, IDENTITY, fresh=True) as run:
        assert "note" not in run


def test_any_changed_bit_of_the_journal_is_noticed(path: Path):
    """It names the step that a checkpoint stands for: one digit off would change the result, silently."""
    interrupted(path, save_text)
    whole, journal = (path / "journal.json").read_bytes(), path / "journal.json"
    for position in range(len(whole)):
        bit = 1 << position % 8
        journal.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        with pytest.raises(RunError, match=r"journal.json is damaged. Fix: .*--fresh"), open_run(path, IDENTITY):
            pytest.fail(f"bit {bit} of byte {position} was changed, and the run opened")
    journal.write_bytes(whole)
    with open_run(path, IDENTITY) as run:
        assert run.facts("note") == {"step": 3}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "a change in seed. Fix"),
        ({"learning_rate": 2e-4, "texts": "abd"}, "a change in learning_rate, texts. Fix"),
        ({"spans": 3}, "a change in spans. Fix"),
    ],
)
def test_other_options_are_named_and_the_run_is_kept(path: Path, change: dict[str, Any], named: str):
    interrupted(path, save_text)
    with pytest.raises(RunError, match=named), open_run(path, IDENTITY | change):
        pytest.fail("the run was opened")
    assert saved_file(path).read_text() == "x"
    with open_run(path, IDENTITY | change, fresh=True) as run:
        assert "note" not in run
        assert names(path) == {"lock", "journal.json"}


def test_another_process_is_refused_while_the_first_one_works(path: Path):
    code = (
        "import sys, pathlib; from distilshift.run import open_run\n"
        f"with open_run(pathlib.Path({str(path)!r}), {IDENTITY!r}) as run:\n"
        "    run.save('note', lambda p: p.write_text('theirs')); print('ready', flush=True); sys.stdin.read(1)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        for fresh in (False, True):
            with pytest.raises(RunError, match="in use by another process"), open_run(path, IDENTITY, fresh):
                pytest.fail("the run was opened")
        assert saved_file(path).read_text() == "theirs"
        other.kill()
    with open_run(path, IDENTITY) as run:  # a killed process holds nothing
        assert run.file("note").read_text() == "theirs"


def test_orphans_of_a_killed_process_are_removed(path: Path):
    interrupted(path, save_text)
    (path / "note.2").write_text("half")
    (path / "leftover").mkdir()
    (path / "leftover" / "a").touch()
    with open_run(path, IDENTITY) as run:
        assert names(path) == {"lock", "journal.json", "note.1"}
        assert run.file("note").read_text() == "x"


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_that_is_no_run_is_left_alone(path: Path, fresh: bool):
    path.mkdir()
    (path / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match=r"got a folder with thesis\.txt"), open_run(path, IDENTITY, fresh):
        pytest.fail("the run was opened")
    assert names(path) == {"thesis.txt"}


def test_a_start_that_was_killed_before_its_journal_was_whole_is_started_again(path: Path):
    path.mkdir()
    for name in ("lock", ".journal.json.part-1"):
        (path / name).touch()
    with open_run(path, IDENTITY) as run:
        assert run.is_empty()
        assert names(path) == {"lock", "journal.json"}


def test_a_start_that_was_killed_with_nothing_saved_is_nobodys(path: Path):
    """Its options bind nobody, as those of a start that failed do not."""
    with open_run(path, IDENTITY):
        shutil.copytree(path, path.with_name("killed.run"))
    with open_run(path.with_name("killed.run"), IDENTITY | {"seed": 1}) as run:
        assert run.is_empty()


@pytest.mark.parametrize("removals", range(4))
@pytest.mark.parametrize("fresh", [False, True])
def test_a_kill_while_a_run_is_removed_leaves_one_to_start_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch, removals: int, fresh: bool
):
    """Neither a folder that nobody may touch, nor a journal whose files are missing."""
    interrupted(path, lambda run: [save_text(run, name) for name in "abc"])
    removed: list[Path] = []

    def unlink(file: Path, missing_ok: bool = False) -> None:
        if file.exists() and len(removed) == removals:
            raise KeyboardInterrupt
        if file.exists():
            os.remove(file)  # noqa: PTH107 - the method is what is replaced
            removed.append(file)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        patch.setattr(shutil, "rmtree", lambda folder, **options: [unlink(file) for file in folder.iterdir()])
        with pytest.raises(KeyboardInterrupt), open_run(path, IDENTITY, fresh):
            pass
    assert len(removed) == removals
    with open_run(path, IDENTITY | {"seed": 1}) as run:
        assert run.is_empty()
        assert names(path) == {"lock", "journal.json"}


@pytest.mark.parametrize("removals", range(5))
def test_a_kill_after_the_end_is_known_by_the_next_start(path: Path, monkeypatch: pytest.MonkeyPatch, removals: int):
    """What a finished run has removed already, nobody looks for; whose it was is known to the last file."""
    interrupted(path, lambda run: [save_text(run, name) for name in "abc"])
    removed: list[Path] = []

    def unlink(file: Path, missing_ok: bool = False) -> None:
        if len(removed) == removals:
            raise KeyboardInterrupt
        os.remove(file)  # noqa: PTH107 - the method is what is replaced
        removed.append(file)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(KeyboardInterrupt), open_run(path, IDENTITY):
            pass
    for other, twice in ((IDENTITY | {"seed": 1}, True), (IDENTITY, True), (IDENTITY, False)):
        copy = shutil.copytree(path, path.with_name("copy.run"))
        if twice:  # killed again while it opens
            with open_run(copy, other):
                shutil.copytree(copy, path.with_name("second.run"))
            copy = path.with_name("second.run").rename(copy)
        with open_run(copy, other) as run:
            assert run.finished is (other == IDENTITY)
            assert run.is_empty()
        assert not copy.exists()


def test_a_file_in_the_way_is_an_output_error(path: Path):
    path.touch()
    with pytest.raises(OutputError, match=r"cannot write .*student\.run"), open_run(path, IDENTITY):
        pytest.fail("the run was opened")


def test_a_full_disk_keeps_the_last_whole_version(path: Path):
    def fail(file: Path) -> None:
        file.write_text("half")
        raise OSError(28, "No space left on device")

    def work(run: RunDirectory) -> None:
        save_text(run)
        with pytest.raises(OutputError, match="free some space"):
            run.save("note", fail)

    interrupted(path, work)
    with open_run(path, IDENTITY) as run:
        assert run.file("note").read_text() == "x"
        assert names(path) == {"lock", "journal.json", "note.1"}


def test_fingerprints_tell_contents_apart_but_not_key_orders():
    assert fingerprint({"a": 1, "b": "ü"}) == fingerprint({"b": "ü", "a": 1})
    assert len({fingerprint(value) for value in ({"a": 1}, {"a": "1"}, {"a": [1]}, {"b": 1})}) == 4
    base = np.arange(6, dtype=np.int32)
    different = [base, base.astype(np.int64), base.reshape(2, 3), base + 1]
    assert len({fingerprint_array(array) for array in different}) == 4
    assert fingerprint_array(base.reshape(2, 3).T) == fingerprint_array(np.ascontiguousarray(base.reshape(2, 3).T))


def test_cached_arrays_that_a_power_cut_damaged_are_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Nothing waits for them to reach the disk; a checkpoint, which costs more, is an error instead."""
    calls: list[str] = []

    def compute(name: str) -> dict[str, np.ndarray]:
        calls.append(name)
        return {"values": np.arange(4, dtype=np.float32)}

    with suppress(KeyboardInterrupt), open_run(tmp_path / "run", {}) as run:
        for name in ("sound", "lost", "cut"):
            run.arrays(name, lambda name=name: compute(name))
        (run.path / "lost.2").unlink()
        (run.path / "cut.3").write_bytes(b"")
        raise KeyboardInterrupt
    with open_run(tmp_path / "run", {}) as run:
        assert set(json.loads((run.path / "journal.json").read_text())["files"]) == {"sound"}  # others read it there
        for name in ("sound", "lost", "cut"):
            values = run.arrays(name, lambda name=name: compute(name))["values"]
            np.testing.assert_array_equal(values, np.arange(4))
    assert calls == ["sound", "lost", "cut", "lost", "cut"]
    assert [record.message.split(" is ")[0][-6:] for record in caplog.records] == ["lost.2", "/cut.3"]


def test_arrays_of_every_kept_type_and_of_none_are_mapped(tmp_path: Path):
    kept = {
        "u8": np.array([1, 255], np.uint8),
        "i32": np.array([[-1, 2]], np.int32),
        "i64": np.array([2**40]),
        "f16": np.array([0.5], np.float16),
        "f32": np.array([[1.5], [2.5]], np.float32),
        "f64": np.array([1e-300]),
        "none": np.zeros((0, 3), np.float32),
    }
    with open_run(tmp_path / "run", {}) as run:
        found = run.arrays("all", lambda: kept)
        for name, array in kept.items():
            np.testing.assert_array_equal(found[name], array)
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert not found["f32"].flags.writeable


@pytest.mark.parametrize("fresh", [False, True])
def test_an_empty_folder_says_nothing_of_a_run(path: Path, fresh: bool):
    """Anybody may have made it, and the bundle beside it may be of other texts."""
    bundle = path.with_suffix("")
    bundle.mkdir()
    path.mkdir()
    with pytest.raises(OutputError, match="exists"):
        require_room(bundle, overwrite=False)
    with open_run(path, IDENTITY, fresh) as run:
        assert not run.finished
        with pytest.raises(OutputError, match="exists"):
            placed(bundle, False, run, "last")
    assert not path.exists()


def test_a_bundle_beside_no_run_directory_is_in_the_way(path: Path):
    path.with_suffix("").mkdir()
    with pytest.raises(OutputError, match="exists"):
        require_room(path.with_suffix(""), overwrite=False)


def test_a_bundle_that_was_to_be_replaced_is_not_taken_for_the_result(path: Path):
    """A run with --overwrite was stopped between its training and its bundle, and is repeated without."""
    bundle = path.with_suffix("")
    bundle.mkdir()
    (bundle / MANIFEST).write_text("{}")
    with suppress(KeyboardInterrupt), open_run(path, IDENTITY) as run:
        run.save("last", lambda file: file.write_text("weights"))
        os.utime(bundle / MANIFEST, ns=(0, run.file("last").stat().st_mtime_ns - 1))
        raise KeyboardInterrupt
    with suppress(KeyboardInterrupt), open_run(path, IDENTITY) as run:
        assert not placed(bundle, True, run, "last")
        with pytest.raises(OutputError, match="exists"):
            placed(bundle, False, run, "last")
        os.utime(bundle / MANIFEST)
        assert placed(bundle, False, run, "last")
        raise KeyboardInterrupt


def test_the_content_of_a_folder_that_an_option_names_makes_another_run(tmp_path: Path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.safetensors").write_text("old")
    named = TeachConfig(base_model=str(tmp_path / "encoder"))
    before = identity("teach", named)
    assert identity("teach", named) == before
    (tmp_path / "encoder" / "model.safetensors").write_text("new")
    changed = {key for key, value in identity("teach", named).items() if before[key] != value}
    assert changed == {"content of base_model"}
    assert not any(key.startswith("content") for key in identity("teach", TeachConfig()))


def test_an_output_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert run_path(Path()) == tmp_path / "inside.run"
    assert run_path(Path("..")) == tmp_path.with_name(f"{tmp_path.name}.run")
    assert run_path(Path("a")) == Path("a.run")
    with pytest.raises(OutputError, match="/ cannot be a bundle: expected a folder with a name"):
        run_path(Path("/"))
