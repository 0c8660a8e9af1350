"""The bundle in Node, through transformers.js, as it stands."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift.data.windows import windows_of
from distilshift.types import Example

SCRIPT = Path(__file__).with_name("classify.mjs")
WINDOWS = Path(__file__).parents[2] / "examples/browser/windows.mjs"
_CUT = """
import { readFileSync } from "node:fs";
const [module, most] = process.argv.slice(1);
const { windowsOf } = await import(module);
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map((text) => windowsOf(text, 32, Number(most)))));
"""


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


@pytest.mark.parametrize("most", [1, 6])
def test_the_page_cuts_texts_where_predict_does(most: int):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    rng = np.random.default_rng(0)
    signs = list("ab,-。！很好本の本ผลิตភ좋은\u00e9\ufeff\U00020000\U0001f600 \u3000\u00a0\n")
    texts = ["".join(rng.choice(signs, size)) for size in rng.integers(1, 500, 200)] + [" ".join(["good"] * 700)]
    command = [node, "--input-type=module", "-e", _CUT, WINDOWS.as_uri(), str(most)]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [[part.text for part in windows_of(Example(text), 32, most)] for text in texts]
