"""Rows of the embedding that no text uses are left out of training, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.encoder import Classifier, load_classifier
from distilshift.inference import forward_all
from distilshift.precision import make_accelerator
from distilshift.types import Example
from distilshift.vocabulary import used_rows_only
from encoders import FAMILIES, make_checkpoint

TEXTS = [Example("good book"), Example("the plot was bad and it was awful")]


@pytest.fixture(params=sorted(FAMILIES))
def classifier(request: pytest.FixtureRequest, tmp_path: Path) -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path / "checkpoint", request.param)), 32)


def logits(classifier: Classifier, store) -> np.ndarray:  # type: ignore[no-untyped-def]
    accelerator = make_accelerator(AdaptConfig(precision="fp32"))
    return forward_all(classifier, store, accelerator.device, accelerator.autocast)["logits"]


def test_the_shrunken_model_says_the_same(classifier: Classifier):
    one, two = classifier.tokenise(TEXTS[:1]), classifier.tokenise(TEXTS[1:])
    rows = classifier.model.get_input_embeddings().num_embeddings
    with used_rows_only(classifier.model, [one, two]) as (small_one, small_two):
        assert classifier.model.get_input_embeddings().num_embeddings < rows
        inside = logits(classifier, small_one), logits(classifier, small_two)
    assert classifier.model.get_input_embeddings().num_embeddings == rows
    np.testing.assert_array_equal(inside[0], logits(classifier, one))
    np.testing.assert_array_equal(inside[1], logits(classifier, two))


def test_padding_keeps_its_place_where_no_text_has_the_pieces_before_it(classifier: Classifier):
    """CamemBERT's start is not its first piece; positions are counted from the padding's number in its family."""
    store = TokenStore.from_rows([[10, 11, 12], [13, 14]], [[0] * 3, [0] * 2], classifier.tokenizer.pad_token_id)
    with used_rows_only(classifier.model, [store]) as (small,):
        inside = logits(classifier, small)
    np.testing.assert_array_equal(inside, logits(classifier, store))


def test_trained_rows_come_back_and_the_others_stay(classifier: Classifier):
    embedding = classifier.model.get_input_embeddings()
    before, store = embedding.weight.detach().clone(), classifier.tokenise(TEXTS[:1])
    with used_rows_only(classifier.model, [store]), torch.no_grad():
        classifier.model.get_input_embeddings().weight.add_(1.0)
    used = np.unique([*store.batch(np.array([0]))["input_ids"].ravel(), classifier.tokenizer.pad_token_id])
    moved = (embedding.weight - before).abs().sum(dim=1) > 0
    assert np.flatnonzero(moved.numpy()).tolist() == used.tolist()


def test_it_is_whole_again_after_an_error(classifier: Classifier):
    embedding = classifier.model.get_input_embeddings()
    with pytest.raises(KeyError), used_rows_only(classifier.model, [classifier.tokenise(TEXTS)]):
        raise KeyError
    assert classifier.model.get_input_embeddings() is embedding
