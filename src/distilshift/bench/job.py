"""One piece of work for a process of its own, and where things lie."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from distilshift.bench.data import Domain, domain_sha256, load_domain
from distilshift.bench.matrix import Cell, Matrix, make_matrix
from distilshift.bench.resample import resample
from distilshift.bundle import read_manifest
from distilshift.errors import BundleError
from distilshift.files import write_json
from distilshift.journal import fingerprint

Kind = Literal["teacher", "cell"]
# In a table's folder of results: the matrix that it was last run with, which says what is missing.
MATRIX_FILE = "matrix.json"
# Of a fingerprint, in the names of folders.
KEY_DIGITS = 12


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
        keep_older: a result counts as this cell's if options that it does not know have their default.
    """

    kind: Kind
    matrix: Matrix
    cell: Cell
    folders: Folders
    threads: int = 0
    keep_older: bool = False

    def to_json(self) -> str:
        """One line."""
        folders = {name: str(path) for name, path in asdict(self.folders).items()}
        values = {"kind": self.kind, "matrix": self.matrix.config.to_dict(), "cell": asdict(self.cell)}
        return json.dumps(values | {"folders": folders, "threads": self.threads, "keep_older": self.keep_older})

    @classmethod
    def from_json(cls, line: str) -> Job:
        """What `to_json` gave."""
        values = json.loads(line)
        folders = Folders(**{name: Path(path) for name, path in values["folders"].items()})
        matrix, cell = make_matrix(values.pop("matrix")), Cell(**values.pop("cell"))
        return cls(matrix=matrix, cell=cell, **values | {"folders": folders})

    @property
    def result(self) -> Path:
        """The cell's file."""
        return self.folders.results / self.matrix.config.table / f"{self.cell.name}.json"

    @property
    def teacher(self) -> Path:
        """The teacher's bundle; its name tells options and data, so that a change of either makes another one."""
        config = self.matrix.options_of(self.cell)["teacher"]
        key = fingerprint([config, self.source_sha256()])
        return self.folders.work / "teachers" / f"{self.cell.source}-{config['seed']}-{key[:KEY_DIGITS]}"

    @property
    def name(self) -> str:
        """Of its lock and its log: the same for all runners that would do the same."""
        cell = f"{self.matrix.config.table}-{self.cell.name}"
        return f"teacher-{self.teacher.name}" if self.kind == "teacher" else cell

    @property
    def unfinished(self) -> str:
        """How the names of its unfinished classifier begin, which is not that of a runner with other results."""
        return f"{self.name}-{fingerprint([str(self.folders.results.resolve())])[:KEY_DIGITS]}"

    def teacher_sha256(self) -> str:
        """sha256 (hex) of all that the teacher's bundle declares, its files' hashes among it.

        Raises:
            BundleError: it is not there, or damaged.
        """
        return fingerprint(asdict(read_manifest(self.teacher, "teacher")))

    def identity(self) -> dict[str, str]:
        """What a result must have been made from to count as this cell's."""
        domains = [self.source_sha256(), self.target_sha256()]
        return {"config_sha256": self.matrix.config_sha256(self.cell), "data_sha256": fingerprint(domains)}

    def source_sha256(self) -> str:
        """sha256 (hex) of the source's file or, where its texts are limited, of that and of the limit."""
        return self._domain_sha256(self.cell.source, "max_source_texts")

    def target_sha256(self) -> str:
        """sha256 (hex) of the target's file or, where it is limited or resampled, of that and of which texts stay.

        The cell's seed decides too; it is among the options.
        """
        whole = self._domain_sha256(self.cell.target, "max_target_texts", "max_test_texts")
        share = self.cell.positive_share
        return whole if share is None else fingerprint([whole, share, min(self._shares), max(self._shares)])

    def _domain_sha256(self, domain: str, *keys: str) -> str:
        whole, limits = domain_sha256(self.folders.data, domain), self.matrix.limits()
        return fingerprint([whole, *map(limits.get, keys)]) if limits.keys() & {*keys} else whole

    @property
    def _shares(self) -> tuple[float, ...]:
        return self.matrix.config.positive_shares

    def load_source(self) -> Domain:
        """Return the cell's source, with as many training texts as the matrix allows.

        Raises:
            DataError: its file is missing or damaged.
        """
        whole = load_domain(self.folders.data, self.cell.source)
        return whole.limited(self.matrix.config.max_source_texts, None)

    def load_target(self) -> Domain:
        """Return the cell's target, limited and resampled where the matrix says so.

        Raises:
            DataError: its file is missing or damaged, or it cannot be resampled.
        """
        config, share = self.matrix.config, self.cell.positive_share
        found = load_domain(self.folders.data, self.cell.target)
        whole = found.limited(config.max_target_texts, config.max_test_texts)
        return whole if share is None else resample(whole, share, self._shares, self.cell.seed)


