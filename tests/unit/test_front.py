"""Students of several sizes side by side: made once each, compared, drawn."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distilshift import front, pareto
from distilshift.config import AdaptConfig, ParetoConfig, resolve
from distilshift.errors import ConfigError, DataError, DistilshiftError, OutputError
from distilshift.front import STUDENTS, Student, plot, table, with_best
from distilshift.scatter import Panel, Point, scatter_svg

ROW = Student("a", 2, 64, 100, "int8", 1_000_000, 1.0, 0.9, None)
FAST: dict[str, Any] = {"method": "none", "spans": 0, "distil_epochs": 1, "precision": "fp32", "max_length": 32}


def test_only_what_no_other_beats_is_best():
    rows = [
        ROW,
        replace(ROW, name="smaller", size_bytes=900_000, teacher_agreement=0.8),
        replace(ROW, name="worse", size_bytes=950_000, latency_ms_p50=1.5, teacher_agreement=0.7),
        replace(ROW, name="twin of a"),
    ]
    assert [row.best for row in with_best(rows)] == [True, True, False, True]


def test_the_table_has_accuracies_only_where_they_were_measured():
    assert "accuracy" not in table([ROW])
    assert table([replace(ROW, accuracy=0.875, best=True)]).splitlines()[-1] == (
        "| **a** | 2 | 64 | 100 | 1.00 MB, int8 | 1.00 ms | 90.0% | 87.5% |"
    )


def test_the_plot_is_xml_with_a_point_a_student_and_panel():
    root = ET.fromstring(plot([ROW, replace(ROW, name="b<&", size_bytes=2_000_000)]))
    marks = [each for each in root.iter() if each.tag.endswith("circle")]
    texts = [each.text for each in root.iter() if each.tag.endswith("text")]
    assert len(marks) == 4
    assert texts.count("b<&") == 2
    assert "labels as it was taught, %" in texts


def test_points_lie_where_their_values_say():
    points = [Point("low", 1.0, 0.0), Point("middle", 10.0, 5.0), Point("high", 100.0, 10.0)]
    root = ET.fromstring(scatter_svg([Panel("x", "y", points)], "title"))
    marks = [each for each in root.iter() if each.tag.endswith("circle")]
    across, down = ([float(each.get(name, "")) for each in marks] for name in ("cx", "cy"))
    assert across == sorted(across)
    assert down == sorted(down, reverse=True)
    assert across[1] == pytest.approx((across[0] + across[2]) / 2, abs=0.1)
    assert down[1] == pytest.approx((down[0] + down[2]) / 2, abs=0.1)


def test_one_point_has_axes_too():
    assert "NaN" not in scatter_svg([Panel("x", "y", [Point("only", 1.0, 0.0)])], "title")


@pytest.mark.parametrize("names", ["", "small,huge"])
def test_unknown_students_are_told(names: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"students are unknown: expected some of base, .*small"):
        pareto(tmp_path, ["a text"], tmp_path / "out", students=names)


def test_a_size_of_the_users_own_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="pareto sets the students' sizes itself"):
        pareto(tmp_path, ["a text"], tmp_path / "out", ParetoConfig(), {"budget": "8MB"})


def test_all_is_looked_at_before_a_student_is_made(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    output = tmp_path / "out"
    with pytest.raises(DistilshiftError, match=r"none\.csv"):
        pareto(teacher_bundle, target_file, output, labelled=str(tmp_path / "none.csv"))
    (tmp_path / "other.csv").write_text("text,label\ngood,yes\nbad,no\n")
    with pytest.raises(DataError, match="labels that the bundle does not know"):
        pareto(teacher_bundle, target_file, output, labelled=str(tmp_path / "other.csv"))
    with pytest.raises(ConfigError, match="label_names belong to a labelled file"):
        pareto(teacher_bundle, target_file, output, label_names="0=negative,1=positive")
    with pytest.raises(ConfigError, match="static student"):
        pareto(teacher_bundle, target_file, output, ParetoConfig(), {"student": "static"})
    assert not output.exists()


def test_students_are_made_of_what_is_read_once(
    run_cli: Callable[..., Any], teacher_bundle: Path, target_file: Path, tmp_path: Path, monkeypatch: Any
):
    (tmp_path / "adapt.toml").write_text(
        'method = "none"\nspans = 0\ndistil_epochs = 1\nprecision = "fp32"\nmax_length = 32\n'
    )
    stream = io.TextIOWrapper(io.BytesIO(target_file.read_bytes()))
    monkeypatch.setattr("sys.stdin", stream)
    names = ("--students", "small,tiny")
    done = run_cli("pareto", teacher_bundle, "-", "-o", tmp_path / "out", "--config", tmp_path / "adapt.toml", *names)
    assert (done.code, done.err.count("Error")) == (0, 0), done.err
    assert len(json.loads((tmp_path / "out" / "pareto.json").read_text())["students"]) == 2


def test_every_student_is_a_set_of_options():
    assert all(resolve(AdaptConfig, options) for options in STUDENTS.values())


def test_students_are_made_once_and_compared(
    run_cli: Callable[..., Any],
    teacher_bundle: Path,
    target_file: Path,
    source_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    output, names = tmp_path / "out", "small, tiny"
    (tmp_path / "adapt.toml").write_text(
        'method = "none"\nspans = 0\ndistil_epochs = 1\nprecision = "fp32"\nmax_length = 32\n'
    )
    made: list[Path] = []
    original = front.adapt

    def counting(teacher: Any, texts: Any, path: Path, config: AdaptConfig) -> Any:
        if len(made) == 1 and not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            raise KeyboardInterrupt
        made.append(path)
        return original(teacher, texts, path, config)

    monkeypatch.setattr(front, "adapt", counting)
    with pytest.raises(KeyboardInterrupt):
        pareto(teacher_bundle, target_file, output, ParetoConfig(students=names), FAST)
    arguments = ("pareto", teacher_bundle, target_file, "-o", output, "--config", tmp_path / "adapt.toml")
    done = run_cli(*arguments, "--students", names, "--labelled", source_file)
    assert done.code == 0, done.err
    assert [path.name for path in made] == ["small", "tiny"]
    rows = json.loads((output / "pareto.json").read_text())["students"]
    assert [row["name"] for row in rows] == ["small", "tiny"]
    assert all(0 < row["accuracy"] <= 1 and row["latency_ms_p50"] > 0 for row in rows)
    assert "| accuracy |" in done.out
    assert ET.parse(output / "pareto.svg").getroot().tag.endswith("svg")
    assert "pareto.svg" in (output / "pareto.md").read_text()
    with pytest.raises(OutputError, match="holds a comparison that is not this one: got a change in seed"):
        pareto(teacher_bundle, target_file, output, ParetoConfig(students=names), FAST | {"seed": 1})
    with pytest.raises(OutputError, match="exists: expected a new name"):
        pareto(teacher_bundle, target_file, tmp_path, ParetoConfig(students=names), FAST)
