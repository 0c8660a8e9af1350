"""Outputs are whole or absent: failures, overwriting, foreign folders and full disks."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disks import small_disk
from distilshift import files
from distilshift.errors import OutputError
from distilshift.files import new_file, output_errors, require_free, staged_folder, write_json

FULL = "No space left on device"
FAILURES = {
    "a bug": (ValueError("boom"), ValueError, "boom"),
    "Ctrl-C": (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    "a full disk": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OutputError, "free some space"),
    "a full disk, natively": (RuntimeError(f"I/O error: {FULL} (os error 28)"), OutputError, "free some space"),
    "a read-only disk": (OSError(errno.EROFS, os.strerror(errno.EROFS)), OutputError, "can be written"),
    "an unforeseen errno": (OSError(errno.EIO, os.strerror(errno.EIO)), OSError, "Input/output"),
}
failures = pytest.mark.parametrize(("error", "kind", "text"), FAILURES.values(), ids=FAILURES)


def ours(folder: Path, content: str = "old") -> Path:
    """A finished output of ours."""
    folder.mkdir()
    (folder / "distilshift.json").write_text("{}")
    (folder / "content").write_text(content)
    return folder


def foreign_folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("x")


def fail(path: Path, error: BaseException) -> None:
    """Write a little, then fail."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("new")
    raise error


def fill(folder: Path, *sizes: int) -> None:
    for size in sizes:
        (folder / str(size)).write_bytes(b"x" * size)


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_staged_folder_takes_its_name_only_at_the_end(tmp_path: Path):
    output = tmp_path / "deep" / "out"
    with staged_folder(output) as part:
        (part / "a").write_text("x")
        assert not output.exists()
        assert part.parent == output.parent  # a rename within one file system
    assert tree(tmp_path) == {"deep", "deep/out", "deep/out/a"}


@failures
def test_a_failed_staged_folder_leaves_nothing(tmp_path: Path, error: BaseException, kind: type, text: str):
    (tmp_path / "there").mkdir()
    with pytest.raises(kind, match=text), staged_folder(tmp_path / "there" / "new" / "deep" / "out") as part:
        fail(part / "sub" / "a", error)
    assert tree(tmp_path) == {"there"}


@failures
def test_a_failed_overwrite_leaves_the_old_folder(tmp_path: Path, error: BaseException, kind: type, text: str):
    output = ours(tmp_path / "out")
    with pytest.raises(kind, match=text), staged_folder(output, overwrite=True) as part:
        fail(part / "sub" / "a", error)
    assert tree(tmp_path) == {"out", "out/distilshift.json", "out/content"}


def test_an_overwrite_replaces_the_whole_folder(tmp_path: Path):
    output = ours(tmp_path / "out")
    with staged_folder(output, overwrite=True) as part:
        (part / "fresh").write_text("new")
        assert (output / "content").read_text() == "old"
    assert tree(tmp_path) == {"out", "out/fresh"}


def test_a_failed_swap_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output, rename = ours(tmp_path / "out"), Path.rename

    def fail(self: Path, target: Path) -> Any:
        if ".part-" in self.name:
            raise OSError(errno.ENOSPC, FULL)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match=FULL), staged_folder(output, overwrite=True) as part:
        (part / "fresh").write_text("new")
    assert tree(tmp_path) == {"out", "out/distilshift.json", "out/content"}


def test_what_killed_processes_left_is_removed_but_not_what_is_in_use(tmp_path: Path):
    output = tmp_path / "out"
    for name in (".out.part-abc", ".out.old-abc", ".output.part-abc"):
        (tmp_path / name).mkdir()
        ours(tmp_path / name / "old", "x")
    (tmp_path / ".out.part-link").symlink_to(tmp_path / ".output.part-abc")
    (tmp_path / ".out.part-file").touch()
    with staged_folder(output) as part:
        with staged_folder(output, overwrite=True) as other:  # another process of the same output
            assert part.is_dir()
            (other / "distilshift.json").write_text("{}")
        assert not (tmp_path / ".out.part-abc").exists()
        shutil.rmtree(output)
    assert {path.name for path in tmp_path.iterdir()} == {"out", ".output.part-abc", ".out.part-link", ".out.part-file"}
    assert (tmp_path / ".output.part-abc" / "old" / "content").read_text() == "x"


