"""Every flaw of an input is one DataError on one line: where, expected, got and the fix."""

from __future__ import annotations

import bz2
import codecs
import encodings.aliases
import gzip
import io
import json
import lzma
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.config import InputConfig, LabelledInputConfig
from distilshift.data.read import (
    iter_examples,
    iter_labelled,
    label_mapping,
    read_examples,
    read_labelled,
    require_classes,
)
from distilshift.errors import ConfigError, DataError, DistilshiftError, MissingExtraError
from distilshift.types import Example

PLAIN, LABELLED = InputConfig(), LabelledInputConfig()
SKIP = InputConfig(skip_bad=True)


def save(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def save_parquet(folder: Path, name: str = "a.parquet", **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def refusal(path: Any, config: InputConfig = PLAIN) -> DataError:
    """The error of reading a file; its message is checked to be one printable line with expected, got and a fix."""
    read: Any = read_labelled if isinstance(config, LabelledInputConfig) else read_examples
    with pytest.raises(DataError) as caught:
        read(path, config)
    error = caught.value
    assert error.expected
    assert error.got
    assert error.fix
    assert len(str(error).splitlines()) == 1
    str(error).encode("utf-8")
    return error


def says(error: DataError, *, at: str, expected: str, got: str, fix: str) -> None:
    for part, text in ((at, error.problem), (expected, error.expected), (got, error.got), (fix, error.fix)):
        assert part in str(text)
        assert " ".join(part.split()) in str(error)


# The file as a whole


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.txt.gz", "a.csv.gz"])
@pytest.mark.parametrize("data", [b"", codecs.BOM_UTF8], ids=["no bytes", "only a mark"])
def test_empty_file(tmp_path: Path, name: str, data: bytes) -> None:
    packed = gzip.compress(data) if name.endswith(".gz") else data
    error = refusal(save(tmp_path, name, packed))
    wanted, got = ("a header line", "no data") if ".csv" in name or ".tsv" in name else ("at least one row", "none")
    says(error, at=f"{name}: the file is empty", expected=wanted, got=got, fix="check the path")


def test_empty_parquet_and_empty_gzip(tmp_path: Path) -> None:
    says(
        refusal(save(tmp_path, "a.parquet", b"")),
        at="a.parquet",
        expected="Parquet",
        got="size is 0 bytes",
        fix="again",
    )
    says(refusal(save(tmp_path, "a.txt.gz", b"")), at="a.txt.gz", expected="one row", got="none", fix="check the path")


def test_header_only(tmp_path: Path) -> None:
    for path in (
        save(tmp_path, "a.csv", "text,label\n"),
        save(tmp_path, "b.tsv", "text\tlabel"),
        save_parquet(tmp_path, text=pa.array([], pa.string()), label=pa.array([], pa.string())),
    ):
        for config in (PLAIN, LABELLED, SKIP):
            says(
                refusal(path, config), at=f"{path.name}: the file is empty", expected="one row", got="none", fix="check"
            )


def test_no_usable_row(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.txt", "\n \n"), SKIP)
    says(error, at="a.txt: no usable row", expected="at least one", got="2 of 2 rows unusable", fix="correct the file")
    assert "the first: " in str(error)
    assert "line 1: blank line" in str(error)
    assert "--skip-bad" not in str(error)


def test_missing_file(tmp_path: Path) -> None:
    says(
        refusal(tmp_path / "no.csv"), at="no.csv: no such file", expected="a file", got="nothing", fix="check the path"
    )


@pytest.mark.parametrize("name", ["data", "data.csv"])
def test_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    says(
        refusal(tmp_path / name),
        at=f"{name}: is a folder",
        expected="files such",
        got="an empty folder",
        fix="name a file",
    )


def test_path_through_a_file(tmp_path: Path) -> None:
    path = save(tmp_path, "a.csv", "text\nx\n") / "b.csv"
    says(refusal(path), at="b.csv: cannot be read", expected="readable", got="Not a directory", fix="check it")


def test_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    error = refusal(tmp_path / "a.csv")
    says(error, at="a.csv: may not be read", expected="read permission", got="denied", fix="chmod")


def test_disk_fault_while_reading() -> None:
    class Faulty(io.BytesIO):
        name = "a.csv"

        def readinto(self, buffer: Any) -> int:
            raise OSError(5, "Input/output error")

    error = refusal(Faulty(b"text\n"))
    says(error, at="a.csv: cannot be read", expected="readable", got="Input/output error", fix="check it")


@pytest.mark.parametrize("name", ["", "a\0.csv", "a" * 300 + ".csv", "bad\udcff.csv", "two\nlines.csv"])
def test_strange_paths(name: str) -> None:
    with pytest.raises(DataError) as caught:
        read_examples(name, PLAIN)
    message = str(caught.value)
    assert "Fix:" in message
    assert len(message.splitlines()) == 1
    message.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("a.feather", "convert"),
        ("a.xlsx", "export it as .csv"),
        ("a.doc", "convert"),
        ("a", "rename"),
        ("a.gz", "rename"),
    ],
)
def test_unknown_suffix(tmp_path: Path, name: str, fix: str) -> None:
    error = refusal(save(tmp_path, name, gzip.compress(b"x", mtime=0) if name == "a.gz" else b"x"))
    accepted = ".txt, .csv, .tsv, .json, .jsonl, .ndjson, .parquet or .arrow, each also with .gz, .bz2, .xz, .zst; or -"
    got = repr(Path(name).suffix) if name not in {"a", "a.gz"} else "no suffix"
    says(error, at=f"{name}: unknown file type", expected=accepted, got=got, fix=fix)


def test_standard_input_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match=r"standard input: cannot be read.*Fix: name a file"):
        read_examples("-", PLAIN)


