"""Doing a job: a teacher is taught once, a cell's classifier is made, measured and thrown away."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from distilshift.bench.aad import adapt_adversarially
from distilshift.bench.data import Domain
from distilshift.bench.job import KEY_DIGITS, Job, read_result
from distilshift.bench.measure import measure, measure_teacher, require_labels
from distilshift.bench.methods import METHODS
from distilshift.bench.provenance import code_revision, hardware
from distilshift.bench.supervised import equal_epochs, fine_tune
from distilshift.bench.timing import stopwatch
from distilshift.bundle import Manifest, read_manifest
from distilshift.config import AdaptConfig
from distilshift.files import write_json
from distilshift.journal import fingerprint
from distilshift.pipeline import make_student
from distilshift.source import teach
from distilshift.stage import code_sha256, peak_memory_bytes, versions
from distilshift.types import Example

# Raised whenever `measure` gives another set of numbers, so that a teacher is measured again.
MEASURES = 2


@dataclass(frozen=True)
class Inputs:
    """What a classifier can be made from.

    Attributes:
        teacher: the source's teacher bundle.
        source, target: the domains.
        config: the student's options.
        cache: a folder of what teachers said of texts, shared by cells.
    """

    teacher: Path
    source: Domain
    target: Domain
    config: AdaptConfig
    cache: Path


def _adapt(inputs: Inputs, texts: list[Example], output: Path) -> Path:
    if not output.exists():  # a bundle is there whole or not at all
        make_student(inputs.teacher, texts, output, inputs.config, cache=inputs.cache)
    return output


def _with_equal_steps(inputs: Inputs) -> Inputs:
    """As many steps on the source's texts as the other rows take on the target's."""
    texts, sources = len(inputs.target.train), len(inputs.source.train)
    config = replace(inputs.config, distil_epochs=equal_epochs(texts, sources, inputs.config))
    return replace(inputs, config=config)


def _fine_tune(inputs: Inputs, examples: list[Example], output: Path) -> Path:
    return fine_tune(inputs.teacher, examples, len(inputs.target.train), inputs.config, output)


def _adapt_adversarially(inputs: Inputs, output: Path) -> Path:
    texts = inputs.target.train_texts()
    adapted = output.with_name(f"{output.name}-teacher")
    adapt_adversarially(inputs.teacher, inputs.source.train_texts(), texts, inputs.config, adapted)
    return _adapt(replace(inputs, teacher=adapted), texts, output)


# By a method's kind: makes a bundle, at the path given or elsewhere, continuing what an earlier start has left there.
MAKERS: dict[str, Callable[[Inputs, Path], Path]] = {
    "teacher": lambda inputs, output: inputs.teacher,
    "teacher-windows": lambda inputs, output: inputs.teacher,
    "adapt": lambda inputs, output: _adapt(inputs, inputs.target.train_texts(), output),
    "adapt-on-source": lambda inputs, output: _adapt(_with_equal_steps(inputs), inputs.source.train_texts(), output),
    "labels-of-source": lambda inputs, output: _fine_tune(inputs, inputs.source.labelled(), output),
    "labels-of-target": lambda inputs, output: _fine_tune(inputs, inputs.target.labelled(), output),
    "labels-of-target-windows": lambda inputs, output: _fine_tune(inputs, inputs.target.labelled(), output),
    "adversarial": lambda inputs, output: _adapt_adversarially(inputs, output),
}


def teach_teacher(job: Job) -> None:
    """Teach the job's teacher, unless it is there."""
    if job.teacher.exists():
        return
    teach(job.load_source().labelled(), job.teacher, job.matrix.teacher_config(job.cell.seed))


