"""One piece of work for a process of its own, and where things lie."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from distilshift.bench.data import domain_sha256
from distilshift.bench.matrix import Cell, Matrix, make_matrix
from distilshift.run import fingerprint

Kind = Literal["teacher", "cell"]


@dataclass(frozen=True)
class Folders:
    """Where a benchmark reads and writes.

    Attributes:
        data: the domains' files.
        results: a folder a table, a file a cell.
        work: teachers, unfinished cells, locks and logs.
    """

    data: Path
    results: Path
    work: Path


@dataclass(frozen=True)
class Job:
    """A teacher to teach or a cell to measure.

    Attributes:
        kind: which of both.
        matrix: the benchmark.
        cell: the cell, or one that needs the teacher.
        folders: where things lie.
        threads: CPU threads; 0 leaves it to the libraries.
    """

    kind: Kind
    matrix: Matrix
    cell: Cell
    folders: Folders
    threads: int = 0

    def to_json(self) -> str:
        """One line."""
        folders = {name: str(path) for name, path in asdict(self.folders).items()}
        values = {"kind": self.kind, "matrix": self.matrix.config.to_dict(), "cell": asdict(self.cell)}
        return json.dumps(values | {"folders": folders, "threads": self.threads})

    @classmethod
    def from_json(cls, line: str) -> Job:
        """What `to_json` gave."""
        values = json.loads(line)
        folders = Folders(**{name: Path(path) for name, path in values["folders"].items()})
        cell, matrix = Cell(**values["cell"]), make_matrix(values["matrix"])
        return cls(values["kind"], matrix, cell, folders, values["threads"])

    @property
    def result(self) -> Path:
        """The cell's file."""
        return self.folders.results / self.matrix.config.table / f"{self.cell.name}.json"

    @property
    def teacher(self) -> Path:
        """The teacher's bundle; its name tells options and data, so that a change of either makes another one."""
        config = self.matrix.options_of(self.cell)["teacher"]
        key = fingerprint([config, domain_sha256(self.folders.data, self.cell.source)])
        return self.folders.work / "teachers" / f"{self.cell.source}-{self.cell.seed}-{key[:12]}"

    @property
    def name(self) -> str:
        """Of its lock and its log: the same for all runners that would do the same."""
        cell = f"{self.matrix.config.table}-{self.cell.name}"
        return f"teacher-{self.teacher.name}" if self.kind == "teacher" else cell

    def identity(self) -> dict[str, str]:
        """What a result must have been made from to count as this cell's."""
        domains = (self.cell.source, self.cell.target)
        return {
            "config_sha256": self.matrix.config_sha256(self.cell),
            "data_sha256": fingerprint([domain_sha256(self.folders.data, domain) for domain in domains]),
        }


def read_result(path: Path) -> dict[str, Any]:
    """A cell's file; nothing where it is missing or damaged, so that the cell is run again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_done(job: Job) -> bool:
    """Whether the cell's file is there, from the same options and data."""
    return job.identity().items() <= read_result(job.result).items()