# Columns


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_misnamed_text_column(tmp_path: Path, name: str) -> None:
    error = refusal(save(tmp_path, name, "review,label\nx,y\n".replace(",", "\t" if "tsv" in name else ",")), LABELLED)
    says(error, at=f"{name}, line 1", expected="'text'", got="'review', 'label'", fix="`--text-column review`")


def test_misnamed_columns_elsewhere(tmp_path: Path) -> None:
    path = save_parquet(tmp_path, review=["x"], label=["y"])
    says(refusal(path), at="a.parquet", expected="'text'", got="'review', 'label'", fix="`--text-column review`")
    path = save(tmp_path, "a.jsonl", '{"text": "x", "label": "y"}\n{"Text": "x", "label": "y"}\n')
    says(refusal(path), at="a.jsonl, line 2", expected="'text'", got="'Text', 'label'", fix="`--text-column Text`")
    assert "--skip-bad" in str(refusal(path))


def test_suggestion_is_close_quoted_and_not_taken(tmp_path: Path) -> None:
    path = save(tmp_path, "a.csv", "id,text,The Label\n1,x,y\n")
    says(refusal(path, LABELLED), at="label", expected="'label'", got="'id'", fix="`--label-column 'The Label'`")
    path = save(tmp_path, "b.csv", "text\nx\n")
    says(refusal(path, LABELLED), at="b.csv", expected="'label'", got="'text'", fix="--label-column")
    config = InputConfig(pair_column="hypothesis")
    path = save(tmp_path, "c.csv", "text,premise,hypotheses\nx,y,z\n")
    says(refusal(path, config), at="c.csv", expected="'hypothesis'", got="'premise'", fix="`--pair-column hypotheses`")


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.csv", ",".join(f"c{i}" for i in range(500)) + "\n"))
    assert "and 480 more" in str(error)


