"""Labels of target texts: what is read from a file, and which texts of the corpus they are found to be of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilshift.config import AdaptConfig
from distilshift.data.corpus import Corpus, open_corpus
from distilshift.errors import DataError
from distilshift.target_labels import MAX_LABELS, LabelledTexts, TargetLabels, match_labels, read_target_labels

NAMES = ["negative", "positive"]
TEXTS = [f"text number {index}" for index in range(40)]


def rows(count: int, start: int = 0) -> list[str]:
    return [f"text number {index},{NAMES[index % 2]}" for index in range(start, start + count)]


def read(path: Path, lines: list[str], header: str = "text,label", **options: str) -> LabelledTexts:
    path.write_text("\n".join([header, *lines]), encoding="utf-8")
    found = read_target_labels(AdaptConfig(labels=str(path), **options), NAMES)
    assert found is not None
    return found


def corpus(texts: list[str]) -> Corpus:
    return open_corpus(texts, AdaptConfig())


def test_without_the_option_there_are_no_labels():
    assert read_target_labels(AdaptConfig(), NAMES) is None


def test_labels_become_class_numbers_and_rows_without_one_are_skipped(tmp_path: Path):
    found = read(tmp_path / "l.csv", [*rows(12), "text number 30,", "text number 31,  "])
    assert found.classes.tolist() == [0, 1] * 6
    assert found.inclusion.tolist() == [1.0] * 12


def test_a_file_of_query_is_read_by_its_own_columns(tmp_path: Path):
    header = "row,text,label,suggestion,confidence,inclusion,reason"
    lines = [f"{index},text number {index},{NAMES[index % 2]},negative,0.6,0.25,unsure" for index in range(10)]
    lines.append("10,text number 10,,negative,0.6,0.5,unsure")
    found = read(tmp_path / "q.csv", lines, header, text_column="review", label_column="stars")
    assert len(found.examples) == 10
    assert set(found.inclusion) == {0.25}


def test_a_file_of_query_is_in_its_own_format_whatever_that_of_the_texts_is(tmp_path: Path):
    header = "row,text,label,suggestion,confidence,inclusion,reason"
    lines = [f'{index},"déjà vu,\n""{index}""",positive,negative,0.6,0.25,unsure' for index in range(10)]
    found = read(tmp_path / "q.csv", lines, header, encoding="latin-1", quoting="none")
    assert found.examples[3].text == 'déjà vu,\n"3"'


def test_any_other_file_is_read_by_the_options(tmp_path: Path):
    found = read(
        tmp_path / "l.csv",
        [f"{index},{index % 2},text {index}" for index in range(10)],
        "id,stars,review",
        text_column="review",
        label_column="stars",
        label_names="0=negative,1=positive",
    )
    assert found.classes.tolist() == [0, 1] * 5


