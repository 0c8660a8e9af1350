"""Options of the kill tests, few kills by default, as `make soak` asks for more; and the runs that they stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Benchmark, Command
from killing import KILLS, SETTINGS, Reference, uninterrupted
from nursery import Nursery

from bench_data import write_domains, write_matrix
from texts import make_texts

TEACH = ["--epochs", "3", "--learning-rate", "3e-3", "--max-length", "32", "--precision", "fp32"]
ADAPT = [
    *("--student-layers", "1", "--distil-epochs", "4"),
    *("--distil-learning-rate", "1e-3", "--precision", "fp32"),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kills")
    group.addoption("--kills", type=int, default=KILLS, help="how often test_kill.py stops each verb")
    group.addoption("--kill-seed", type=int, default=0, help="where it does; the places are drawn from this")
    group.addoption("--kill-log", default=None, help="file to append a JSON line a trial to")


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Starts commands without waiting for their libraries."""
    with Nursery(SETTINGS) as started:
        yield started


@pytest.fixture(scope="session")
def taught(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, source_file: Path, nursery: Nursery
) -> Reference:
    """Teaching, not stopped."""
    output = tmp_path_factory.mktemp("reference") / "work" / "teacher"
    return uninterrupted(Command(["teach", source_file, "--base-model", tiny_encoder, *TEACH]), output, nursery)


@pytest.fixture(scope="session")
def adapted(tmp_path_factory: pytest.TempPathFactory, taught: Reference, nursery: Nursery) -> Reference:
    """Adapting, not stopped."""
    folder = tmp_path_factory.mktemp("reference")
    texts = folder / "target.txt"
    texts.write_text("\n".join(text for text, _ in make_texts(150, 2)) + "\n")
    command = Command(["adapt", taught.output, texts, *ADAPT])
    return uninterrupted(command, folder / "work" / "student", nursery)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, nursery: Nursery) -> Reference:
    """A benchmark of one cell, its teacher included, not stopped."""
    folder = tmp_path_factory.mktemp("reference")
    data = write_domains(folder / "data", train=100)
    matrix = write_matrix(folder / "m.toml", tiny_encoder)
    command = ["bench", matrix, "--only", "pans-films", "--only", "distilshift", "--data", data]
    return uninterrupted(Benchmark(command), folder / "work" / "bench", nursery)
