"""Bad input on the command line: one line on stderr with the fix, exit code 2, and no output left."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distilshift import files
from distilshift.bundle import read_manifest, write_manifest
from encoders import make_checkpoint, make_encoder, make_tokenizer

GOOD = "text,label\n" + "".join(f"a good film {i},positive\na bad film {i},negative\n" for i in range(4))
LONG, LATIN = "x" * 100_000, "text,label\ncafé,positive\ngood,negative\n"

# What a file holds, which verbs meet it (t: teach, e: evaluate, a: adapt, p: predict), and what is said of it.
BAD_FILES: dict[str, tuple[str, str | bytes, str, str]] = {
    "empty table": ("a.csv", "", "teap", "a.csv: the file is empty: expected a header"),
    "empty text file": ("a.txt", "", "a", "a.txt: the file is empty: expected at least one row"),
    "header only": ("a.csv", "text,label\n", "tea", "a.csv: the file is empty: expected at least one row"),
    "no text column": ("a.csv", "label\npositive\n", "teap", "a.csv, line 1: no text column"),
    "misnamed text column": ("a.csv", GOOD.replace("text", "review", 1), "teap", "Fix: `--text-column review`"),
    "no label column": ("a.csv", "text\ngood\n", "te", "a.csv, line 1: no label column"),
    "misnamed label column": ("a.csv", GOOD.replace("label", "Klasse", 1), "te", "Fix: `--label-column Klasse`"),
    "labels in plain text": ("a.txt", "good\n", "te", "plain text has no label column"),
    "one class only": (
        "a.csv",
        "text,label\ngood,x\nbad,x\n",
        "t",
        "too few classes: .*got only 'x'",
    ),
    "numeric labels": (
        "a.csv",
        "text,label\ngood,1\nbad,0\n",
        "te",
        "--label-names 0=negative,1=positive",
    ),
    "blank label": ("a.csv", GOOD + "good,\n", "te", "a.csv, line 10.*: blank label"),
    "a class of one text": ("a.csv", GOOD + "ok,neutral\n", "t", "1 class cannot be split: .* got 'neutral': 1"),
    "UTF-16": ("a.csv", GOOD.encode("utf-16"), "teap", "expected utf-8 text, got UTF-16. Fix: .*--encoding utf-16"),
    "latin-1": (
        "a.csv",
        LATIN.encode("latin-1"),
        "teap",
        "line 2.*byte 0xe9. Fix: `--encoding cp1252`",
    ),
    "blank text": ("a.csv", GOOD + "  ,positive\n", "teap", "a.csv, line 10.*: blank text.*--skip-bad"),
    "blank lines": ("a.txt", "\n \n", "a", "a.txt: no usable row.* line 1: blank line"),
    "too long a text": (
        "a.csv",
        GOOD + LONG + ",positive\n",
        "teap",
        "text too long: .*50,000 .*, got 100,000",
    ),
    "too long a line": ("a.txt", f"good\n{LONG}\n", "ap", "a.txt, line 2: text too long"),
    "NUL byte": ("a.csv", GOOD + "go\0od,positive\n", "teap", "a.csv, line 10"),
    "NUL byte in a line": ("a.txt", "good\nba\0d\n", "ap", "a.txt, line 2: a NUL character"),
    "duplicate header": ("a.csv", "text,text,label\na,b,x\n", "teap", "duplicate column 'text'"),
    "ragged rows": (
        "a.csv",
        GOOD + "good, but long,positive\n",
        "teap",
        "line 10.*: wrong number of cells.*got 3",
    ),
    "unclosed quote": ("a.csv", GOOD + '"good,positive\n', "teap", "unclosed quote"),
    "not JSON": ("a.jsonl", '{"text": "a", "label": "x"}\n{oops\n', "teap", "a.jsonl, line 2: not JSON"),
    "a number for a text": (
        "a.jsonl",
        '{"text": 3, "label": "x"}\n',
        "teap",
        "not a text: expected a string, got 3",
    ),
    "unknown type": ("a.xlsx", "PK", "teap", "unknown file type.*Fix: export it as .csv"),
    "not Parquet": ("a.parquet", "oops", "teap", "damaged, or not Parquet"),
    "not gzip": ("a.csv.gz", GOOD, "teap", "damaged gzip file"),
}


@pytest.fixture
def command(teacher_bundle: Path, student_bundle: Path, tiny_encoder: Path, tmp_path: Path) -> Callable[..., list[Any]]:
    """A function of a verb's letter and its data that gives the whole command, with the output at `out`."""
    output = ["-o", tmp_path / "out"]

    def make(verb: str, data: Any, bundle: Path | None = None) -> list[Any]:
        return {
            "t": ["teach", data, *output, "--base-model", bundle or tiny_encoder, "--epochs", "1"],
            "e": ["evaluate", bundle or student_bundle, data, "--json", tmp_path / "out"],
            "a": ["adapt", bundle or teacher_bundle, data, *output, "--student-layers", "1", "--force"],
            "p": ["predict", bundle or student_bundle, data, *output],
            "i": ["inspect", bundle or student_bundle],
        }[verb]

    return make


