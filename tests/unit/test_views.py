"""What the teacher says of whole texts, of spans, and of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from distilshift import views
from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.data.corpus import open_corpus
from distilshift.encoder import Classifier, load_classifier
from distilshift.inference import forward_all
from distilshift.losses.distil import mixture_logits
from distilshift.precision import make_accelerator
from distilshift.run import open_run
from distilshift.shards import Rows
from distilshift.student import build_student
from distilshift.types import Example
from distilshift.views import LabelledView, label_views, view_count, view_of, within_budget
from encoders import make_checkpoint
from texts import make_texts

CONFIG = AdaptConfig(precision="fp32", max_length=16, max_windows=3, spans=1, distil_epochs=2, span_text_weight=0.25)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load_classifier(str(make_checkpoint(tmp_path_factory.mktemp("views") / "checkpoint", "bert")), 16)


def probabilities(classifier: Classifier, examples: list[Example], most: int = 1) -> torch.Tensor:
    """Of each window."""
    accelerator, rows = make_accelerator(CONFIG), classifier.windows(examples, most)
    store = TokenStore.from_rows(rows.ids, rows.type_ids, classifier.tokenizer.pad_token_id)
    return torch.from_numpy(forward_all(classifier, store, accelerator.device, accelerator.autocast)["logits"]).softmax(
        1
    )


def test_long_texts_are_labelled_by_all_their_windows(teacher: Classifier, tmp_path: Path):
    short = [text for text, _ in make_texts(12, 3)]
    texts = [short[0], " ".join(short[1:4]), short[4], " ".join(short[4:12])]  # the last is cut after three windows
    corpus = open_corpus(texts, CONFIG)
    with open_run(tmp_path / "run", {}) as run:
        views = label_views(teacher, build_student(teacher, "cut", 1), corpus, CONFIG, make_accelerator(CONFIG), run)
        whole, spans = (view.targets(np.arange(4)).softmax(1) for view in views)
        alone = torch.from_numpy(views[1].teacher_logits[np.arange(4)]).softmax(1)
    for index, example in enumerate(corpus):
        windows = probabilities(teacher, [example], 3)
        assert len(windows) == (1, 3, 1, 3)[index]
        torch.testing.assert_close(whole[index], windows.mean(dim=0), atol=1e-5, rtol=0)
    torch.testing.assert_close(spans, 0.25 * whole + 0.75 * alone, atol=1e-5, rtol=0)


def test_texts_within_a_budget_have_the_mix_of_all_that_were_looked_at(
    teacher: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every fourth, in the order of what the teacher says of them."""
    config = AdaptConfig(**CONFIG.to_dict() | {"max_texts": 50})
    corpus = open_corpus([f"text number {index}" for index in range(300)], config)
    looked_at: list[int] = []

    def say(classifier: Classifier, store: object, *rest: object) -> Rows:
        """The further on, the surer of the second class."""
        margins = np.linspace(0.1, 5, len(store.lengths), dtype=np.float32)  # type: ignore[attr-defined]
        return Rows([np.stack([-margins, margins], axis=1)])

    def mask(size: int, count: int, seed: int) -> np.ndarray:
        looked_at.append(count)
        return np.arange(size) < count

    monkeypatch.setattr(views, "outputs", say)
    monkeypatch.setattr(views, "random_mask", mask)
    with open_run(tmp_path / "run", {}) as run:
        chosen = within_budget(corpus, teacher, config, make_accelerator(config), run)
    assert looked_at == [200]
    numbers = [int(item.text.split()[-1]) for item in chosen]
    assert len(numbers) == 50
    assert [number // 4 for number in numbers] == list(range(50))


def test_one_window_is_what_the_model_sees(teacher: Classifier, tmp_path: Path):
    config = AdaptConfig(**CONFIG.to_dict() | {"max_windows": 1, "spans": 0})
    corpus = open_corpus([" ".join(text for text, _ in make_texts(9, 5))], config)
    with open_run(tmp_path / "run", {}) as run:
        (view,) = label_views(teacher, build_student(teacher, "cut", 1), corpus, config, make_accelerator(config), run)
        seen = view.targets(np.array([0])).softmax(1)
    torch.testing.assert_close(seen, probabilities(teacher, list(corpus)))


def test_without_a_whole_texts_label_a_view_is_its_own():
    own = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
    view = LabelledView(None, Rows([own]))  # type: ignore[arg-type]
    assert view.targets(np.array([1])).tolist() == [[3.0, -1.0]]


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_mixture_is_the_mean_of_two_predictions(weight: float):
    first, second = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    wanted = (1 - weight) * F.softmax(first, dim=1) + weight * F.softmax(second, dim=1)
    torch.testing.assert_close(F.softmax(mixture_logits(first, second, weight), dim=1), wanted)


def test_a_mixture_of_certain_predictions_is_finite():
    certain = torch.tensor([[800.0, -800.0]])
    torch.testing.assert_close(mixture_logits(certain, -certain, 0.5).softmax(1), torch.tensor([[0.5, 0.5]]))
    assert mixture_logits(certain, certain, 0.5).isfinite().all()


@pytest.mark.parametrize(("epochs", "spans", "count"), [(6, 3, 4), (6, 9, 4), (6, 1, 2), (6, 0, 1), (1, 3, 1)])
def test_as_many_views_as_epochs_ask_for(epochs: int, spans: int, count: int):
    assert view_count(epochs, spans) == count
    assert {view_of(epoch, count) for epoch in range(epochs)} == set(range(count))
