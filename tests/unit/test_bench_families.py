"""Gain and harm by task family, and macro-F1, from hand-made results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift.bench.families import (
    FAMILIES,
    PairGain,
    families_report,
    pair_gains,
    read_families,
    summarize,
)
from distilshift.bench.matrix import make_matrix
from distilshift.bench.measure import class_shares, of_classes
from distilshift.bench.report import F1_NOTE, report
from distilshift.types import Example

TEXTS = 100


def write_table(results: Path, name: str, right: dict[tuple[str, str, str, int], int], **changes: Any) -> None:
    """Write a table's results: how many of TEXTS are right, by source, target, method and seed."""
    pairs = list(dict.fromkeys(key[:2] for key in right))
    seeds = sorted({key[3] for key in right})
    values = {"table": name, "pairs": pairs, "methods": ["plain-kd-windows", "distilshift"], "seeds": seeds}
    matrix, folder = make_matrix(values), results / name
    folder.mkdir(parents=True)
    (folder / "matrix.json").write_text(json.dumps(values))
    for (source, target, method, seed), count in right.items():
        row = {
            "test_accuracy": count / TEXTS,
            "all_accuracy": count / TEXTS,
            "test_accuracy_int8": None,
            "test_accuracy_beginning": None,
            "test_macro_f1": count / TEXTS - 0.1,
            "test_correct": "1" * count + "0" * (TEXTS - count),
            "seconds": 1,
            "config": matrix.student_config(method, seed).portable(),
            "teacher_config": matrix.teacher_config(seed).portable(),
            "teacher_sha256": source,
            "data_sha256": target,
        }
        row = {key: value for key, value in (row | changes).items() if value != "absent"}
        (folder / f"{source}-{target}-{method}-{seed}.json").write_text(json.dumps(row))


