"""`pareto`: students of several sizes of one teacher, what each costs and how much of the teacher is left."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from distilshift.budget import check_budget
from distilshift.bundle import Manifest, read_manifest, verify
from distilshift.config import (
    AdaptConfig,
    EvaluateConfig,
    InputConfig,
    ParetoConfig,
    overlaid,
    require_compatible,
    require_used,
    resolve,
)
from distilshift.data.check import require_pairs
from distilshift.data.corpus import open_corpus
from distilshift.data.sources import as_files
from distilshift.errors import ConfigError, OutputError
from distilshift.evaluation import evaluate, labelled_examples
from distilshift.files import output_errors, require_apart, write_json, write_text
from distilshift.inference import cpu_threads
from distilshift.journal import difference, fingerprint
from distilshift.network import latency_ms, load_network
from distilshift.pipeline import adapt
from distilshift.precision import own_accelerator, where_computed
from distilshift.scan.json_file import read_object
from distilshift.scatter import Panel, Point, scatter_svg
from distilshift.stage import identity
from distilshift.target_check import sufficient
from distilshift.target_prior import given_prior
from distilshift.types import Example

# Name to options of `adapt`, over the user's own. A student of another kind is a line here.
STUDENTS: dict[str, Mapping[str, Any]] = {
    "base": {"size": "base"},
    "small": {"size": "small"},
    "small-2-layers": {"size": "small", "student_layers": 2},
    "small-1-layer": {"size": "small", "student_layers": 1},
    "tiny": {"size": "tiny"},
}
# Texts that all students read by turns, one at a time, on one thread.
LATENCY_TEXTS = 100
MARK, PAGE, PLOT, STUDENTS_FOLDER = "pareto.json", "pareto.md", "pareto.svg", "students"
# What the teacher says of the texts, for all students; it goes when they are there.
CACHE = "teacher-outputs"
MAX_MARK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Student:
    """A row of the table.

    Attributes:
        name: of `STUDENTS`.
        layers, inner, pieces: its shape.
        form: the ONNX file that is its default: fp32 or int8.
        size_bytes: that a device needs.
        latency_ms_p50: from text to logits, one text at a time on one thread, by turns with the others.
        teacher_agreement: share of target texts labelled as the student was taught to, 0 to 1.
        accuracy: on the labelled file, 0 to 1; None without one.
        best: no other student is at least as good in size, latency and agreement, and better in one.
    """

    name: str
    layers: int
    inner: int
    pieces: int
    form: str
    size_bytes: int
    latency_ms_p50: float
    teacher_agreement: float
    accuracy: float | None
    best: bool = False


def pareto(
    teacher: str | Path,
    texts: Any,
    output: str | Path,
    config: ParetoConfig | None = None,
    adapt_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Student]:
    """Make students of several sizes and compare them; what an interrupted run has made is kept.

    Args:
        teacher: a teacher bundle.
        texts: unlabelled target texts, as of `adapt`.
        output: a folder that gets `pareto.json`, `pareto.md`, `pareto.svg` and `students/`.
        config: what is compared; the defaults where None.
        adapt_options: fields of AdaptConfig, with which each student is made; a student's own win.
        options: single fields of ParetoConfig.

    Raises:
        DistilshiftError: an input or an option is unusable, or the folder holds another comparison.
    """
    reading = {entry.name for entry in fields(InputConfig)}
    read_so = {name: value for name, value in (adapt_options or {}).items() if name in reading}
    settings = overlaid(ParetoConfig, config, read_so | options)
    given = {**(adapt_options or {}), **{name: getattr(settings, name) for name in reading}}
    shared = resolve(AdaptConfig, given)
    planned = {name: resolve(AdaptConfig, given, STUDENTS[name]) for name in _names(settings)}
    _require_free_size(shared)
    folder, manifest = Path(output), read_manifest(Path(teacher), "teacher")
    require_apart(folder, teacher, shared.student)
    _require_possible(planned.values(), manifest)
    labelled = _labelled(manifest, settings, shared)
    corpus = open_corpus(texts, shared)
    require_pairs([next(iter(corpus))], manifest.pair_column)
    sufficient(corpus, shared, "force = true in the file of --config")
    if as_files(texts) in (None, "-"):  # perhaps a generator, which can be read once
        texts = list(corpus)
    with own_accelerator(shared) as accelerator:
        where = where_computed(accelerator)
    key = identity("pareto", shared, where, teacher=fingerprint(asdict(manifest)), texts=corpus.sha256)
    _claim(folder, key)
    bundles = {name: folder / STUDENTS_FOLDER / name for name in planned}
    for name, bundle in bundles.items():
        if not bundle.exists():  # it is there whole or not at all; an unfinished run lies beside it, and is continued
            adapt(teacher, texts, bundle, planned[name], cache=folder / CACHE)
        verify(bundle, read_manifest(bundle, "student"))
    sample = corpus.at(np.arange(min(len(corpus), LATENCY_TEXTS)))
    shutil.rmtree(folder / CACHE, ignore_errors=True)
    rows = with_best(_rows(bundles, sample, labelled))
    _write(folder, key, rows)
    return rows


def _names(config: ParetoConfig) -> list[str]:
    names = [name.strip() for name in config.students.split(",") if name.strip()]
    unknown = [name for name in names if name not in STUDENTS]
    if unknown or not names:
        raise ConfigError(
            "students are unknown",
            expected=f"some of {', '.join(STUDENTS)}",
            got=", ".join(unknown) or "none",
            fix="correct the names",
        )
    return list(dict.fromkeys(names))


def _require_free_size(config: AdaptConfig) -> None:
    sized = (config.budget, config.latency_ms, config.student_layers)
    if any(value is not None for value in sized) or config.student == "static":
        raise ConfigError(
            "pareto sets the students' sizes itself",
            expected="no budget, latency_ms, student_layers or static student",
            fix="leave them out; --students names what is compared",
        )


def _require_possible(planned: Iterable[AdaptConfig], manifest: Manifest) -> None:
    """Refuse, before any student is made, options that one of them could not be made with."""
    for config in planned:
        if config.teacher_probabilities:
            raise ConfigError(
                "pareto compares students of a bundle",
                expected="a bundle alone",
                got="teacher_probabilities, too",
                fix="leave them out; adapt takes them",
            )
        require_used(config)
        require_compatible(config)
        check_budget(config)
        given_prior(config.target_prior, manifest.label_names)


def _claim(folder: Path, key: dict[str, Any]) -> None:
    """Begin a comparison in a folder, or continue that which it holds."""
    mark = folder / MARK
    if mark.exists():
        found = read_object(mark, MAX_MARK_BYTES).get("identity")
        students = folder / STUDENTS_FOLDER
        if found == key:
            return
        if not (students.is_dir() and any(students.iterdir())):  # none was begun: a mistake, and this is it mended
            write_json(mark, {"identity": key, "students": []})
            return
        changed, fix = difference(found if isinstance(found, dict) else {}, key, "choose another output")
        raise OutputError(f"{folder} holds a comparison that is not this one", got=changed, fix=fix)
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} exists", expected="a new name, or an empty folder", fix="choose another output")
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, {"identity": key, "students": []})


def _rows(bundles: dict[str, Path], texts: Sequence[Example], labelled: Sequence[Example] | None) -> list[Student]:
    manifests = {name: read_manifest(bundle, "student") for name, bundle in bundles.items()}
    networks = [load_network(bundles[name], manifest) for name, manifest in manifests.items()]
    with cpu_threads(1):
        samples = latency_ms(networks, texts, LATENCY_TEXTS)
    rows = []
    for (name, manifest), taken in zip(manifests.items(), samples, strict=True):
        facts = manifest.runtime or {}
        rows.append(
            Student(
                name=name,
                layers=facts["shape"]["layers"],
                inner=facts["shape"]["inner"],
                pieces=facts["shape"]["pieces"],
                form=facts["default"],
                size_bytes=facts["size_bytes"],
                latency_ms_p50=float(np.median(taken)),
                teacher_agreement=facts["teacher_agreement"],
                accuracy=None if labelled is None else evaluate(bundles[name], labelled).accuracy,
            )
        )
    return rows


def _labelled(manifest: Manifest, config: ParetoConfig, shared: InputConfig) -> Sequence[Example] | None:
    """The labelled file, read before any student is made, so that hours do not end in a mistake."""
    if config.labelled is None:
        if config.label_names is not None:
            fix = "name the file with --labelled, or leave --label-names out"
            raise ConfigError("label_names belong to a labelled file", expected="labelled", got="none", fix=fix)
        return None
    reading: dict[str, Any] = {entry.name: getattr(shared, entry.name) for entry in fields(InputConfig)}
    for name in ("label_column", "label_names", "ignore_label"):
        reading[name] = getattr(config, name)
    return labelled_examples(manifest, config.labelled, EvaluateConfig(**reading))[0]


def with_best(rows: Sequence[Student]) -> list[Student]:
    """The rows, those marked that no other row beats: the Pareto front."""
    return [replace(row, best=not any(_beats(other, row) for other in rows)) for row in rows]


def _beats(other: Student, row: Student) -> bool:
    costs = [(each.size_bytes, each.latency_ms_p50, -each.teacher_agreement) for each in (other, row)]
    return costs[0] != costs[1] and all(a <= b for a, b in zip(*costs, strict=True))


def table(rows: Sequence[Student]) -> str:
    """Markdown, a student a line; those on the front are bold."""
    heads = ["student", "layers", "inner width", "pieces", "on the device", "p50, one text, one thread"]
    heads += ["labels as it was taught", *(["accuracy"] if any(row.accuracy is not None for row in rows) else [])]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [f"**{row.name}**" if row.best else row.name, str(row.layers), f"{row.inner:,}", f"{row.pieces:,}"]
        cells += [f"{row.size_bytes / 1e6:.2f} MB, {row.form}", f"{row.latency_ms_p50:.2f} ms"]
        cells += [f"{row.teacher_agreement:.1%}", *([] if row.accuracy is None else [f"{row.accuracy:.1%}"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: Sequence[Student]) -> str:
    """Agreement, or accuracy where it is known, against size and latency, as SVG."""
    labelled = all(row.accuracy is not None for row in rows)
    y_title = "accuracy, %" if labelled else "labels as it was taught, %"
    heights = [100 * float(row.accuracy if labelled else row.teacher_agreement) for row in rows]  # type: ignore[arg-type]  # checked above
    sizes = [Point(row.name, row.size_bytes / 1e6, y) for row, y in zip(rows, heights, strict=True)]
    speeds = [Point(row.name, row.latency_ms_p50, y) for row, y in zip(rows, heights, strict=True)]
    panels = [Panel("on the device, MB", y_title, sizes), Panel("p50, one text, one thread, ms", y_title, speeds)]
    return scatter_svg(panels, "Students of one teacher: what they cost and how well they do")


def _write(folder: Path, key: dict[str, Any], rows: Sequence[Student]) -> None:
    page = (
        "# Students of one teacher\n\n"
        f"{table(rows)}\n\n"
        "Bold: no other is at least as small, as fast and as near to the teacher. Latencies were taken by turns on the "
        f"same texts.\n\n![sizes, latencies and agreement]({PLOT})\n"
    )
    write_text(folder / PAGE, page)
    write_text(folder / PLOT, plot(rows))
    write_json(folder / MARK, {"identity": key, "students": [asdict(row) for row in rows]})
