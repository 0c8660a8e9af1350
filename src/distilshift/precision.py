"""Which precision a training runs in, and the Accelerator that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, GradientState, PartialState

from distilshift.config import Precision, TrainingConfig
from distilshift.journal import DEVICE, PRECISION


def hardware_multiplies_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here: tensor cores, AMX, or AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


# One process may work alone for longer than the half hour after which PyTorch gives the others up.
PATIENCE_DAYS = 30


@contextmanager
def own_accelerator(config: TrainingConfig) -> Iterator[Accelerator]:
    """An Accelerator in the wanted precision; Accelerate's global state is the caller's again afterwards.

    All Accelerators of a process share one precision, one number of gradient accumulation steps and so on.
    """
    shared = [kind._shared_state for kind in (PartialState, AcceleratorState, GradientState)]
    before = [dict(state) for state in shared]
    GradientState._reset_state()
    try:
        yield make_accelerator(config)
    finally:
        for state, values in zip(shared, before, strict=True):  # in place: the caller's objects refer to them
            state.clear()
            state.update(values)


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """An Accelerator in the wanted precision, in place of those that the process has; see `own_accelerator`."""
    # One process may run several stages in different precisions; Accelerate keeps the first one's otherwise.
    AcceleratorState._reset_state()
    precision = resolve_precision(config.precision)
    patience = InitProcessGroupKwargs(timeout=timedelta(days=PATIENCE_DAYS))
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no", kwargs_handlers=[patience])


def resolve_precision(precision: Precision) -> Precision:
    """fp32 or bf16 for `auto`, by what the hardware has."""
    if precision != "auto":
        return precision
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return "bf16" if hardware_multiplies_bf16(device) else "fp32"


def where_computed(accelerator: Accelerator) -> dict[str, str]:
    """The kind of device and the precision of a training, which `auto` and the machine decide."""
    precision = "bf16" if accelerator.mixed_precision == "bf16" else "fp32"
    return {DEVICE: accelerator.device.type, PRECISION: precision}
