"""`query`, from a bundle to a file that a person fills in, in batches; a student needs no PyTorch."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_public_names import HIDE_TORCH
from test_query_file import answer, table

from distilshift import ConfigError, DataError, Predictor, query
from distilshift.data.corpus import plain_digest
from distilshift.types import Example


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_two_batches_of_a_bundle(
    run_cli: Any, teacher_bundle: Path, student_bundle: Path, target_file: Path, tmp_path: Path, kind: str
):
    bundle, output = {"teacher": teacher_bundle, "student": student_bundle}[kind], tmp_path / "to_label.csv"
    texts = target_file.read_text().splitlines()
    done = run_cli("query", bundle, target_file, "-n", "12", "-o", output)
    assert (done.code, done.out) == (0, "")
    assert "Chose 12 of 120 texts" in done.err
    assert f"Fill in the column label of {output}: negative, positive." in done.err
    first = table(output)
    assert len(first) == 12
    assert all(texts[int(row["row"])] == row["text"] for row in first)
    assert {row["label"] for row in first} == {""}
    assert {row["suggestion"] for row in first} == {"negative", "positive"}
    assert all(0 < float(row["inclusion"]) <= 1 and row["reason"] for row in first)

    answer(output, label="positive")
    assert run_cli("query", bundle, target_file, "-n", "20", "-o", output).code == 0
    both = table(output)
    assert [row["label"] for row in both] == ["positive"] * 12 + [""] * 20
    assert len({row["row"] for row in both}) == 32
    assert [row["row"] for row in both[:12]] == [row["row"] for row in first]
    assert sum(1 / float(row["inclusion"]) for row in both) == pytest.approx(120, rel=0.35)


def test_suggestions_are_the_predictions_of_the_student(student_bundle: Path, target_file: Path, tmp_path: Path):
    query(student_bundle, target_file, tmp_path / "a.csv", count=30)
    rows = table(tmp_path / "a.csv")
    said = Predictor.load(student_bundle).predict([row["text"] for row in rows])
    assert [row["suggestion"] for row in rows] == [item.label for item in said]
    confidences = [max(item.probabilities.values()) for item in said]
    assert [float(row["confidence"]) for row in rows] == pytest.approx(confidences, abs=1e-2)


def test_a_student_is_asked_without_pytorch_scipy_and_sklearn(student_bundle: Path, target_file: Path, tmp_path: Path):
    hide = HIDE_TORCH + "".join(f"sys.modules[{name!r}] = None\n" for name in ("scipy", "sklearn", "transformers"))
    arguments = ["query", student_bundle, target_file, "-n", "5", "-o", tmp_path / "a.csv"]
    code = f"{hide}sys.argv = {['distilshift', *map(str, arguments)]}\nfrom distilshift.cli import start; start()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, len(table(tmp_path / "a.csv"))) == (0, 5)


def test_all_texts_can_be_asked_but_none_twice_and_no_copy(student_bundle: Path, target_file: Path, tmp_path: Path):
    texts = target_file.read_text().splitlines()
    texts += [texts[0].upper(), texts[1] + "!"]
    output = tmp_path / "a.csv"
    first = query(student_bundle, texts, output, count=60)
    answer(output, label="negative")
    last = query(student_bundle, texts, output, count=500)
    answer(output, label="negative")
    rows = table(output)
    assert (len(rows), len(first.rows)) == (last.asked, 60) == (last.groups, 60)
    assert last.groups <= 120
    assert len({plain_digest(Example(row["text"].rstrip("!"))) for row in rows}) == len(rows)
    assert sum(1 / float(row["inclusion"]) for row in rows) == pytest.approx(122, rel=1e-3)
    assert last.effective_answers < last.asked
    with pytest.raises(DataError, match="all texts were asked"):
        query(student_bundle, texts, output)


def test_the_explanation_is_also_json(run_cli: Any, student_bundle: Path, target_file: Path, tmp_path: Path):
    call = ("query", student_bundle, target_file, "-n", "6", "-o", tmp_path / "a.csv", "--json", tmp_path / "a.json")
    done = run_cli(*call)
    assert done.code == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["explanation"] in done.err
    assert found["rows"] == [int(row["row"]) for row in table(tmp_path / "a.csv")]
    assert (found["asked"], found["texts"], sum(found["predicted"].values())) == (6, 120, 6)
    assert run_cli(*call).code == 2  # the JSON file is there


def test_the_same_seed_asks_the_same_texts(student_bundle: Path, target_file: Path, tmp_path: Path):
    first, again, other = (
        query(student_bundle, target_file, tmp_path / f"{name}.csv", count=9, seed=seed).rows
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert first != other


def test_pairs_are_asked_as_pairs(pair_bundle: Path, student_bundle: Path, tmp_path: Path):
    data, output = tmp_path / "a.csv", tmp_path / "to_label.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([["text", "other"], ["good film", "bad book"], ["bad", "good"], ["fine", "a pan"]])
    query(pair_bundle, data, output, count=2, pair_column="other")
    rows = table(output)
    assert list(rows[0])[:4] == ["row", "text", "pair", "label"]
    assert all(
        (row["text"], row["pair"]) in {("good film", "bad book"), ("bad", "good"), ("fine", "a pan")} for row in rows
    )
    answer(output, label="positive")
    assert query(pair_bundle, data, output, pair_column="other").asked == 3
    with pytest.raises(DataError, match="the bundle labels pairs"):
        query(pair_bundle, data, tmp_path / "b.csv")
    with pytest.raises(DataError, match="the bundle labels single texts"):
        query(student_bundle, data, tmp_path / "b.csv", pair_column="other")


def test_inputs_are_not_overwritten(run_cli: Any, student_bundle: Path, target_file: Path, tmp_path: Path):
    data = tmp_path / "a.csv"
    shutil.copy(target_file, data)
    data.write_text("text\n" + target_file.read_text())
    before = data.read_bytes()
    done = run_cli("query", student_bundle, data, "-o", data)
    assert (done.code, "which is read" in done.err) == (2, True)
    done = run_cli("query", student_bundle, data, "-o", student_bundle / "b.csv")
    assert (done.code, "which is read" in done.err) == (2, True)
    assert data.read_bytes() == before


def test_a_file_of_other_texts_is_refused_before_the_model_runs(
    student_bundle: Path, target_file: Path, tmp_path: Path
):
    output = tmp_path / "a.csv"
    query(student_bundle, target_file, output, count=4)
    answer(output, label="positive")
    before = output.read_bytes()
    with pytest.raises(DataError, match="belongs to other texts"):
        query(student_bundle, target_file.read_text().splitlines()[5:], output)
    assert output.read_bytes() == before


def test_a_teacher_has_no_onnx_file_to_choose(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="which has no int8 network"):
        query(teacher_bundle, target_file, tmp_path / "a.csv", model="int8")


def test_reasons_are_in_plain_words(student_bundle: Path, tmp_path: Path):
    texts = ["good film"] * 3 + ["bad book", "a pan", "it was fine", "the worst plot"]
    query(student_bundle, texts, tmp_path / "a.csv", count=5)
    reasons = {row["text"]: row["reason"] for row in table(tmp_path / "a.csv")}
    assert "has 2 near copies" in reasons["good film"]
    assert not any("stands for" in reason for reason in reasons.values())  # later batches change that
    assert any("the model is surer of " in reason for reason in reasons.values())


def test_labels_are_never_withheld_so_that_no_option_says_so(run_cli: Any, student_bundle: Path, target_file: Path):
    done = run_cli("query", student_bundle, target_file, "-o", "a.csv", "--abstain-below", "0.5")
    assert (done.code, "No such option" in done.err) == (2, True)
