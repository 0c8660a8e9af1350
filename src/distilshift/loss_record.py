"""The loss of each step of a training, as it goes."""

from __future__ import annotations

import math

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from distilshift.errors import ModelError

# Steps between two looks at the losses: reading a number from a GPU makes the CPU wait for it.
STEPS_A_LOOK = 10
# Steps that the mean in the progress bar is over.
SHOWN_STEPS = 50


def diverged(name: str, learning_rate: float, got: str) -> ModelError:
    """The error of a training that has left the finite numbers."""
    return ModelError(
        f"the training '{name}' has diverged",
        expected="losses and weights that are finite numbers",
        got=f"{got}, with a learning rate of {learning_rate:g}",
        fix="lower the learning rate, or raise the temperature if it is under 1",
    )


class LossRecord:
    """The losses of a training so far, of the whole batch of each step, the same in every process."""

    def __init__(self, name: str, learning_rate: float, accelerator: Accelerator) -> None:
        """Begin without losses; `name` and `learning_rate` are the training's, for messages."""
        self._name, self._learning_rate, self._accelerator = name, learning_rate, accelerator
        self._known: list[float] = []
        self._waiting: list[Tensor] = []
        self._steps_a_look = 1 if accelerator.device.type == "cpu" else STEPS_A_LOOK

    def add(self, loss: Tensor) -> None:
        """Note this process's part of a step's loss, a scalar; every few steps, look at them.

        Raises:
            ModelError: as of `values`.
        """
        self._waiting.append(loss.detach().float())
        if len(self._waiting) == self._steps_a_look:
            self.values()

    def values(self) -> list[float]:
        """The losses of all steps; every process calls it at the same step.

        Raises:
            ModelError: one is not a finite number.
        """
        if self._waiting:
            losses = torch.stack(self._waiting)
            if self._accelerator.num_processes > 1:
                losses = self._accelerator.reduce(losses, reduction="mean")
            self._waiting.clear()
            for loss in losses.tolist():
                self._known.append(loss)
                if not math.isfinite(loss):
                    raise diverged(self._name, self._learning_rate, f"the loss {loss} at step {len(self._known)}")
        return self._known

    def summary(self) -> str:
        """The mean over the last steps, for the progress bar."""
        return f"loss {np.mean(self._known[-SHOWN_STEPS:]):.3f}" if self._known else ""

    def state(self) -> Tensor:
        """All losses, for a checkpoint."""
        return torch.tensor(self.values(), dtype=torch.float32)

    def load_state(self, state: Tensor) -> None:
        """Put back what `state` gave."""
        self._known = state.tolist()
