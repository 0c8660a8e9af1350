"""Cutting a classifier to a shape leaves what it keeps untouched, for every family."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from distilshift.encoder import Classifier, layers_of, load_classifier
from distilshift.inference import forward_all
from distilshift.narrowing import inner_width, keep_pieces, narrow_feed_forward, positions_for, shorten_positions
from distilshift.types import Example
from encoders import FAMILIES, make_checkpoint

TEXTS = [Example("good book"), Example("the plot was bad and it was awful")]


@pytest.fixture(params=sorted(FAMILIES))
def classifier(request: pytest.FixtureRequest, tmp_path: Path) -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path / "checkpoint", request.param)), 32)


def logits(classifier: Classifier) -> np.ndarray:
    return forward_all(classifier, classifier.tokenise(TEXTS), torch.device("cpu"), nullcontext)["logits"]


def reloaded(classifier: Classifier, folder: Path) -> Classifier:
    classifier.save(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return Classifier(model, classifier.tokenizer, classifier.max_length)


def test_units_that_weigh_nothing_go_first_and_change_nothing(classifier: Classifier, tmp_path: Path):
    before = logits(classifier)
    for layer in layers_of(classifier.model):
        out = [m for m in layer.modules() if isinstance(m, torch.nn.Linear) and m.in_features == 64]
        with torch.no_grad():
            out[0].weight[:, ::4] = 0.0
    silent = logits(classifier)
    assert np.abs(silent - before).max() > 1e-4  # they did something
    narrow_feed_forward(classifier.model, 48)
    assert inner_width(classifier.model) == 48
    np.testing.assert_allclose(logits(classifier), silent, atol=1e-5)
    np.testing.assert_allclose(logits(reloaded(classifier, tmp_path / "saved")), silent, atol=1e-5)


def test_a_width_that_is_no_smaller_changes_nothing(classifier: Classifier):
    before = logits(classifier)
    narrow_feed_forward(classifier.model, 64)
    np.testing.assert_array_equal(logits(classifier), before)


def test_fewer_positions_serve_the_texts_that_fit(classifier: Classifier, tmp_path: Path):
    before = logits(classifier)
    rows = positions_for(classifier.model, classifier.max_length)
    assert rows in (32, 34)  # some families count from after the padding id
    shorten_positions(classifier.model, rows)
    np.testing.assert_array_equal(logits(classifier), before)
    again = reloaded(classifier, tmp_path / "saved")
    np.testing.assert_allclose(logits(again), before, atol=1e-6)
    long = Example("good " * 60)
    store = again.tokenise([long])
    assert store.lengths.tolist() == [32]
    assert np.isfinite(forward_all(again, store, torch.device("cpu"), nullcontext)["logits"]).all()


def test_rows_of_kept_pieces_move_and_say_the_same(classifier: Classifier):
    before, embedding = logits(classifier), classifier.model.get_input_embeddings()
    used = np.unique([*classifier.tokenise(TEXTS).batch(np.arange(2))["input_ids"].ravel(), *range(5)])
    rows = embedding.weight[torch.from_numpy(used)].detach().clone()
    keep_pieces(classifier.model, used)
    assert classifier.model.config.vocab_size == len(used)
    assert classifier.model.config.pad_token_id == classifier.tokenizer.pad_token_id  # among the first five
    assert torch.equal(classifier.model.get_input_embeddings().weight, rows)
    places = np.zeros(used.max() + 1, np.int64)
    places[used] = np.arange(len(used))
    store = classifier.tokenise(TEXTS).renumbered(places)
    after = forward_all(classifier, store, torch.device("cpu"), nullcontext)["logits"]
    np.testing.assert_allclose(after, before, atol=1e-6)
