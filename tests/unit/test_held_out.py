"""Some target texts are held out: the student never trains on them, and int8 and pareto are measured on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift import Predictor, adapt, learning, loop, pareto, shards, student_bundle
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.data import held_out
from distilshift.data.batch import TokenStore
from distilshift.data.corpus import Corpus, open_corpus
from distilshift.data.held_out import held_out_mask, training_rows
from texts import make_texts

OPTIONS: dict[str, Any] = {"method": "none", "student_layers": 1, "distil_epochs": 2, "spans": 1, "precision": "fp32"}


def corpus(texts: list[str]) -> Corpus:
    return open_corpus(texts, AdaptConfig())


def test_a_tenth_is_held_out_whatever_the_order():
    texts = [f"text {number}" for number in range(3000)]
    mask = held_out_mask(corpus(texts))
    assert mask.sum() == 300
    order = np.random.default_rng(0).permutation(3000)
    shuffled = held_out_mask(corpus([texts[index] for index in order]))
    np.testing.assert_array_equal(shuffled, mask[order])


def test_texts_that_occur_again_are_trained_on():
    """In another case or spacing, too: such a text would be known to the student."""
    texts = [f"text {number}" for number in range(3000)]
    copies = [*texts[:400], *(text.upper() for text in texts[400:700]), *(f"  {text}" for text in texts[700:900])]
    mask = held_out_mask(corpus([*texts, *copies, *texts[:1] * 5000]))
    assert mask[900:3000].sum() == 210
    assert mask.sum() == 210


def test_few_different_texts_are_all_trained_on():
    mask = held_out_mask(corpus([f"text {number}" for number in range(1999)] + ["a copy", "A copy"] * 50))
    assert not mask.any()
    assert training_rows(mask) is None


def test_no_more_are_held_out_than_are_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(held_out, "MAX_HELD_OUT", 50)
    assert held_out_mask(corpus([f"text {number}" for number in range(2000)])).sum() == 50


@pytest.mark.parametrize("numbers", [None, np.arange(9)[::-1].copy()])
def test_a_store_of_some_texts_gives_them(numbers: np.ndarray | None):
    store = TokenStore.from_rows([[1, 2], [3], [4, 5, 6], [7]], [[0, 0], [0], [0, 1, 1], [0]], 0)
    store = store if numbers is None else store.renumbered(numbers)
    some = store.only(np.array([1, 3, 2])).only(np.array([2, 0]))
    assert (len(some), some.lengths.tolist()) == (2, [3, 1])
    for name, values in some.batch(np.array([1, 0])).items():
        np.testing.assert_array_equal(values, store.batch(np.array([1, 2]))[name])
    assert some.row(0)[0].tolist() == [4, 5, 6]
    assert some.renumbered(np.arange(9)).batch(np.array([0]))["input_ids"].tolist() == [[4, 5, 6]]


@pytest.fixture
def holding_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold texts out of small corpora, too."""
    monkeypatch.setattr(held_out, "MIN_TEXTS", 20)


def test_int8_is_judged_on_texts_that_the_student_never_saw(
    teacher_bundle: Path,
    tmp_path: Path,
    quick_export: None,
    holding_out: None,
    monkeypatch: pytest.MonkeyPatch,
):
    texts = list(dict.fromkeys(text for text, _ in make_texts(150, 5)))
    trained: list[TokenStore] = []
    judged: list[Any] = []
    inner, quantise = learning.distil_student, student_bundle.quantise

    def learn(student: Any, views: Any, *rest: Any) -> None:
        trained.extend(view.texts for view in views)
        inner(student, views, *rest)

    def note(source: Path, target: Path, *given: Any) -> Any:
        judged.extend(given)
        return quantise(source, target, *given)

    monkeypatch.setattr(learning, "distil_student", learn)
    monkeypatch.setattr(student_bundle, "quantise", note)
    adapt(teacher_bundle, texts, tmp_path / "s", **OPTIONS)
    mask = held_out_mask(corpus(texts))
    assert 0 < mask.sum() < len(texts) / 5
    compared, reference, _, _, calibration, held = judged
    assert {each.text for each in compared} == {text for text, unseen in zip(texts, mask, strict=True) if unseen}
    assert {len(store) for store in trained} == {int((~mask).sum())}
    assert held is True
    assert not {text.text for text in calibration} & {text.text for text in compared}
    own = Predictor.load(tmp_path / "s", model="fp32").predict([text.text for text in compared])
    names = read_manifest(tmp_path / "s").label_names
    assert [names[row.argmax()] for row in reference] == [each.label for each in own]


@pytest.fixture
def trained_sizes(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Numbers of texts that trainings have met."""
    sizes: set[int] = set()
    inner = loop.shuffled_batches

    def noting(lengths: np.ndarray, *rest: Any) -> Any:
        sizes.add(len(lengths))
        return inner(lengths, *rest)

    monkeypatch.setattr(loop, "shuffled_batches", noting)
    return sizes


WAYS: dict[str, dict[str, Any]] = {
    "inner states": {"distillation": "tinybert"},
    "feedback": {"feedback": 0.5, "feedback_every": 1},
    "masked copies": {"masked_consistency": 1.0},
    "dine": {"method": "dine"},
    "a refused dine": {"method": "dine", "target_prior": "positive=0.999,negative=0.001"},
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_no_way_of_learning_sees_them(
    teacher_bundle: Path,
    tmp_path: Path,
    quick_export: None,
    holding_out: None,
    trained_sizes: set[int],
    options: dict[str, Any],
):
    texts = list(dict.fromkeys(text for text, _ in make_texts(120, 5)))
    adapt(teacher_bundle, texts, tmp_path / "s", **OPTIONS | options)
    assert trained_sizes == {int((~held_out_mask(corpus(texts))).sum())}
    assert trained_sizes != {len(texts)}


def test_a_black_boxs_student_does_not_see_them(
    tmp_path: Path, tiny_encoder: Path, quick_export: None, holding_out: None, trained_sizes: set[int]
):
    texts = list(dict.fromkeys(text for text, _ in make_texts(120, 5)))
    rows = "".join(f"{0.2 + 0.6 * (index % 2):.1f},{0.8 - 0.6 * (index % 2):.1f}\n" for index in range(len(texts)))
    (tmp_path / "p.csv").write_text("negative,positive\n" + rows)
    box = {"teacher_probabilities": tmp_path / "p.csv", "student": str(tiny_encoder)}
    adapt(None, texts, tmp_path / "s", **OPTIONS | box)
    assert trained_sizes == {int((~held_out_mask(corpus(texts))).sum())}


def test_students_of_one_comparison_share_what_the_teacher_says(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None, monkeypatch: pytest.MonkeyPatch
):
    """The teacher reads each version of the texts once, however many students there are."""
    passes: list[int] = []
    inner = shards.forward_all

    def forward_all(classifier: Any, store: Any, *args: Any, **options: Any) -> Any:
        passes.append(len(store))
        return inner(classifier, store, *args, **options)

    monkeypatch.setattr(shards, "forward_all", forward_all)
    fast = {name: value for name, value in OPTIONS.items() if name != "student_layers"} | {"max_length": 32}
    pareto(teacher_bundle, target_file, tmp_path / "one", adapt_options=fast, students="small")
    alone = len(passes)
    pareto(teacher_bundle, target_file, tmp_path / "two", adapt_options=fast, students="small,small-1-layer")
    assert len(passes) == 2 * alone
    assert not list((tmp_path / "two").glob("*outputs*"))
