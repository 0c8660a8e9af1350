"""Many processes as one, through Accelerate: shares of a batch, and sums over all of it.

A batch is the same whatever the number of processes; each takes its share, and the gradients that Accelerate averages
are those of the whole batch's loss. So N processes do what one does, up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distilshift.run import Crew


def crew_of(accelerator: Accelerator) -> Crew:
    """The processes that Accelerate runs, for those who need not know PyTorch."""

    def total(array: NDArray[Any]) -> NDArray[Any]:
        if accelerator.num_processes == 1:
            return array
        tensor = torch.from_numpy(array).to(accelerator.device)
        reduced: Tensor = accelerator.reduce(tensor, reduction="sum")
        return reduced.cpu().numpy()

    return Crew(accelerator.process_index, accelerator.num_processes, accelerator.wait_for_everyone, total)


def any_of(flags: Sequence[bool], accelerator: Accelerator) -> list[bool]:
    """For each flag, whether it is set in any process; all of them ask at once."""
    if accelerator.num_processes == 1:
        return list(flags)
    tensor = torch.tensor([float(flag) for flag in flags], device=accelerator.device)
    total: Tensor = accelerator.reduce(tensor, reduction="sum")
    return [value > 0 for value in total.tolist()]


@dataclass(frozen=True)
class Batch:
    """The share that this process takes of one step's texts.

    Attributes:
        epoch: which pass it belongs to, from 0.
        indices: (share,) int64, never empty: a process without a share takes a text that counts for nothing.
        size: texts of the whole batch.
        counts: whether the share is a real one.
        accelerator: knows the others.
    """

    epoch: int
    indices: NDArray[np.int64]
    size: int
    counts: bool
    accelerator: Accelerator

    @classmethod
    def share(cls, epoch: int, indices: NDArray[np.int64], accelerator: Accelerator) -> Batch:
        """What this process takes of a batch."""
        own = indices[accelerator.process_index :: accelerator.num_processes]
        return cls(epoch, own if len(own) else indices[:1], len(indices), len(own) > 0, accelerator)

    def mean(self, values: Tensor) -> Tensor:
        """The batch's mean of a value a text, (share,) to a scalar: this process's part of it.

        The gradients are averaged over processes afterwards, hence the factor.
        """
        return values.sum() * (self.accelerator.num_processes * self.counts / self.size)

    def whole(self, term: Tensor) -> Tensor:
        """A scalar of the whole batch, made with `mean_log_probabilities`: its gradients add up over processes.

        Its value stays as it is, so that the mean over processes is the batch's loss.
        """
        others = self.accelerator.num_processes - 1
        return term + others * (term - term.detach()) if others else term

    def mean_log_probabilities(self, logits: Tensor) -> Tensor:
        """Logarithm of the whole batch's mean prediction, (share, classes) to (classes,).

        Its gradient reaches this process's texts only; the others' reach theirs.
        """
        own = torch.logsumexp(F.log_softmax(logits, dim=-1), dim=0)
        if not self.counts:
            own = own - torch.inf
        parts = own[None]
        if self.accelerator.num_processes > 1:
            everyone = self.accelerator.gather(own.detach()[None])
            mine = torch.arange(len(everyone), device=own.device)[:, None] == self.accelerator.process_index
            parts = torch.where(mine, own[None], everyone)
        return torch.logsumexp(parts, dim=0) - float(np.log(self.size))

    def rows(self, values: Tensor) -> Tensor:
        """The whole batch's rows in its own order, (share, ...) to (size, ...), the same in every process.

        Its gradient reaches this process's texts only; the others' reach theirs.
        """
        if self.accelerator.num_processes == 1:
            return values
        places = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        parts = torch.zeros(self.size, *values.shape[1:], dtype=values.dtype, device=values.device)
        if self.counts:
            parts[places] = values.detach()
        everyone: Tensor = self.accelerator.reduce(parts, reduction="sum")
        if self.counts:
            everyone[places] = values
        return everyone
