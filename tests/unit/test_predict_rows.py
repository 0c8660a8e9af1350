"""What `predict` takes for a text, for a file, and what it does with the other columns and with open pipes."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distilshift import Predictor
from distilshift.cli.rows import renamed

COMMAND = [sys.executable, "-m", "distilshift", "predict"]


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# Texts and files


@pytest.mark.parametrize(
    "name",
    [
        "reviews.json",
        "reviews.xlsx",
        "server.log",
        "data/reviews",
        "my reviews.csv.zst",
        "reviews",
        "..",
        "a\\b",
        "a b.TXT",
    ],
)
def test_what_may_be_a_mistyped_file_is_not_labelled(
    run_cli: Any, student_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.chdir(tmp_path)
    done = run_cli("predict", student_bundle, name)
    assert (done.code, done.out) == (2, "")
    assert "no such file" in done.err or "without data files" in done.err
    if name != "..":
        assert "pass a text with --text" in done.err
        assert rows_of(run_cli("predict", student_bundle, "--text", name).out)[0]["text"] == name


@pytest.mark.parametrize(
    "text", ["A joy to use.", "good film", "Was it good? Yes!", "bad\nbook/film", "5 stars: *****"]
)
def test_a_text_of_several_words_needs_no_option(run_cli: Any, student_bundle: Path, text: str):
    (row,) = rows_of(run_cli("predict", student_bundle, text).out)
    assert (row["text"], row["label"] in {"positive", "negative"}) == (text, True)


@pytest.mark.parametrize("given", [["A joy to use."], ["--text", "good", "--text", "bad"]])
def test_a_text_has_no_column_to_keep(run_cli: Any, student_bundle: Path, given: list[str]):
    done = run_cli("predict", student_bundle, *given, "--id-column", "id")
    assert (done.code, done.out) == (2, "")
    assert "a text of the command line has no columns: expected a file, got a text, and --id-column id" in done.err


def test_several_texts_and_several_files(run_cli: Any, student_bundle: Path, tmp_path: Path):
    rows = rows_of(run_cli("predict", student_bundle, "--text", "good", "--text", "bad").out)
    assert [row["text"] for row in rows] == ["good", "bad"]
    (tmp_path / "a.txt").write_text("good\n")
    (tmp_path / "b.csv").write_text("text\nbad\n")
    files = [tmp_path / "a.txt", tmp_path / "b.csv"]
    assert [row["text"] for row in rows_of(run_cli("predict", student_bundle, *files).out)] == ["good", "bad"]
    done = run_cli("predict", student_bundle, tmp_path / "a.txt", "--text", "good")
    assert (done.code, "exclude each other" in done.err) == (2, True)
    assert (
        "would change"
        in run_cli("predict", student_bundle, *files, "-o", files[1], "--overwrite", "--format", "csv").err
    )
    done = run_cli("predict", student_bundle, f"{tmp_path}/*.csv", "-o", files[1], "--overwrite")
    assert "would change" in done.err
    assert files[1].read_text() == "text\nbad\n"


# Columns

TABLE = "id,label,text,votes,score\n7,positive,good film,3,0.5\n8,negative,bad book,,1\n"


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_the_columns_of_the_input_are_kept(run_cli: Any, student_bundle: Path, tmp_path: Path, form: str):
    (tmp_path / "a.csv").write_text(TABLE)
    done = run_cli("predict", student_bundle, tmp_path / "a.csv", "--format", form)
    rows: list[Any] = rows_of(done.out) if form == "jsonl" else list(csv.DictReader(io.StringIO(done.out)))
    wanted = Predictor.load(student_bundle).predict(["good film", "bad book"])
    assert [row["label"] for row in rows] == [item.label for item in wanted]
    kept = [{key: row[key] for key in ("id", "input_label", "votes", "score")} for row in rows]
    assert kept == [
        {"id": "7", "input_label": "positive", "votes": "3", "score": "0.5"},
        {"id": "8", "input_label": "negative", "votes": "", "score": "1"},
    ]
    done = run_cli("predict", student_bundle, tmp_path / "a.csv", "--format", form, "--id-column", "id")
    rows = rows_of(done.out) if form == "jsonl" else list(csv.DictReader(io.StringIO(done.out)))
    assert [row["id"] for row in rows] == ["7", "8"]
    assert not {"votes", "input_label"} & set(rows[0])
    assert "`--id-column score`" in run_cli("predict", student_bundle, tmp_path / "a.csv", "--id-column", "scores").err


def test_values_of_json_and_parquet_keep_their_types(run_cli: Any, student_bundle: Path, tmp_path: Path):
    columns = {"text": ["good", "bad"], "n": [1, None], "tags": [["a"], []]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    lines = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("a.parquet", "a.jsonl"):
        rows = rows_of(run_cli("predict", student_bundle, tmp_path / name).out)
        assert [(row["n"], row["tags"]) for row in rows] == [(1, ["a"]), (None, [])]
        table = list(
            csv.DictReader(io.StringIO(run_cli("predict", student_bundle, tmp_path / name, "--format", "csv").out))
        )
        assert [(row["n"], row["tags"]) for row in table] == [("1", '["a"]'), ("", "[]")]


def test_rows_of_csv_have_the_same_columns_or_are_refused(run_cli: Any, student_bundle: Path, tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{oops\n{"text": "good", "a": 1}\n{"text": "bad"}\n')
    done = run_cli("predict", student_bundle, tmp_path / "a.jsonl", "--skip-bad", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["text"], row["a"], bool(row["problem"])) for row in rows] == [
        ("", "", True),
        ("good", "1", False),
        ("bad", "", False),
    ]
    (tmp_path / "b.jsonl").write_text('{"text": "good", "a": 1}\n{"text": "bad", "b": 2}\n')
    done = run_cli("predict", student_bundle, tmp_path / "b.jsonl", "--format", "csv", "-o", tmp_path / "out.csv")
    assert (done.code, "a row has a column that the header of the CSV output lacks" in done.err) == (2, True)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (
            "a.txt",
            "only the columns of the first row (none besides the text), got also 'id'. Fix: pass --format jsonl\n",
        ),
        ("b.csv", "only the columns of the first row ('n'), got also 'id'. Fix: pass --format jsonl\n"),
        ("c.csv", "only the columns of the first row ('my id'), got also 'n'. Fix: pass --format jsonl, or keep one "),
    ],
)
def test_inputs_of_several_kinds_get_a_fix_that_works(
    run_cli: Any, student_bundle: Path, tmp_path: Path, first: str, said: str
):
    (tmp_path / "a.txt").write_text("good\n")
    (tmp_path / "b.csv").write_text("n,text\n1,good\n")
    (tmp_path / "c.csv").write_text("my id,text\n1,good\n")
    (tmp_path / "z.csv").write_text("id,text\n8,bad\n" if first != "c.csv" else "n,my id,text\n3,8,bad\n")
    call = ("predict", student_bundle, tmp_path / first, tmp_path / "z.csv", "--format")
    done = run_cli(*call, "csv")
    assert done.code == 2
    assert said in done.err
    options = ["csv", "--id-column", "my id"] if "--id-column 'my id'" in done.err else ["jsonl"]
    assert (first == "c.csv") == (options[0] == "csv")
    assert run_cli(*call, *options).code == 0


def test_columns_without_a_name_get_one(run_cli: Any, student_bundle: Path, tmp_path: Path):
    """As the index that pandas writes."""
    (tmp_path / "a.csv").write_text(",text,\n7,good,x\n")
    (row,) = rows_of(run_cli("predict", student_bundle, tmp_path / "a.csv").out)
    assert (row["unnamed_0"], row["unnamed_2"]) == ("7", "x")


def test_a_row_without_a_text_keeps_its_number(run_cli: Any, student_bundle: Path, tmp_path: Path):
    (tmp_path / "a.csv").write_text("id,text\n7,\n8,good\n")
    rows = rows_of(run_cli("predict", student_bundle, tmp_path / "a.csv", "--skip-bad").out)
    assert [(row["id"], row["label"] is None) for row in rows] == [("7", True), ("8", False)]


def test_names_that_clash_are_lengthened_until_they_do_not():
    columns = dict.fromkeys(["label", "input_label", "text", "id"])
    assert renamed(columns, ("text", "label")) == {
        "label": "input_input_label",
        "input_label": "input_label",
        "text": "input_text",
        "id": "id",
    }


def test_its_own_output_is_read_as_probabilities(run_cli: Any, student_bundle: Path, tmp_path: Path):
    """Columns that it carries are no classes."""
    from distilshift.data.probabilities import read_probabilities

    (tmp_path / "a.csv").write_text(TABLE)
    for name in ("p.csv", "p.jsonl"):
        assert run_cli("predict", student_bundle, tmp_path / "a.csv", "-o", tmp_path / name).code == 0
        found = read_probabilities(tmp_path / name)
        assert (found.label_names, found.rows.shape) == (["negative", "positive"], (2, 2))


# Pipes and terminals


def test_a_blank_line_keeps_its_place_and_stops_nothing(run_cli: Any, student_bundle: Path, tmp_path: Path):
    (tmp_path / "a.txt").write_text("good\n\nbad\n\n")
    done = run_cli("predict", student_bundle, tmp_path / "a.txt")
    assert done.code == 0
    assert [(row["text"], row["label"] is None) for row in rows_of(done.out)] == [
        ("good", False),
        ("", True),
        ("bad", False),
        ("", True),
    ]
    assert "line 2: blank line" in rows_of(done.out)[1]["problem"]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_line_buffered_answers_while_the_pipe_is_open(student_bundle: Path, form: str):
    command = [*COMMAND, student_bundle, "-", "--line-buffered", "--format", form]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for text in (b"good film", b"", b"bad book"):
            process.stdin.write(text + b"\n")
            process.stdin.flush()
            if form == "csv" and text == b"good film":
                assert process.stdout.readline().startswith(b"text,label,")
            assert text in process.stdout.readline()
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize("source", [[], ["-"]])
def test_a_terminal_is_told_that_it_is_waited_for_and_gets_answers_at_once(student_bundle: Path, source: list[str]):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, student_bundle, *source], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(theirs)
        assert process.stdout
        assert process.stderr
        assert process.stderr.readline() == b"Reading texts from the terminal, one per line; Ctrl-D ends them.\n"
        os.write(ours, b"good film\n")
        assert json.loads(process.stdout.readline())["text"] == "good film"
        os.write(ours, b"\x04")
        assert process.wait(60) == 0
    os.close(ours)