def test_the_last_whole_version_stays_until_the_next_is_there(tmp_path: Path):
    """A kill between the two renames of an overwrite leaves the old one under another name."""
    (tmp_path / ".out.old-abc").mkdir()
    ours(tmp_path / ".out.old-abc" / "old")
    with pytest.raises(ValueError, match="boom"), staged_folder(tmp_path / "out", overwrite=True) as part:
        fail(part / "a", ValueError("boom"))
    assert tree(tmp_path / ".out.old-abc") == {"old", "old/content", "old/distilshift.json"}
    with staged_folder(tmp_path / "out", overwrite=True) as part:
        (part / "a").touch()
    assert tree(tmp_path) == {"out", "out/a"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_appears_meanwhile_is_left_alone(tmp_path: Path, overwrite: bool):
    output = tmp_path / "out"
    with pytest.raises(OutputError, match=r"exists|has no distilshift\.json"), staged_folder(output, overwrite):
        foreign_folder(output)
    assert tree(tmp_path) == {"out", "out/thesis.txt"}


def test_an_existing_folder_is_refused_before_work(tmp_path: Path):
    output = ours(tmp_path / "out")
    with pytest.raises(OutputError, match=r"exists: expected a new name\. Fix: .*--overwrite"), staged_folder(output):
        pytest.fail("work was begun")
    assert (output / "content").read_text() == "old"


def foreign_link(path: Path) -> None:
    path.symlink_to(ours(path.with_name("elsewhere")))


@pytest.mark.parametrize("make", [foreign_folder, foreign_link, Path.touch])
def test_overwrite_leaves_what_is_not_ours(tmp_path: Path, make: Any):
    output = tmp_path / "out"
    make(output)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="--overwrite leaves it alone"), staged_folder(output, overwrite=True):
        pytest.fail("work was begun")
    assert tree(tmp_path) == before


def test_overwrite_takes_an_empty_folder(tmp_path: Path):
    (tmp_path / "out").mkdir()
    require_free(tmp_path / "out", overwrite=True)
    with pytest.raises(OutputError):
        require_free(tmp_path / "out")


def test_a_parent_that_is_a_file_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*file/out"), staged_folder(tmp_path / "file" / "out"):
        pytest.fail("work was begun")


def test_a_new_file_appears_whole_even_in_a_new_folder(tmp_path: Path):
    path = tmp_path / "new" / "a.txt"
    with new_file(path) as part:
        part.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x"
    assert tree(tmp_path) == {"new", "new/a.txt"}


@failures
def test_a_failed_new_file_leaves_the_old_one(tmp_path: Path, error: BaseException, kind: type, text: str):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(kind, match=text), output_errors(path), new_file(path, overwrite=True) as part:
        fail(part, error)
    assert path.read_text() == "old"
    assert tree(tmp_path) == {"a.txt"}


@failures
def test_a_failed_new_file_leaves_no_new_folder(tmp_path: Path, error: BaseException, kind: type, text: str):
    path = tmp_path / "new" / "deep" / "a.txt"
    with pytest.raises(kind, match=text), output_errors(path), new_file(path) as part:
        fail(part, error)
    assert tree(tmp_path) == set()


def test_new_folders_that_are_in_use_meanwhile_stay(tmp_path: Path):
    path = tmp_path / "new" / "deep" / "a.txt"
    with pytest.raises(KeyError), new_file(path):
        fail(tmp_path / "new" / "of another", KeyError())
    assert tree(tmp_path) == {"new", "new/of another"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_existing_file_or_folder_is_refused(tmp_path: Path, overwrite: bool):
    (tmp_path / "file").touch()
    taken = tmp_path if overwrite else tmp_path / "file"
    with pytest.raises(OutputError, match="exists: expected a new name"), new_file(taken, overwrite):
        pytest.fail("work was begun")


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path):
    def write() -> None:
        with new_file(tmp_path / "a") as part:
            part.write_text("new")
            (tmp_path / "a").write_text("another's")

    with pytest.raises(OutputError, match="exists"):
        write()
    assert (tmp_path / "a").read_text() == "another's"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_json_is_strict_and_keeps_its_order(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": "ü", "a": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": "ü",\n  "a": 1\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert tree(tmp_path) == {"a.json"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "64k") as mount:
        yield mount


def test_a_really_full_disk_leaves_nothing(disk: Path):
    with pytest.raises(OutputError, match=FULL), staged_folder(disk / "out") as part:
        fill(part, 1_000, 100_000)
    assert tree(disk) == set()
    with staged_folder(disk / "out") as part:
        fill(part, 1_000)
    assert tree(disk) == {"out", "out/1000"}


def test_safetensors_on_a_really_full_disk_is_an_output_error(disk: Path):
    """A native library reports it in a type of its own."""
    import numpy as np
    from safetensors.numpy import save_file

    with pytest.raises(OutputError, match=FULL), staged_folder(disk / "out") as part:
        save_file({"a": np.zeros(100_000)}, part / "model.safetensors")
    assert tree(disk) == set()


def test_hashes_are_of_the_content(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
