"""The training losses that a bundle records, in `training_log.json`.

By training (`teach`, `adapt`, `distil`): "loss" lists the mean loss of each step, to four digits. Where a step has
fewer than 8 texts, so that a value would be of a few texts alone, or a training has more than 4,096 steps, a value is
the mean of `steps_per_value` steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distilshift.run import RunDirectory

TRAINING_LOG = "training_log.json"
MAX_VALUES, MIN_TEXTS = 4096, 8
_DIGITS = 4
_SUFFIX = ".losses"


def log_entry(losses: Sequence[float], batch_size: int) -> dict[str, Any]:
    """What the log says about one training.

    Args:
        losses: of each step.
        batch_size: texts a step.
    """
    stride = max(1, math.ceil(MIN_TEXTS / batch_size), math.ceil(len(losses) / MAX_VALUES))
    starts = range(0, max(1, len(losses) - stride + 1), stride)  # a shorter rest goes with the last part
    ends = [*starts[1:], len(losses)]
    parts = [losses[start:end] for start, end in zip(starts, ends, strict=True)]
    return {"steps_per_value": stride, "loss": [_rounded(math.fsum(part) / len(part)) for part in parts]}


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def save_losses(run: RunDirectory, name: str, losses: Sequence[float], batch_size: int) -> None:
    """Keep a finished training's entry in its run."""

    def write(path: Path) -> None:
        path.write_text(json.dumps(log_entry(losses, batch_size)), encoding="utf-8")

    run.save(f"{name}{_SUFFIX}", write)


def write_training_log(folder: Path, run: RunDirectory) -> None:
    """Write the log of all trainings of a run into a new bundle."""
    saved = [name for name in run.names() if name.endswith(_SUFFIX)]
    log = {name.removesuffix(_SUFFIX): json.loads(run.file(name).read_text(encoding="utf-8")) for name in saved}
    (folder / TRAINING_LOG).write_text(json.dumps(log) + "\n", encoding="utf-8")


def foreign_value(log: dict[str, Any]) -> str | None:
    """The first entry of a log that distilshift would not have written, or None."""
    for name, entry in log.items():
        if not (name.isidentifier() and len(name) < 16 and isinstance(entry, dict)):
            return name
        if entry.keys() != {"steps_per_value", "loss"} or type(entry["steps_per_value"]) is not int:
            return name
        values = entry["loss"]
        if not (isinstance(values, list) and len(values) <= MAX_VALUES and all(map(_is_rounded, values))):
            return name
    return None


def _is_rounded(value: Any) -> bool:
    return type(value) is float and math.isfinite(value) and value == _rounded(value)
