"""Odd streams, names and locales on the command line: one line and an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distilshift import Predictor, adapt
from distilshift.errors import DataError

TEXT = "café für 漢字"
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def shell(command: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """`command` in a shell that knows distilshift as $D."""
    environment = os.environ | {"D": f"{sys.executable} -m distilshift"} | settings
    return subprocess.run(["bash", "-c", command], capture_output=True, env=environment, check=False)


def the_line(done: subprocess.CompletedProcess[bytes]) -> str:
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2, line
    assert line.startswith("Error: ")
    return line


def test_a_reader_that_goes_away_ends_predict_quietly(student_bundle: Path, tmp_path: Path):
    (tmp_path / "many.txt").write_text("good book\n" * 2000)
    done = shell(f"$D predict {student_bundle} {tmp_path / 'many.txt'} | head -1; exit ${{PIPESTATUS[0]}}")
    assert json.loads(done.stdout)["text"] == "good book"
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_closed_standard_output_is_named(student_bundle: Path, form: str):
    done = shell(f"$D predict {student_bundle} --text good --format {form} >&-")
    assert "cannot write standard output: got it is closed" in the_line(done)


def test_without_any_stream_there_is_an_exit_code(student_bundle: Path):
    assert shell(f"$D predict {student_bundle} --text good <&- >&- 2>&-").returncode == 2


@pytest.mark.parametrize("settings", [BARE, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_locale_without_the_characters_loses_none(student_bundle: Path, settings: dict[str, str], form: str):
    done = shell(f"$D predict {student_bundle} '{TEXT}' --format {form}", **settings)
    assert (done.returncode, done.stderr) == (0, b"")
    assert TEXT in done.stdout.decode("utf-8")


def test_a_text_that_is_not_utf_8_is_refused(student_bundle: Path):
    assert "the text is not UTF-8" in the_line(shell(f"$D predict {student_bundle} $'caf\\xe9 au lait'"))


def test_a_stopped_predict_leaves_no_part_of_its_output(student_bundle: Path, tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "distilshift",
        "predict",
        str(student_bundle),
        "-",
        "-o",
        str(tmp_path / "o.jsonl"),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(b"good\n" * 2_000)
        process.stdin.flush()
        while not list(tmp_path.iterdir()):
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=60) == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (f"inspect {'a' * 5000}", "File name too long. Fix: check the path"),
        ("inspect {bundle} > /dev/full", "the system refuses a file or stream: got No space left on device"),
        ("--help > /dev/full", "the system refuses a file or stream: got No space left on device"),
        ("predict {bundle} --text good -o /proc/none.jsonl", "the system refuses /proc/"),
        ("predict {bundle} --text good --batch-size 0", "Invalid value"),
    ],
)
def test_what_the_system_refuses_is_one_line(student_bundle: Path, arguments: str, said: str):
    done = shell(f"$D {arguments.format(bundle=student_bundle)}")
    if said != "Invalid value":
        assert said in the_line(done)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_an_option_that_is_not_utf_8_is_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,label\ngood,x\nbad,y\n" * 4)
    done = shell(f"$D teach {tmp_path / 'a.csv'} -o {tmp_path / 't'} --base-model $'/caf\\xe9'")
    assert b"Traceback" not in done.stderr
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["good", "bad \ud800"], "expected whole characters, got half a surrogate pair in"),
        (["good", 3], "expected strings, got 3"),
        ([None], "expected strings, got a missing value"),
        ([("good", 3)], "expected strings, got ('good', 3)"),
    ],
)
def test_what_is_no_text_is_refused_in_python(
    student_bundle: Path, teacher_bundle: Path, tmp_path: Path, texts: Any, said: str
):
    with pytest.raises(DataError, match="the examples cannot be used") as caught:
        Predictor.load(student_bundle).predict(texts)
    assert said in str(caught.value)
    with pytest.raises(DataError, match="the examples cannot be used"):
        adapt(teacher_bundle, texts, tmp_path / "s")
