"""The domains of reviews, made from a clone of their authors' repository."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import review_data
from distilshift.bench.data import load_domain
from distilshift.errors import DataError
from review_data import ORDER_SEED, Place, compressed, convert, read_index, read_reviews, rows_of

REVIEW = "<review>\n<title>\nIgnored\n</title>\n<review_text>\n{}\n</review_text>\n</review>\n"
TEXTS = {"negative": ["Broke  at\nonce.", "caf\xe9 \x85 burnt<br />twice", ""], "positive": ["Good.", "Fine, too."]}
READ = ["Broke at once.", "caf\xe9 burnt twice", "", "Good.", "Fine, too."]
PLACE = Place([False, True, False, False, True], {4: 3}, "", "")


def write_classes(folder: Path) -> None:
    folder.mkdir(parents=True)
    for label, texts in TEXTS.items():
        content = "".join(REVIEW.format(text) for text in texts)
        (folder / f"{label}.review").write_bytes(content.encode("latin-1"))


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="latin-1", newline="") as file:
        writer = csv.DictWriter(file, ["reviews", "labels"])
        writer.writeheader()
        writer.writerows(rows)


def test_reviews_are_numbered_by_class_and_cleaned_of_breaks_and_spaces(tmp_path: Path) -> None:
    write_classes(tmp_path / "books")
    labels = ["negative"] * 3 + ["positive"] * 2
    assert read_reviews(tmp_path, "books") == list(zip(labels, READ, strict=True))


def test_a_table_s_reviews_are_numbered_as_they_come(tmp_path: Path) -> None:
    rows = [{"reviews": 'A "quoted",\nlong<br/>one', "labels": "1"}, {"reviews": "Dull.", "labels": "0"}]
    write_table(tmp_path / "imdb" / "imdb.csv", rows)
    assert read_reviews(tmp_path, "imdb") == [("positive", 'A "quoted", long one'), ("negative", "Dull.")]


def test_a_row_has_its_split_and_the_group_of_what_it_repeats(tmp_path: Path) -> None:
    write_classes(tmp_path / "books")
    rows = list(rows_of("books", read_reviews(tmp_path, "books"), PLACE))
    order = np.random.default_rng(ORDER_SEED).permutation(5).tolist()
    assert [row["text"] for row in rows] == [READ[number] for number in order]
    assert [row["split"] == "test" for row in rows] == PLACE.test
    assert [row["group"] for row in rows] == [3 if number == 4 else number for number in order]
    assert [row["id"] for row in rows] == [f"books-000{row}" for row in range(5)]


def test_a_file_is_the_same_at_any_time_and_one_that_is_compressed_otherwise_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "books")
    rows = rows_of("books", read_reviews(tmp_path, "books"), PLACE)
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
    content = compressed("books", lines)
    assert gzip.decompress(content) == lines
    digests = [hashlib.sha256(each).hexdigest() for each in (lines, content)]
    right = Place(PLACE.test, PLACE.groups, *digests)
    assert convert(tmp_path, tmp_path / "out", {"books": right}) == []
    assert (tmp_path / "out" / "books.jsonl.gz").read_bytes() == content
    assert convert(tmp_path, tmp_path / "out", {"books": replace(right, sha256="other")}) == ["books"]


def test_reviews_that_have_changed_replace_nothing(tmp_path: Path) -> None:
    write_classes(tmp_path / "books")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "books.jsonl.gz").write_bytes(b"good")
    with pytest.raises(DataError, match="the reviews of books have changed"):
        convert(tmp_path, tmp_path / "out", {"books": PLACE})
    assert (tmp_path / "out" / "books.jsonl.gz").read_bytes() == b"good"


@pytest.mark.parametrize("label", ["good", "7", "-1"])
def test_another_label_is_refused(label: str, tmp_path: Path) -> None:
    write_table(tmp_path / "imdb" / "imdb.csv", [{"reviews": "Good.", "labels": label}])
    with pytest.raises(DataError, match="another table"):
        read_reviews(tmp_path, "imdb")


@pytest.mark.parametrize("content", [b"text\nGood.\n", b'labels,reviews\n1\n0,"' + b"open " * 40_000])
def test_another_table_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "imdb").mkdir()
    (tmp_path / "imdb" / "imdb.csv").write_bytes(content)
    with pytest.raises(DataError, match="another table"):
        read_reviews(tmp_path, "imdb")


def test_nothing_is_written_where_a_domain_is_missing_or_has_lost_reviews(tmp_path: Path) -> None:
    write_classes(tmp_path / "books")
    with pytest.raises(DataError, match=r"dvd.negative\.review cannot be read"):
        convert(tmp_path, tmp_path / "out", {"dvd": PLACE, "books": PLACE})
    with pytest.raises(DataError, match="expected 6, got 5"):
        convert(tmp_path, tmp_path / "out", {"books": Place([True] * 6, {}, "", "")})
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_2_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["review_data.py", str(tmp_path), "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        review_data.main()
    assert caught.value.code == 2
    assert "bzantium/bert-AAD" in capsys.readouterr().err


def test_a_group_is_never_in_both_splits() -> None:
    for domain, place in read_index().items():
        order = np.random.default_rng(ORDER_SEED).permutation(len(place.test)).tolist()
        split = dict(zip(order, place.test, strict=True))
        assert sum(place.test) == 400, domain
        assert all(split[number] == split[group] for number, group in place.groups.items()), domain


@pytest.mark.parametrize("domain", ["kitchen", "imdb"])
def test_the_reviews_at_hand_come_back_to_the_last_byte(domain: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("DISTILSHIFT_DATA", review_data.HERE.parent.parent / "shared" / "data"))
    path = folder / "cross-domain-sentiment" / f"{domain}.jsonl.gz"
    if not path.exists():
        pytest.skip("the reviews are not here: DISTILSHIFT_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    reviews: list[Any] = [None] * len(rows)
    for row, number in zip(rows, np.random.default_rng(ORDER_SEED).permutation(len(rows)).tolist(), strict=True):
        reviews[number] = {"reviews": row["text"], "labels": str(int(row["label"] == "positive"))}
    write_table(tmp_path / domain / f"{domain}.csv", reviews)
    assert convert(tmp_path, tmp_path / "out", {domain: read_index()[domain]}) == []
    assert len(load_domain(tmp_path / "out", domain).test) == 400
