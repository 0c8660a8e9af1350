"""Quotation marks in tables: no row is swallowed without a word, and what CSV writers write comes back as it was."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.config import InputConfig, LabelledInputConfig
from distilshift.data.read import iter_examples, read_examples, read_labelled
from distilshift.errors import DataError

AUTO, LABELLED = InputConfig(), LabelledInputConfig()


def texts_of(path: Any, config: InputConfig = AUTO) -> list[str]:
    return [example.text for example in iter_examples(path, config)]


def save(folder: Path, name: str, rows: Sequence[Sequence[str]]) -> Path:
    """Rows joined by the delimiter, as a program writes them that knows of no quotes."""
    mark = "\t" if name.endswith(".tsv") else ","
    (folder / name).write_text("".join(mark.join(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def plain_rows(count: int, **strays: str) -> list[list[str]]:
    """Texts without a delimiter, some of them replaced: r3 is that of the third row."""
    rows = [[f"a film of number {index}", ("pos", "neg")[index % 2]] for index in range(count)]
    for name, text in strays.items():
        rows[int(name[1:])][0] = text
    return rows


# A quotation that opens in one row and closes in a later one

PAIRS = [
    {"r3": '"Great film', "r9": 'so he said"'},
    {f"r{index}": text for start in range(0, 480, 40) for index, text in ((start, '"Great'), (start + 7, 'end"'))},
    {"r0": '"To be', "r1": 'or not"', "r20": 'a 5" disk'},
]


@pytest.mark.parametrize("strays", PAIRS)
def test_a_tsv_keeps_all_its_rows_and_its_quotes(tmp_path: Path, strays: dict[str, str]) -> None:
    rows = plain_rows(500, **strays)
    found = read_labelled(save(tmp_path, "a.tsv", [["text", "label"], *rows]), LABELLED).examples
    assert [[item.text, item.label] for item in found] == rows


@pytest.mark.parametrize("strays", PAIRS)
@pytest.mark.parametrize("skip_bad", [True, False])
def test_a_csv_that_would_lose_rows_is_refused_at_the_first(tmp_path: Path, strays: dict[str, str], skip_bad: bool):
    rows = plain_rows(500, **strays)
    path = save(tmp_path, "a.csv", [["text", "label"], *rows])
    first = 2 + next(index for index, row in enumerate(rows) if row[0].startswith('"'))
    with pytest.raises(DataError, match=rf"a\.csv, line {first} \(row {first - 1}\): a quoted cell goes on to line"):
        read_examples(path, InputConfig(skip_bad=skip_bad))
    assert texts_of(path, InputConfig(quoting="none")) == [row[0] for row in rows]


def test_rows_swallowed_within_a_file_that_is_quoted_elsewhere_are_found(tmp_path: Path) -> None:
    """By their labels, which other rows have, too."""
    rows = plain_rows(60, r30='"Great film', r33='he said"')
    for index in range(20):
        rows[index][0] = f'"good, but ""{index}"" long"'
    path = save(tmp_path, "a.csv", [["text", "label"], *rows])
    with pytest.raises(DataError, match=r"line 32 \(row 31\): a quoted cell goes on to line 35.*--quoting none"):
        read_examples(path, AUTO)
    swapped = save(tmp_path, "b.csv", [["label", "text"], *([label, text] for text, label in rows)])
    with pytest.raises(DataError, match=r"line 32 \(row 31\)"):
        read_examples(swapped, AUTO)
    between = [[str(number), *row, f"user {number}"] for number, row in enumerate(rows * 5)]
    with pytest.raises(DataError, match=r"line 32 \(row 31\)"):
        read_examples(save(tmp_path, "c.csv", [["id", "text", "label", "user"], *between]), AUTO)


@pytest.mark.parametrize("swallowed", ["t3_b,neg,it is bad", "t3_b,neg,it is bad\nt3_c,neg,bad, worse"])
@pytest.mark.parametrize("width", [3, 4])
def test_rows_swallowed_beside_a_class_column_in_the_middle_are_found(tmp_path: Path, swallowed: str, width: int):
    """Also where a swallowed row has a delimiter too many."""
    rows = [[f"t3_{index}", ("pos", "neg")[index % 2], f'"a film, ""{index}"""'] for index in range(40)]
    text = [["id", "label", "text"], *rows, ["t3_a", "pos", '"he said']]
    lines = [",".join(row) for row in text] + [*swallowed.split("\n"), 't3_d,neg,and it ends"']
    (tmp_path / "a.csv").write_text("".join("x," * (width - 3) + line + "\n" for line in lines))
    with pytest.raises(DataError, match=r"line 42 \(row 41\): a quoted cell goes on to line"):
        read_labelled(tmp_path / "a.csv", LABELLED)


