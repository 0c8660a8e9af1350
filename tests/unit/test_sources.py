"""What may be named as data: several files, folders, globs, saved data sets, JSON arrays, packed files."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import zstandard

from distilshift.config import InputConfig, LabelledInputConfig
from distilshift.data.corpus import open_corpus
from distilshift.data.read import iter_examples, read_examples, read_labelled
from distilshift.errors import ConfigError, DataError, MissingExtraError

WORDS = [f"word{index**2 % 997}" for index in range(1_000)]
PLAIN, LABELLED = InputConfig(), LabelledInputConfig()
ROWS = [{"text": f"text {index}", "label": ("pos", "neg")[index % 2]} for index in range(6)]
TEXTS = [row["text"] for row in ROWS]


def texts_of(source: Any, config: InputConfig = PLAIN) -> list[str]:
    return [example.text for example in iter_examples(source, config)]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of three files whose order by name is that of their texts."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for index in range(3):
        (folder / f"part-{index}.jsonl").write_text(lines(ROWS[2 * index : 2 * index + 2]))
    (folder / "README.md").write_text("no data")
    (folder / "_SUCCESS").touch()
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_a_folder_a_glob_and_a_list_are_one_source(shards: Path) -> None:
    paths = sorted(shards.glob("*.jsonl"))
    for source in (shards, str(shards), f"{shards}/*.jsonl", f"{shards.parent}/**/part-?.jsonl", paths, [shards]):
        assert texts_of(source) == TEXTS
        assert len(read_labelled(source, LABELLED).examples) == 6
        corpus = open_corpus(source, PLAIN)
        assert [item.text for item in corpus] == [item.text for item in corpus] == TEXTS
    assert texts_of(paths[::-1])[:2] == TEXTS[4:]


def test_a_flaw_is_named_by_the_file_that_has_it(shards: Path) -> None:
    (shards / "part-1.jsonl").write_text("{oops\n")
    with pytest.raises(DataError, match=r"part-1\.jsonl, line 1: not JSON"):
        texts_of(shards)
    assert read_examples(shards, InputConfig(skip_bad=True)).skipped == 1


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "without data files.*got an empty folder"),
        (["notes.md"], "without data files.*got notes.md"),
        (["a.csv", "b.jsonl"], "holds several kinds of file.*got .csv, .jsonl"),
        (["train.csv", "test.csv"], "holds several splits.*got test, train"),
        (["train-0.parquet", "validation-0.parquet"], "holds several splits"),
        (["a.jsonl", "b.json"], "holds several kinds of file.*got .json, .jsonl"),
        (["a.csv", "b.xlsx", "c.tar.gz"], r"holds more data than .*got b\.xlsx, c\.tar\.gz\. Fix: .*/\*\.csv'?$"),
        (["a.csv", "nest/more/b.csv", "aside/notes.md"], "holds more data than .*got nest/. Fix"),
    ],
)
def test_a_folder_that_is_not_one_set_is_refused(tmp_path: Path, files: list[str], said: str) -> None:
    (tmp_path / "d").mkdir()
    for path in (tmp_path / "d" / name for name in files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(DataError, match=said):
        read_examples(tmp_path / "d", PLAIN)


def test_a_folder_of_json_shards_is_read_and_what_is_no_data_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for name in ("_logs/a.csv", ".cache/b.csv", "pictures/c.png"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("no data")
    (folder / "part-0.json").write_text(lines(ROWS[:3]))
    (folder / "part-1.json").write_text(json.dumps(ROWS[3:]))
    assert texts_of(folder) == TEXTS


def test_a_pattern_without_a_match_is_named_and_a_file_called_so_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: expected a match, got nothing"):
        read_examples(f"{tmp_path}/*.csv", PLAIN)
    (tmp_path / "a[1].txt").write_text("one\n")
    assert texts_of(tmp_path / "a[1].txt") == ["one"]


def test_standard_input_is_not_mixed_with_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="standard input: among files"):
        texts_of([Path("-"), tmp_path / "a.txt"])


# Data sets of the `datasets` library


def class_labelled(labels: list[int], names: list[str]) -> datasets.Dataset:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    return datasets.Dataset.from_dict({"text": TEXTS, "label": labels}, features=features)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = class_labelled([0, 1, 0, 1, 1, 0], ["bad", "good"])
    rows.save_to_disk(tmp_path / "set", num_shards=2)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "both")
    rows.to_parquet(tmp_path / "a.parquet")
    return tmp_path


def test_saved_sets_and_parquet_bring_the_names_of_their_classes(saved: Path) -> None:
    for source in (saved / "set", saved / "a.parquet", saved / "both" / "test", f"{saved}/set/*.arrow"):
        found = read_labelled(source, LABELLED).examples
        assert [item.text for item in found] == TEXTS
        assert [item.label for item in found] == ["bad", "good", "bad", "good", "good", "bad"]
    as_is = read_labelled(saved / "set", LabelledInputConfig(label_names="as-is")).examples
    assert {item.label for item in as_is} == {"0", "1"}
    for names in ("0=worse,1=better", "bad=worse,good=better"):
        renamed = read_labelled(saved / "a.parquet", LabelledInputConfig(label_names=names)).examples
        assert [item.label for item in renamed[:2]] == ["worse", "better"]


def test_a_saved_set_of_several_splits_names_them(saved: Path) -> None:
    with pytest.raises(DataError, match=r"several splits: expected one split, got test, train. Fix: name one, such as"):
        read_examples(saved / "both", PLAIN)


def test_no_label_is_said_so_and_can_be_left_out(tmp_path: Path) -> None:
    """GLUE's test sets have -1 where there is no label."""
    class_labelled([0, -1, 1, 1, -1, 0], ["no", "yes"]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 2: the file has no name for a label.*got -1. Fix: `--ignore-label -1`"):
        read_labelled(tmp_path / "a.parquet", LABELLED)
    found = read_labelled(tmp_path / "a.parquet", LabelledInputConfig(ignore_label=("-1",))).examples
    kept = [(TEXTS[index], "no" if index in (0, 5) else "yes") for index in (0, 2, 3, 5)]
    assert [(item.text, item.label) for item in found] == kept


def test_arrow_in_the_file_format(tmp_path: Path) -> None:
    feather.write_feather(pa.Table.from_pylist(ROWS), str(tmp_path / "a.arrow"))
    assert texts_of(tmp_path / "a.arrow") == TEXTS
    (tmp_path / "b.arrow").write_bytes((tmp_path / "a.arrow").read_bytes()[:-30])
    (tmp_path / "c.arrow").write_bytes(b"nonsense")
    for name in ("b.arrow", "c.arrow"):
        with pytest.raises(DataError, match=f"{name}: damaged, or not Arrow"):
            read_examples(tmp_path / name, PLAIN)


# JSON


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
def test_an_array_is_read_whatever_its_name(tmp_path: Path, indent: int | None, name: str) -> None:
    data = ("\ufeff\n" + json.dumps(ROWS, indent=indent) + "\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert [item.label for item in read_labelled(tmp_path / name, LABELLED).examples] == ["pos", "neg"] * 3
    (tmp_path / "lines.json").write_text(lines(ROWS))
    assert texts_of(tmp_path / "lines.json") == TEXTS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"text": "a"}', "expected a comma between items, got the end of the file"),
        ('[{"text": "a"} {"text": "b"}]', "expected a comma between items"),
        ('[{"text": "a"}, {"text": "b]', "Unterminated string.* in item 2"),
        ('[{"text": "a"}] {}', "expected nothing after the array"),
        ('[{"text": "a"}, "b"]', "item 2: not a JSON object"),
        ('[{"text": "a", "text": "b"}]', "'text' twice in item 1"),
        ('[{"text": "a"}, {"words": "b"}]', "item 2: no text column"),
        ("[" * 100_000, "a broken JSON array|not a JSON object"),
        ("[]", "the file is empty"),
    ],
)
def test_a_broken_array_is_named_by_its_item(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=said):
        read_examples(tmp_path / "a.json", PLAIN)


