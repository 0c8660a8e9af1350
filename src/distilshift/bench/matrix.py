"""What a benchmark file asks for: pairs of domains, methods and seeds, and the options of teacher and student."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Lt

from distilshift.bench.data import REVIEWS, file_sha256, parts_of
from distilshift.bench.methods import METHODS
from distilshift.config import AdaptConfig, StageConfig, TeachConfig, option, read_toml, resolve
from distilshift.encoder_folders import encoder_folders, folder_sha256
from distilshift.errors import ConfigError
from distilshift.journal import fingerprint

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# The matrix sets the seed; the number of threads is how a cell is run, not what it is.
_NOT_HERE = {"seed": "name it in seeds", "threads": "pass --threads"}


@dataclass(frozen=True, kw_only=True)
class MatrixConfig(StageConfig):
    """Keys of a benchmark file."""

    table: str = option("", "Name of the table, and of its folder of results.")
    domains: tuple[str, ...] = option((), "Domains of which every ordered pair is measured.")
    pairs: tuple[tuple[str, str], ...] = option((), "Or the pairs themselves, each [source, target].")
    methods: tuple[str, ...] = option(("plain-kd", "distilshift"), "Rows of the table.")
    seeds: tuple[Annotated[int, Ge(0)], ...] = option((0, 1, 2), "Seeds of teacher and student.")
    first_seed_only: tuple[str, ...] = option((), "Methods that are measured with the first of the seeds alone.")
    teacher_seed: Annotated[int, Ge(0)] | None = option(
        None, "Seed of all teachers, where several are too dear; the seeds above are then the students'."
    )
    positive_shares: tuple[Annotated[float, Gt(0), Lt(1)], ...] = option(
        (), "Label shift: each target, its training and its test texts, resampled to each of these shares of positives."
    )
    data_set: str = option(REVIEWS, "Name of the data set: its folder in $DISTILSHIFT_DATA.")
    data: str | None = option(None, "Folder of <domain>.jsonl.gz files, in place of data_set's; --data wins.")
    max_source_texts: Annotated[int, Ge(1)] | None = option(
        None, "Most training texts of a source, drawn at random; the same for all rows and seeds."
    )
    max_target_texts: Annotated[int, Ge(1)] | None = option(None, "Most training texts of a target, drawn likewise.")
    max_test_texts: Annotated[int, Ge(1)] | None = option(None, "Most test texts of a target, drawn likewise.")
    teacher: dict[str, Any] | None = option(None, "Options of `teach`.")
    student: dict[str, Any] | None = option(None, "Options of `adapt`; a method's own win.")


@dataclass(frozen=True)
class Cell:
    """One measurement of a table.

    Attributes:
        source, target: the domains.
        method: the row.
        seed: of the student and, unless the matrix has one for all, of the teacher.
        positive_share: what the target is resampled to; None leaves it as it is.
    """

    source: str
    target: str
    method: str
    seed: int
    positive_share: float | None = None

    @property
    def pair(self) -> str:
        """The pair's name."""
        return f"{self.source}-{self.target}"

    @property
    def name(self) -> str:
        """The stem of its result file."""
        return f"{self.pair}-{self.method}-{self.seed}" + (f"-positive-{self.percent}" if self.percent else "")

    @property
    def title(self) -> str:
        """For people."""
        share = f", {self.percent} % positive" if self.percent else ""
        return f"{self.source} → {self.target}{share}, {self.method}, seed {self.seed}"

    @property
    def percent(self) -> str:
        """The positive share in per cent, as names have it; empty without one."""
        return "" if self.positive_share is None else in_percent(self.positive_share)


def in_percent(share: float) -> str:
    """A share in per cent, six digits at the most."""
    return f"{100 * share:g}"