def test_a_lone_column_of_lines_that_may_be_rows_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a.csv", [["text"], ['"To be'], ['or not"'], ["fine"]])
    with pytest.raises(DataError, match=r"a\.csv, line 2 \(row 1\)"):
        read_examples(path, AUTO)
    assert texts_of(path, InputConfig(quoting="csv")) == ["To be\nor not", "fine"]
    assert texts_of(path, InputConfig(quoting="none")) == ['"To be', 'or not"', "fine"]


def test_sizes_and_citations_are_ordinary_characters(tmp_path: Path) -> None:
    texts = ['a 5" disk', 'it is 3" by 4"', '5"', 'he said "no"', '"yes" she said', '""', '"quoted"']
    path = save(tmp_path, "a.tsv", [["text", "label"], *([text, "x"] for text in texts)])
    assert texts_of(path) == texts
    path = save(tmp_path, "a.csv", [["text", "label"], *([text, "x"] for text in texts[:4])])
    assert texts_of(path) == texts[:4]


def test_a_pipe_whose_quotes_cannot_be_looked_ahead_at_is_refused(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        name = "a.csv"

        def seekable(self) -> bool:
            return False

    data = b'text,label\n"a, b\nc",x\n"d\ne",x\n'
    with pytest.raises(DataError, match="line 2"):
        texts_of(Pipe(data))
    assert texts_of(Pipe(data), InputConfig(quoting="csv")) == ["a, b\nc", "d\ne"]
    seekable = io.BytesIO(data)
    seekable.name = "a.csv"
    assert texts_of(seekable) == ["a, b\nc", "d\ne"]


# What CSV writers write

NASTY = [
    "one line",
    "a comma, and\na new line",
    'a "quotation", \nthen lines\n\nand more',
    "semicolon; tab\t, pipe |",
    '"',
    '""',
    'ends with a quote"',
    '"begins with one',
    "\n\nbegins with lines",
    "Windows\r\nline",
    "1,2\n3,4",
]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.csv.zst", "a.csv.xz"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("extra", [[], ["id"]])
def test_pandas_round_trip_of_nasty_cells(tmp_path: Path, name: str, quoting: int, extra: list[str]) -> None:
    mark = "\t" if ".tsv" in name else ","
    frame = pd.DataFrame({"text": NASTY, "label": ["pos", "neg"] * 5 + ["pos"], "id": range(len(NASTY))})
    frame[["text", "label", *extra]].to_csv(tmp_path / name, index=False, sep=mark, quoting=quoting)  # type: ignore[call-overload]
    found = read_labelled(tmp_path / name, LABELLED).examples
    assert [item.text for item in found] == NASTY
    assert [item.label for item in found] == frame["label"].tolist()


def test_many_reviews_of_several_lines_as_excel_saves_them(tmp_path: Path) -> None:
    """CRLF between rows and LF within cells; lines with one comma each look like rows of two cells."""
    rng = random.Random(0)
    lines = ["good, really", "no comma here", "one, two, three", "the end"]
    texts = ["\n".join(rng.choices(lines, k=rng.randint(1, 4))) for _ in range(300)]
    with (tmp_path / "a.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, lineterminator="\r\n").writerows([("text", "label"), *((text, "pos") for text in texts)])
    assert texts_of(tmp_path / "a.csv") == texts


def test_semicolons_of_excel_with_and_without_a_sep_line(tmp_path: Path) -> None:
    rows = '"gut, aber teuer;\nnie; wieder;";neg\n"schön";pos\n'
    for head in ("text;label\n", "sep=;\ntext;label\n", "SEP=;\r\ntext;label\r\n"):
        (tmp_path / "a.csv").write_bytes((head + rows).encode("utf-8-sig"))
        found = read_labelled(tmp_path / "a.csv", LABELLED).examples
        assert [(item.text, item.label) for item in found] == [
            ("gut, aber teuer;\nnie; wieder;", "neg"),
            ("schön", "pos"),
        ]


CELL = st.text(st.sampled_from('ab ,\t"\n\r;1'), min_size=1, max_size=8).filter(lambda text: text.strip())


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(CELL, min_size=1, max_size=6),
    labels=st.sampled_from([["pos"], ["pos", "neg"], ["1", "2"], [None]]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_whatever_pandas_writes_comes_back_or_is_truly_ambiguous(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], labels: list[str | None], quoting: int
) -> None:
    texts = [text.replace("\r", "\r\n") if quoting == csv.QUOTE_MINIMAL else text for text in texts]
    frame = pd.DataFrame({"text": texts, "label": [labels[i % len(labels)] for i in range(len(texts))]})
    path = tmp_path_factory.mktemp("round") / "a.csv"
    (frame if labels != [None] else frame[["text"]]).to_csv(path, index=False, quoting=quoting)
    assert texts_of(path, InputConfig(quoting="csv")) == texts
    try:
        found = texts_of(path)
    except DataError:  # then some lines are rows of a table without quotes, as well
        width = 1 if labels == [None] else 2
        found = texts if any(len(line.split(",")) == width for line in path.read_text().splitlines()[1:]) else []
    assert found == texts
