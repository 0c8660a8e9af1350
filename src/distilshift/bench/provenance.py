"""Where a result came from: the code and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
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
    """The processor, its cores, and the threads that PyTorch uses."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    cpu = names[0] if names else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
