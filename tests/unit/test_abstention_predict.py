"""`predict` and `evaluate` withhold labels: in Python, in JSONL and CSV, of batches and streams alike."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distilshift import Predictor, evaluate
from distilshift.bundle import read_manifest
from distilshift.errors import BundleError, ConfigError
from forged import reseal
from texts import make_texts

TEXTS = [text for text, _ in make_texts(90, 7)]


@pytest.fixture(scope="module")
def confidences(student_bundle: Path) -> list[float]:
    return [max(each.probabilities.values()) for each in Predictor.load(student_bundle).predict(TEXTS)]


@pytest.fixture(scope="module")
def middle(confidences: list[float]) -> float:
    """A confidence that some of the texts reach."""
    ordered = sorted(confidences)
    return (ordered[40] + ordered[41]) / 2


def with_curve(student_bundle: Path, folder: Path, **values: Any) -> Path:
    """A copy of the student with a risk-coverage curve."""
    shutil.copytree(student_bundle, folder)
    curve = {"basis": "labels", "texts": 100, "accuracy": [], "threshold": [], "answered": [], "reason": None}
    reseal(folder, runtime=(read_manifest(folder).runtime or {}) | {"abstention": curve | values})
    return folder


@pytest.fixture(scope="module")
def promising(student_bundle: Path, middle: float, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student whose curve promises 0.8 of all texts and 0.9 of those above `middle`."""
    lists = {"accuracy": [0.8, 0.9], "threshold": [0.0, middle], "answered": [1.0, 0.5]}
    return with_curve(student_bundle, tmp_path_factory.mktemp("curve") / "student", **lists)


def test_a_label_is_withheld_below_the_confidence(student_bundle: Path, confidences: list[float], middle: float):
    predictor = Predictor.load(student_bundle)
    for plain, given, sure in zip(
        predictor.predict(TEXTS), predictor.predict(TEXTS, abstain_below=middle), confidences, strict=True
    ):
        assert given.probabilities == plain.probabilities
        assert given.label == (plain.label if sure >= middle else None)
        assert given.abstained == (None if sure >= middle else f"confidence {sure:.3f} is below {middle:.3f}")
        assert plain.abstained is None
    withheld = sum(sure < middle for sure in confidences)
    assert 0 < withheld < len(TEXTS)


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_streams_and_batches_withhold_the_same(student_bundle: Path, middle: float, batch_size: int):
    predictor = Predictor.load(student_bundle, model="fp32")
    together = predictor.predict(TEXTS, abstain_below=middle)
    streamed = [each for _, each in predictor.stream(TEXTS, batch_size, abstain_below=middle)]
    assert [each and each.label for each in streamed] == [each.label for each in together]


def test_a_promised_accuracy_takes_the_curves_threshold(promising: Path, middle: float):
    predictor = Predictor.load(promising)
    assert predictor.predict(TEXTS, min_accuracy=0.85) == predictor.predict(TEXTS, abstain_below=middle)
    assert predictor.predict(TEXTS, min_accuracy=0.5) == predictor.predict(TEXTS)
    with pytest.raises(ConfigError, match=r"accuracy of 0\.95: expected at most 0\.9,"):
        predictor.predict(TEXTS, min_accuracy=0.95)
    with pytest.raises(ConfigError, match="exclude each other"):
        list(predictor.stream(TEXTS, min_accuracy=0.9, abstain_below=0.9))


def test_jsonl_has_null_and_the_reason(run_cli: Any, promising: Path, tmp_path: Path, confidences: list[float]):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": t, "abstained": "theirs"}) + "\n" for t in TEXTS))
    done = run_cli("predict", promising, tmp_path / "t.jsonl", "--min-accuracy", "0.9")
    rows = [json.loads(line) for line in done.out.splitlines()]
    withheld = [row for row in rows if row["label"] is None]
    assert (done.code, len(rows), len(withheld)) == (0, 90, 41)
    assert all(row["abstained"].startswith("confidence 0.") and len(row["probabilities"]) == 2 for row in withheld)
    assert all("abstained" not in row for row in rows if row["label"])
    assert {row["input_abstained"] for row in rows} == {"theirs"}
    assert "Labeled 49 of 90 texts (54.4%)" in done.err
    assert "By 100 labeled texts, with a probability of 95%, 90.0% or more of such labels are right." in done.err


