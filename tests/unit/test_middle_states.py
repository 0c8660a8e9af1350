"""Mean states of a middle layer: of the right layer, over real tokens only, whatever the batches."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from distilshift.encoder import load_classifier
from distilshift.middle_states import middle_states
from distilshift.types import Example
from encoders import make_checkpoint


def test_states_are_the_mean_over_a_text_s_own_tokens_at_two_thirds_of_the_depth(tmp_path: Path):
    classifier = load_classifier(str(make_checkpoint(tmp_path / "checkpoint", layers=3)), 16)
    texts = [Example("good"), Example("a good book and a bad film"), Example("bad film")]
    device = torch.device("cpu")
    store = classifier.tokenise(texts)
    found = middle_states(classifier, store, device, nullcontext)
    classifier.model.eval()
    for index in range(len(texts)):
        inputs = classifier.inputs(store, np.array([index]), device)
        with torch.inference_mode():
            states = classifier.model(**inputs, output_hidden_states=True).hidden_states[2][0]
        own = states[inputs["attention_mask"][0].bool()].mean(dim=0)
        np.testing.assert_allclose(found[index], own.numpy(), atol=1e-5)
    later = middle_states(classifier, store, device, nullcontext, span=slice(1, 3))
    np.testing.assert_allclose(later, found[1:], atol=1e-5)
