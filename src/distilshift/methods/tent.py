"""TENT: entropy minimisation over the gains and biases of the normalisation layers.

Source: Wang et al. 2021, "Tent: Fully Test-Time Adaptation by Entropy Minimization".
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from distilshift.losses.adapt import entropy
from distilshift.methods.base import UnlabelledObjective
from distilshift.parallel import Batch

# Nothing in the loss holds the classes apart: trained for longer, the model gives all texts one class.
EPOCHS = 1


class TentObjective(UnlabelledObjective):
    """The mean entropy of the predictions, and nothing else.

    To be trained for `EPOCHS`, a single pass over the whole texts, and over `normalisation_only` parameters.
    Deviations: LayerNorm in the place of batch normalisation, so that no statistics of the target are taken in; the
    labels come from the model as it is after the pass instead of during it.
    """

    def loss(self, model: Any, batch: Batch) -> Tensor:
        return batch.mean(entropy(self.logits(model, batch)))


def normalisation_only(model: nn.Module) -> None:
    """Let nothing but the gains and biases of the LayerNorms learn."""
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.requires_grad_(True)