@dataclass(frozen=True)
class Matrix:
    """A checked benchmark file."""

    config: MatrixConfig

    def pairs(self) -> list[tuple[str, str]]:
        """(source, target), in order."""
        return list(self.config.pairs) or list(permutations(self.config.domains, 2))

    def shares(self) -> list[float | None]:
        """Positive shares of the targets; None alone where they are left as they are."""
        return list(self.config.positive_shares) or [None]

    def cells(self) -> list[Cell]:
        """All cells: those that share a teacher together, of these, those of one pair, of these, those of one share."""
        pairs, sources = self.pairs(), dict.fromkeys(source for source, _ in self.pairs())
        return [
            Cell(source, target, method, seed, share)
            for seed in self.config.seeds
            for source in sources
            for start, target in pairs
            if start == source
            for share in self.shares()
            for method in self.config.methods
            if seed in self.seeds_of(method)
        ]

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """The seeds that a method is measured with."""
        return self.config.seeds[: 1 if method in self.config.first_seed_only else None]

    def limits(self) -> dict[str, int]:
        """Return the numbers of texts that are limited, by their keys."""
        values = {key: getattr(self.config, key) for key in ("max_source_texts", "max_target_texts", "max_test_texts")}
        return {key: value for key, value in values.items() if value is not None}

    def teacher_config(self, seed: int) -> TeachConfig:
        """Options of the teachers of cells with this seed."""
        own = self.config.teacher_seed
        return resolve(TeachConfig, self.config.teacher or {}, {"seed": seed if own is None else own})

    def student_config(self, method: str, seed: int) -> AdaptConfig:
        """Options of a method's students."""
        return resolve(AdaptConfig, self.config.student or {}, METHODS[method].options, {"seed": seed})

    def options_of(self, cell: Cell) -> dict[str, Any]:
        """All that shapes a cell's result, but for data and code: options, and encoders that lie in folders."""
        kind = METHODS[cell.method].kind
        student = {} if kind == "teacher" else _timeless(self.student_config(cell.method, cell.seed))
        return {"kind": kind, "student": student, "teacher": _timeless(self.teacher_config(cell.seed))}

    def twins(self, cell: Cell) -> list[str]:
        """Return the other methods that differ from the cell's in nothing but how much of a long text is read."""
        own = self._but_for_windows(cell)
        return [
            method
            for method in self.config.methods
            if method != cell.method and self._but_for_windows(replace(cell, method=method)) == own
        ]

    def _but_for_windows(self, cell: Cell) -> tuple[str, dict[str, Any]]:
        method, kind = METHODS[cell.method], METHODS[cell.method].kind.removesuffix("-windows")
        student = self.options_of(cell)["student"] if method.compresses else {}
        return kind, {key: value for key, value in student.items() if key != "max_windows"}

    def config_sha256(self, cell: Cell) -> str:
        """sha256 (hex) of `options_of`."""
        return fingerprint(self.options_of(cell))

    def names_folders(self, cell: Cell) -> bool:
        """Whether an encoder of the cell lies in a folder, of whose content a result keeps nothing but a hash."""
        options = self.options_of(cell)
        return any(encoder_folders(options[part]) for part in ("student", "teacher"))

    def has_options_of(self, cell: Cell, found: Mapping[str, Any]) -> bool:
        """Whether a result was made with the cell's options, but for newer ones, unknown to it, at their default."""
        if found.get("limits", {}) != self.limits():
            return False
        parts: list[tuple[StageConfig, Any]] = [(self.teacher_config(cell.seed), found.get("teacher_config"))]
        if self.options_of(cell)["student"]:
            parts.append((self.student_config(cell.method, cell.seed), found.get("config")))
        return all(_is_older(config, known) for config, known in parts)


def _is_older(config: StageConfig, known: Any) -> bool:
    defaults = type(config)().to_dict()
    values = {key: value for key, value in config.to_dict().items() if key != "threads"}
    return (
        isinstance(known, Mapping)
        and known.keys() <= defaults.keys()
        and all(_is_noted(known.get(key, defaults[key]), value) for key, value in values.items())
    )


def _is_noted(known: Any, value: Any) -> bool:
    """Whether a result notes this value; of a path it notes the last name, and the file may be gone since."""
    return bool(known == value) or (isinstance(value, str) and os.sep in value and known == Path(value).name)