def run_cell(job: Job) -> None:
    """Make and measure a cell's classifier, write its file, and remove the classifier."""
    cell, options = job.cell, job.matrix.options_of(job.cell)
    source, target = job.load_source(), job.load_target()
    config = job.matrix.student_config(cell.method, cell.seed)
    inputs = Inputs(job.teacher, source, target, config, job.folders.work / "outputs")
    manifest = read_manifest(job.teacher, "teacher")
    # The name tells all that a run must not change under way, so that an older interrupted one is no obstacle.
    key = fingerprint([job.identity(), asdict(manifest), versions(), code_sha256()])
    output = job.folders.work / "cells" / f"{job.unfinished}-{key[:KEY_DIGITS]}"
    origin, data = _origin(job, manifest), job.target_sha256()  # now: data and code may change before the end
    require_labels(target, manifest.label_names, options["kind"].startswith("labels-of-target"))
    watch = output.with_name(f"{output.name}.seconds")
    with stopwatch(watch) as seconds:
        bundle = MAKERS[options["kind"]](inputs, output)
    used, peak, start = seconds(), peak_memory_bytes(), time.perf_counter()
    windows = config.max_windows if options["kind"].endswith("-windows") else 1
    row = origin | _measured(job, bundle, target, windows, data)
    row |= _teacher_numbers(job, target, data) | {"seconds": used, "peak_memory_bytes": peak}
    row |= {"cell_seconds": used + time.perf_counter() - start}
    write_json(job.result, row)
    for path in output.parent.glob(f"{output.name}*"):  # the classifier, and what a kill may have left beside it
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _origin(job: Job, teacher: Manifest) -> dict[str, Any]:
    """Which cell it is, and all that it was made from."""
    cell, config = job.cell, job.matrix.student_config(job.cell.method, job.cell.seed)
    options = job.matrix.options_of(cell)
    student = Path(config.student).name
    return {
        "table": job.matrix.config.table,
        **asdict(cell),
        "limits": job.matrix.limits(),
        "teacher": teacher.base_model,
        "student": f"{student}-{config.student_layers or config.size}" if METHODS[cell.method].compresses else None,
        "config": config.portable() if options["student"] else {},
        "teacher_config": job.matrix.teacher_config(cell.seed).portable(),
        **job.identity(),
        "teacher_sha256": job.teacher_sha256(),
        "code_revision": code_revision(),
        "versions": versions(),
        "hardware": hardware(),
    }


def _measured(job: Job, bundle: Path, target: Domain, windows: int, data: str) -> dict[str, Any]:
    """A classifier's numbers; a teacher's as it came are the same for all seeds that share it."""

    def measured() -> dict[str, Any]:
        return measure(bundle, target, job.threads, windows)

    return _of_teacher(job, data, f"-windows-{windows}", measured) if bundle == job.teacher else measured()


def _teacher_numbers(job: Job, target: Domain, data: str) -> dict[str, Any]:
    """Return the unadapted teacher's numbers, which all cells of a pair, share and seed have in common."""
    found = _of_teacher(job, data, "", lambda: measure_teacher(job.teacher, target, job.threads))
    numbers = {f"teacher_{key}": found[key] for key in ("test_accuracy", "test_macro_f1", "test_calibration_error")}
    # Counted with the teacher's length; a student may read less at once.
    config = job.matrix.student_config(job.cell.method, job.cell.seed)
    alike = config.max_length >= job.matrix.teacher_config(job.cell.seed).max_length
    return numbers | {"long_texts": found["long_texts"] if alike else None}


def _of_teacher(job: Job, data: str, name: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is measured of the unadapted teacher on the target, whose digest is `data`, once, and kept beside it."""
    cell = job.cell
    if cell.positive_share is not None:  # which texts stay is the seed's choice
        name = f"{name}-seed-{cell.seed}"
    path = job.teacher.with_name(f"{job.teacher.name}-on-{cell.target}-{data[:12]}{name}.json")
    teacher = job.teacher_sha256()
    known = read_result(path)
    own = {"teacher_sha256": teacher, "measures": MEASURES}
    if not own.items() <= known.items():
        known = own | measured()
        write_json(path, known)
    return {key: value for key, value in known.items() if key not in own}