@pytest.fixture
def refused(run_cli: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """A function that runs a command, checks that it ends as bad input should, and gives the line."""

    def run(arguments: list[Any], shown: bool = False) -> str:
        before = sorted(path.name for path in tmp_path.iterdir())
        done = run_cli(*arguments)
        assert done.code == 2, done
        assert bool(done.out) == shown
        check_line(done.err)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        return done.err

    return run


def check_line(text: str) -> None:
    (line,) = text.splitlines()
    assert line.startswith("Error: ")
    assert "Fix: " in line
    assert "Traceback" not in line


def each_verb(cases: dict[str, tuple[str, Any, str, str]]) -> pytest.MarkDecorator:
    rows = [
        pytest.param(verb, file, content, text, id=f"{verb}-{name}")
        for name, (file, content, verbs, text) in cases.items()
        for verb in verbs
    ]
    return pytest.mark.parametrize(("verb", "name", "content", "text"), rows)


@each_verb(BAD_FILES)
def test_a_bad_file_is_named_with_its_fix(
    command: Any, refused: Any, tmp_path: Path, verb: str, name: str, content: str | bytes, text: str
):
    data = tmp_path / name
    data.write_bytes(content.encode() if isinstance(content, str) else content)
    assert re.search(text, refused(command(verb, data)))


@pytest.mark.parametrize("verb", "teap")
def test_a_missing_file_is_named(command: Any, refused: Any, tmp_path: Path, verb: str):
    assert "nosuch.csv" in refused(command(verb, tmp_path / "nosuch.csv"))


@pytest.mark.parametrize("verb", "teap")
def test_a_folder_for_a_file_is_named(command: Any, refused: Any, tmp_path: Path, verb: str):
    (tmp_path / "folder.csv").mkdir()
    assert "folder.csv: is a folder without data files: expected files" in refused(
        command(verb, tmp_path / "folder.csv")
    )


@pytest.mark.parametrize("verb", "tap")
def test_an_output_that_exists_is_left_alone(command: Any, refused: Any, tmp_path: Path, verb: str):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    (tmp_path / "a.csv").write_text(GOOD)
    assert "out exists" in refused(command(verb, tmp_path / "a.csv"))
    line = refused([*command(verb, tmp_path / "a.csv"), "--overwrite"])
    assert "choose another output" in line
    assert (tmp_path / "out" / "thesis.txt").read_text() == "x"


@pytest.mark.parametrize("verb", "teap")
def test_a_full_disk_is_named(
    command: Any, refused: Any, tmp_path: Path, quick_export: None, monkeypatch: pytest.MonkeyPatch, verb: str
):
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "flush", full)
    (tmp_path / "a.csv").write_text(GOOD)
    # What an evaluation found is shown all the same, and so is not lost.
    line = refused(command(verb, tmp_path / "a.csv"), shown=verb == "e")
    assert "No space left on device. Fix: free some space" in line


