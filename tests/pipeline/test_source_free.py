"""`adapt` opens the teacher bundle, the texts, its own run and output, and what is installed: nothing else.

Two witnesses: Python's audit events name every file that Python opens; the kernel (inotify) tells of every opening of
the labelled source, by native code too.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import distilshift

IN_ACCESS, IN_OPEN = 0x1, 0x20
# What the interpreter and the libraries read of the system: devices, processors, time zones, users, certificates.
SYSTEM = ("/dev", "/proc", "/sys", "/etc", "/usr", "/lib", "/lib64", "/run")
TRACED = """
import json, os, sys

opened = set()

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        opened.add(os.path.realpath(os.fsdecode(arguments[0])))

sys.addaudithook(note)
teacher, texts, output, log, options = sys.argv[1:]
from distilshift import adapt
adapt(teacher, texts, output, **json.loads(options))
with open(log, "w") as file:
    json.dump(sorted(opened), file)
"""
OPTIONS = {"student_layers": 1, "distil_epochs": 1, "precision": "fp32"}


class Watch:
    """The kernel's notes of who opens or reads some files."""

    def __init__(self, *paths: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.inotify_init1(os.O_NONBLOCK)
        for path in paths:
            assert libc.inotify_add_watch(self._handle, os.fsencode(path), IN_OPEN | IN_ACCESS) >= 0

    def touched(self) -> bool:
        """Whether any was opened since the last call."""
        try:
            return bool(os.read(self._handle, 65_536))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._handle)


@pytest.fixture
def watched(source_file: Path, teacher_bundle: Path) -> Iterator[dict[str, Watch]]:
    watches = {"source": Watch(source_file), "weights": Watch(teacher_bundle / "model.safetensors")}
    yield watches
    for watch in watches.values():
        watch.close()


def below(path: str, *folders: Path | str) -> bool:
    return any(Path(path).is_relative_to(os.path.realpath(folder)) for folder in folders)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is the second witness")
def test_adapt_opens_the_teacher_the_texts_and_its_own_files_alone(
    teacher_bundle: Path, target_file: Path, source_file: Path, watched: dict[str, Watch], tmp_path: Path
):
    home, scratch, work, log = (tmp_path / name for name in ("home", "tmp", "work", "opened.json"))
    for folder in (home, scratch, work):
        folder.mkdir()
    environment = os.environ | {"HOME": str(home), "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    arguments = [str(teacher_bundle), str(target_file), str(work / "student"), str(log), json.dumps(OPTIONS)]
    done = subprocess.run(
        [sys.executable, "-c", TRACED, *arguments],
        env=environment,
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr

    opened = json.loads(log.read_text())
    installed = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), Path(distilshift.__file__).parent}
    # Home and scratch were empty: what lies there, this run has written itself.
    own = (work, home, scratch)
    strange = [
        path
        for path in opened
        if path != str(target_file.resolve()) and not below(path, teacher_bundle, *own, *installed, *SYSTEM)
    ]
    assert strange == [str(log)]
    # The hook sees what it must.
    assert str(target_file.resolve()) in opened
    assert below(next(path for path in opened if path.endswith("distilshift.json")), teacher_bundle)
    assert any(path.startswith(str(work / "student.run")) for path in opened)

    assert str(source_file.resolve()) not in opened
    assert not watched["source"].touched()
    # So does the kernel.
    assert watched["weights"].touched()
    source_file.read_bytes()
    assert watched["source"].touched()