def test_duplicate_column(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.csv", "text,label,text\nx,y,z\n"))
    says(
        error, at="a.csv, line 1: duplicate column 'text'", expected="once", got="'text', 'label', 'text'", fix="rename"
    )
    pq.write_table(pa.Table.from_arrays([pa.array(["x"])] * 2, names=["text", "text"]), tmp_path / "a.parquet")
    says(
        refusal(tmp_path / "a.parquet"),
        at="duplicate column 'text'",
        expected="once",
        got="'text', 'text'",
        fix="rename",
    )


def test_one_column_in_two_roles(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.csv", "text\nx\n"), LabelledInputConfig(label_column="text"))
    says(error, at="'text'", expected="each role", got="--text-column text", fix="--label-column")


def test_plain_text_has_one_column_only(tmp_path: Path) -> None:
    path = save(tmp_path, "a.txt", "x\n")
    says(refusal(path, LABELLED), at="a.txt", expected="'label'", got="one text per line", fix=".csv")
    says(refusal(path, InputConfig(pair_column="b")), at="no pair column", expected="'b'", got="one text", fix=".csv")


# Encodings and characters


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
@pytest.mark.parametrize("written", ["utf-16", "utf-32"])
def test_wide_encodings_are_recognised(tmp_path: Path, name: str, written: str) -> None:
    error = refusal(save(tmp_path, name, "text,label\nx,y\n".encode(written)))
    says(error, at=f"{name}, line 1", expected="utf-8", got=written.upper(), fix=f"`--encoding {written}`")


def test_big_endian_utf16_under_latin1(tmp_path: Path) -> None:
    path = save(tmp_path, "a.txt", codecs.BOM_UTF16_BE + "x".encode("utf-16-be"))
    error = refusal(path, InputConfig(encoding="latin-1"))
    says(error, at="a.txt, line 1", expected="iso8859-1", got="UTF-16", fix="`--encoding utf-16`")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b"one\ntwo\ncaf\xe9\n"),
        ("a.csv", b"text,label\none,x\ncaf\xe9,x\n"),
        ("a.tsv", b'text\tlabel\n"one\ncaf\xe9"\tx\n'),
        ("a.csv", b"text,label,note\none,x,\ntwo,x,caf\xe9\n"),
        ("a.jsonl", b'{"text": "one"}\n\n{"text": "caf\xe9"}\n'),
        ("a.txt", b"one\ntwo\n\xe9"),
    ],
)
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_undecodable_byte(tmp_path: Path, name: str, data: bytes, packed: str) -> None:
    error = refusal(save(tmp_path, name + packed, gzip.compress(data) if packed else data))
    says(error, at=f"{name}{packed}, line 3", expected="utf-8", got="byte 0xe9", fix="`--encoding cp1252`")


