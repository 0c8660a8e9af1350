"""A bundle and fifty texts for other runtimes, and what they need that pip cannot install."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from distilshift.bundle import read_manifest
from distilshift.files import sha256_of
from distilshift.metrics import softmax
from distilshift.network import ONNX_FILES, OnnxName, load_network
from distilshift.quantise import FORMS, STATIC_FORMS, measured_ranges
from distilshift.quantise_graph import constant_products, quantised
from distilshift.types import Example
from texts import make_texts

MODULES = Path(__file__).parent / "node_modules"
INSTALL = "npm ci --ignore-scripts --prefix tests/edge"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    if not (MODULES / "@huggingface" / "transformers" / "package.json").exists():
        pytest.skip(f"@huggingface/transformers is not installed: {INSTALL}")
    return MODULES


@pytest.fixture(scope="session", params=["student_bundle", "static_bundle"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student in a folder named `student`, with all that forms have: embeddings of 4 bits, products of all kinds."""
    folder = tmp_path_factory.mktemp("bundles") / "student"
    shutil.copytree(request.getfixturevalue(request.param), folder)
    form = STATIC_FORMS[0] if request.param == "static_bundle" else FORMS[1]
    model, fp32 = onnx.load(folder / ONNX_FILES["fp32"]), load_network(folder, read_manifest(folder), "fp32")
    ranges = measured_ranges(model, fp32, [Example(text) for text, _ in make_texts(50, 4)])
    ranges = {name: replace(each, outliers=(0, 2)) for name, each in ranges.items()}
    onnx.save(quantised(model, form, ranges, constant_products(model.graph)[::2]), folder / ONNX_FILES["int8"])
    return folder


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Fifty; the last are longer than the 32 tokens that the student sees, the very last than all of its windows.

    Two have many more tokens than words.
    """
    short = [text for text, _ in make_texts(50, 3)]
    odd = ["http://a.b/good-book?very=bad " * 9, "#badfilm #goodbook @user_name! " * 9]
    return [*short[:42], *odd, *(" ".join(short[:count]) for count in (2, 3, 5, 8, 13, 50))]


class Reference:
    """What Python says of the texts, one at a time."""

    def __init__(self, bundle: Path, texts: list[str]) -> None:
        self._bundle, self._texts = bundle, texts
        self.names = read_manifest(bundle).label_names

    def probabilities(self, choice: OnnxName) -> np.ndarray:
        """(texts, classes)."""
        manifest = read_manifest(self._bundle)
        manifest.files.update({name: sha256_of(self._bundle / name) for name in ONNX_FILES.values()})
        network = load_network(self._bundle, manifest, choice)
        return softmax(np.concatenate([network.logits([Example(text)], 1) for text in self._texts]))

    def check(self, found: list[list[dict[str, float]]], choice: OnnxName) -> None:
        """Same labels, and probabilities within 1e-5, or 1e-4 in int8.

        A value that lies between two steps of an int8 scale may be rounded to either of them where runtimes add floats
        in another order; one step of one feature is worth some 1e-5 here.
        """
        rows = [{each["label"]: each["score"] for each in row} for row in found]
        shares = np.array([[row[name] for name in self.names] for row in rows])
        expected = self.probabilities(choice)
        assert shares.shape == (50, 2)
        assert len(set(expected.argmax(axis=1))) == 2
        np.testing.assert_array_equal(shares.argmax(axis=1), expected.argmax(axis=1))
        np.testing.assert_allclose(shares, expected, atol={"fp32": 1e-5, "int8": 1e-4}[choice])


@pytest.fixture(scope="session")
def reference(bundle: Path, texts: list[str]) -> Reference:
    return Reference(bundle, texts)
