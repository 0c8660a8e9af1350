"""The tables' numbers, from hand-made result files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift.bench.figures import VERMILION, write_figures
from distilshift.bench.matrix import make_matrix
from distilshift.bench.report import fill, report, section
from distilshift.bench.table import HARM, Gain, interval, read_table
from distilshift.errors import ConfigError

# Ten test texts a target; seeds 0 and 1. Of "shot-kd", b's second seed is missing.
RIGHT = {
    ("b", "plain-kd", 0): 6,
    ("b", "plain-kd", 1): 8,
    ("c", "plain-kd", 0): 5,
    ("c", "plain-kd", 1): 5,
    ("b", "distilshift", 0): 8,
    ("b", "distilshift", 1): 10,
    ("c", "distilshift", 0): 4,
    ("c", "distilshift", 1): 5,
    ("b", "shot-kd", 0): 6,
    ("c", "shot-kd", 0): 9,
    ("c", "shot-kd", 1): 7,
}


MATRIX = {"table": "t", "pairs": [["a", "b"], ["a", "c"]], "seeds": [0, 1]}
METHODS = ["shot-kd", "plain-kd", "distilshift", "kd-source"]


def write_cell(folder: Path, target: str, method: str, seed: int, right: int, **changes: Any) -> None:
    matrix = make_matrix(MATRIX | {"methods": METHODS})
    row = {
        "table": "t",
        "source": "a",
        "target": target,
        "method": method,
        "seed": seed,
        "test_accuracy": right / 10,
        "test_accuracy_int8": None if method == "plain-kd" else (right - 1) / 10,
        "test_accuracy_beginning": None if method == "plain-kd" else (right - 2) / 10,
        "all_accuracy": (right - 1) / 10,
        "test_correct": "1" * right + "0" * (10 - right),
        "seconds": 100 + right,
        "config": matrix.student_config(method, seed).portable(),
        "teacher_config": matrix.teacher_config(seed).portable(),
        "teacher_sha256": f"teacher {seed}",
        "data_sha256": target,
    }
    (folder / f"a-{target}-{method}-{seed}.json").write_text(json.dumps(row | changes))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "t"
    folder.mkdir(parents=True)
    (folder / "matrix.json").write_text(json.dumps(MATRIX | {"methods": METHODS}))
    for (target, method, seed), right in RIGHT.items():
        write_cell(folder, target, method, seed, right)
    return folder


def test_numbers_are_those_of_a_calculation_by_hand(results: Path):
    table = read_table(results)
    assert table.missing() == 16 - 11
    assert table.values(["plain-kd", "distilshift"], ("a", "b")).tolist() == [[0.6, 0.8], [0.8, 1.0]]
    assert table.values(["shot-kd"], ("a", "c")).tolist() == [[0.9]]  # seed 1 lacks b, here too
    assert table.means("distilshift") == pytest.approx([0.6, 0.75])
    assert table.means("shot-kd") == pytest.approx([0.75])  # seed 1 lacks b
    gain = table.gain("distilshift")
    assert isinstance(gain, Gain)
    # b: +0.2, +0.2; c: -0.1, 0.0, on the mean below -0.01
    assert gain.mean == pytest.approx(0.3 / 4)
    assert (gain.cells, gain.pairs, gain.harmed) == (4, 2, 1)
    assert gain.low < gain.mean < gain.high
    assert table.gain("shot-kd").mean == pytest.approx((0.0 + 0.4) / 2)  # here too, only the seed that has both pairs
    assert table.gain("kd-source") is None
    assert table.whole_seeds(["plain-kd", "distilshift"]) == [0, 1]
    assert table.whole_seeds(["plain-kd", "shot-kd"]) == [0]


def test_where_no_seed_has_all_pairs_a_gain_is_of_what_there_is(results: Path):
    (results / "a-c-shot-kd-0.json").unlink()
    table = read_table(results)
    gain = table.gain("shot-kd")
    assert (gain.cells, gain.mean) == (2, pytest.approx((0.0 + 0.2) / 2))
    assert table.whole_seeds(["shot-kd"]) == []


def test_the_interval_is_the_bootstraps_own(results: Path):
    """Two targets, each text's sum over two cells: the variance of the sum of means is known."""
    rng = np.random.default_rng(1)
    values = [rng.choice([-1.0, 0.0, 1.0], 400, p=[0.1, 0.6, 0.3]) / 2 for _ in range(2)]
    low, high = interval(values)
    mean = sum(each.mean() for each in values)
    error = np.sqrt(sum(each.var() / 400 for each in values))
    assert low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)
    assert interval(values) == (low, high)
    assert interval([np.zeros(5)]) == (0.0, 0.0)


