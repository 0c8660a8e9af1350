"""Labels left out or merged, characters of Windows, and blank lines of plain text."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from distilshift import evaluate
from distilshift.config import InputConfig, LabelledInputConfig
from distilshift.data.read import iter_examples, read_examples, read_labelled
from distilshift.errors import DataError
from distilshift.types import Example

STARS = "text,stars\n" + "".join(f"text {stars},{stars}\n" for stars in (1, 2, 3, 4, 5, -1))


def labelled(path: Path, **options: object) -> list[tuple[str, str | None]]:
    found = read_labelled(path, LabelledInputConfig(label_column="stars", **options)).examples  # type: ignore[arg-type]
    return [(item.text[-1], item.label) for item in found]


def test_numbers_may_share_a_name_and_others_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text(STARS)
    names = "1=negative,2=negative,4=positive,5=positive"
    with caplog.at_level(logging.WARNING, logger="distilshift"):
        found = labelled(tmp_path / "a.csv", label_names=names, ignore_label=("3", -1))
    assert found == [("1", "negative"), ("2", "negative"), ("4", "positive"), ("5", "positive")]
    (record,) = caplog.records
    assert record.getMessage() == f"{tmp_path}/a.csv: left out 2 of 6 rows for their label"
    with pytest.raises(
        DataError, match=r"line 4 \(row 3\).*got '-1', '3'. Fix: .*or `--ignore-label -1 --ignore-label 3`"
    ):
        labelled(tmp_path / "a.csv", label_names=names)


def test_examples_made_in_python_are_left_out_alike(student_bundle: Path) -> None:
    examples = [Example("good film", label="positive"), Example("bad", label="n/a"), Example("awful", label="negative")]
    assert evaluate(student_bundle, examples, ignore_label=["n/a"]).examples == 2


def test_the_command_line_repeats_the_option(run_cli, student_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\ngood,positive\nbad,negative\nso so,-1\nwell,none\n")
    done = run_cli("evaluate", student_bundle, tmp_path / "a.csv", "--ignore-label", "-1", "--ignore-label", "none")
    assert done.code == 0
    assert "2 texts: accuracy" in done.out


@pytest.mark.parametrize(("quote", "byte"), [("’", "92"), ("–", "96"), ("€", "80"), ("…", "85")])
def test_windows_characters_are_not_read_as_control_characters(tmp_path: Path, quote: str, byte: str) -> None:
    (tmp_path / "a.csv").write_bytes(f"text\ncafé{quote} au lait\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"byte 0xe9. Fix: `--encoding cp1252`"):
        read_examples(tmp_path / "a.csv", InputConfig())
    with pytest.raises(DataError, match=rf"a control character.*got U\+00{byte}. Fix: `--encoding cp1252`"):
        read_examples(tmp_path / "a.csv", InputConfig(encoding="latin-1"))
    (item,) = read_examples(tmp_path / "a.csv", InputConfig(encoding="cp1252")).examples
    assert item.text == f"café{quote} au lait"


def test_bytes_that_no_windows_text_has_bring_no_advice_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one \x81 two\n")
    with pytest.raises(DataError, match=r"byte 0x81. Fix: name the encoding the file has with --encoding"):
        read_examples(tmp_path / "a.txt", InputConfig())


def test_text_that_was_decoded_wrongly_before_is_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Encoded as UTF-8 since, as in public collections; U+0085 alone is a line end of some systems."""
    (tmp_path / "a.jsonl").write_text('{"text": "it\\u0092s"}\n{"text": "one\\u0085two"}\n')
    first, second = read_examples(tmp_path / "a.jsonl", InputConfig()).examples
    assert (first.text, second.text) == ("it\x92s", "one\x85two")
    assert "1 of 2 rows have control characters" in caplog.text


def test_blank_lines_of_plain_text_are_left_out_or_kept_in_place(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n \ntwo\n\n")
    assert [item.text for item in read_examples(tmp_path / "a.txt", InputConfig()).examples] == ["one", "two"]
    found = list(iter_examples(tmp_path / "a.txt", InputConfig(), pass_blank=True))
    assert [item.text for item in found] == ["one", "", "", "two", ""]
    assert "line 2: blank line" in str(found[1].problem)


@pytest.mark.parametrize("ignored", [-1, "-1", (-1.0,), ("-1.0",)])
def test_numbers_that_a_table_made_decimal_are_the_same_labels(tmp_path: Path, ignored: Any) -> None:
    (tmp_path / "a.csv").write_text("text,label\ngood,1.0\nbad,0.0\nso so,-1.0\n")
    config = LabelledInputConfig(label_names="0=negative,1=positive", ignore_label=ignored)
    labels = [item.label for item in read_labelled(tmp_path / "a.csv", config).examples]
    assert labels == ["positive", "negative"]