def _timeless(config: StageConfig) -> dict[str, Any]:
    options = {key: value for key, value in config.to_dict().items() if key != "threads"}
    contents = {f"{name}_sha256": folder_sha256(each, file_sha256) for name, each in encoder_folders(options).items()}
    return options | contents


def read_matrix(path: str | Path) -> Matrix:
    """Read and check a benchmark file.

    Raises:
        ConfigError: it cannot be read, or asks for what is not there.
    """
    return make_matrix(read_toml(path))


def make_matrix(values: dict[str, Any]) -> Matrix:
    """Check a benchmark's keys.

    Raises:
        ConfigError: a key is unknown or its value unusable.
    """
    matrix = Matrix(resolve(MatrixConfig, values))
    _check(matrix.config)
    matrix.teacher_config(0)
    for method in matrix.config.methods:
        matrix.student_config(method, 0)
    return matrix


def _check(config: MatrixConfig) -> None:
    _check_pairs(config)
    _require_known("methods", config.methods, METHODS)
    _require_known("first_seed_only", config.first_seed_only, config.methods)
    for key, values in (("methods", config.methods), ("seeds", config.seeds)):
        if not values:
            raise ConfigError(f"{key} is empty", fix="name at least one")
    for key in ("methods", "first_seed_only", "seeds"):
        _require_once(key, getattr(config, key))
    _require_once("positive_shares", [in_percent(share) for share in config.positive_shares])
    for section in (config.teacher or {}, config.student or {}):
        for key in sorted(section.keys() & _NOT_HERE.keys()):
            raise ConfigError(f"{key} is no option of [teacher] or [student]", fix=_NOT_HERE[key])


def _check_pairs(config: MatrixConfig) -> None:
    if bool(config.pairs) == bool(config.domains):
        raise ConfigError("the pairs are not clear", expected="either domains or pairs", fix="give one of them")
    domains = [*config.domains, *(domain for pair in config.pairs for domain in pair)]
    for name in [config.table, config.data_set, *(part for domain in domains for part in parts_of(domain))]:
        if not _NAME.fullmatch(name):
            raise ConfigError("a table or domain cannot be a file's name", got=repr(name), fix="use letters and digits")
    for key in ("domains", "pairs"):
        _require_once(key, getattr(config, key))
    if len(config.domains) == 1:
        raise ConfigError("a pair needs two domains", got=config.domains[0], fix="name another one")
    if same := [pair for pair in config.pairs if set(parts_of(pair[0])) & set(parts_of(pair[1]))]:
        raise ConfigError("a pair needs two domains", got=str(list(same[0])), fix="correct it")
    for domain in domains:
        _require_once("domains", parts_of(domain))
    _require_once("names of pairs", ["-".join(pair) for pair in config.pairs or permutations(config.domains, 2)])


def _require_known(key: str, names: Iterable[str], known: Iterable[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            f"{key} are unknown", expected=f"some of {', '.join(known)}", got=", ".join(unknown), fix="correct them"
        )


def _require_once(key: str, values: Sequence[Any]) -> None:
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        raise ConfigError(f"{key} are named twice", got=", ".join(map(str, twice)), fix="name each once")


def chosen_cells(matrix: Matrix, only: Sequence[str]) -> list[Cell]:
    """The cells that the filters leave.

    Args:
        matrix: the benchmark.
        only: names of methods, pairs as source-target, and seeds; a cell is left if it fits one of each kind that is
            named.

    Raises:
        ConfigError: a filter fits no cell.
    """
    cells = matrix.cells()
    kinds = [dict.fromkeys(names) for names in zip(*map(_filters, cells), strict=True)]
    _require_known("filters", only, [name for kind in kinds for name in kind])
    wanted = [kind.keys() & set(only) or kind.keys() for kind in kinds]
    return [c for c in cells if all(name in names for name, names in zip(_filters(c), wanted, strict=True))]


def _filters(cell: Cell) -> tuple[str, str, str]:
    """The names that a cell goes by, one of each kind."""
    return cell.method, cell.pair, str(cell.seed)
