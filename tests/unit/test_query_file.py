"""The CSV file of `query`: nothing a person wrote is lost, and a file of other texts is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from distilshift.errors import DataError, DistilshiftError, OutputError
from distilshift.query_file import open_query_file, write_query_file
from distilshift.types import Example

TEXTS = [Example(text) for text in ("good film", 'a "bad", bad\nbook', "=1+1", "très bon", "fine pan", "the end")]
PAIRS = [Example("good film", "bad book"), Example("one", "two")]


def asked(*rows: int, texts: list[Example] = TEXTS) -> list[dict[str, Any]]:
    pairs = [{} if texts[row].pair is None else {"pair": texts[row].pair} for row in rows]
    return [
        {"row": row, "text": texts[row].text, **pair, "label": "", "suggestion": "x", "confidence": "0.5"}
        | {"inclusion": 0.25, "reason": "why"}
        for row, pair in zip(rows, pairs, strict=True)
    ]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def answer(path: Path, **columns: str) -> None:
    """Fill in the same values in all rows, as a person or a spreadsheet does."""
    rows = [row | columns for row in table(path)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two rows, both answered."""
    found = tmp_path / "to_label.csv"
    write_query_file(open_query_file(found, TEXTS, 2), [], asked(1, 3))
    answer(found, label="positive")
    return found


def test_a_new_file_has_the_agreed_columns(tmp_path: Path):
    write_query_file(open_query_file(tmp_path / "a.csv", TEXTS, 1), [], asked(0))
    (row,) = table(tmp_path / "a.csv")
    assert list(row) == ["row", "text", "label", "suggestion", "confidence", "inclusion", "reason"]
    write_query_file(open_query_file(tmp_path / "b.csv", PAIRS, 1), [], asked(1, texts=PAIRS))
    assert list(table(tmp_path / "b.csv")[0])[:4] == ["row", "text", "pair", "label"]
    assert open_query_file(tmp_path / "b.csv", PAIRS, 2).asked.tolist() == [1]


def test_answers_and_added_columns_stay_and_inclusion_is_brought_up_to_date(path: Path):
    answer(path, comment="sure, “very”")
    before = table(path)
    file = open_query_file(path, TEXTS, 2)
    assert (file.asked.tolist(), file.weights.tolist(), file.unanswered) == ([1, 3], [4.0, 4.0], 0)
    write_query_file(file, [0.5, 0.6], asked(0))
    after = table(path)
    assert [row["inclusion"] for row in after] == ["0.5", "0.6", "0.25"]
    assert [row | {"inclusion": ""} for row in after[:2]] == [row | {"inclusion": ""} for row in before]
    assert (after[2]["row"], after[2]["label"], after[2]["comment"]) == ("0", "", "")
    assert before[0]["text"] == TEXTS[1].text
    assert list(path.parent.iterdir()) == [path]


def test_what_spreadsheets_do_to_a_file_is_understood(path: Path):
    """Rows in another order, a byte-order mark, semicolons, numbers with decimals and changed white space."""
    rows = [
        row | {"row": f"{row['row']}.0", "text": row["text"].replace("\n", "\r\n")} for row in reversed(table(path))
    ]
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    found = open_query_file(path, TEXTS, 2)
    assert (found.asked.tolist(), found.unanswered) == ([3, 1], 0)


def test_open_questions_come_first(path: Path):
    file = open_query_file(path, TEXTS, 2)
    write_query_file(file, [0.5, 0.5], asked(0, 2))
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"the last 2 rows of .* have no label yet.*fill in the column label"):
        open_query_file(path, TEXTS, 2)
    assert path.read_bytes() == before
    assert open_query_file(path, TEXTS, 3).unanswered == 2  # whoever asks for more than is open gets it


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("text", "another text", "belongs to other texts: expected 'a \"bad\", bad.*got 'another text' in row 1"),
        ("row", "6", "belongs to other texts: expected numbers of rows below 6, got '6' in row 1"),
        ("row", "-1", "belongs to other texts"),
        ("row", "1.5", "belongs to other texts"),
        ("row", "one", "belongs to other texts"),
        ("inclusion", "0", "lost an inclusion probability: expected a number from 0 to 1, got '0' in row 1"),
        ("inclusion", "1,5", "lost an inclusion probability"),
        ("inclusion", "2", "lost an inclusion probability"),
        ("inclusion", "", "lost an inclusion probability"),
    ],
)
def test_a_file_of_other_texts_or_a_damaged_one_is_refused(path: Path, column: str, value: str, said: str):
    answer(path, **{column: value})
    before = path.read_bytes()
    with pytest.raises(DataError, match=said):
        open_query_file(path, TEXTS, 2)
    assert path.read_bytes() == before


def test_a_row_that_is_there_twice_is_refused(path: Path):
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    with pytest.raises(DataError, match="has a text twice: expected each number once in the column row, got 3 again"):
        open_query_file(path, TEXTS, 2)


@pytest.mark.parametrize("content", ["text,label\ngood film,positive\n", "id,text\n1,good film\n", ""])
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(DistilshiftError, match=r"was not written by query|empty"):
        open_query_file(path, TEXTS, 2)
    assert path.read_text() == content


def test_a_file_that_changes_meanwhile_is_not_replaced(path: Path):
    """A person saves labels while texts are being chosen."""
    file = open_query_file(path, TEXTS, 2)
    answer(path, label="negative")
    with pytest.raises(OutputError, match=r"changed while texts were chosen.*run the command again"):
        write_query_file(file, [0.5, 0.5], asked(0))
    assert [row["label"] for row in table(path)] == ["negative", "negative"]
    new = open_query_file(path.with_name("new.csv"), TEXTS, 2)
    new.path.write_text("somebody else's")
    with pytest.raises(OutputError, match="changed while texts were chosen"):
        write_query_file(new, [], asked(0))
    assert new.path.read_text() == "somebody else's"


def test_the_output_is_a_csv_file(tmp_path: Path):
    with pytest.raises(OutputError, match=r"expected the ending \.csv"):
        open_query_file(tmp_path / "to_label.jsonl", TEXTS, 2)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match="exists"):
        open_query_file(tmp_path / "folder.csv", TEXTS, 2)


def test_another_encoding_is_refused_with_advice_that_leaves_the_texts_alone(path: Path):
    path.write_bytes(path.read_text(encoding="utf-8").encode("cp1252"))
    with pytest.raises(DataError, match=r"is not in UTF-8: .*byte 0xe8\. Fix: save it as CSV in UTF-8"):
        open_query_file(path, TEXTS, 2)