def read_result(path: Path) -> dict[str, Any]:
    """A cell's file; nothing where it is missing or damaged, so that the cell is run again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_done(job: Job) -> bool:
    """Whether the cell's file is there, from the same options and data."""
    return _is_of(job, read_result(job.result))


def elsewhere(job: Job) -> dict[str, Any]:
    """Return the cell's result in another table, from the same options, data and teacher, or that of a twin row.

    A twin differs in how much it reads of long texts, and has the cell's result if the target has none. The result is
    empty if there is neither.

    Nothing either where the teacher is missing or damaged, which is for the cell itself to report.
    """
    for path in sorted(job.folders.results.glob(f"*/{job.cell.name}.json")):
        found = read_result(path)
        with suppress(BundleError):
            if found.get("teacher_sha256") == job.teacher_sha256() and _is_of(job, found):
                return {"measured_for": path.parent.name} | found
    return next(filter(None, (_of_twin(job, method) for method in job.matrix.twins(job.cell))), {})


def _of_twin(job: Job, method: str) -> dict[str, Any]:
    """Return the result of a twin row as the cell's own; nothing if it is missing or the target has long texts."""
    twin = replace(job, cell=replace(job.cell, method=method))
    found = read_result(twin.result)
    with suppress(BundleError):
        if found.get("long_texts") == 0 and found["teacher_sha256"] == job.teacher_sha256() and _is_of(twin, found):
            config = job.matrix.student_config(job.cell.method, job.cell.seed).portable()
            own: dict[str, Any] = {"measured_for": method, "method": job.cell.method}
            own["config"] = config if job.matrix.options_of(job.cell)["student"] else {}
            return found | own | job.identity()
    return {}


def take_over(job: Job) -> bool:
    """Take the cell's result from another table or a twin row, and return whether one has it."""
    found = elsewhere(job)
    if found:
        write_json(job.result, found | {"table": job.matrix.config.table})
    return bool(found)


def _is_of(job: Job, found: dict[str, Any]) -> bool:
    """Whether a result is from the job's options and data or, with `keep_older`, from before some options existed."""
    wanted = job.identity()
    if wanted.items() <= found.items():
        return True
    if not job.keep_older or job.matrix.names_folders(job.cell) or found.get("data_sha256") != wanted["data_sha256"]:
        return False
    return job.matrix.has_options_of(job.cell, found)


def of_another_teacher(job: Job) -> list[Cell]:
    """Cells that are to have this job's teacher, but were measured with another one.

    Options and data do not tell them apart: other code taught it, or another kind of processor.

    Raises:
        BundleError: the teacher is not there, or damaged.
    """
    own, found = job.teacher_sha256(), []
    for cell in job.matrix.cells():
        other = replace(job, cell=cell)
        if other.teacher == job.teacher and read_result(other.result).get("teacher_sha256", own) != own:
            found.append(cell)
    return found


def note_matrix(job: Job) -> None:
    """Keep the matrix beside its results."""
    path = job.result.with_name(MATRIX_FILE)
    values = {key: value for key, value in job.matrix.config.to_dict().items() if key != "data"}
    plain = json.loads(json.dumps(values))
    if read_result(path) != plain:
        write_json(path, plain)
