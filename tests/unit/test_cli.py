"""The command line at work: help, predict, evaluate, inspect, and options from files."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift import Predictor, evaluate
from distilshift.bundle import read_manifest
from distilshift.cli.evaluate_ import _show
from distilshift.cli.main import VERBS
from distilshift.cli.predict_ import _writer
from distilshift.config import AdaptConfig, EvaluateConfig, ImportConfig, PredictConfig, QueryConfig, TeachConfig
from distilshift.errors import ConfigError, DataError, OutputError
from distilshift.types import Evaluation, Example

TEXTS = ["good film", "bad bad book", "it was a great pan", "awful"]
CONFIGS = {
    "teach": TeachConfig,
    "import": ImportConfig,
    "adapt": AdaptConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "query": QueryConfig,
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_every_option(run_cli: Any, verb: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")
    done = run_cli(verb, "--help")
    assert done.code == 0
    assert done.err == ""
    assert f" {verb} [OPTIONS]" in done.out
    for field in fields(CONFIGS[verb]) if verb in CONFIGS else ():
        assert "--" + field.name.replace("_", "-") in done.out


def test_the_command_lists_its_verbs_and_version(run_cli: Any):
    done = run_cli("--help")
    assert done.code == 0
    assert [verb for verb in VERBS if verb not in done.out] == []
    assert run_cli("--version").out.strip().endswith("0.1.0")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["teach"], "Missing argument 'DATA...'"),
        (["teach", "a.csv"], "Missing option '-o'"),
        (["adapt", "t", "a.txt", "-o", "x", "--adapt-batch-size", "1"], "1 is not in the range x>=2"),
        (["adapt", "t", "a.txt", "-o", "x", "--method", "magic"], "'magic' is not one of"),
        (["adapt", "t", "a.txt", "-o", "x", "--nosuch", "y"], "No such option"),
    ],
)
def test_a_wrong_command_is_a_usage_error(run_cli: Any, arguments: list[str], text: str):
    done = run_cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert text in done.err
    assert "Traceback" not in done.err


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """A function that puts bytes on standard input."""

    def put(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return put


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def predicted(student_bundle: Path) -> list[dict[str, Any]]:
    """What the Python API says of TEXTS."""
    found = Predictor.load(student_bundle).predict(TEXTS)
    assert {item.label for item in found} == {"positive", "negative"}
    assert all(item.abstained is None for item in found)
    rows = zip(TEXTS, found, strict=True)
    return [{"text": text, "label": item.label, "probabilities": item.probabilities} for text, item in rows]


def test_a_text_a_file_and_standard_input_give_what_the_api_gives(
    run_cli: Any, piped: Any, student_bundle: Path, tmp_path: Path, predicted: list[dict[str, Any]]
):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfreview\r\n" + "\r\n".join(TEXTS).encode())
    assert rows_of(run_cli("predict", student_bundle, tmp_path / "a.txt").out) == predicted
    assert rows_of(run_cli("predict", student_bundle, tmp_path / "a.csv", "--text-column", "review").out) == predicted
    for arguments in (["-"], []):
        piped("\n".join(TEXTS).encode())
        assert rows_of(run_cli("predict", student_bundle, *arguments).out) == predicted
    (one,) = rows_of(run_cli("predict", student_bundle, TEXTS[1]).out)
    alone = Predictor.load(student_bundle).predict(TEXTS[1:2])[0]  # of int8, a text's company changes the last digits
    assert one == {"text": TEXTS[1], "label": alone.label, "probabilities": alone.probabilities}
    assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("arguments", [["-o", "out.csv"], ["-o", "out.dat", "--format", "csv"], ["--format", "csv"]])
def test_csv_output_has_a_column_a_class(
    run_cli: Any, student_bundle: Path, tmp_path: Path, predicted: Any, arguments: list[str], monkeypatch: Any
):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("\n".join(TEXTS))
    done = run_cli("predict", student_bundle, "a.txt", *arguments)
    content = Path(arguments[1]).read_text() if "-o" in arguments else done.out
    rows = list(csv.DictReader(io.StringIO(content)))
    assert list(rows[0]) == ["text", "label", "negative", "positive", "problem"]
    assert [row["label"] for row in rows] == [row["label"] for row in predicted]
    assert [float(row["negative"]) for row in rows] == [row["probabilities"]["negative"] for row in predicted]
    assert {row["problem"] for row in rows} == {""}


def test_skipped_rows_keep_their_place(run_cli: Any, student_bundle: Path, tmp_path: Path):
    data = tmp_path / "a.jsonl"
    lines = ['{"text": "good"}', '{"text": " "}', "{oops", '{"text": "bad", "text": "x"}', '{"text": "awful"}']
    data.write_text("\n".join(lines))
    rows = rows_of(run_cli("predict", student_bundle, data, "--skip-bad").out)
    assert [row["label"] is None for row in rows] == [False, True, True, True, False]
    assert ["problem" in row for row in rows] == [False, True, True, True, False]
    assert "line 3: not JSON" in rows[2]["problem"]
    assert (rows[0]["text"], rows[4]["text"]) == ("good", "awful")
    assert run_cli("predict", student_bundle, data, "--skip-bad", "--format", "csv", "-o", tmp_path / "o").code == 0
    table = list(csv.reader((tmp_path / "o").open()))
    assert [bool(row[1]) for row in table[1:]] == [True, False, False, False, True]
    assert [bool(row[-1]) for row in table[1:]] == [False, True, True, True, False]


def test_an_output_file_appears_whole_or_not_at_all(run_cli: Any, student_bundle: Path, tmp_path: Path):
    data, output = tmp_path / "a.txt", tmp_path / "new" / "out.jsonl"
    data.write_text("good\n" * 1000 + "go\0od\n")
    assert run_cli("predict", student_bundle, data, "-o", output).code == 2
    assert not output.parent.exists()
    data.write_text("good\n" * 1000)
    assert run_cli("predict", student_bundle, data, "-o", output).code == 0
    first = output.read_text()
    assert len(first.splitlines()) == 1000
    assert "out.jsonl exists" in run_cli("predict", student_bundle, "--text", "bad", "-o", output).err
    assert output.read_text() == first
    assert run_cli("predict", student_bundle, "--text", "bad", "-o", output, "--overwrite").code == 0
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]
    assert rows_of(output.read_text())[0]["text"] == "bad"


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_whole_names_on_a_narrow_terminal(run_cli: Any, verb: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = run_cli(verb, "--help")
    assert (done.code, "…" in done.out) == (0, False)


def test_pairs_are_read_and_written(run_cli: Any, student_bundle: Path, pair_bundle: Path, tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,other\ngood film,bad book\nbad,good\n")
    rows = rows_of(run_cli("predict", pair_bundle, tmp_path / "a.csv", "--pair-column", "other").out)
    assert [(row["text"], row["pair"]) for row in rows] == [("good film", "bad book"), ("bad", "good")]
    alone = rows_of(run_cli("predict", student_bundle, tmp_path / "a.csv").out)
    assert abs(rows[0]["probabilities"]["positive"] - alone[0]["probabilities"]["positive"]) > 1e-3
    done = run_cli("predict", pair_bundle, tmp_path / "a.csv", "--pair-column", "other", "--format", "csv")
    table = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["text"], row["pair"], row["label"]) for row in table] == [
        (row["text"], row["pair"], row["label"]) for row in rows
    ]


def test_a_bundle_of_pairs_labels_no_single_text(run_cli: Any, pair_bundle: Path, tmp_path: Path):
    bundle = pair_bundle
    (tmp_path / "a.csv").write_text("text,other,label\ngood film,bad book,positive\nbad,good,negative\n")
    for verb in ("predict", "evaluate"):
        done = run_cli(verb, bundle, tmp_path / "a.csv")
        assert (done.code, done.out) == (2, "")
        assert "the bundle labels pairs of texts: expected two texts, got one. Fix: " in done.err
        assert run_cli(verb, bundle, tmp_path / "a.csv", "--pair-column", "other").code == 0
    predictor = Predictor.load(bundle)
    with pytest.raises(DataError, match="pairs of texts"):
        predictor.predict(["good film"])
    with pytest.raises(DataError, match="pairs of texts"):
        next(predictor.stream(["good film"]))
    assert len(predictor.predict([("good film", "bad book")])) == 1
    assert "expected pairs, got a text" in run_cli("predict", bundle, "good film", "--pair-column", "other").err


@pytest.mark.parametrize("name", ["a.tsv", "a.csv.gz", "a.parquet", "a.txt"])
def test_an_output_is_not_what_its_name_denies(run_cli: Any, student_bundle: Path, tmp_path: Path, name: str):
    done = run_cli("predict", student_bundle, "--text", "good", "-o", tmp_path / name)
    assert (done.code, "expected the ending .jsonl or .csv" in done.err) == (2, True)
    assert list(tmp_path.iterdir()) == []
    assert run_cli("predict", student_bundle, "--text", "good", "-o", tmp_path / "a.CSV").code == 0
    assert (tmp_path / "a.CSV").read_text().startswith("text,label,")


def test_a_class_that_is_called_as_a_column_is_written_to_jsonl_alone(tmp_path: Path):
    csv_file = _writer(str(tmp_path / "a.csv"), None, ["incident", "problem"], False, False)
    with pytest.raises(OutputError, match=r"got problem\. Fix: pass --format jsonl"), csv_file:
        pass
    with _writer(str(tmp_path / "a.jsonl"), None, ["incident", "problem"], False, False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_what_is_no_file_is_not_replaced(run_cli: Any, student_bundle: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    done = run_cli("predict", student_bundle, "--text", "good", "-o", tmp_path / "pipe", "--overwrite")
    assert (done.code, "pipe is no file" in done.err) == (2, True)
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "circle").symlink_to("circle")
    assert "circle is no file" in run_cli("predict", student_bundle, "--text", "good", "-o", tmp_path / "circle").err
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    assert run_cli("predict", student_bundle, "--text", "good", "-o", tmp_path / "link.jsonl", "--overwrite").code == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    assert rows_of((tmp_path / "real.jsonl").read_text())[0]["text"] == "good"


def test_names_of_classes_are_no_markup(capsys: pytest.CaptureFixture[str]):
    names = ("[/pos]", "[neg]\x1b[2J")
    _show(Evaluation(3, 0.5, 0.5, 0.1, 0.7, names, ((1, 0), (1, 1)), 0.75, (1.0, 0.5)))
    shown = capsys.readouterr().out
    assert ("balanced accuracy 75.0%" in shown, "100.0%" in shown) == (True, True)
    assert shown.count("[/pos]") == shown.count("[neg][2J") == 2
    assert "\x1b" not in shown


def test_a_table_of_many_classes_is_whole(capsys: pytest.CaptureFixture[str]):
    names = tuple(f"the class of the number {index}" for index in range(24))
    confusion = tuple(tuple(1000 + 24 * row + column for column in range(24)) for row in range(24))
    _show(Evaluation(3, 0.5, 0.5, 0.1, 0.7, names, confusion, 0.5, (None,) * len(names)))
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert rows == [[name, *map(str, row), "–"] for name, row in zip(names, confusion, strict=True)]


def test_a_teacher_is_measured_on_whole_texts_as_its_student_is(run_cli: Any, teacher_bundle: Path, tmp_path: Path):
    """Each text's beginning is contrary to the rest of it."""
    lines = [{"text": "bad " * 22 + "good " * 88, "label": "positive"}, {"text": "awful", "label": "negative"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert evaluate(teacher_bundle, tmp_path / "a.jsonl").accuracy == 1.0
    assert evaluate(teacher_bundle, tmp_path / "a.jsonl", max_windows=1).accuracy == 0.5
    done = run_cli("evaluate", teacher_bundle, tmp_path / "a.jsonl", "--model", "int8")
    assert (done.code, "is a teacher, which has no int8 network" in done.err) == (2, True)


def test_a_student_is_measured_in_as_many_windows_as_are_asked_for(student_bundle: Path):
    text = "bad " * 22 + "good " * 88
    examples = [Example(text, label="positive"), Example("awful", label="negative")]
    found = {most: evaluate(student_bundle, examples, model="fp32", max_windows=most) for most in (0, 1, 6)}
    assert found[0] == found[6]
    for most in (1, 6):
        student = Predictor.load(student_bundle, model="fp32", max_windows=most)
        likelihoods = student.probabilities([text, "awful"])[[0, 1], [1, 0]]
        assert found[most].negative_log_likelihood == pytest.approx(-np.log(likelihoods).mean(), abs=1e-5)
    assert abs(found[1].negative_log_likelihood - found[6].negative_log_likelihood) > 0.01


@pytest.mark.parametrize("choice", ["fp32", "int8"])
def test_either_network_can_be_chosen(run_cli: Any, student_bundle: Path, choice: str):
    (row,) = rows_of(run_cli("predict", student_bundle, "good film", "--model", choice).out)
    wanted = Predictor.load(student_bundle, model=choice).predict(["good film"])[0]
    assert row["probabilities"] == wanted.probabilities
    other = Predictor.load(student_bundle, model="int8" if choice == "fp32" else "fp32").predict(["good film"])[0]
    assert row["probabilities"] != other.probabilities


@pytest.mark.parametrize("options", [{"model": "int4"}, {"threads": -1}, {"threads": 10**10}, {"max_windows": -1}])
def test_options_of_a_predictor_have_their_range(student_bundle: Path, options: dict[str, Any]):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is (unknown|out of its range)"):
        Predictor.load(student_bundle, **options)


@pytest.mark.parametrize("size", [0, -1, 10**20])
def test_batches_have_their_range(student_bundle: Path, size: int):
    predictor = Predictor.load(student_bundle)
    with pytest.raises(ConfigError, match="batch_size is out of its range"):
        predictor.predict(["good"], batch_size=size)
    with pytest.raises(ConfigError, match="batch_size is out of its range"):
        list(predictor.stream(["good"], batch_size=size))


def test_a_full_device_behind_standard_output_is_named(student_bundle: Path):
    command = [sys.executable, "-m", "distilshift", "predict", str(student_bundle), "--text", "good"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: cannot write standard output: got No space left on device. Fix: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["student_bundle", "teacher_bundle"])
def test_evaluate_prints_and_writes_what_the_api_gives(
    run_cli: Any, request: pytest.FixtureRequest, source_file: Path, tmp_path: Path, kind: str
):
    bundle = request.getfixturevalue(kind)
    wanted = evaluate(bundle, source_file)
    assert wanted.accuracy == 1.0
    assert wanted.confusion == ((100, 0), (0, 100))
    done = run_cli("evaluate", bundle, source_file, "--json", tmp_path / "out.json")
    assert done.code == 0
    text = " ".join(done.out.split())
    accuracies = "accuracy 100.0%, balanced accuracy 100.0%, macro-F1 1.000"
    assert f"200 texts: {accuracies}, calibration error {wanted.calibration_error:.3f}" in text
    assert "│ positive │ 0 │ 100 │ 100.0% │" in text
    written = json.loads((tmp_path / "out.json").read_text())
    assert written == json.loads(json.dumps(asdict(wanted)))


def test_numbers_that_cannot_be_written_are_not_measured(run_cli: Any, student_bundle: Path, source_file: Path):
    done = run_cli("evaluate", student_bundle, source_file, "--json", source_file.parent)
    assert (done.code, done.out) == (2, "")
    assert f"{source_file.parent} exists" in done.err


def test_numbers_are_written_though_nobody_reads_them(student_bundle: Path, source_file: Path, tmp_path: Path):
    command = [sys.executable, "-m", "distilshift", "evaluate", student_bundle, source_file, "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*command, tmp_path / "out.json"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert json.loads((tmp_path / "out.json").read_text())["examples"] == 200


@pytest.mark.parametrize(("kind", "files"), [("student_bundle", 9), ("teacher_bundle", 6)])
def test_inspect_verifies_and_shows(run_cli: Any, request: pytest.FixtureRequest, kind: str, files: int):
    bundle = request.getfixturevalue(kind)
    done = run_cli("inspect", bundle)
    assert done.code == 0
    assert f"{files} files, all hashes match" in done.out
    assert f"{kind.split('_')[0].title()}: negative / positive" in done.out
    manifest = read_manifest(bundle)
    assert manifest.files["config.json"][:16] in done.out
    assert json.loads(run_cli("inspect", bundle, "--json").out) == asdict(manifest)


def test_options_of_a_file_hold_unless_the_command_line_says_otherwise(
    run_cli: Any, tiny_encoder: Path, source_file: Path, tmp_path: Path
):
    options = tmp_path / "o.toml"
    options.write_bytes(b"\xef\xbb\xbf" + f"base_model = '{tiny_encoder}'\nepochs = 2\nmax_length = 16\n".encode())
    arguments = ["teach", source_file, "-o", tmp_path / "t", "--config", options]
    done = run_cli(*arguments, "--epochs", "1", "--precision", "fp32")
    assert done.code == 0
    assert "Teacher in" in done.out
    config = read_manifest(tmp_path / "t").config
    assert (config["epochs"], config["max_length"], config["precision"]) == (1, 16, "fp32")


def test_numeric_labels_that_are_kept_work_to_the_end(
    run_cli: Any, tiny_encoder: Path, source_file: Path, tmp_path: Path, quick_export: None
):
    """`--label-names as-is` is said once, to `teach`."""
    data = tmp_path / "numbers.csv"
    rows = [json.loads(line) for line in source_file.read_text().splitlines()]
    data.write_text("text,label\n" + "".join(f"{r['text']},{int(r['label'] == 'positive')}\n" for r in rows))
    teach = ["teach", data, "-o", tmp_path / "t", "--base-model", tiny_encoder, "--epochs", 8]
    assert "labels are numbers" in run_cli(*teach).err
    options = ["--label-names", "as-is", "--learning-rate", "3e-3", "--precision", "fp32"]
    assert run_cli(*teach, *options).code == 0
    done = run_cli("adapt", tmp_path / "t", data, "-o", tmp_path / "s", "--student-layers", 1, "--precision", "fp32")
    assert done.code == 0
    for bundle in ("t", "s"):
        assert read_manifest(tmp_path / bundle).label_names == ["0", "1"]
        assert run_cli("evaluate", tmp_path / bundle, data).code == 0
    assert evaluate(tmp_path / "t", data).accuracy == 1.0
    assert rows_of(run_cli("predict", tmp_path / "s", "--text", "good").out)[0]["label"] in {"0", "1"}


# A library that calls Python may end in an error of its own.
OWN_ERROR = "try: signal.raise_signal(2)\n    except BaseException: raise RuntimeError('lost it') from None"


@pytest.mark.parametrize("where", ["raise KeyboardInterrupt", "exec('raise KeyboardInterrupt')", OWN_ERROR])
def test_an_interrupt_exits_with_130_wherever_it_strikes(tmp_path: Path, where: str):
    """As `python -m` runs it: imports, dataclasses among them, run code by `exec`."""
    head = "import signal\nfrom distilshift.cli import main, start\n"
    module = f"{head}def cli(**options):\n    {where}\nmain.cli = cli\nstart()\n"
    (tmp_path / "interrupted.py").write_text(module)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "Interrupted.\n"
    for words, continues in ((["adapt"], True), (["predict", "adapt"], False), (["demo"], False)):
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ("The same command continues where it stopped." in done.stderr) == continues, words


@pytest.mark.parametrize(
    ("verb", "shown"),
    [("adapt", "--no-gate"), ("predict", "--skip-bad"), ("evaluate", "Default: --no-skip-bad.")],
)
def test_help_names_the_default_of_a_switch(run_cli: Any, verb: str, shown: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")
    help_text = " ".join(run_cli(verb, "--help").out.split())
    assert shown in help_text
    for field in fields(CONFIGS[verb]):
        if isinstance(field.default, bool):
            flag = field.name.replace("_", "-")
            assert f"Default: --{'' if field.default else 'no-'}{flag}." in help_text