@pytest.mark.parametrize(
    ("lines", "header", "problem"),
    [
        (rows(9), "text,label", "too few labels.*10 labelled texts or more.*got 9"),
        (rows(MAX_LABELS + 1), "text,label", "more labels than"),
        ([*rows(12), "text number 0,positive"], "text,label", "two labels.*'negative' and 'positive'"),
        ([*rows(12), "Text  NUMBER 0,positive"], "text,label", "two labels"),
        ([*rows(12), "text number 30,neutral"], "text,label", "labels that the bundle does not know.*got neutral"),
        ([row.replace(",p", ",P") for row in rows(12)], "text,label", "--label-names.*Positive=positive"),
        (rows(12), "text,klass", "no label column.*--label-column"),
        ([f"{row},-1.5" for row in rows(12)], "text,label,inclusion", "inclusion.*positive numbers.*'-1.5'"),
        ([f"{row},0" for row in rows(12)], "text,label,inclusion", "inclusion"),
        ([f"{row}," for row in rows(12)], "text,label,inclusion", "inclusion"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_way_out(tmp_path: Path, lines: list[str], header: str, problem: str):
    with pytest.raises(DataError, match=f"(?s){problem}"):
        read(tmp_path / "l.csv", lines, header)


def test_a_text_that_is_labelled_twice_alike_counts_once(tmp_path: Path):
    assert len(read(tmp_path / "l.csv", [*rows(12), *rows(3)]).examples) == 12


def test_the_hash_is_of_texts_labels_and_inclusion_and_not_of_the_file(tmp_path: Path):
    plain = read(tmp_path / "a.csv", rows(12)).sha256
    assert read(tmp_path / "b.csv", rows(12), "text,label").sha256 == plain
    assert read(tmp_path / "c.csv", [*rows(11), "text number 11,negative"]).sha256 != plain
    drawn = [f"{row},0.5" for row in rows(12)]
    assert read(tmp_path / "d.csv", drawn, "text,label,inclusion").sha256 != plain


def test_labelled_texts_are_found_in_the_corpus_whatever_their_case(tmp_path: Path):
    labelled = read(
        tmp_path / "l.csv",
        [row.upper().replace("TIVE", "tive").replace("NEGA", "nega").replace("POSI", "posi") for row in rows(12, 3)],
    )
    found, labels = match_labels(labelled, corpus([*TEXTS, *TEXTS]))
    assert len(found) == 80
    assert labels.rows.tolist() == list(range(3, 15))
    assert labels.weights.tolist() == [1.0] * 12


def test_labelled_texts_that_the_corpus_lacks_are_added(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    labelled = read(tmp_path / "l.csv", rows(12, 34))
    found, labels = match_labels(labelled, corpus(TEXTS))
    assert "6 of 12 labelled texts are not among the target texts" in caplog.text
    assert [example.text for example in found.at(labels.rows)] == [example.text for example in labelled.examples]
    assert {example.label for example in found} == {None}
    assert len(found) == 46


def test_a_labelled_text_without_probabilities_is_refused(tmp_path: Path):
    labelled = read(tmp_path / "l.csv", rows(12, 34))
    with pytest.raises(DataError, match="6 of the 12 labelled texts are not among the target texts"):
        match_labels(labelled, corpus(TEXTS), complete=False)


def test_weights_are_inverse_inclusion_probabilities_with_mean_one(tmp_path: Path):
    lines = [f"{row},{chance}" for row, chance in zip(rows(10), [1.0, 0.25] * 5, strict=True)]
    _, labels = match_labels(read(tmp_path / "l.csv", lines, "text,label,inclusion"), corpus(TEXTS))
    assert isinstance(labels, TargetLabels)
    np.testing.assert_allclose(labels.weights, [0.4, 1.6] * 5)


def test_pairs_are_told_apart_by_both_texts(tmp_path: Path):
    path = tmp_path / "l.csv"
    path.write_text(
        "\n".join(["text,other,label", *(f"same,aspect {index},{NAMES[index % 2]}" for index in range(10))])
    )
    config = AdaptConfig(labels=str(path), pair_column="other")
    labelled = read_target_labels(config, NAMES)
    assert labelled is not None
    pairs = open_corpus([("same", f"aspect {index}") for index in range(20)], config)
    assert match_labels(labelled, pairs)[1].rows.tolist() == list(range(10))


def test_a_csv_file_in_another_encoding_is_to_be_saved_anew_unless_all_files_have_it(tmp_path: Path):
    file = tmp_path / "l.csv"
    file.write_bytes("\n".join(["text,label", "très bon,positive", *rows(10)]).encode("cp1252"))
    with pytest.raises(DataError, match=r"byte 0xe8\. Fix: save it as CSV in UTF-8"):
        read_target_labels(AdaptConfig(labels=str(file)), NAMES)
    found = read_target_labels(AdaptConfig(labels=str(file), encoding="cp1252"), NAMES)
    assert found is not None
    assert found.examples[0].text == "très bon"


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"no\.csv: no such file"):
        read_target_labels(AdaptConfig(labels=str(tmp_path / "no.csv")), NAMES)