@pytest.mark.parametrize("verb", "ta")
def test_a_disk_that_fills_up_at_the_end_keeps_the_work_but_no_output(
    command: Any, run_cli: Any, tmp_path: Path, quick_export: None, monkeypatch: pytest.MonkeyPatch, verb: str
):
    """The trained weights stay in `out.run`, so that the same command goes on once there is space."""
    from distilshift.encoder import Classifier

    def full(self: Classifier, folder: Path) -> None:
        (folder / "config.json").write_text("{")
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    data = tmp_path / "a.csv"
    data.write_text(GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "save", full)
        done = run_cli(*command(verb, data))
    assert done.code == 2
    assert "No space left on device. Fix: free some space" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "out.run"]
    assert run_cli(*command(verb, data)).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "out"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def relabel(bundle: Path) -> None:
    file = bundle / "distilshift.json"
    file.write_text(file.read_text().replace('"positive"', '"negative"', 1))


def swap_tokenizer(bundle: Path) -> None:
    """The tokenizer of another model, with hashes that match."""
    make_tokenizer("bert", words=" ".join(f"word{index}" for index in range(200))).save_pretrained(bundle)
    write_manifest(bundle, read_manifest(bundle))


def extra_label(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    write_manifest(bundle, replace(manifest, label_names=[*manifest.label_names, "third"]))


BAD_BUNDLES: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "truncated weights": (lambda b: cut(b / "model.safetensors"), "a", r"model.safetensors is damaged or edited"),
    "truncated network": (lambda b: cut(b / "onnx/model.onnx"), "epi", r"model.onnx is damaged or edited"),
    "truncated manifest": (lambda b: cut(b / "distilshift.json"), "aepi", "distilshift.json is damaged or edited"),
    "edited manifest": (relabel, "aepi", "its sha256 does not match its content"),
    "edited config": (lambda b: (b / "config.json").write_text("{}"), "aepi", "config.json is damaged or edited"),
    "tokenizer missing": (lambda b: (b / "tokenizer.json").unlink(), "aepi", "tokenizer.json .*it is missing"),
    "tokenizer of another model": (swap_tokenizer, "aep", "is of another model: .*at most 79 pieces, got 257"),
    "more names than logits": (extra_label, "ep", "has parts of different models: expected 3 logits, got 2"),
    "pickle added": (lambda b: (b / "a.pkl").write_bytes(b"\x80"), "ai", "could run code. Fix: remove it"),
    "gone": (shutil.rmtree, "aepi", "is not a bundle: .*no such folder"),
}


@pytest.mark.parametrize(
    ("verb", "damage", "text"),
    [pytest.param(verb, *row[::2], id=f"{verb}-{name}") for name, row in BAD_BUNDLES.items() for verb in row[1]],
)
def test_a_bad_bundle_is_named_with_its_fix(
    command: Any,
    refused: Any,
    teacher_bundle: Path,
    student_bundle: Path,
    tmp_path: Path,
    verb: str,
    damage: Callable[[Path], Any],
    text: str,
):
    bundle = tmp_path / "bundle"
    shutil.copytree(teacher_bundle if verb == "a" else student_bundle, bundle)
    damage(bundle)
    (tmp_path / "a.csv").write_text(GOOD)
    if verb in "ep" and "model.onnx" in text:
        line = refused([*command(verb, tmp_path / "a.csv", bundle), "--model", "fp32"])
    else:
        line = refused(command(verb, tmp_path / "a.csv", bundle))
    assert re.search(text, line)


@pytest.mark.parametrize(("verb", "wanted"), [("a", "a teacher, got a student"), ("p", "a student, got a teacher")])
def test_the_wrong_kind_of_bundle_is_named(
    command: Any, refused: Any, tmp_path: Path, teacher_bundle: Path, student_bundle: Path, verb: str, wanted: str
):
    (tmp_path / "a.csv").write_text(GOOD)
    line = refused(command(verb, tmp_path / "a.csv", student_bundle if verb == "a" else teacher_bundle))
    assert re.search(f"of the wrong kind: expected {wanted}. Fix: .*distilshift ", line)


def test_import_of_what_is_no_classifier_is_refused(refused: Any, tmp_path: Path):
    encoder = make_encoder(tmp_path / "encoder")
    assert "is not a classification checkpoint" in refused(["import", encoder, "-o", tmp_path / "out"])
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    line = refused(["import", checkpoint, "-o", tmp_path / "out", "--label-names", "0=a"])
    assert "expected a name for each of 0, 1, got 0=a" in line


