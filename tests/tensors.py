"""Tensors for tests of the losses, and the plain-number functions that these are compared with."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

EXACT = {"rtol": 0, "atol": 1e-12}
seeds = st.integers(0, 2**31 - 1)


def rows(values: Any) -> Tensor:
    """Nested numbers as float64."""
    return torch.tensor(values, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dot(first: list[float], second: list[float]) -> float:
    """The inner product of plain numbers."""
    return sum(a * b for a, b in zip(first, second, strict=True))


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    """Softmax of plain numbers."""
    powers = [math.exp((value - max(row)) / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def divergence(q: list[float], p: list[float]) -> float:
    """KL(q || p) of plain numbers; 0 log 0 is 0."""
    return sum(a * math.log(a / b) for a, b in zip(q, p, strict=True) if a > 0)
