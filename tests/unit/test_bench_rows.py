"""The rows that are for comparison only, on a tiny teacher: what they read, how long they train, what they keep."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

import distilshift.bench.measure as measuring
from bench_data import write_domains, write_matrix
from distilshift.bench import aad, cell
from distilshift.bench.aad import CLIP, AdversarialObjective, adapt_adversarially, make_discriminator
from distilshift.bench.cell import MAKERS, Inputs
from distilshift.bench.data import Domain, load_domain
from distilshift.bench.job import Folders, Job, is_done
from distilshift.bench.matrix import Cell, make_matrix, read_matrix
from distilshift.bench.measure import measure, require_labels, right
from distilshift.bench.methods import METHODS
from distilshift.bench.supervised import equal_epochs, fine_tune, raw_teacher
from distilshift.config import AdaptConfig
from distilshift.encoder import load_classifier
from distilshift.errors import DataError
from distilshift.inference import bundle_logits
from distilshift.metrics import softmax
from distilshift.parallel import Batch
from distilshift.types import Example
from texts import make_texts

CONFIG = AdaptConfig(student_layers=1, distil_epochs=6, distil_learning_rate=3e-3, precision="fp32", max_length=32)

TEACHER = {"test_accuracy": 0.5, "test_macro_f1": 0.5, "test_calibration_error": 0.1, "long_texts": 0}


def examples(count: int, seed: int) -> list[Example]:
    return [Example(text, label=label) for text, label in make_texts(count, seed)]


def unlabelled(count: int, seed: int) -> list[Example]:
    return [Example(text) for text, _ in make_texts(count, seed)]


def test_every_method_has_a_maker():
    assert {method.kind for method in METHODS.values()} == MAKERS.keys()


@pytest.mark.parametrize(("texts", "epochs"), [(1600, 6), (3200, 3), (800, 12), (100_000, 1)])
def test_the_number_of_steps_is_that_of_distillation(texts: int, epochs: int):
    assert equal_epochs(1600, texts, AdaptConfig()) == epochs


def test_the_source_s_texts_are_distilled_on_for_as_many_steps(tmp_path: Path):
    source, target = (Domain(examples(count, 1), examples(9, 2)) for count in (320, 160))
    inputs = Inputs(tmp_path, source, target, CONFIG, tmp_path)
    assert cell._with_equal_steps(inputs).config == replace(CONFIG, distil_epochs=3)


@pytest.mark.parametrize(
    ("kind", "domain", "epochs"),
    [
        ("adapt", "target", 6),
        ("adapt-on-source", "source", 3),
        ("labels-of-source", "source", 6),
        ("labels-of-target", "target", 6),
        ("labels-of-target-windows", "target", 6),
    ],
)
def test_a_row_learns_from_its_own_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, domain: str, epochs: int
):
    domains = {"source": Domain(examples(320, 1), examples(9, 2)), "target": Domain(examples(160, 3), examples(9, 4))}
    seen: list[tuple[set[str], AdaptConfig]] = []

    def note(given: Inputs, texts: list[Example], output: Path) -> Path:
        seen.append(({item.text for item in texts}, given.config))
        return output

    monkeypatch.setattr(cell, "_adapt", note)
    monkeypatch.setattr(cell, "_fine_tune", note)
    MAKERS[kind](Inputs(tmp_path, domains["source"], domains["target"], CONFIG, tmp_path), tmp_path)
    assert seen == [({item.text for item in domains[domain].train}, replace(CONFIG, distil_epochs=epochs))]


def test_all_rows_with_windows_have_the_matrix_s(tmp_path: Path):
    rows = {"table": "t", "pairs": [["a", "b"]], "methods": ["plain-kd", "plain-kd-windows", "distilshift"]}
    matrix = make_matrix(rows | {"student": {"max_windows": 3}})
    assert [matrix.student_config(row, 0).max_windows for row in rows["methods"]] == [1, 3, 3]


def test_a_target_is_looked_at_before_anything_is_trained():
    names, known = ("negative", "positive"), [Example("good", label="positive")]
    require_labels(Domain([Example("so so")], known), names, to_learn=False)
    for domain, learns, text in (
        (Domain(known, [Example("so so")]), False, "a test text of the target has no label"),
        (Domain(known, [Example("so so", label="neutral")]), False, "other labels than the source: got neutral"),
        (Domain([Example("so so", label="neutral")], known), False, "other labels than the source: got neutral"),
        (Domain([Example("so so")], known), True, "no labels to learn from"),
    ):
        with pytest.raises(DataError, match=text):
            require_labels(domain, names, to_learn=learns)


def test_a_result_is_of_the_data_that_it_began_with(
    teacher_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folders = Folders(write_domains(tmp_path / "data"), tmp_path / "results", tmp_path / "work")
    job = Job("cell", read_matrix(write_matrix(tmp_path / "m.toml")), Cell("pans", "films", "plain-kd", 0), folders)
    shutil.copytree(teacher_bundle, job.teacher)
    began = job.identity()

    def replace_the_data(inputs: Inputs, output: Path) -> Path:
        other = write_domains(tmp_path / "other", train=30) / "films.jsonl.gz"
        other.replace(folders.data / other.name)
        return output

    monkeypatch.setitem(MAKERS, "adapt", replace_the_data)
    monkeypatch.setattr(cell, "measure", lambda *arguments: {})
    monkeypatch.setattr(cell, "measure_teacher", lambda *arguments: TEACHER)
    cell.run_cell(job)
    assert began.items() <= json.loads(job.result.read_text()).items()
    assert job.identity() != began
    assert not is_done(job)
    assert not [*job.teacher.parent.glob(f"*-on-films-{job.target_sha256()[:12]}*")]


def test_an_unfinished_cell_is_continued_by_the_very_same_alone(
    teacher_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folders = Folders(write_domains(tmp_path / "data"), tmp_path / "results", tmp_path / "work")
    places: list[str] = []

    def stop(inputs: Inputs, output: Path) -> Path:
        places.append(output.name)
        raise KeyboardInterrupt

    monkeypatch.setitem(MAKERS, "adapt", stop)
    for epochs in (2, 2, 3):
        matrix = read_matrix(write_matrix(tmp_path / "m.toml", epochs=epochs))
        job = Job("cell", matrix, Cell("pans", "films", "plain-kd", 0), folders)
        if not job.teacher.exists():
            shutil.copytree(teacher_bundle, job.teacher)
        with pytest.raises(KeyboardInterrupt):
            cell.run_cell(job)
    assert places[0] == places[1] != places[2]


@pytest.mark.parametrize(("row", "windows"), [("oracle", 1), ("oracle-windows", 6)])
def test_an_oracle_reads_beginnings_or_windows(
    row: str, windows: int, teacher_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folders = Folders(write_domains(tmp_path / "data"), tmp_path / "results", tmp_path / "work")
    matrix = read_matrix(write_matrix(tmp_path / "m.toml"))
    job = Job("cell", matrix, Cell("pans", "films", row, 0), folders)
    shutil.copytree(teacher_bundle, job.teacher)
    learnt_from: list[list[Example]] = []

    def learn(teacher: Path, texts: list[Example], count: int, config: AdaptConfig, output: Path) -> Path:
        learnt_from.append(texts)
        return output

    monkeypatch.setattr(cell, "fine_tune", learn)
    monkeypatch.setattr(cell, "measure", lambda bundle, target, threads, windows: {"windows": windows})
    monkeypatch.setattr(cell, "measure_teacher", lambda *arguments: TEACHER)
    cell.run_cell(job)
    assert json.loads(job.result.read_text())["windows"] == windows
    assert learnt_from == [job.load_target().labelled()]


def test_a_student_learns_from_labels(teacher_bundle: Path, tmp_path: Path):
    training, test = examples(160, 5), examples(60, 6)
    # Labels against the teacher's: only a student that reads them agrees with them.
    swap = {"positive": "negative", "negative": "positive"}
    swapped = [Example(item.text, label=swap[str(item.label)]) for item in training]
    config = replace(CONFIG, distil_epochs=30)
    bundle = fine_tune(teacher_bundle, swapped, 160, config, tmp_path / "student")
    assert measure(bundle, Domain(training, test), 1)["test_accuracy"] < 0.3
    assert fine_tune(teacher_bundle, swapped, 160, CONFIG, bundle) == bundle  # it is there: nothing is trained


def test_a_measurement_is_the_share_of_right_labels(teacher_bundle: Path):
    target = Domain(examples(40, 7), examples(20, 8))
    found = measure(teacher_bundle, target, 1)
    names = load_classifier(str(teacher_bundle), 32).label_names
    logits = bundle_logits(teacher_bundle, 32, target.test, 32)
    expected = [names[row] == item.label for row, item in zip(logits.argmax(axis=1), target.test, strict=True)]
    assert found["test_correct"] == "".join("1" if hit else "0" for hit in expected)
    assert found["test_accuracy"] == np.mean(expected)
    assert found["predicted_share_positive"] == np.mean([names[row] == "positive" for row in logits.argmax(axis=1)])
    assert found["test_accuracy_int8"] is None
    with pytest.raises(DataError, match="other labels"):
        right(logits, [Example("a", label="neutral")], names)


def test_a_teacher_may_read_long_texts_in_windows(teacher_bundle: Path):
    """The mean of what it says of each part; short texts as ever."""
    good, bad = "very good and great book it was", "the bad plot and awful film was sad"
    texts = [Example(" ".join([bad] * 4 + [good] * 14), label="positive"), *examples(19, 8)]
    target = Domain(examples(4, 7), texts)
    once, whole = (measure(teacher_bundle, target, 1, windows) for windows in (1, 6))
    assert once["test_correct"][1:] == whole["test_correct"][1:]
    words = texts[0].text.split()  # 130 tokens, which five windows of up to 30 hold
    parts = [Example(" ".join(words[start : start + 26])) for start in range(0, len(words), 26)]
    names = load_classifier(str(teacher_bundle), 32).label_names
    said = softmax(bundle_logits(teacher_bundle, 32, parts, 32)).mean(axis=0)
    assert whole["test_correct"][0] == "01"[names[said.argmax()] == "positive"]
    assert (once["test_correct"][0], whole["test_correct"][0]) == ("0", "1")


def test_without_long_texts_windows_change_nothing(teacher_bundle: Path):
    target = Domain(examples(4, 7), examples(19, 8))
    assert measure(teacher_bundle, target, 1) == measure(teacher_bundle, target, 1, windows=6)


def test_a_student_is_measured_as_its_device_runs_it(student_bundle: Path):
    found = measure(student_bundle, Domain(examples(20, 7), examples(20, 8)), 1)
    assert found["test_accuracy"] == found["test_correct"].count("1") / 20
    assert 0 <= found["test_accuracy_int8"] <= 1


def test_each_number_is_of_its_network(student_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    """fp32 as the bundle reads it, int8 so, too, and fp32 on beginnings."""
    opened: list[tuple[Any, ...]] = []
    load = measuring.load_network

    def noting(*given: Any) -> Any:
        opened.append(given[2:])
        return load(*given)

    monkeypatch.setattr(measuring, "load_network", noting)
    measure(student_bundle, Domain(examples(4, 7), examples(5, 8)), 1)
    assert opened == [("fp32", 1), ("int8", 1), ("fp32", 1, 1)]


def objective_of(teacher_bundle: Path) -> AdversarialObjective:
    teacher, _ = raw_teacher(teacher_bundle, 32)
    stores = [teacher.tokenise(unlabelled(24, seed)) for seed in (1, 2)]
    made = AdversarialObjective(teacher, *stores, torch.zeros(24, 2), CONFIG, torch.device("cpu"))
    made.model = teacher.model
    return made


def steps(objective: AdversarialObjective, numbers: range) -> list[float]:
    losses = []
    for number in numbers:
        objective.before_step(number, 10)
        objective.model.eval()
        batch = Batch.share(0, np.arange(8) + 8 * (number % 3), Accelerator())
        losses.append(float(objective.loss(objective.model, batch).detach()))
    return losses


def test_the_discriminator_learns_within_its_bounds_and_survives_a_checkpoint(teacher_bundle: Path):
    first = objective_of(teacher_bundle)
    start = first.state()
    steps(first, range(2))
    state = {key: value.clone() for key, value in first.state().items()}
    weights = {key: value for key, value in state.items() if key.startswith("model.")}
    assert all(value.abs().max() <= CLIP + 1e-9 for value in weights.values())
    assert any(not torch.equal(value, start[key]) for key, value in weights.items())
    expected = steps(first, range(2, 4))
    second = objective_of(teacher_bundle)
    second.load_state(state)
    assert steps(second, range(2, 4)) == expected
    assert {key: value.tolist() for key, value in second.state().items()} == {
        key: value.tolist() for key, value in first.state().items()
    }


def test_the_discriminator_is_the_seeds_and_leaves_the_callers_randomness_alone():
    before = torch.get_rng_state()
    first, again, other = (make_discriminator(4, seed)[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_adversary_moves_the_encoder_and_leaves_the_head(teacher_bundle: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(aad, "LEARNING_RATE", 1e-3)
    source, target = unlabelled(64, 1), unlabelled(64, 9)
    bundle = adapt_adversarially(teacher_bundle, source, target, CONFIG, tmp_path / "adapted")
    before, after = (load_classifier(str(path), 32).model.state_dict() for path in (teacher_bundle, bundle))
    torch.testing.assert_close(after["classifier.weight"], before["classifier.weight"])
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert any("encoder" in key for key in moved)
    # Distillation on the source texts keeps what it says of them.
    said = [bundle_logits(path, 32, source, 32).argmax(axis=1) for path in (teacher_bundle, bundle)]
    assert np.mean(said[0] == said[1]) > 0.9


def test_a_text_without_a_label_is_for_adaptation_alone(tmp_path: Path):
    rows = [{"text": text, "label": label, "split": "train"} for text, label in (("good", "positive"), ("so so", None))]
    rows.append({"text": "bad", "label": "negative", "split": "test"})
    path = tmp_path / "films.jsonl.gz"
    path.write_bytes(gzip.compress("".join(f"{json.dumps(row)}\n" for row in rows).encode()))
    domain = load_domain(tmp_path, "films")
    assert [item.text for item in domain.train_texts()] == ["good", "so so"]
    assert [(item.text, item.label) for item in domain.labelled()] == [("good", "positive")]
