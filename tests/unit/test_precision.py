"""fp32 or bf16: what the hardware multiplies, and what `auto` makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from distilshift import adapt, precision, stage, teach
from distilshift.config import TrainingConfig
from distilshift.precision import hardware_multiplies_bf16, make_accelerator, own_accelerator, resolve_precision
from distilshift.stage import peak_memory_bytes, seeded


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


@pytest.fixture
def no_accelerator() -> Any:
    """A process in which nobody has made an Accelerator; what other tests left is put back."""
    shared = [kind._shared_state for kind in (PartialState, AcceleratorState, GradientState)]
    before = [dict(state) for state in shared]
    for state in shared:
        state.clear()
    yield
    for state, values in zip(shared, before, strict=True):
        state.clear()
        state.update(values)


def test_no_accelerator_is_left_behind_where_there_was_none(
    no_accelerator: None, teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None
):
    options = {"method": "none", "distil_epochs": 1, "student_layers": 1, "precision": "fp32"}
    adapt(teacher_bundle, target_file, tmp_path / "s", **options)
    assert [kind._shared_state for kind in (PartialState, AcceleratorState)] == [{}, {}]


def test_the_callers_accelerator_is_as_it_was(
    no_accelerator: None, source_file: Path, tiny_encoder: Path, tmp_path: Path
):
    theirs = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=4)
    before = [dict(kind._shared_state) for kind in (PartialState, AcceleratorState, GradientState)]
    teach(source_file, tmp_path / "t", base_model=str(tiny_encoder), epochs=1, precision="fp32", max_length=32)
    assert [dict(kind._shared_state) for kind in (PartialState, AcceleratorState, GradientState)] == before
    assert (theirs.mixed_precision, theirs.gradient_accumulation_steps, theirs.num_processes) == ("bf16", 4, 1)


def test_an_accelerator_that_is_made_later_has_the_callers_precision(no_accelerator: None):
    with own_accelerator(TrainingConfig(precision="fp32")) as ours:
        assert ours.mixed_precision == "no"
    with pytest.raises(ZeroDivisionError), own_accelerator(TrainingConfig(precision="fp32")):
        raise ZeroDivisionError
    assert Accelerator(mixed_precision="bf16").mixed_precision == "bf16"


def test_seeding_touches_no_other_device(monkeypatch: pytest.MonkeyPatch):
    """As on a machine with many GPUs: neither their state is read nor their generators are seeded."""

    def touched(*arguments: Any) -> Any:
        raise AssertionError("a GPU was touched")

    for name in ("device_count", "get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, touched)
    torch.default_generator.manual_seed(5)
    wanted = torch.rand(1)
    torch.default_generator.manual_seed(5)
    drawn = []
    for device in (None, torch.device("cpu")):
        with seeded(3, device):
            drawn.append(torch.rand(1))
    assert torch.equal(torch.rand(1), wanted)
    assert torch.equal(drawn[0], drawn[1])


def test_seeding_forks_the_device_in_use_alone(monkeypatch: pytest.MonkeyPatch):
    """A stand-in for CUDA notes which devices' states are read and written."""
    calls: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: calls.append(("read", device)))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: calls.append(("write", device)))
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: calls.append(("seed", seed)))
    device = torch.device("cuda", 1)
    with seeded(3, device):
        pass
    assert calls == [("read", device), ("seed", 3), ("write", device)]


@pytest.mark.parametrize("text", ["Name:\tpython\nVmRSS:\t1000 kB\n", "", None])
def test_peak_memory_is_known_without_the_kernels_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
):
    """gVisor and some containers have no VmHWM, other systems no such file."""
    known, status = peak_memory_bytes(), tmp_path / "status"
    if text is not None:
        status.write_text(text)
    monkeypatch.setattr(stage, "Path", lambda path: status)
    assert known / 4 < peak_memory_bytes() < 4 * known
