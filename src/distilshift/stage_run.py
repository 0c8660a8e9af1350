"""What every training stage works with: an Accelerator and the run directory of its output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator

from distilshift.config import TrainingConfig
from distilshift.inference import cpu_threads
from distilshift.parallel import crew_of
from distilshift.precision import own_accelerator, where_computed
from distilshift.run import RunDirectory, open_run
from distilshift.stage import identity, run_path


@contextmanager
def stage_run(
    stage: str, output: Path, config: TrainingConfig, inputs: Mapping[str, str], fresh: bool = False
) -> Iterator[tuple[Accelerator, RunDirectory]]:
    """Open the run of a stage, with its own Accelerator and number of CPU threads.

    Args:
        stage: its name, part of the run's identity.
        output: the folder that the stage writes; the run lives beside it.
        config: the stage's options.
        inputs: hashes of what the stage reads, by name.
        fresh: discard an unfinished run.

    Raises:
        RunError: the unfinished run there has another identity, or is in use.
    """
    with own_accelerator(config) as accelerator, cpu_threads(config.threads):
        key = identity(stage, config, where_computed(accelerator), **inputs)
        with open_run(run_path(output), key, fresh, crew_of(accelerator)) as run:
            yield accelerator, run
