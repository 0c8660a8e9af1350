"""A corpus in shards is the corpus: same ids, same outputs, and a stopped pass repeats one shard at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift import shards
from distilshift.config import AdaptConfig
from distilshift.data.corpus import Corpus, open_corpus
from distilshift.encoder import Classifier, load_classifier
from distilshift.inference import forward_all
from distilshift.precision import make_accelerator
from distilshift.run import open_run
from distilshift.shards import Rows, outputs, shard_spans, token_store
from encoders import make_checkpoint
from texts import make_texts

CONFIG = AdaptConfig(precision="fp32")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_TEXTS", 16)
    monkeypatch.setattr(shards, "CHUNK_TEXTS", 5)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = make_checkpoint(tmp_path_factory.mktemp("shards") / "checkpoint", "bert")
    return load_classifier(str(folder), 32)


@pytest.fixture
def corpus() -> Corpus:
    return open_corpus([text for text, _ in make_texts(50, 4)], CONFIG)


def test_shards_cover_all_texts_once():
    assert shard_spans(33) == [slice(0, 16), slice(16, 32), slice(32, 33)]
    assert shard_spans(16) == [slice(0, 16)]


def test_tokens_and_outputs_are_those_of_the_whole(classifier: Classifier, corpus: Corpus, tmp_path: Path):
    accelerator, everything = make_accelerator(CONFIG), np.arange(50)
    with open_run(tmp_path / "run", {}) as run:
        store = token_store(classifier, corpus, len(corpus), run, "whole")
        rows = outputs(classifier, store, run, "whole", accelerator)
        whole = classifier.tokenise(list(corpus))
        for name, array in store.batch(everything).items():
            np.testing.assert_array_equal(array, whole.batch(everything)[name])
        wanted = forward_all(classifier, whole, accelerator.device, accelerator.autocast)["logits"]
        np.testing.assert_allclose(rows[everything], wanted, atol=1e-6)
        assert len(rows) == len(store) == 50
        some = rows.only(np.array([4, 0, 9])).only(np.array([2, 0]))
        np.testing.assert_array_equal(some[np.array([1, 0])], rows[np.array([4, 9])])
        assert len(some) == 2
        assert {type(part).__name__ for each in (rows, some) for part in each._parts} == {"memmap"}


def test_a_stopped_pass_continues_at_its_shard(
    classifier: Classifier, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tokenised: list[int] = []
    inner = shards._tokenised

    def stopping(at: int) -> Any:
        def tokenise(*args: Any) -> Any:
            if len(tokenised) == at:
                raise KeyboardInterrupt
            tokenised.append(1)
            return inner(*args)

        return tokenise

    monkeypatch.setattr(shards, "_tokenised", stopping(2))
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path / "run", {}) as run:
        token_store(classifier, corpus, len(corpus), run, "whole")
    monkeypatch.setattr(shards, "_tokenised", stopping(-1))
    with open_run(tmp_path / "run", {}) as run:
        store = token_store(classifier, corpus, len(corpus), run, "whole")
        assert len(tokenised) == 4
        got, wanted = store.batch(np.arange(50)), classifier.tokenise(list(corpus)).batch(np.arange(50))
        np.testing.assert_array_equal(got["input_ids"], wanted["input_ids"])


def test_rows_are_found_across_parts():
    whole = np.arange(24, dtype=np.float32).reshape(12, 2)
    rows = Rows([whole[:5], whole[5:6], whole[6:]])
    chosen = np.array([11, 0, 5, 4, 6, 0])
    np.testing.assert_array_equal(rows[chosen], whole[chosen])
