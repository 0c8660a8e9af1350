"""fp32 or bf16: what the hardware multiplies, and what `auto` makes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distilshift import precision
from distilshift.config import TrainingConfig
from distilshift.precision import hardware_multiplies_bf16, make_accelerator, resolve_precision


@pytest.mark.parametrize(
    ("wanted", "fast", "got"),
    [("auto", True, "bf16"), ("auto", False, "fp32"), ("fp32", True, "fp32"), ("bf16", False, "bf16")],
)
def test_auto_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch, wanted: Any, fast: bool, got: str):
    monkeypatch.setattr(precision, "hardware_multiplies_bf16", lambda device: fast)
    assert resolve_precision(wanted) == got
    # One process may train in several precisions.
    for asked, found in ((wanted, got), ("fp32", "fp32")):
        accelerator = make_accelerator(TrainingConfig(precision=asked))
        assert accelerator.mixed_precision == {"bf16": "bf16", "fp32": "no"}[found]


@pytest.mark.parametrize(("amx", "avx", "wanted"), [(0, 0, False), (1, 0, True), (0, 1, True)])
def test_a_cpu_multiplies_bf16_with_amx_or_avx512(monkeypatch: pytest.MonkeyPatch, amx: int, avx: int, wanted: bool):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bool(amx))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bool(avx))
    assert hardware_multiplies_bf16(torch.device("cpu")) is wanted