def test_a_cell_with_another_teacher_is_not_compared(results: Path):
    write_cell(results, "b", "distilshift", 0, 8, teacher_sha256="another")
    gain = read_table(results).gain("distilshift")
    assert gain.cells == 2
    assert gain.mean == pytest.approx((0.2 + 0.0) / 2)


def test_the_page_says_what_is_missing_and_averages_no_unlike_pairs(results: Path):
    lines = section(read_table(results)).splitlines()
    assert "2 pairs, 2 seeds. 5 of 16 cells are missing." in lines
    row = {line.split(" | ")[0].strip("| "): line for line in reversed(lines) if line.startswith("| ")}
    plain = "| plain distillation | – | 4 of 4 | 60.0 ± 7.1 | – | – | 50.0 ± 7.1 | – | – | 106 |"
    assert row["plain distillation"] == plain
    assert row["SHOT, then distillation"].startswith(
        "| SHOT, then distillation | – | 3 of 4 | 75.0 | 65.0 | 55.0 | 65.0 | +20.0 ["
    )
    assert row["SHOT, then distillation"].endswith("] (2 cells) | 0 of 2 | 107 |")
    assert "distillation on source texts" not in row
    assert "No cell yet: distillation on source texts." in lines
    assert "| SHOT, then distillation | 60.0 | 90.0 |" in lines
    assert "other options" not in "".join(lines)


def test_a_row_of_the_first_seed_alone_is_complete_with_it(results: Path):
    path = results / "matrix.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"first_seed_only": ["shot-kd", "kd-source"]}))
    table = read_table(results)
    assert table.missing() == 12 - 10  # both cells of kd-source
    assert table.gain("shot-kd").mean == pytest.approx((0.0 + 0.4) / 2)
    assert "| SHOT, then distillation | – | 2 of 2 | 75.0 | 65.0 | 55.0 | 65.0 | +20.0 [" in section(table)


@pytest.mark.parametrize("config", [{"seed": 0, "spans": 4}, {"seed": 0, "an_option_of_before": 1}])
def test_a_cell_of_other_options_is_missing_and_named(results: Path, config: dict[str, Any]):
    write_cell(results, "b", "distilshift", 0, 8, config=config)
    table = read_table(results)
    assert table.missing() == 16 - 10
    assert table.gain("distilshift").cells == 2  # seed 1 alone has both pairs
    left_out = "Made with other options than the matrix's, and left out: a-b-distilshift-0.json."
    assert left_out in section(table).splitlines()


def test_a_cell_that_is_older_than_an_option_counts_as_made_with_its_default(results: Path):
    write_cell(results, "b", "distilshift", 0, 8, config={"seed": 0})
    assert read_table(results).missing() == 16 - 11


@pytest.mark.parametrize("changes", [{"teacher_sha256": "another"}, {"data_sha256": "other"}])
def test_rows_of_different_teachers_or_data_are_in_no_table_together(results: Path, changes: dict[str, str]):
    write_cell(results, "b", "distilshift", 0, 8, **changes)
    table = read_table(results)
    assert table.values(["plain-kd", "distilshift"], ("a", "b")).tolist() == [[0.8, 1.0]]
    assert table.whole_seeds(["plain-kd", "distilshift"]) == [1]
    assert table.values(["distilshift"], ("a", "b")).tolist() == [[0.8], [1.0]]


def test_a_target_of_which_there_were_fewer_texts_is_resampled_by_itself(results: Path):
    for method, right in (("plain-kd", 3), ("distilshift", 4)):
        write_cell(results, "b", method, 0, right, data_sha256="older", test_correct="1" * right + "0" * (5 - right))
    gain = read_table(results).gain("distilshift")
    assert gain.mean == pytest.approx((0.2 + 0.2 - 0.1 + 0.0) / 4)


def test_the_same_texts_are_resampled_together(tmp_path: Path):
    """Two seeds that agree on each text say no more than one, of how others would be labelled."""
    gains = []
    for seeds in ([0], [0, 1]):
        folder = tmp_path / str(len(seeds))
        folder.mkdir()
        matrix = MATRIX | {"methods": METHODS, "pairs": [["a", "b"]], "seeds": seeds}
        (folder / "matrix.json").write_text(json.dumps(matrix))
        for seed in seeds:
            write_cell(folder, "b", "plain-kd", seed, 6)
            write_cell(folder, "b", "distilshift", seed, 8)
        gains.append(read_table(folder).gain("distilshift"))
    assert [gain.cells for gain in gains] == [1, 2]
    assert gains[0].high - gains[0].low > 0.4
    assert (gains[1].low, gains[1].high) == pytest.approx((gains[0].low, gains[0].high))


