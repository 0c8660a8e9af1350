"""Where a result came from: the code and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The checkout, where the package runs from one.
ROOT = Path(__file__).parents[3]


def code_revision() -> str:
    """The commit that is checked out, marked where the tree differs from it; 'installed' outside a checkout."""
    if not (ROOT / ".git").exists():
        return "installed"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def hardware() -> dict[str, Any]:
    """The processor by name and kind, its cores, and the threads that PyTorch uses.

    Processors of one name may be of several kinds, which compute other last digits, and so teach other teachers.
    """
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = _field(lines, "model name") or platform.processor()
    kind = "-".join(filter(None, (_field(lines, name) for name in ("cpu family", "model", "stepping"))))
    return {"cpu": cpu, "cpu_kind": kind, "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def _field(lines: Sequence[str], name: str) -> str:
    """A field of the first processor in /proc/cpuinfo; empty where it is not there."""
    values = [line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name]
    return values[0] if values else ""
