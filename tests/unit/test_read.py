"""What the reader accepts, and that it gives back exactly what was written."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import logging
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.config import InputConfig, LabelledInputConfig
from distilshift.data.read import (
    ReadReport,
    Texts,
    iter_examples,
    iter_labelled,
    label_mapping,
    read_examples,
    read_labelled,
    require_classes,
)
from distilshift.types import Example

PLAIN, LABELLED = InputConfig(), LabelledInputConfig()
ROWS = [("good film", "positive"), ('she said "no"', "negative"), ("two\nlines, and\ta tab", "positive")]


def write_table(path: Path, rows: list[tuple[str, str]], delimiter: str = ",") -> Path:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([("text", "label"), *rows])
    return path


def write_jsonl(path: Path, rows: list[tuple[str, str]], ascii_only: bool = False) -> Path:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps({"text": t, "label": y}, ensure_ascii=ascii_only) + "\n" for t, y in rows)
    return path


def write_parquet(path: Path, rows: list[tuple[str, str]]) -> Path:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": [t for t, _ in rows], "label": [y for _, y in rows]}), buffer)
    data = buffer.getvalue()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write(path: Path, name: str, rows: list[tuple[str, str]]) -> Path:
    if ".parquet" in name:
        return write_parquet(path / name, rows)
    if ".jsonl" in name or ".ndjson" in name:
        return write_jsonl(path / name, rows)
    return write_table(path / name, rows, "\t" if ".tsv" in name else ",")


def texts_of(path: object, config: InputConfig = PLAIN) -> list[str]:
    return [example.text for example in iter_examples(path, config)]  # type: ignore[arg-type]


def labels_of(path: Path, config: LabelledInputConfig = LABELLED) -> list[str | None]:
    return [example.label for example in read_labelled(path, config).examples]


def as_is(**options: object) -> LabelledInputConfig:
    return LabelledInputConfig(label_names="as-is", **options)  # type: ignore[arg-type]


NAMES = [
    f"reviews{kind}{packed}" for kind in (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet") for packed in ("", ".gz")
]


@pytest.mark.parametrize("name", NAMES)
def test_every_table_format_gives_texts_and_labels(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, ROWS)
    assert read_labelled(path, LABELLED) == Texts(tuple(Example(text=t, label=y) for t, y in ROWS), 0)
    assert read_examples(str(path), PLAIN).examples == tuple(Example(text=t) for t, _ in ROWS)


@pytest.mark.parametrize("name", NAMES)
def test_suffixes_are_not_case_sensitive(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, ROWS)
    assert texts_of(path.rename(tmp_path / name.upper())) == [t for t, _ in ROWS]


def test_plain_text_packed_and_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    assert texts_of(tmp_path / "a.txt") == texts_of(tmp_path / "a.txt.gz") == ["one", "two"]


def test_pairs(tmp_path: Path) -> None:
    (tmp_path / "nli.csv").write_text("premise,label,hypothesis\nrain,yes,wet\nsun,no,cold\n")
    config = LabelledInputConfig(text_column="premise", pair_column="hypothesis")
    assert list(iter_labelled(tmp_path / "nli.csv", config)) == [
        Example("rain", "wet", "yes"),
        Example("sun", "cold", "no"),
    ]


# Lines and characters


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "unended"])
def test_line_ends(tmp_path: Path, end: str, last: bool) -> None:
    for name, lines in (
        ("a.txt", ["one", "two"]),
        ("a.csv", ["text,label", "one,x", "two,y"]),
        ("a.jsonl", ['{"text": "one"}', '{"text": "two"}']),
    ):
        (tmp_path / name).write_bytes((end.join(lines) + end * last).encode())
        assert texts_of(tmp_path / name) == ["one", "two"], name


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85"])
def test_unicode_line_separators_do_not_split(tmp_path: Path, mark: str) -> None:
    text = f"before{mark}after"
    (tmp_path / "a.txt").write_bytes(f"{text}\nnext\n".encode())
    assert texts_of(tmp_path / "a.txt") == [text, "next"]
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        assert texts_of(write(tmp_path, name, [(text, "x"), ("next", "x")])) == [text, "next"]


def test_quoted_line_ends_are_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'text,label\r\n"one\r\ntwo\rthree\nfour",x\r\n')
    assert texts_of(tmp_path / "a.csv") == ["one\r\ntwo\rthree\nfour"]


def test_a_quote_inside_an_unquoted_cell_is_a_character(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\na 5" disk\tx\n')
    assert texts_of(tmp_path / "a.tsv") == ['a 5" disk']


def test_blank_lines_of_tables_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\none,x\n\n\ntwo,y\n\n")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n  \n{"text": "two"}\n\n')
    assert texts_of(tmp_path / "a.csv") == texts_of(tmp_path / "a.jsonl") == ["one", "two"]


def test_surrounding_white_space_and_control_characters_of_texts_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"  one \x07\x1b[0m\t\n")
    assert texts_of(tmp_path / "a.txt") == ["  one \x07\x1b[0m\t"]


def test_json_escapes_of_astral_characters(tmp_path: Path) -> None:
    assert texts_of(write_jsonl(tmp_path / "a.jsonl", [("fine \U0001f600", "x")], ascii_only=True)) == [
        "fine \U0001f600"
    ]


# Encodings


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_utf8_mark_is_dropped(tmp_path: Path, name: str, encoding: str) -> None:
    body = {"a.txt": "one\n", "a.csv": "text,label\none,x\n", "a.jsonl": '{"text": "one"}\n'}[name]
    (tmp_path / name).write_bytes(codecs.BOM_UTF8 + body.encode())
    assert texts_of(tmp_path / name, InputConfig(encoding=encoding)) == ["one"]


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("utf-16", "utf-16"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
        ("latin-1", "latin-1"),
        ("latin-1", "ISO-8859-1"),
        ("cp1252", "cp1252"),
        ("utf-8-sig", "utf-8-sig"),
    ],
)
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_named_encodings(tmp_path: Path, written: str, named: str, packed: str) -> None:
    data = "text,label\ncafé,x\nnaïve,y\n".encode(written)
    path = tmp_path / f"a.csv{packed}"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert texts_of(path, InputConfig(encoding=named)) == ["café", "naïve"]


def test_utf16_with_a_mark_and_a_named_byte_order(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(codecs.BOM_UTF16_LE + "é\n".encode("utf-16-le"))
    assert texts_of(tmp_path / "a.txt", InputConfig(encoding="utf-16-le")) == ["é"]


# Handles


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("one\ncafé".encode("latin-1")), encoding="ascii"))
    assert texts_of("-", InputConfig(encoding="latin-1")) == ["one", "café"]
    assert not sys.stdin.buffer.closed


def test_handles(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv.gz", [("café", "x")])
    (tmp_path / "b.csv").write_text("text\ncafé\n", encoding="latin-1")
    with path.open("rb") as packed, gzip.open(path) as unpacked, (tmp_path / "b.csv").open(encoding="latin-1") as text:
        assert texts_of(packed) == texts_of(unpacked) == texts_of(text) == ["café"]
        assert not packed.closed
    assert texts_of(io.BytesIO(b"one\ntwo")) == texts_of(io.StringIO("one\ntwo")) == ["one", "two"]


def test_parquet_from_a_handle(tmp_path: Path) -> None:
    with write(tmp_path, "a.parquet", ROWS).open("rb") as file:
        assert texts_of(file) == [t for t, _ in ROWS]


# Lengths and memory


def test_long_texts_where_there_is_no_limit(tmp_path: Path) -> None:
    text = "word " * 400_000
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.parquet"):
        assert texts_of(write(tmp_path, name, [(text, "x")]), InputConfig(max_chars=0)) == [text]
    (tmp_path / "a.txt").write_text(text)
    assert texts_of(tmp_path / "a.txt", InputConfig(max_chars=0)) == [text]


def test_wide_columns_that_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"text,html\nshort,{'h' * 200_000}\n")
    assert texts_of(tmp_path / "a.csv") == ["short"]


def test_csv_limit_of_the_process_is_left_alone(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    reader = iter_examples(write(tmp_path, "a.csv", ROWS), InputConfig(max_chars=0))
    next(reader)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.parquet", "a.csv.gz"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = [("word " * 200, "x")] * 8_000
    if name == "a.txt":
        path.write_text("".join(f"{t}\n" for t, _ in rows))
    else:
        write(tmp_path, name, rows)
    tracemalloc.start()
    assert sum(1 for _ in iter_examples(path, PLAIN)) == 8_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000  # the texts are 8 MB


# Labels


def test_labels_are_stripped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text, label\none, good \ntwo,\tbad\n")
    assert labels_of(tmp_path / "a.csv") == ["good", "bad"]


def test_boolean_labels_are_words(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": true}\n{"text": "b", "label": false}\n')
    pq.write_table(pa.table({"text": ["a", "b"], "label": [True, False]}), tmp_path / "a.parquet")
    assert labels_of(tmp_path / "a.jsonl") == labels_of(tmp_path / "a.parquet") == ["true", "false"]


def test_numbers_as_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "b", "label": 1.0}\n')
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("text,label\na,01\nb,1e3\n")
    assert labels_of(tmp_path / "a.jsonl", as_is()) == ["1", "1.0"]
    assert labels_of(tmp_path / "a.parquet", as_is()) == ["0", "1"]
    assert labels_of(tmp_path / "a.csv", as_is()) == ["01", "1e3"]


def test_numbers_by_name(tmp_path: Path) -> None:
    config = LabelledInputConfig(label_names=" 0 = negative, 1=very = positive")
    for name, body in (
        ("a.csv", "text,label\na,0\nb, 1\n"),
        ("a.jsonl", '{"text":"a","label":0}\n{"text":"b","label":1}'),
    ):
        (tmp_path / name).write_text(body)
        assert labels_of(tmp_path / name, config) == ["negative", "very = positive"]


def test_names_may_be_renamed_too() -> None:
    assert label_mapping("neg=negative,pos=positive") == {"neg": "negative", "pos": "positive"}


def test_numbers_among_names_are_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\nb,2\nc,unknown\n")
    assert labels_of(tmp_path / "a.csv") == ["1", "2", "unknown"]


def test_dictionary_encoded_and_large_strings(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b"], pa.large_string()),
            "label": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert labels_of(tmp_path / "a.parquet") == ["x", "y"]


def test_require_classes_accepts_two() -> None:
    require_classes([Example("a", label="x"), Example("b", label="y")], "a.csv")


# Rows left out


def test_skip_bad_counts_reports_and_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n \n")
    report = ReadReport()
    with caplog.at_level(logging.WARNING, logger="distilshift"):
        found = list(iter_examples(tmp_path / "a.txt", InputConfig(skip_bad=True), report=report))
    assert found == [Example("one"), Example("two")]
    assert (report.rows, report.bad) == (4, 2)
    assert "line 2: blank line" in str(report.first_problem)
    (record,) = caplog.records
    assert "left out 2 of 4 rows" in record.getMessage()
    assert "line 2: blank line" in record.getMessage()
    assert read_examples(tmp_path / "a.txt", InputConfig(skip_bad=True)).skipped == 2


def test_nothing_is_logged_where_nothing_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts_of(write(tmp_path, "a.csv", ROWS), InputConfig(skip_bad=True))
    assert not caplog.records


@pytest.mark.parametrize("skip_bad", [True, False])
def test_pass_bad_keeps_the_places_of_rows(tmp_path: Path, skip_bad: bool) -> None:
    (tmp_path / "a.csv").write_bytes(b'text,label\none,x\n,x\nragged\n"a"b,x\ncaf\xe9,x\ntwo,x\n"open,x\n')
    found = list(iter_examples(tmp_path / "a.csv", InputConfig(skip_bad=skip_bad), pass_bad=True))
    assert [example.text for example in found] == ["one", "", "", "", "", "two", ""]
    words = [None, "blank", "cells", "malformed", "0xe9", None, "closing quote"]
    for number, (example, word) in enumerate(zip(found, words, strict=True), start=1):
        assert (example.problem is None) == (word is None)
        if word:
            assert "--skip-bad" not in str(example.problem)
            assert word in str(example.problem)
            assert f"line {number + 1} (row {number})" in str(example.problem) or word == "0xe9"


def test_pass_bad_of_labelled_and_other_formats(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": null}\nnonsense\n{"text": "b", "label": "x"}\n')
    first, second, third = iter_labelled(tmp_path / "a.jsonl", LABELLED, pass_bad=True)
    assert (first.text, first.label, second.text, third) == ("", None, "", Example("b", label="x"))
    assert "blank label" in str(first.problem)
    assert "not JSON" in str(second.problem)


def test_a_line_without_end_is_one_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"one\n{'x' * 3_000_000}\ntwo\n")
    assert texts_of(tmp_path / "a.txt", InputConfig(skip_bad=True, max_chars=100)) == ["one", "two"]


def test_an_open_quote_costs_its_own_row_only(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\none,x\n"open,x\ntwo,x\n"three\n3",x\nfour,x\n"open,x\nfive,x\n')
    found = list(iter_examples(tmp_path / "a.csv", PLAIN, pass_bad=True))
    assert [example.text for example in found] == ["one", "", "two", "three\n3", "four", "", "five"]
    assert "line 3 (row 2)" in str(found[1].problem)
    assert "line 8 (row 6)" in str(found[5].problem)


# Imports


def test_reading_needs_only_the_base_install(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", ROWS)
    write(tmp_path, "a.parquet", ROWS)
    code = """