@pytest.mark.parametrize(("lost", "harmed"), [(1, 0), (2, 1)])
def test_a_pair_is_harmed_by_more_than_a_point(tmp_path: Path, lost: int, harmed: int):
    """One of 100 texts is a point, two are more."""
    (tmp_path / "matrix.json").write_text(
        json.dumps(MATRIX | {"methods": METHODS, "pairs": [["a", "b"]], "seeds": [0]})
    )
    for method, right in (("plain-kd", 90), ("distilshift", 90 - lost)):
        write_cell(tmp_path, "b", method, 0, 8, test_correct="1" * right + "0" * (100 - right))
    gain = read_table(tmp_path).gain("distilshift")
    assert (gain.harmed, gain.pairs) == (harmed, 1)


def test_a_point_is_no_harm_whatever_the_last_digit():
    assert not any((right - 4) / 400 - right / 400 < -HARM for right in range(4, 401))
    assert all((right - 5) / 400 - right / 400 < -HARM for right in range(5, 401))


def test_a_damaged_matrix_is_named(results: Path):
    (results / "matrix.json").write_text("{")
    with pytest.raises(ConfigError, match=r"matrix\.json is not a matrix"):
        read_table(results)


def test_a_page_is_filled_between_its_marks(results: Path, run_cli: Any):
    page = results.parent / "page.md"
    page.write_text("Before\n<!-- bench table: made -->\nold\n<!-- end -->\nAfter\n")
    done = run_cli("bench", "report", "--results", results.parent, "--page", page)
    assert (done.code, done.err) == (0, "")
    text = page.read_text()
    assert text.startswith("Before\n<!-- bench table: made -->\n### t\n")
    assert text.endswith("<!-- end -->\nAfter\n")
    assert "old" not in text
    assert fill(text, "bench", report(results.parent)) == text
    for content in ("no marks", "<!-- bench table: made -->\nno end"):
        page.write_text(content)
        done = run_cli("bench", "report", "--results", results.parent, "--page", page)
        assert done.code == 2
        assert "has no place for the tables" in done.err
        assert page.read_text() == content
    page.write_bytes(b"\xff")
    done = run_cli("bench", "report", "--results", results.parent, "--page", page)
    assert done.code == 2
    assert "expected a page in UTF-8" in done.err


def test_without_results_the_page_says_so(tmp_path: Path):
    assert report(tmp_path) == "Not measured yet: `distilshift bench`."


def test_a_table_of_label_shift_has_a_column_a_share(results: Path):
    matrix = json.loads((results / "matrix.json").read_text())
    (results / "matrix.json").write_text(json.dumps(matrix | {"positive_shares": [0.1, 0.5]}))
    for share, percent in ((0.1, 10), (0.5, 50)):
        for (target, method, seed), right in RIGHT.items():
            write_cell(results, target, method, seed, right, positive_share=share)
            path = results / f"a-{target}-{method}-{seed}.json"
            path.replace(path.with_name(f"{path.stem}-positive-{percent}.json"))
    table = read_table(results)
    assert table.missing() == 2 * (16 - 11)
    assert table.at(0.1).gain("distilshift").mean == pytest.approx(0.3 / 4)
    lines = section(table).splitlines()
    assert "|  | 10 % positive | 50 % positive |" in lines
    assert "| plain distillation | 60.0 ± 7.1 | 60.0 ± 7.1 |" in lines


def test_figures_show_whole_rows_and_all_measured_pairs(results: Path, run_cli: Any):
    folder = results.parent / "figures"
    done = run_cli("bench", "report", "--results", results.parent, "--figures", folder)
    assert done.code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["t-gains.svg", "t-pairs.svg"]
    gains, pairs = ((folder / f"t-{name}.svg").read_text() for name in ("gains", "pairs"))
    # As in the table: b +20 and c -5 points. SHOT lacks a seed of one pair, but no pair; the third row has no cell.
    assert all(f">{text}<" in gains for text in ("distilshift", "+7.5", "SHOT, then distillation", "+20.0"))
    assert "distillation on source texts" not in gains
    assert all(f">{text}<" in pairs for text in ("a → b", "+20.0", "a → c", "-5.0"))
    assert VERMILION.lower() in pairs
    assert write_figures(results.parent, folder)
    assert (folder / "t-gains.svg").read_text() == gains


def test_a_row_that_lacks_a_pair_is_in_no_figure(results: Path):
    for seed in (0, 1):
        (results / f"a-c-distilshift-{seed}.json").unlink()
    (page, *_) = (path.read_text() for path in write_figures(results.parent, results.parent / "figures"))
    assert ">distilshift<" not in page
    assert ">SHOT, then distillation<" in page


def test_without_matplotlib_figures_say_what_to_install(results: Path, run_cli: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "distilshift.bench.figures", raising=False)
    done = run_cli("bench", "report", "--results", results.parent, "--figures", results.parent / "figures")
    assert done.code == 2
    assert "pip install '.[figures]'" in done.err