def counts(pair: tuple[str, str], *pairs_of_counts: tuple[int, int]) -> dict[tuple[str, str, str, int], int]:
    """Plain distillation's and the default's right texts, per seed."""
    return {
        (*pair, method, seed): each[place]
        for seed, each in enumerate(pairs_of_counts)
        for place, method in enumerate(("plain-kd-windows", "distilshift"))
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One intents pair that gains 4 points, three crisis pairs that gain 0, lose 1.5 and lose 2.5 points."""
    write_table(tmp_path, "dev-intents", counts(("hwu", "clinc"), (60, 64), (62, 66)))
    crisis = counts(("floods", "accidents"), (50, 50), (52, 52)) | counts(("accidents", "floods"), (70, 69), (70, 68))
    write_table(tmp_path, "crisis", crisis | counts(("fires_haze", "attacks"), (40, 38), (40, 37)))
    return tmp_path


def test_a_pair_s_gain_is_the_mean_of_its_seeds(results: Path):
    families = read_families(results)
    assert list(families) == ["intents", "crisis"]
    gains = pair_gains("crisis", families["crisis"], "distilshift")
    assert [(each.pair[0], each.seeds) for each in gains] == [("floods", 2), ("accidents", 2), ("fires_haze", 2)]
    assert [each.gain for each in gains] == pytest.approx([0, -0.015, -0.025])
    assert [each.accuracy for each in gains] == pytest.approx([0.51, 0.685, 0.375])
    assert [each.macro_f1 for each in gains] == pytest.approx([0.41, 0.585, 0.275])


def test_harm_is_counted_at_one_point_and_at_two(results: Path):
    found = summarize(pair_gains("crisis", read_families(results)["crisis"], "distilshift"))
    assert found.harmed == (2, 1)
    assert found.gain == pytest.approx(-0.04 / 3)
    assert found.worst.pair == ("fires_haze", "attacks")
    assert found.low < found.gain < found.high <= 0


def test_families_count_alike_or_by_their_pairs(results: Path):
    families = read_families(results)
    gains = [each for name in families for each in pair_gains(name, families[name], "distilshift")]
    assert summarize(gains).gain == pytest.approx((0.04 + 0 - 0.015 - 0.025) / 4)
    assert summarize(gains, families_alike=True).gain == pytest.approx((0.04 + (0 - 0.015 - 0.025) / 3) / 2)
    assert summarize(gains, families_alike=True).accuracy == pytest.approx((0.65 + (0.51 + 0.685 + 0.375) / 3) / 2)


def test_a_text_is_drawn_once_for_the_pairs_that_share_it_and_apart_in_other_families():
    differences = np.repeat([1.0, 0.0, -1.0], [20, 70, 10])

    def width(*whose: tuple[str, str]) -> float:
        found = summarize([PairGain(family, (family, target), 1, 0.5, None, differences) for family, target in whose])
        return found.high - found.low

    once = width(("crisis", "floods"))
    assert width(("crisis", "floods"), ("crisis", "floods")) == pytest.approx(once)
    assert width(("crisis", "floods"), ("intents", "floods")) == pytest.approx(once / np.sqrt(2), rel=0.1)


def test_a_pair_in_two_tables_counts_once_with_the_most_seeds(tmp_path: Path):
    write_table(tmp_path, "amazon12-minilm", counts(("books", "dvd"), (60, 63), (60, 65)))
    write_table(tmp_path, "all30-minilm", counts(("books", "dvd"), (60, 60)) | counts(("books", "imdb"), (60, 59)))
    gains = pair_gains("reviews", read_families(tmp_path)["reviews"], "distilshift")
    assert [(each.pair[1], each.seeds) for each in gains] == [("dvd", 2), ("imdb", 1)]
    assert gains[0].gain == pytest.approx(0.04)


def test_cells_of_different_teachers_are_not_compared(tmp_path: Path):
    write_table(tmp_path, "intents", counts(("clinc", "hwu"), (60, 63)))
    path = tmp_path / "intents" / "clinc-hwu-distilshift-0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"teacher_sha256": "another"}))
    assert pair_gains("intents", read_families(tmp_path)["intents"], "distilshift") == []
    assert families_report(tmp_path) == "Not measured yet: `distilshift bench`."


def test_a_seed_of_other_data_is_left_out(tmp_path: Path):
    write_table(tmp_path, "intents", counts(("clinc", "hwu"), (60, 63), (60, 70)))
    for method in ("plain-kd-windows", "distilshift"):
        path = tmp_path / "intents" / f"clinc-hwu-{method}-1.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"data_sha256": "older", "test_correct": "10"}))
    (gain,) = pair_gains("intents", read_families(tmp_path)["intents"], "distilshift")
    assert (gain.seeds, gain.gain) == (1, pytest.approx(0.03))


def test_the_page_counts_development_pairs_apart(results: Path, run_cli: Any):
    done = run_cli("bench", "report", "--results", results, "--families")
    assert (done.code, done.err) == (0, "")
    rows = {line.split(" | ")[0].strip("| "): line for line in done.out.splitlines()}
    assert rows["crisis"].startswith("| crisis | **distilshift** | 3 of 3 | 2 | 52.3 | 42.3 | -1.3 [")
    assert rows["crisis"].endswith("] | 2 | 1 | fires_haze → attacks -2.5 |")
    assert rows["intents"].startswith("| intents | **distilshift** | 1 of 1 | 2 | 65.0 | 55.0 | +4.0 [")
    assert rows["all pairs"].startswith("| all pairs | **distilshift** | 4 | 2 | 55.5 | 45.5 | +0.0 [")
    assert rows["families alike"].startswith("| families alike | **distilshift** | 4 | 2 | 58.7 | 48.7 | +1.3 [")
    assert rows["reporting pairs"].startswith("| reporting pairs | **distilshift** | 3 | 2 | 52.3 | 42.3 | -1.3 [")
    assert "Not measured yet: reviews, vader, emotions, issues, aspects." in done.out


def test_without_results_the_page_says_so(tmp_path: Path):
    assert families_report(tmp_path) == "Not measured yet: `distilshift bench`."


def test_tables_show_macro_f1_where_cells_have_it(results: Path):
    text = report(results)
    assert "| cells | mean | macro-F1 | int8 |" in text
    assert "| **distilshift** | – | 2 of 2 | 65.0 ± 1.4 | 55.0 ± 1.4 | – |" in text
    assert text.endswith(F1_NOTE)


def test_tables_of_cells_from_before_macro_f1_are_what_they_were(tmp_path: Path):
    write_table(tmp_path, "intents", counts(("clinc", "hwu"), (60, 63)), test_macro_f1="absent")
    assert "F1" not in report(tmp_path)
    (gain,) = pair_gains("intents", read_families(tmp_path)["intents"], "distilshift")
    assert gain.macro_f1 is None
    assert "| 63.0 | – | +3.0 [" in families_report(tmp_path)


def test_macro_f1_counts_rare_classes_as_much_as_frequent_ones():
    """By hand: 8 of a are right, 1 of b of 2; a is predicted 9 times, b once."""
    names = ("a", "b", "c")
    examples = [Example("x", label=label) for label in "aaaaaaaabb"]
    logits = np.array([[2.0, 0, 0]] * 9 + [[0, 2.0, 0]], np.float32)
    found = of_classes(logits, examples, names)
    assert found["test_macro_f1"] == pytest.approx((2 * 8 / (8 + 9) + 2 * 1 / (2 + 1)) / 2)
    confidence = np.exp(2) / (np.exp(2) + 2)
    assert found["test_calibration_error"] == pytest.approx(abs(0.9 - confidence))
    assert class_shares(examples, names) == pytest.approx({"a": 0.8, "b": 0.2, "c": 0})
    assert class_shares([], names) is None


def test_families_share_no_table():
    tables = [table for family in FAMILIES.values() for table in family.tables]
    assert len(tables) == len(set(tables))