def test_a_base_model_that_is_none_leaves_the_way_free(command: Any, refused: Any, run_cli: Any, tmp_path: Path):
    """The corrected command is not taken for another run."""
    data = tmp_path / "a.csv"
    data.write_text(GOOD)
    line = refused(command("t", data, tmp_path / "nosuch" / "model"))
    assert "got no such folder" in line
    assert run_cli(*command("t", data)).code == 0


def test_a_label_the_bundle_does_not_know_is_named(command: Any, refused: Any, tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,label\ngood,positive\nodd,mixed\n")
    line = refused(command("e", tmp_path / "a.csv"))
    assert "expected some of negative, positive, got mixed. Fix: rename them with --label-names" in line


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_a_blank_text_is_refused(command: Any, refused: Any, text: str):
    assert "the text is blank" in refused(command("p", text))


TOML: dict[str, tuple[str, str]] = {
    "unknown keys": (
        "epoch = 3\nlr = 1e-4\nmethods = 'shot'\n",
        "3 invalid.*epoch is unknown; lr is unknown; methods",
    ),
    "all at once": (
        "epoch = 3\nseed = -1\nmax_length = 'x'\n",
        "(?=.*3 inv)(?=.*epoch is unknown)(?=.*seed in)(?=.*max_length in)",
    ),
    "out of range": ("seed = -1\n", "seed input should be greater than or equal to 0, got -1. Fix: correct"),
    "wrong type": ("max_length = 'long'\n", "max_length .*got 'long'"),
    "not TOML": ("seed: 3\n", "is not TOML: got .*line 1"),
    "not UTF-8": ("seed = 3 # \udce9\n", "is not TOML"),
    "a number of digits": ("seed = " + "9" * 5_000, "is not TOML"),
    "endless brackets": ("seed = " + "[" * 100_000, "is not TOML"),
    "no seed of libraries": ("seed = 18446744073709551616", "seed input should be less than or equal to 4294967295"),
    "a table": ("[adapt]\nseed = 3\n", "adapt is unknown"),
}


@pytest.mark.parametrize(("content", "text"), TOML.values(), ids=TOML)
@pytest.mark.parametrize("verb", "ta")
def test_bad_options_in_a_file_are_all_named_at_once(
    command: Any, refused: Any, tmp_path: Path, verb: str, content: str, text: str
):
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "o.toml").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert re.search(text, refused([*command(verb, tmp_path / "a.csv"), "--config", tmp_path / "o.toml"]))


def test_a_missing_options_file_is_named(command: Any, refused: Any, tmp_path: Path):
    line = refused([*command("a", "x.txt"), "--config", tmp_path / "o.toml"])
    assert "o.toml: got No such file or directory. Fix: name a readable TOML file" in line


def test_late_options_that_contradict_each_other_are_refused(command: Any, refused: Any, tmp_path: Path):
    (tmp_path / "a.csv").write_text(GOOD)
    line = refused([*command("a", tmp_path / "a.csv"), "--span-min-words", "9", "--span-max-words", "8"])
    assert "expected span_min_words <= span_max_words, got 9 > 8" in line
    late = ("--feedback", "0.5", "--feedback-every", "6")
    assert "expected feedback_every of less than the 6 distil_epochs" in refused(
        [*command("a", tmp_path / "a.csv"), *late]
    )
    assert "student_layers is too large" in refused([*command("a", tmp_path / "a.csv"), "--student-layers", "9"])


@pytest.mark.parametrize("verb", "tp")
def test_nothing_else_is_printed_by_the_installed_command(command: Any, tmp_path: Path, verb: str):
    """In a process of its own: no log line, no warning of a library, no traceback."""
    (tmp_path / "a.csv").write_text("text,label\ngood,x\n\0,x\n")
    arguments = map(str, command(verb, tmp_path / "a.csv"))
    line = [sys.executable, "-m", "distilshift", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    check_line(done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_verbose_adds_the_traceback(run_cli: Any, caplog: pytest.LogCaptureFixture, flag: str):
    done = run_cli(flag, "inspect", "/nosuch")
    assert done.code == 2
    assert "Traceback" in caplog.text
    assert "BundleError" in caplog.text
