"""Weights in a run directory: a training's state under way, and what it ended in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from distilshift.run import RunDirectory


def save_checkpoint(
    run: RunDirectory, name: str, model: Any, optimizer: Any, objective: dict[str, Tensor], step: int
) -> None:
    """Keep a training's state after so many steps; `objective` is that of what it minimises."""
    from safetensors.torch import save_file

    # Tied weights share memory, which safetensors refuses: each tensor is saved as its own copy.
    tensors = {f"model.{key}": value.detach().clone() for key, value in model.state_dict().items()}
    tensors |= {f"objective.{key}": value.contiguous() for key, value in objective.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value.clone() for key, value in state.items()}
    run.save(name, lambda path: save_file(tensors, path), step=step)


def restore_checkpoint(run: RunDirectory, name: str, model: Any, optimizer: Any) -> tuple[int, dict[str, Tensor]]:
    """Put model and optimizer back: the steps that were done, 0 without a checkpoint, and the objective's state."""
    from safetensors.torch import load_file

    if name not in run:
        return 0, {}
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "objective": {}, "optimizer": {}}
    for key, value in load_file(run.file(name)).items():
        part, rest = key.split(".", 1)
        parts[part][rest] = value
    model.load_state_dict(parts["model"])
    saved = optimizer.state_dict()
    for key, value in parts["optimizer"].items():
        index, field = key.split(".", 1)
        saved["state"].setdefault(int(index), {})[field] = value
    optimizer.load_state_dict(saved)
    return int(run.facts(name)["step"]), parts["objective"]


def save_weights(run: RunDirectory, name: str, model: Any) -> None:
    """Keep a finished model's weights in the run, so that a later start skips its stage."""
    from safetensors.torch import save_file

    def write(path: Path) -> None:
        save_file({key: value.detach().clone() for key, value in model.state_dict().items()}, path)

    run.save(name, write)


def load_weights(run: RunDirectory, name: str, model: Any) -> None:
    """Put back what `save_weights` kept."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(run.file(name)))