def test_csv_has_an_empty_label_and_a_column_for_the_reason(
    run_cli: Any, promising: Path, tmp_path: Path, middle: float
):
    (tmp_path / "t.csv").write_text("text,id\n" + "".join(f"{text},{place}\n" for place, text in enumerate(TEXTS)))
    done = run_cli("predict", promising, tmp_path / "t.csv", "--abstain-below", middle, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert list(rows[0]) == ["text", "label", "negative", "positive", "abstained", "problem", "id"]
    assert sum(row["label"] == "" for row in rows) == 41
    assert all(bool(row["abstained"]) == (row["label"] == "") and row["problem"] == "" for row in rows)
    assert "right" not in done.err
    plain = run_cli("predict", promising, tmp_path / "t.csv", "--format", "csv")
    assert next(csv.reader(io.StringIO(plain.out))) == ["text", "label", "negative", "positive", "problem", "id"]
    assert plain.err == ""


def test_rows_with_a_problem_do_not_count(run_cli: Any, promising: Path, tmp_path: Path):
    (tmp_path / "t.jsonl").write_text('{"text": "good film"}\n{"text": 3}\n')
    done = run_cli("predict", promising, tmp_path / "t.jsonl", "--skip-bad", "--abstain-below", "1.0")
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert (first["label"], "abstained" in first, "problem" in first) == (None, True, False)
    assert (second["label"], "abstained" in second, "problem" in second) == (None, False, True)
    assert "Labeled 0 of 1 texts (0.0%)" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-accuracy", "0.95"], "no confidence promises an accuracy of 0.95: expected at most 0.9,"),
        (["--min-accuracy", "0.9", "--abstain-below", "0.9"], "exclude each other"),
    ],
)
def test_what_cannot_be_promised_writes_nothing(
    run_cli: Any, promising: Path, tmp_path: Path, options: list[str], message: str
):
    done = run_cli("predict", promising, "--text", "good", "-o", tmp_path / "o.jsonl", *options)
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert message in done.err


def test_a_student_without_a_curve_says_what_would_help(run_cli: Any, student_bundle: Path, tmp_path: Path):
    reason = "without labels no accuracy can be promised: there are 25 classes"
    bundle = with_curve(student_bundle, tmp_path / "s", basis="estimate", reason=reason)
    done = run_cli("predict", bundle, "--text", "good", "--min-accuracy", "0.9")
    assert done.code == 2
    assert f"got no promise: {reason}" in done.err
    assert "adapt --labels" in done.err


def test_an_estimate_is_called_one(run_cli: Any, student_bundle: Path, tmp_path: Path):
    lists = {"accuracy": [0.9], "threshold": [0.0], "answered": [1.0]}
    bundle = with_curve(student_bundle, tmp_path / "s", basis="estimate", **lists)
    done = run_cli("predict", bundle, "--text", "good", "--min-accuracy", "0.9")
    assert "is an estimate, not a bound" in done.err


@pytest.mark.parametrize(
    "damage", [{"threshold": [0.1]}, {"accuracy": [2.0, 0.9]}, {"basis": "hope"}, {"texts": -1}, {"answered": None}]
)
def test_a_damaged_curve_is_refused(promising: Path, tmp_path: Path, damage: dict[str, Any]):
    lists = {"accuracy": [0.8, 0.9], "threshold": [0.0, 0.7], "answered": [1.0, 0.5]}
    with pytest.raises(BundleError, match=r"runtime\.abstention"):
        Predictor.load(with_curve(promising, tmp_path / "s", **(lists | damage)))


def test_evaluate_counts_the_labels_that_are_given(
    promising: Path, middle: float, tmp_path: Path, run_cli: Any, confidences: list[float]
):
    labelled = make_texts(90, 7)
    found = evaluate(promising, ([text for text, _ in labelled], [label for _, label in labelled]), min_accuracy=0.9)
    predicted = Predictor.load(promising).predict(TEXTS, abstain_below=middle)
    given = [each.label == label for each, (_, label) in zip(predicted, labelled, strict=True) if each.label]
    assert found.answered == pytest.approx(49 / 90)
    assert found.answered_accuracy == pytest.approx(sum(given) / len(given))
    assert found.examples == 90
    (tmp_path / "l.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in labelled))
    done = run_cli("evaluate", promising, tmp_path / "l.csv", "--abstain-below", middle, "--json", tmp_path / "n.json")
    assert "Labels are given to 54.4% of the texts" in done.out
    assert json.loads((tmp_path / "n.json").read_text())["answered"] == found.answered


def test_evaluate_without_these_options_says_nothing_of_them(promising: Path):
    found = evaluate(promising, (["good", "bad"], ["positive", "negative"]))
    assert (found.answered, found.answered_accuracy) == (None, None)


def test_a_teacher_has_no_curve(teacher_bundle: Path):
    rows = (["good", "bad"], ["positive", "negative"])
    with pytest.raises(ConfigError, match="teacher, which has no risk-coverage curve"):
        evaluate(teacher_bundle, rows, min_accuracy=0.9)
    assert evaluate(teacher_bundle, rows, abstain_below=1.0).answered_accuracy is None


def test_withholding_labels_needs_no_pytorch(promising: Path):
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['scipy'] = None; sys.modules['pydantic'] = None\n"
        f"from distilshift import Predictor; print(Predictor.load({str(promising)!r}).predict(['x'], min_accuracy=0.9))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Prediction(" in done.stdout
