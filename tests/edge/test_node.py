"""The bundle in Node, through transformers.js, as it stands."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("classify.mjs")


@pytest.mark.parametrize(("dtype", "choice"), [("fp32", "fp32"), ("q8", "int8")])
def test_node_gives_the_same_labels(
    node_modules: Path, bundle: Path, texts: list[str], reference: Any, dtype: str, choice: str
):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    command = [node, str(SCRIPT), str(bundle.parent), bundle.name, dtype]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    reference.check(json.loads(done.stdout), choice)
