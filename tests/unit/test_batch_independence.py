"""A text's label and probabilities do not depend on the other texts of its batch, on their order or on padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilshift.bundle import read_manifest
from distilshift.metrics import softmax
from distilshift.network import ONNX_FILES, Network, load_network
from distilshift.quantise import forms_of, measured_ranges
from distilshift.quantise_graph import constant_products, quantised
from distilshift.scan.json_file import read_object
from distilshift.tokens import load_tokenizer
from distilshift.types import Example
from texts import make_texts

# Scales are fixed, so only the order of fp32 sums can differ with the batch's shape: 1e-6. Where that moves a state
# over the middle between two levels, it changes by one of 255 steps; one such state moves a probability by less than
# this. A scale of the batch moved probabilities by 0.04.
TOLERANCE = 1e-4
TEXTS = [text for text, _ in make_texts(30, 7)]
TEXTS += ["x", " ".join(TEXTS[:4]), " ".join(TEXTS[:20]), "love " * 25, "日本語 🙂", "", "a b"]


def networks(bundle: Path, folder: Path) -> dict[str, Network]:
    """The bundle's network in fp32 and in each of the forms that it may have."""
    fp32 = load_network(bundle, read_manifest(bundle), "fp32")
    model = onnx.load(bundle / ONNX_FILES["fp32"])
    ranges = measured_ranges(model, fp32, [Example(text) for text in TEXTS])
    products = constant_products(model.graph)
    config = read_object(bundle / "config.json", 1 << 20)
    tokenizer = load_tokenizer(bundle / "tokenizer.json", read_manifest(bundle).max_length, config)
    made = {"fp32": fp32}
    for form in forms_of(model):
        path = folder / f"{len(made)}.onnx"
        onnx.save(quantised(model, form, ranges, products[::3] if form.fp32_share else []), path)
        made[form.name] = Network(path, tokenizer, int(config["pad_token_id"]), 1, 3)
    return made


@pytest.fixture(scope="module", params=["student_bundle", "static_bundle"])
def forms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    return networks(request.getfixturevalue(request.param), tmp_path_factory.mktemp("forms"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=20),
    batch_size=st.sampled_from([1, 2, 5, 32]),
)
def test_every_form_gives_a_text_the_same_answer_in_any_batch(
    forms: dict[str, Network], chosen: list[int], batch_size: int
):
    texts = [Example(TEXTS[index]) for index in chosen]
    for name, network in forms.items():
        alone = softmax(np.concatenate([network.logits([text]) for text in texts]))
        together = softmax(network.logits(texts, batch_size))
        np.testing.assert_allclose(together, alone, rtol=0, atol=TOLERANCE, err_msg=name)
        assert together.argmax(axis=1).tolist() == alone.argmax(axis=1).tolist(), name