def test_undecodable_bytes_of_an_array_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('[{"text": "caf’"}]'.encode("cp1252"))
    with pytest.raises(DataError, match=r"a byte is not utf-8.*byte 0x92. Fix: `--encoding cp1252`"):
        read_examples(tmp_path / "a.json", PLAIN)
    assert texts_of(tmp_path / "a.json", InputConfig(encoding="cp1252")) == ["caf’"]


@pytest.mark.parametrize("name", ["a.json", "a.arrow", "a.jsonl.zst"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    rng = random.Random(0)
    rows = [{"text": " ".join(rng.choices(WORDS, k=150)), "other": "x" * 50} for _ in range(8_000)]
    if name == "a.arrow":
        feather.write_feather(pa.Table.from_pylist(rows), str(tmp_path / name), chunksize=1000)
    elif name == "a.json":
        (tmp_path / name).write_text(json.dumps(rows))
    else:
        (tmp_path / name).write_bytes(zstandard.compress(lines(rows).encode()))
    tracemalloc.start()
    assert sum(1 for _ in iter_examples(tmp_path / name, PLAIN)) == 8_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000  # the texts are 8 MB


# Packed


PACKERS = {".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
KINDS = {".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard"}


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_files_are_read_and_damage_is_named(tmp_path: Path, ending: str) -> None:
    many = [{"text": f"text {index**3}"} for index in range(3_000)]
    data = PACKERS[ending](lines(many).encode())
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(data + PACKERS[ending](lines(ROWS).encode()))
    assert texts_of(path) == [row["text"] for row in many] + TEXTS
    for damaged in (data[:-20], data[: len(data) // 2], b"nonsense"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"a\.jsonl\{ending}: damaged {KINDS[ending]} file.*remove \{ending}"):
            read_examples(path, PLAIN)
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(DataError, match=rf"{KINDS[ending]} data. Fix: let the name end in \{ending}"):
        read_examples(tmp_path / "a.csv", PLAIN)


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_parquet(tmp_path: Path, ending: str) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer)
    (tmp_path / f"a.parquet{ending}").write_bytes(PACKERS[ending](buffer.getvalue()))
    assert texts_of(tmp_path / f"a.parquet{ending}") == TEXTS


def test_zstandard_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt.zst").write_bytes(zstandard.compress(b"one\n"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtraError, match=r"zstandard.*Fix: pip install '\.\[train\]'"):
        read_examples(tmp_path / "a.txt.zst", PLAIN)


# Tables


@pytest.mark.parametrize(
    ("name", "content", "delimiter"),
    [
        ("a.csv", "text;label\none, two;pos\n", None),
        ("a.csv", "text\tlabel\none, two\tpos\n", None),
        ("a.tsv", "text|label\none, two|pos\n", None),
        ("a.csv", "sep=^\ntext^label\none, two^pos\n", None),
        ("a.csv", "id~text~label\n1~one, two~pos\n", "~"),
        ("a.csv", "id\ttext\tlabel\n1\tone, two\tpos\n", "tab"),
        ("a.csv", 'a;b;c,text,label\n1,"one, two",pos\n', None),
    ],
)
def test_delimiters_are_given_named_in_the_file_or_told_by_the_header(
    tmp_path: Path, name: str, content: str, delimiter: str | None
) -> None:
    (tmp_path / name).write_text(content)
    (item,) = read_labelled(tmp_path / name, LabelledInputConfig(delimiter=delimiter)).examples
    assert (item.text, item.label) == ("one, two", "pos")


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n"])
def test_what_is_no_delimiter_is_refused(delimiter: str) -> None:
    with pytest.raises(ConfigError, match="delimiter input should be one character other than a quote, or tab, comma"):
        InputConfig(delimiter=delimiter)


def test_semicolons_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("gut, sehr gut;pos\nschlecht;neg\n")
    config = LabelledInputConfig(header=False, text_column="0", label_column="1")
    assert [(e.text, e.label) for e in read_labelled(tmp_path / "a.csv", config).examples] == [
        ("gut, sehr gut", "pos"),
        ("schlecht", "neg"),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a_train.csv", "a_test.csv"], "holds several splits"), (["a.csv", "a.csv.gz"], "holds a file twice")],
)
def test_a_folder_is_not_read_twice_or_across_splits(tmp_path: Path, names: list[str], message: str):
    for name in names:
        data = b"text\none\n"
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(DataError, match=message):
        open_corpus(tmp_path, InputConfig())


def test_a_named_pipe_is_read_once(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.txt")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.txt").write_text("one\ntwo\n"))
    writer.start()
    corpus = open_corpus(tmp_path / "pipe.txt", InputConfig())
    writer.join()
    assert [item.text for item in corpus] == [item.text for item in corpus] == ["one", "two"]
