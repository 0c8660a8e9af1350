"""`drift`: texts of the student's own domain pass, others do not, in Python and on the command line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig
from distilshift.data.corpus import open_corpus
from distilshift.data.held_out import held_out_mask, rows_like_new
from distilshift.data.sample import reservoir
from distilshift.drift import Histogram, Outputs, Reference, compare, make_reference
from distilshift.errors import BundleError, ConfigError, DataError
from distilshift.network import Network, load_network
from distilshift.predict import Predictor
from distilshift.projection import DIMENSIONS, Projected, project
from distilshift.types import Drift, Example
from forged import make_student, reseal
from texts import make_texts

SAME = [text for text, _ in make_texts(200, 77)]
OTHER = [text for text, _ in make_texts(200, 77, neutral=("of", "and", "to", "in", "on", "with", "by"))]


@pytest.fixture(scope="module")
def predictor(student_bundle: Path) -> Predictor:
    return Predictor.load(student_bundle)


def test_new_texts_of_the_same_domain_pass(predictor: Predictor):
    found = predictor.drift(SAME)
    assert (found.drifted, found.texts, found.reference_texts) == (False, 200, 120)
    assert found.p_value > found.level == 0.01
    assert [each.name for each in found.statistics] == ["words", "length", "unknown pieces"]


def test_texts_of_other_words_have_drifted(predictor: Predictor):
    found = predictor.drift(OTHER)
    assert (found.drifted, [each.name for each in found.statistics if each.moved]) == (True, ["words"])
    assert found.statistics[0].now > 2 * found.statistics[0].reference


def test_longer_texts_have_drifted(predictor: Predictor):
    found = predictor.drift([f"{first} {second}" for first, second in zip(SAME, reversed(SAME), strict=True)])
    length = next(each for each in found.statistics if each.name == "length")
    assert length.moved
    assert length.now > 1.5 * length.reference


def test_unknown_pieces_are_found(predictor: Predictor):
    found = predictor.drift([f"{text} \U0001f600" if row % 4 == 0 else text for row, text in enumerate(SAME)])
    unknown = next(each for each in found.statistics if each.name == "unknown pieces")
    assert (unknown.moved, unknown.reference, unknown.now) == (True, 0, 0.25)


def test_the_answer_is_the_same_each_time_and_for_batches_of_any_size(predictor: Predictor):
    assert predictor.drift(iter(SAME), max_texts=60) == predictor.drift(SAME, 7, max_texts=60)


def test_tables_are_read_as_predict_reads_them(predictor: Predictor):
    assert predictor.drift({"body": SAME}, text_column="body") == predictor.drift(SAME)


def test_a_sample_is_compared_where_there_are_many(predictor: Predictor):
    assert predictor.drift(SAME, max_texts=70).texts == 70
    assert predictor.drift(SAME, max_texts=0).texts == 200


def test_too_few_texts_are_refused(predictor: Predictor):
    with pytest.raises(DataError, match=r"too few texts.*at least 50, got 49"):
        predictor.drift(SAME[:49])


def test_options_out_of_range_and_other_windows_are_refused(predictor: Predictor, student_bundle: Path):
    with pytest.raises(ConfigError, match="level"):
        predictor.drift(SAME, level=1.5)
    with pytest.raises(ConfigError, match="windows"):
        Predictor.load(student_bundle, max_windows=7).drift(SAME)


def test_a_student_without_a_reference_predicts_and_says_what_to_do(tmp_path: Path, run_cli: Any):
    student = make_student(tmp_path / "old")
    assert Predictor.load(student).predict(["good"])
    with pytest.raises(BundleError, match=r"has no reference\.json.*make the student again"):
        Predictor.load(student).drift(SAME)


def test_a_predictor_without_a_bundle_is_refused(student_bundle: Path):
    network = load_network(student_bundle, read_manifest(student_bundle))
    with pytest.raises(BundleError, match=r"with Predictor\.load"):
        Predictor(network, ["a", "b"]).drift(SAME)


@pytest.mark.parametrize(("texts", "code"), [(SAME, 0), (OTHER, 1), (SAME[:10], 2)])
def test_the_exit_code_is_the_answer(texts: list[str], code: int, student_bundle: Path, tmp_path: Path, run_cli: Any):
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts) + "\n")
    done = run_cli("drift", student_bundle, file)
    assert done.code == code
    said = {0: "No drift found.", 1: "Drifted: words.", 2: "too few texts"}[code]
    assert said in done.out + done.err
    assert ("Class shares and confidence are not compared" in done.out) == (code < 2)


def test_json_is_the_python_answer(predictor: Predictor, student_bundle: Path, tmp_path: Path, run_cli: Any):
    file = tmp_path / "texts.csv"
    file.write_text("body\n" + "\n".join(OTHER) + "\n")
    done = run_cli("drift", student_bundle, file, "--json", "--text-column", "body", "--level", "0.05")
    expected = json.loads(json.dumps(dataclasses.asdict(predictor.drift(OTHER, level=0.05))))
    assert (done.code, json.loads(done.out)) == (1, expected)


def test_a_packed_student_gives_the_same_answer(student_bundle: Path, tmp_path: Path, predictor: Predictor):
    from distilshift import pack

    device = pack(student_bundle, tmp_path / "device")
    assert Predictor.load(device).drift(OTHER) == predictor.drift(OTHER)


def test_damage_is_found_before_the_reference_is_read(student_bundle: Path, tmp_path: Path):
    bundle = tmp_path / "b"
    shutil.copytree(student_bundle, bundle)
    loaded = Predictor.load(bundle)
    (bundle / "reference.json").write_text("{}")
    with pytest.raises(BundleError, match="sha256"):
        loaded.drift(SAME)


def test_a_covariance_that_no_texts_have_is_refused(student_bundle: Path, tmp_path: Path):
    bundle = tmp_path / "b"
    shutil.copytree(student_bundle, bundle)
    content = json.loads((bundle / "reference.json").read_text())
    content["words"]["covariance"][0] = -5.0
    (bundle / "reference.json").write_text(json.dumps(content))
    reseal(bundle)
    with pytest.raises(BundleError, match="covariance"):
        Predictor.load(bundle).drift(SAME)


def drawn(generator: np.random.Generator, count: int, positive: float, sure: float) -> tuple[Any, ...]:
    """Texts of one kind, with predictions of a class share and a confidence."""
    projected = Projected(generator.normal(size=(count, DIMENSIONS)), generator.integers(1, 40, count))
    classes = (generator.random(count) < positive).astype(np.int64)
    return projected, np.zeros(count, bool), Outputs(classes, generator.beta(sure, 1, count))


def answer(reference: Reference | None, texts: tuple[Any, ...]) -> Drift:
    assert reference is not None
    return compare(reference, *texts, ["negative", "positive"], 0.01)


def test_class_shares_and_confidence_are_compared_where_texts_were_held_out():
    generator = np.random.default_rng(0)
    reference = make_reference(*drawn(generator, 400, 0.5, 6), 2)
    same, shares, confidence = (
        answer(reference, drawn(generator, 200, *values)) for values in ((0.5, 6), (0.8, 6), (0.5, 2))
    )
    assert not same.drifted
    assert [each.name for each in shares.statistics if each.moved] in (["share of 'negative'"], ["share of 'positive'"])
    assert [each.name for each in confidence.statistics if each.moved] == ["confidence"]


def test_false_alarms_are_as_rare_as_promised():
    generator, alarms = np.random.default_rng(1), 0
    for _ in range(50):
        reference = make_reference(*drawn(generator, 300, 0.3, 5), 2)
        alarms += answer(reference, drawn(generator, 60, 0.3, 5)).p_value <= 0.05
    assert alarms <= 6


def test_too_few_texts_give_no_reference_and_too_few_outputs_none_of_those():
    texts = drawn(np.random.default_rng(0), 60, 0.5, 5)
    assert make_reference(project([Example("a")] * 49), np.zeros(49, bool), None, 2) is None
    reference = make_reference(*texts[:2], Outputs(texts[2].classes[:49], texts[2].confidence[:49]), 2)
    assert reference is not None
    assert (reference.classes, reference.confidence, len(reference.mean)) == (None, None, 15)


def test_a_histogram_has_deciles_and_ties_lie_below_their_edge():
    found = Histogram.of(np.arange(1, 101))
    assert (found.edges.tolist(), found.counts.tolist()) == ([10, 20, 30, 40, 50, 60, 70, 80, 90], [10] * 10)
    assert found.median == 50
    tied = Histogram.of(np.array([3] * 60 + [5] * 40))
    assert (tied.edges.tolist(), tied.counts.tolist(), tied.median) == ([3, 5], [60, 40, 0], 3)


def test_words_of_any_script_are_told_apart():
    rows = project([Example(text) for text in ("Das Buch, gut!", "das buch gut , !", "这本书很好", "这本书不好", "")])
    np.testing.assert_array_equal(rows.words[0], rows.words[1])
    assert rows.lengths.tolist() == [5, 5, 5, 5, 0]
    assert not np.array_equal(rows.words[2], rows.words[3])
    assert not rows.words[4].any()


def test_the_projection_never_changes():
    """A reference is compared with texts on other machines and by later versions."""
    found = project([Example("A joy to use.", "really")]).words[0]
    assert found[:8].round(4).tolist() == pytest.approx(GOLDEN, abs=1e-4)


GOLDEN = [0.0, 0.8165, -0.8165, -1.633, -1.633, 0.0, -0.8165, -0.8165]


def test_outputs_are_of_held_out_texts_and_of_repeated_ones_at_the_same_rate():
    texts = [f"text {number}" for number in range(2500)] + ["yes", "No "] * 250 + ["no"] * 250
    corpus = open_corpus(texts, AdaptConfig())
    held_out = held_out_mask(corpus)
    rows = rows_like_new(corpus, held_out, 0)
    assert held_out.sum() == 250
    assert ((rows < 2500).sum(), (rows >= 2500).sum()) == (250, 75)
    assert held_out[rows[rows < 2500]].all()
    assert len(rows_like_new(corpus, np.zeros(len(corpus), bool), 0)) == 0


def test_outputs_of_a_corpus_of_repeated_texts_are_of_a_sample():
    corpus = open_corpus([f"text {number}" for number in range(2000)] + ["yes"] * 30_000, AdaptConfig())
    rows = rows_like_new(corpus, held_out_mask(corpus), 0)
    assert len(rows) == 1000
    assert 0.9 < (rows >= 2000).mean() < 0.97  # 3,000 of 3,200


def test_a_reservoir_chooses_each_item_equally_often():
    counts = np.bincount(np.concatenate([reservoir(range(20), 5, seed) for seed in range(2000)]), minlength=20)
    assert counts.sum() == 10_000
    assert np.abs(counts - 500).max() < 100
    assert reservoir(range(3), 5, 0) == reservoir(range(3), 0, 0) == [0, 1, 2]


def test_unknown_pieces_of_each_text(predictor: Predictor, student_bundle: Path):
    network: Network = load_network(student_bundle, read_manifest(student_bundle))
    found = network.has_unknown([Example("good film"), Example("good \U0001f600"), Example("good " * 200)])
    assert found.tolist() == [False, True, False]