def test_undecodable_byte_in_the_header_and_in_other_encodings(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.csv", b"text,\xfc\nx,y\n"), SKIP)
    says(error, at="a.csv, line 1", expected="utf-8", got="byte 0xfc", fix="cp1252")
    error = refusal(save(tmp_path, "a.txt", "x\né\n"), InputConfig(encoding="ascii"))
    says(error, at="a.txt, line 2", expected="ascii", got="byte 0xc3", fix="`--encoding utf-8`")


def test_undecodable_rows_can_be_left_out(tmp_path: Path) -> None:
    texts = read_examples(save(tmp_path, "a.txt", b"one\ncaf\xe9\ntwo\n"), SKIP)
    assert ([example.text for example in texts.examples], texts.skipped) == (["one", "two"], 1)


def test_cut_utf16(tmp_path: Path) -> None:
    path = save(tmp_path, "a.txt", "one\ntwo".encode("utf-16")[:-1])
    with pytest.raises(DataError, match=r"a.txt: bytes after line \d are not utf-16.*truncated.*--encoding"):
        read_examples(path, InputConfig(encoding="utf-16"))


@pytest.mark.parametrize("encoding", ["utf-9", "", "base64", "rot13", "a\0b"])
def test_unknown_encoding(encoding: str) -> None:
    with pytest.raises(ConfigError, match="encoding input should be an encoding such as utf-8, cp1252 or utf-16, got"):
        InputConfig(encoding=encoding)


def test_every_encoding_of_python_reads_or_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a.txt", b"plain\n\xff\xfe\x00\xd8+2AA-\\ud800\n")
    for encoding in sorted({*encodings.aliases.aliases.values(), "idna", "punycode", "undefined", "unicode_escape"}):
        try:
            config = InputConfig(encoding=encoding)
        except ConfigError:
            continue
        for example in _survivors(path, config):
            example.text.encode("utf-8")


def _survivors(path: Path, config: InputConfig) -> list[Example]:
    try:
        return list(iter_examples(path, config))
    except DataError:
        return []


@pytest.mark.parametrize(
    ("data", "what", "fix"),
    [
        (gzip.compress(b"text\nx\n", mtime=0), "gzip", ".gz"),
        (b"PK\x03\x04rest", "Excel", "export"),
        (b"PAR1\x15\x04", "Parquet", ".parquet"),
    ],
)
def test_other_formats_under_a_text_name(tmp_path: Path, data: bytes, what: str, fix: str) -> None:
    says(refusal(save(tmp_path, "a.csv", data)), at="a.csv", expected="utf-8 text", got=what, fix=fix)


@pytest.mark.parametrize(
    ("name", "data", "at"),
    [
        ("a.txt", "one\na\0b\n", "a.txt, line 2"),
        ("a.csv", "text,label\none,x\na\0b,x\n", "a.csv, line 3 (row 2)"),
        ("a.jsonl", '{"text": "one"}\n{"text": "a\\u0000b"}\n', "a.jsonl, line 2"),
    ],
)
def test_nul(tmp_path: Path, name: str, data: str, at: str) -> None:
    says(refusal(save(tmp_path, name, data)), at=at, expected="text", got=r"'a\x00b'", fix="--skip-bad")


def test_utf16_without_a_mark(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.txt", "one\n".encode("utf-16-le")))
    says(error, at="a.txt, line 1: a NUL", expected="text", got=r"'o\x00n\x00e\x00", fix="--encoding utf-16-le")


def test_half_a_surrogate_pair(tmp_path: Path) -> None:
    path = save(tmp_path, "a.jsonl", '{"text": "fine", "label": "x"}\n{"text": "bad \\ud800", "label": "x"}\n')
    says(refusal(path), at="a.jsonl, line 2", expected="whole characters", got=r"\ud800", fix="--skip-bad")
    assert [example.text for example in read_examples(path, SKIP).examples] == ["fine"]
    path = save(tmp_path, "b.jsonl", '{"text": "fine", "label": "\\udfff"}\n')
    says(refusal(path, LABELLED), at="'label'", expected="whole", got=r"\udfff", fix="--skip-bad")


# Texts


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u00a0\u2003"])
def test_blank_text(tmp_path: Path, blank: str) -> None:
    got = "only white space" if blank else "an empty text"
    for name, data, at in (
        ("a.csv", f'text,label\none,x\n"{blank}",x\n', "a.csv, line 3 (row 2)"),
        ("b.csv", f"text\none\n{blank}\n", "b.csv, line 3 (row 2)"),
        ("a.jsonl", json.dumps({"text": blank}), "a.jsonl, line 1"),
    ):
        error = refusal(save(tmp_path, name, data))
        says(error, at=f"{at}: blank text", expected="'text'", got=got, fix="remove the row, or pass --skip-bad")
    error = refusal(save_parquet(tmp_path, text=["one", blank]))
    says(error, at="a.parquet, row 2", expected="'text'", got=got, fix="--skip-bad")


def test_blank_second_text(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.csv", "text,other\none,\n"), InputConfig(pair_column="other"))
    says(error, at="a.csv, line 2 (row 1)", expected="'other'", got="an empty text", fix="--skip-bad")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.parquet"])
def test_long_text(tmp_path: Path, name: str) -> None:
    text = "x" * 51
    if name == "a.parquet":
        path = save_parquet(tmp_path, text=[text])
    else:
        path = save(
            tmp_path, name, {"a.txt": text, "a.csv": f"text\n{text}\n", "a.jsonl": json.dumps({"text": text})}[name]
        )
    error = refusal(path, InputConfig(max_chars=50))
    says(error, at=name, expected="at most 50 characters", got="51", fix="quote that was left open, raise --max-chars")
    assert "--skip-bad" in str(error)
    assert len(read_examples(path, InputConfig(max_chars=51)).examples) == 1


def test_cell_beyond_the_limit_of_csv(tmp_path: Path) -> None:
    body = "word, word\n" * 200_000
    error = refusal(save(tmp_path, "a.csv", f'text,label\none,x\n"open {body}'))
    says(error, at="a.csv, line 3 (row 2)", expected="1,048,576 characters", got="more", fix="close each quoted cell")


def test_line_beyond_the_limit(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.jsonl", '{"text": "one"}\n' + "x" * 2_000_000))
    says(error, at="a.jsonl, line 2", expected="1,048,576 characters", got="more", fix="raise --max-chars")


# CSV


@pytest.mark.parametrize(("row", "count"), [("two", 1), ("two,x,", 3), ("a, b, c,x", 4)])
def test_ragged_row(tmp_path: Path, row: str, count: int) -> None:
    error = refusal(save(tmp_path, "a.csv", f'text,label\n"one\nand",x\n{row}\n'))
    says(error, at="a.csv, line 4 (row 2)", expected="2 cells", got=str(count), fix="that contain ',' in double quotes")


def test_ragged_tsv(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.tsv", "text\na\tb\n"))
    says(error, at="a.tsv, line 2 (row 1)", expected="1 cell,", got="2", fix="tabs")


def test_quote_never_closed(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.csv", 'text,label\none,x\n"two,x\nthree,x\n'))
    says(
        error,
        at="a.csv, line 3 (row 2)",
        expected="a closing quote",
        got="the end of the file",
        fix='(""), pass `--quoting none`',
    )


def test_text_after_a_closing_quote(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.csv", 'text,label\n"say "no" now",x\n'))
    says(error, at="a.csv, line 2 (row 1)", expected="well-formed quotes", got="',' expected after '\"'", fix="double")


def test_malformed_header_cannot_be_left_out(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.csv", '"text,label\none,x\n'), SKIP)
    says(error, at="a.csv, line 1", expected="a closing quote", got="the end", fix="close")


# JSON


@pytest.mark.parametrize(
    ("line", "problem", "expected", "got"),
    [
        ("nonsense", "not JSON", "a JSON object", "'nonsense' (Expecting value, character 1)"),
        ('{"text": "cut', "not JSON", "a JSON object", "Unterminated string"),
        ('{"text": "x"} {"text": "y"}', "not JSON", "a JSON object", "Extra data"),
        ('{"text": "a\tb"}', "not JSON", "a JSON object", "Invalid control character"),
        ('["x"]', "not a JSON object", "an object", "['x']"),
        ('"x"', "not a JSON object", "an object", "'x'"),
        ("null", "not a JSON object", "an object", "null"),
        ('{"text": 5}', "'text' is not a text", "a string", "5"),
        ('{"text": null}', "'text' is not a text", "a string", "null"),
        ('{"text": ["x"]}', "'text' is not a text", "a string", "['x']"),
        ('{"text": {"a": 1}}', "'text' is not a text", "a string", "{'a': 1}"),
        ('{"text": true}', "'text' is not a text", "a string", "True"),
        ('{"text": "x", "text": "y"}', "duplicate key", "every key once", "'text' twice"),
        ('{"text": "x", "meta": {"a": 1, "a": 2}}', "duplicate key", "every key once", "'a' twice"),
        ('{"text": ' + "[" * 100_000 + "}", "nested too deeply", "flat JSON", "deep nesting"),
        ('{"text": ' + "9" * 5_000 + "}", "not usable JSON", "a JSON object", "4300 digits"),
        ('{"label": "x"}', "no text column", "'text'", "'label'"),
        ("{}", "no text column", "'text'", "no columns"),
    ],
)
def test_bad_json_line(tmp_path: Path, line: str, problem: str, expected: str, got: str) -> None:
    path = save(tmp_path, "a.jsonl", f'{{"text": "one"}}\n{line}\n{{"text": "three"}}\n')
    says(refusal(path), at=f"a.jsonl, line 2: {problem}", expected=expected, got=got, fix="--skip-bad")
    assert [example.text for example in read_examples(path, SKIP).examples] == ["one", "three"]
    assert len(str(refusal(path))) < 400


# gzip


def test_cut_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(b"text\n" + b"".join(b"row %d\n" % i for i in range(5_000)))
    for name in ("a.csv.gz", "a.parquet.gz", "a.txt.gz"):
        error = refusal(save(tmp_path, name, whole[:-400]), SKIP)
        says(error, at=f"{name}: damaged gzip", expected="complete", got="ended before", fix="fetch or pack it again")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet.gz"])
def test_not_gzip(tmp_path: Path, name: str) -> None:
    error = refusal(save(tmp_path, name, b"text,label\nx,y\n"))
    says(
        error,
        at=f"{name}: damaged gzip",
        expected="gzip data",
        got="Not a gzipped file",
        fix="remove .gz from its name",
    )


def test_flipped_bit_in_gzip(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"text\nsome words that are packed\n", mtime=0))
    for position in (15, 20, len(data) - 6):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        assert "damaged gzip" in refusal(save(tmp_path, "a.csv.gz", bytes(damaged))).problem


# Parquet


def test_damaged_parquet(tmp_path: Path) -> None:
    data = save_parquet(tmp_path, text=["x"] * 100).read_bytes()
    for damaged in (b"PAR1", b"nonsense", data[:-20], data[:50]):
        error = refusal(save(tmp_path, "b.parquet", damaged))
        says(error, at="b.parquet: damaged, or not Parquet", expected="Parquet data", got="Parquet", fix="again")


@pytest.mark.parametrize(
    ("column", "kind"),
    [([1, 2], "int64"), ([b"x", b"y"], "binary"), ([["x"], ["y"]], "list"), ([None, None], "null")],
)
def test_parquet_text_column_of_another_type(tmp_path: Path, column: list[Any], kind: str) -> None:
    path = save_parquet(tmp_path, text=column, other=["x", "y"])
    says(refusal(path), at="text column 'text'", expected="strings", got=kind, fix="--text-column")


def test_parquet_label_column_of_another_type(tmp_path: Path) -> None:
    path = save_parquet(tmp_path, text=["x"], label=[["a"]])
    error = refusal(path, LABELLED)
    says(error, at="label column 'label'", expected="strings, numbers or booleans", got="list", fix="--label-column")


def test_parquet_null_text(tmp_path: Path) -> None:
    path = save_parquet(tmp_path, text=["x", None])
    says(refusal(path), at="a.parquet, row 2", expected="a string", got="null", fix="--skip-bad")


def test_parquet_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"caf\xe9"], pa.binary())
    pq.write_table(pa.table({"text": raw.view(pa.string())}), tmp_path / "a.parquet")
    error = refusal(tmp_path / "a.parquet")
    says(error, at="a.parquet, row 2", expected="utf-8", got="byte 0xe9", fix="--skip-bad")
    assert read_examples(tmp_path / "a.parquet", SKIP).skipped == 1


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_parquet(tmp_path, text=["x"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow.*Fix: pip install '\.\[train\]'"):
        read_examples(path, PLAIN)


# Labels


@pytest.mark.parametrize(
    ("label", "got"),
    [("null", "null"), ('""', "''"), ('" \\t"', r"' \t'"), ("NaN", "nan"), ("Infinity", "inf"), ("1e999", "inf")],
)
def test_blank_label(tmp_path: Path, label: str, got: str) -> None:
    path = save(tmp_path, "a.jsonl", f'{{"text": "one", "label": "x"}}\n{{"text": "two", "label": {label}}}\n')
    says(refusal(path, LABELLED), at="line 2: blank label", expected="a class name", got=got, fix="--skip-bad")


def test_blank_label_in_csv_and_parquet(tmp_path: Path) -> None:
    path = save(tmp_path, "a.csv", "text,label\none,x\ntwo, \n")
    says(refusal(path, LABELLED), at="a.csv, line 3 (row 2)", expected="a class name", got="' '", fix="label the row")
    path = save_parquet(tmp_path, text=["one", "two"], label=["x", None])
    says(refusal(path, LABELLED), at="a.parquet, row 2", expected="a class name", got="null", fix="label the row")


def test_label_that_is_a_list(tmp_path: Path) -> None:
    path = save(tmp_path, "a.jsonl", '{"text": "one", "label": ["x"]}')
    says(refusal(path, LABELLED), at="line 1: unusable label", expected="a class name", got="['x']", fix="--skip-bad")


@pytest.mark.parametrize(
    ("name", "data", "got", "names"),
    [
        ("a.csv", "text,label\na,0\nb,1\nc,0\n", "0, 1", "0=negative,1=positive"),
        ("a.csv", "text,label\na,10\nb,9\nc,-1\n", "-1, 9, 10", "9=negative,10=positive"),
        ("a.csv", "text,label\na,-1\nb,1\nc,1\n", "-1, 1", "-1=negative,1=positive"),
        ("a.csv", "text,label\na,0.0\nb,1.0\nc,-1.0\n", "-1.0, 0.0, 1.0", "0.0=negative,1.0=positive"),
        ("a.csv", "text,label\na,0.0\nb,1.0\n", "0.0, 1.0", "0.0=negative,1.0=positive"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n', "0, 1", "0=negative,1=positive"),
    ],
)
def test_numbers_as_labels(tmp_path: Path, name: str, data: str, got: str, names: str) -> None:
    path = save(tmp_path, name, data)
    error = refusal(path, LABELLED)
    says(
        error,
        at=f"{name}: labels are numbers",
        expected="class names",
        got=got,
        fix=f"name them, as in `--label-names {names}`",
    )
    assert "`--label-names as-is`" in str(error)
    # The proposal can be pasted, and a number that may stand for no label is left out.
    ignored = re.findall(r"Fix: `--ignore-label (\S+)` if \1 means no label", str(error))
    assert len(ignored) == (got.count(",") == 2)
    named = read_labelled(path, LabelledInputConfig(label_names=names, ignore_label=tuple(ignored))).examples
    assert {example.label for example in named} == set(label_mapping(names).values())


@pytest.mark.parametrize("option", [None, "as-is"])
def test_ratings_are_no_classes(tmp_path: Path, option: str | None) -> None:
    ratings = [f"t,{number / 10}\n" for number in range(51)]
    path = save(tmp_path, "a.csv", "text,label\n" + "".join(ratings))
    error = refusal(path, LabelledInputConfig(label_names=option))
    says(
        error,
        at="labels look like ratings",
        expected="classes",
        got="51 distinct numbers from 0.0 to 5.0",
        fix="bin them",
    )
    path = save(tmp_path, "b.csv", "text,label\n" + "".join(ratings[:50]))
    assert len(read_labelled(path, LabelledInputConfig(label_names="as-is")).examples) == 50


@pytest.mark.parametrize(
    ("option", "problem", "got"),
    [
        ("", "not label=name", "''"),
        ("0", "not label=name", "'0'"),
        ("0=a,1", "not label=name", "'1'"),
        ("0=a,1=", "not label=name", "'1='"),
        ("0=a,=b", "not label=name", "'=b'"),
        ("0=a,", "not label=name", "''"),
        ("0:a,1:b", "not label=name", "'0:a'"),
        ("0=a,0=b", "label occurs twice", "'0'"),
        ("As-Is", "not label=name", "'As-Is'"),
    ],
)
def test_malformed_label_names(tmp_path: Path, option: str, problem: str, got: str) -> None:
    path = save(tmp_path, "a.csv", "text,label\na,0\nb,1\n")
    error = refusal(path, LabelledInputConfig(label_names=option))
    says(error, at="--label-names: ", expected="0=negative,1=positive", got=got, fix="correct it")
    assert problem in error.problem


@pytest.mark.parametrize("skip_bad", [True, False])
def test_label_without_a_name(tmp_path: Path, skip_bad: bool) -> None:
    path = save(tmp_path, "a.csv", "text,label\na,0\nb,2\n")
    error = refusal(path, LabelledInputConfig(label_names="0=no,1=yes", skip_bad=skip_bad))
    says(error, at="a.csv, line 3 (row 2)", expected="'0', '1'", got="'2'", fix="`--label-names 0=no,1=yes,2=NAME`")


def test_one_class_only(tmp_path: Path) -> None:
    path = save(tmp_path, "a.csv", "text,label\na,x\nb,x\n")
    examples = read_labelled(path, LABELLED).examples
    with pytest.raises(DataError) as caught:
        require_classes(examples, path)
    says(caught.value, at="a.csv: too few classes", expected="at least two", got="only 'x' in 2 rows", fix="add rows")


# Anything at all

PACKERS: dict[str, Any] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
NAMES = ["a.txt", "a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "a.arrow"]
NAMES += ["a.txt.gz", "a.csv.gz", "a.jsonl.bz2", "a.parquet.gz", "a.json.xz", "a.tsv.zst"]
HEADS = {
    ".csv": b"text,label\n",
    ".tsv": b"text\tlabel\n",
    ".json": b'[{"text": "one", "label": "x"},\n',
    ".jsonl": b'{"text": "one", "label": "x"}\n',
    ".arrow": b"ARROW1",
    ".txt": b"one\n",
}
PIECES = [
    b'"',
    b",",
    b"\t",
    b"\n",
    b"\r",
    b"\0",
    b"{",
    b"}",
    b"[",
    b"1e999",
    b"\\ud800",
    b"\xff",
    b"\xef\xbb\xbf",
    b" ",
    b"text",
]
BYTES = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))


def outcome(data: bytes, name: str, read: Any, config: LabelledInputConfig) -> list[Example] | str:
    """Examples or a message; an exception other than DistilshiftError fails the test."""
    handle = io.BytesIO(data)
    handle.name = name  # type: ignore[attr-defined]
    try:
        result = read(handle, config)
        return list(getattr(result, "examples", result))
    except DistilshiftError as error:
        return str(error)


def read_everything(data: bytes, name: str, **options: Any) -> None:
    for read in (iter_examples, iter_labelled, read_examples, read_labelled):
        found = outcome(data, name, read, LabelledInputConfig(**options))
        if isinstance(found, str):
            assert found.splitlines() == [found]
            continue
        for example in found:
            assert example.text.strip()
            example.text.encode("utf-8")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("headed", [True, False], ids=["headed", "bare"])
@settings(max_examples=60, deadline=None)
@given(
    data=BYTES,
    skip_bad=st.booleans(),
    encoding=st.sampled_from(["utf-8", "latin-1", "utf-16", "utf-7", "gbk"]),
    quoting=st.sampled_from(["auto", "auto", "none", "csv"]),
    header=st.booleans(),
)
def test_any_bytes_read_or_are_refused(
    name: str, headed: bool, data: bytes, skip_bad: bool, encoding: str, quoting: str, header: bool
) -> None:
    ending = next((end for end in PACKERS if name.endswith(end)), "")
    if headed:
        data = HEADS.get(Path(name.removesuffix(ending)).suffix, b"PAR1") + data
        data = PACKERS[ending](data) if ending else data
    read_everything(data, name, skip_bad=skip_bad, encoding=encoding, max_chars=20, quoting=quoting, header=header)


@settings(max_examples=150, deadline=None)
@given(
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=4), packed=st.booleans()
)
def test_flipped_bytes_in_parquet(flips: list[tuple[float, int]], packed: bool) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two"], "label": ["x", "y"]}), buffer)
    data = bytearray(buffer.getvalue())
    for position, flip in flips:
        data[int(position * len(data))] ^= flip
    read_everything(gzip.compress(bytes(data)) if packed else bytes(data), "a.parquet.gz" if packed else "a.parquet")
