"""Copies of texts with some word pieces masked, for a student that shall not need each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distilshift.data.batch import TokenStore
from distilshift.encoder import Classifier
from distilshift.errors import ConfigError
from distilshift.losses.joint import mask_tokens


def special_tokens(classifier: Classifier) -> TokenStore:
    """One row: the mask, then every special token; it goes where the vocabulary is renumbered, and keeps them in use.

    Raises:
        ConfigError: the tokenizer has no mask.
    """
    tokenizer = classifier.tokenizer
    if tokenizer.mask_token_id is None:
        raise ConfigError(
            "masked copies have nothing to mask with",
            expected="a student whose tokenizer has a mask token",
            got="none",
            fix="leave --masked-consistency and --mlm-head out, or choose another --student",
        )
    row = [tokenizer.mask_token_id, *tokenizer.all_special_ids]
    return TokenStore.from_rows([row], [[0] * len(row)], tokenizer.pad_token_id)


@dataclass(frozen=True)
class Masking:
    """How copies are masked.

    Attributes:
        mask_id: the mask.
        special_ids: (ids,) int64, never masked.
        fraction: of the other tokens, on average.
    """

    mask_id: int
    special_ids: Tensor
    fraction: float

    @classmethod
    def of(cls, special: TokenStore, fraction: float) -> Masking:
        """Args: what `special_tokens` gave, renumbered or not; the share of the tokens."""
        mask, *others = special.batch(np.zeros(1, np.int64))["input_ids"][0].tolist()
        return cls(mask, torch.tensor(sorted(set(others))), fraction)

    def beside(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch twice over, first as it is, then masked: each input (2 * batch, length).

        Which tokens is drawn from PyTorch's generator on the CPU, whatever the device.
        """
        ids = inputs["input_ids"]
        draws = torch.rand(ids.shape).to(ids.device)
        maskable = ~torch.isin(ids, self.special_ids.to(ids.device))
        masked = mask_tokens(ids, maskable, self.mask_id, draws, self.fraction)
        twice = {name: torch.cat([value, value]) for name, value in inputs.items()}
        return twice | {"input_ids": torch.cat([ids, masked])}
