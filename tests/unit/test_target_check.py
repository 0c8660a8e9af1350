"""Too few target texts: refused before any work, or by `force` a student of plain labels that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distilshift import adapt, pareto
from distilshift.config import AdaptConfig
from distilshift.data.corpus import MOST_DISTINCT, open_corpus
from distilshift.errors import DataError
from distilshift.target_check import sufficient
from distilshift.types import Example
from texts import make_texts

QUICK: dict[str, Any] = {"student_layers": 1, "distil_epochs": 1, "spans": 0, "precision": "fp32"}


def texts(count: int) -> list[str]:
    return [text for text, _ in make_texts(count, 2)]


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (texts(9), "got 9 in 9 rows of the texts"),
        (texts(20) * 30, "got 20 in 600 rows"),
        ([f"{' ' * (n // 20)}{text.title() if n % 2 else text}" for n, text in enumerate(texts(20) * 30)], "got 20 in"),
    ],
)
def test_fewer_than_fifty_different_texts_are_refused(teacher_bundle: Path, tmp_path: Path, given: list[Any], got: str):
    with pytest.raises(
        DataError, match=rf"{got}.* --force \(force=True\) makes a student of the teacher's plain labels"
    ):
        adapt(teacher_bundle, given, tmp_path / "s", **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_refused_with_exit_code_2_by_adapt_and_pareto(teacher_bundle: Path, tmp_path: Path, run_cli: Any):
    (tmp_path / "t.txt").write_text("\n".join(texts(49)) + "\n")
    for verb in ("adapt", "pareto"):
        done = run_cli(verb, teacher_bundle, tmp_path / "t.txt", "-o", tmp_path / "out")
        assert ("--force" if verb == "adapt" else "force = true in the file of --config") in done.err
        assert (done.code, done.out) == (2, "")
        assert "too few target texts to adapt to" in done.err
    with pytest.raises(DataError, match="too few target texts"):
        pareto(teacher_bundle, texts(49), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


def test_max_texts_counts_too():
    corpus = open_corpus(texts(80), AdaptConfig())
    assert corpus.distinct == 80
    with pytest.raises(DataError, match="got 49 in max_texts"):
        sufficient(corpus, AdaptConfig(max_texts=49))
    fine = AdaptConfig(max_texts=50)
    assert sufficient(corpus, fine) is fine


def test_pairs_that_share_their_first_text_are_different():
    corpus = open_corpus([Example("good film", pair) for pair in texts(30)] * 2, AdaptConfig())
    assert corpus.distinct == 30


def test_different_texts_are_counted_in_constant_memory():
    corpus = open_corpus([f"text {number}" for number in range(2 * MOST_DISTINCT)] * 2, AdaptConfig())
    assert (len(corpus), corpus.distinct) == (4 * MOST_DISTINCT, MOST_DISTINCT)


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize("method", ["second-opinion", "shot-im"])
def test_force_makes_a_student_of_plain_labels_and_says_so(
    teacher_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
):
    result = adapt(teacher_bundle, texts(20) * 3, tmp_path / "s", method=method, force=True, **QUICK)
    assert (result.summary["method"], result.summary["adaptation"]) == ("none", "none")
    assert result.summary["estimated_accuracy"] is None
    warning = next(each for each in result.warnings if "only 20 different target texts" in each)
    assert f"Warning: {warning}" in caplog.text
    card = (tmp_path / "s" / "README.md").read_text()
    assert card.index(f"> **Warning.** {warning}") < card.index("A small text classifier")
    assert "Not adapted: fewer than 50 different texts." in card
    assert "No adaptation was asked for" not in card
    assert "A small text classifier, distilled on texts of its domain" in card


def test_chosen_texts_that_are_copies_do_not_count(teacher_bundle: Path, tmp_path: Path, quick_export: None):
    """Of `max_texts` random rows, too few may be different; the advice then works."""
    given = texts(60) * 50
    options = QUICK | {"method": "shot-im", "adapt_epochs": 1, "max_texts": 50}
    with pytest.raises(DataError, match=r"got \d\d in .* --force"):
        adapt(teacher_bundle, given, tmp_path / "s", **options)
    made = adapt(teacher_bundle, given, tmp_path / "s", **options, force=True)
    assert made.summary["adaptation"] == "none"
    assert any("different target texts" in warning for warning in made.warnings)
