"""The bundle in Node, through transformers.js, as it stands."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distilshift.data.windows import cuts
from distilshift.tokens import TextTokens
from distilshift.types import Example
from encoders import make_tokenizer

SCRIPT, WINDOWS = (Path(__file__).with_name(name) for name in ("classify.mjs", "windows.mjs"))


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
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_page_cuts_texts_where_predict_does(family: str, most: int):
    """By the same token ids; that transformers.js finds those is for the test above."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    tokens, rng = make_tokenizer(family), np.random.default_rng(0)
    device, length = tokens.backend_tokenizer, 32
    pieces = ["good book ", "unbelievably", "本の本", "http://x.y/z?a=b ", "#tag", "\U0001f600", "\n", "[UNK]"]
    texts = ["".join(rng.choice(pieces, size)) for size in rng.integers(1, 90, 40)]
    sides = [*([text] for text in texts), *([text, other] for text, other in pairwise(texts))]
    rows = {json.dumps(each, ensure_ascii=False, separators=(",", ":")): _row(device, each) for each in sides}
    runs = [_run(rng) for _ in range(200)]
    case = {
        "runs": [[size, room, many, starts.tolist()] for size, room, many, starts in runs],
        "vocabulary": tokens.get_vocab(),
        "pad": tokens.pad_token,
        "framed": [device.encode(*[tokens.pad_token] * count).tokens for count in (1, 2)],
        "rows": rows,
        "texts": sides,
        "length": length,
        "most": most,
    }
    done = subprocess.run([node, str(WINDOWS)], input=json.dumps(case), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    device.enable_truncation(length)
    for each, windows in zip(sides, found["windows"], strict=True):
        expected = TextTokens(device, most).windows([Example(*each)])
        assert [window["input_ids"] for window in windows] == expected.ids
        assert [window["token_type_ids"] for window in windows] == expected.type_ids
    wanted = [cuts(size, room, many, starts.__getitem__) for size, room, many, starts in runs]
    assert found["runs"] == [[[run.start, run.stop] for run in each] for each in wanted]


def _row(device: Tokenizer, sides: list[str]) -> dict[str, Any]:
    """What a tokenizer makes of a text or a pair, of any length."""
    device.no_truncation()
    whole = device.encode(*sides)
    bare = device.encode(sides[0], add_special_tokens=False)
    return {"inputs": {"input_ids": whole.ids, "token_type_ids": whole.type_ids}, "bare": bare.ids}


def _run(rng: np.random.Generator) -> tuple[int, int, int, NDArray[np.bool_]]:
    """Arguments of `cuts`, with a table of the tokens that begin a word."""
    size, room, most = (int(rng.integers(1, limit)) for limit in (900, 130, 9))
    return size, room, most, rng.random(size) < rng.random()