import sys
from distilshift.config import LabelledInputConfig
from distilshift.data.read import read_labelled
read_labelled(sys.argv[1] + "/a.csv", LabelledInputConfig())
assert "pyarrow" not in sys.modules
read_labelled(sys.argv[1] + "/a.parquet", LabelledInputConfig())
assert "pyarrow" in sys.modules
assert not {"torch", "transformers", "pandas"} & set(sys.modules)
"""
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={"PYTHONPATH": source}, check=False)
    assert done.returncode == 0


# Round trips

C1 = "".join(map(chr, {*range(0x80, 0xA0)} - {0x85}))
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0" + C1), min_size=1, max_size=30)
USABLE = TEXT.filter(lambda text: text.strip() != "")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(texts=st.lists(USABLE, min_size=1, max_size=8))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, name: str, texts: list[str]) -> None:
    """Of tables with `--quoting csv`: what `auto` makes of them is test_quoting's."""
    path = write(tmp_path_factory.mktemp("round"), name, [(text, "x") for text in texts])
    assert [example.text for example in read_labelled(path, LabelledInputConfig(quoting="csv")).examples] == texts


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(USABLE.filter(lambda text: not set("\r\n\ufeff") & set(text)), min_size=1, max_size=8))
def test_round_trip_of_plain_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("round") / "a.txt"
    path.write_bytes("\n".join(texts).encode())
    assert texts_of(path) == texts
