"""The Python API: light to import, streaming in order, and teachers that tell nothing but aggregates."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distilshift
from distilshift import AdaptConfig, Predictor, adapt, evaluate, teach
from distilshift.bundle import read_manifest
from distilshift.calibration import fit_temperature
from distilshift.config import LabelledInputConfig
from distilshift.errors import ConfigError, DataError, OutputError
from distilshift.evaluation import score
from distilshift.inference import bundle_logits
from distilshift.predict import STREAM_BATCHES
from distilshift.types import Example

HEAVY = ("torch", "transformers", "accelerate", "pydantic", "onnx", "safetensors", "sklearn", "scipy", "pyarrow")


@pytest.mark.parametrize(
    "code",
    [
        "import distilshift",
        "import distilshift; distilshift.Predictor",
        "from distilshift import Predictor; Predictor.load({bundle!r}).predict(['good', 'bad film'])",
        "import sys; sys.argv = ['distilshift', 'predict', {bundle!r}, '--text', 'good']"
        "\nfrom distilshift.cli.main import main\ntry: main()\nexcept SystemExit as stop: assert not stop.code",
        "import sys; sys.argv = ['distilshift', 'inspect', {bundle!r}]; from distilshift.cli.main import main; "
        "\ntry: main()\nexcept SystemExit as stop: assert not stop.code",
    ],
    ids=["import", "Predictor", "predict()", "distilshift predict", "distilshift inspect"],
)
def test_predicting_loads_nothing_heavy(student_bundle: Path, code: str):
    report = "\nimport sys; print('LOADED', *sorted(name for name in sys.modules if '.' not in name))"
    source = code.format(bundle=str(student_bundle)) + report
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    loaded = done.stdout.split("LOADED")[1].split()
    assert "distilshift" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_nothing_is_reported_to_anyone(student_bundle: Path, tmp_path: Path):
    """onnxruntime keeps a session file for its reports in the temporary folder, unless told not to report."""
    code = f"from distilshift import Predictor; Predictor.load({str(student_bundle)!r}).predict(['good'])"
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], env=clean | {"TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_training_does_load_them():
    """The positive control of the test above."""
    source = "import distilshift, sys; distilshift.teach; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_the_public_names_are_all_there():
    for name in distilshift.__all__:
        assert getattr(distilshift, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        distilshift.nosuch  # noqa: B018


def test_adaptation_has_no_place_for_source_texts_and_needs_no_labels():
    assert not issubclass(AdaptConfig, LabelledInputConfig)
    assert AdaptConfig().labels is None
    names = {field.name for field in dataclasses.fields(AdaptConfig)} | set(inspect.signature(adapt).parameters)
    assert {name for name in names if "label" in name} == {
        *("pseudo_label_weight", "labels", "label_column", "label_names"),
    }
    assert [name for name in names if "source" in name] == []
    with pytest.raises(ConfigError, match="label_column would be ignored: expected label_column with labels"):
        adapt("teacher", ["text"], "student", label_column="label")


def test_options_are_named_all_at_once():
    with pytest.raises(ConfigError, match=r"2 invalid option\(s\): (?=.*lerning_rate is unknown)(?=.*epochs )"):
        teach("a.csv", "out", lerning_rate=1, epochs=0)


@pytest.mark.parametrize(("texts", "got"), [([], "got none"), (["good", " "], "got a blank one at index 1")])
def test_texts_in_memory_are_checked(teacher_bundle: Path, tmp_path: Path, texts: list[str], got: str):
    with pytest.raises(DataError, match=got):
        adapt(teacher_bundle, texts, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_files_and_texts_in_memory_give_the_same_student(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None
):
    options = {"student_layers": 1, "distil_epochs": 1, "precision": "fp32"}
    texts = target_file.read_text().splitlines()
    for name, given in (("file", target_file), ("strings", texts), ("examples", [Example(text) for text in texts])):
        adapt(teacher_bundle, given, tmp_path / name, **options)
    weights = [read_manifest(tmp_path / name).files["model.safetensors"] for name in ("file", "strings", "examples")]
    assert weights[0] == weights[1] == weights[2]


@pytest.fixture(scope="module")
def labelled(source_file: Path) -> list[Example]:
    """The 200 texts of the teacher, with their labels by turns."""
    rows = [json.loads(line) for line in source_file.read_text().splitlines()]
    return [Example(row["text"], None, row["label"]) for row in rows]


def test_what_the_student_is_made_of_is_not_replaced(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    teacher = tmp_path / "teacher"
    shutil.copytree(teacher_bundle, teacher)
    (tmp_path / "link").symlink_to("teacher")
    with pytest.raises(OutputError, match="which is read: got the same"):
        adapt(tmp_path / "link", target_file, teacher, overwrite=True)
    with pytest.raises(OutputError, match="which is read: got the same"):
        adapt(teacher_bundle, target_file, teacher, overwrite=True, student=str(teacher))
    assert read_manifest(teacher).kind == "teacher"


def test_the_shortest_texts_make_a_student(teacher_bundle: Path, target_file: Path, tmp_path: Path, caplog: Any):
    """Networks are traced with an example, which must not be longer than what they read."""
    caplog.set_level("INFO")
    adapt(teacher_bundle, target_file, tmp_path / "s", method="none", distil_epochs=1, spans=0, max_length=8)
    assert Predictor.load(tmp_path / "s").predict(["good film"])
    assert "The teacher was taught on 32 tokens" in caplog.text
    adapt(teacher_bundle, target_file, tmp_path / "t", method="none", distil_epochs=1, spans=0, max_length=64)
    assert "sees 32 tokens of a text, and so does its student: of max_length 64" in caplog.text


def test_a_stream_keeps_its_order_and_the_place_of_bad_rows(student_bundle: Path, labelled: list[Example]):
    texts = [item.text for item in labelled[:100]]
    examples = [Example(text) if index % 7 else Example("", problem="bad") for index, text in enumerate(texts)]
    predictor = Predictor.load(student_bundle, model="fp32")
    rows = list(predictor.stream(iter(examples), batch_size=2))
    assert [example for example, _ in rows] == examples
    assert [index for index, (_, prediction) in enumerate(rows) if prediction is None] == list(range(0, 100, 7))
    wanted = dict(zip(texts, predictor.predict(texts), strict=True))
    assert {item.label for item in wanted.values()} == {"positive", "negative"}
    for example, prediction in rows:
        if prediction:
            assert prediction.label == wanted[example.text].label
            assert prediction.probabilities == pytest.approx(wanted[example.text].probabilities, abs=1e-5)


def test_a_stream_reads_no_further_than_it_must(student_bundle: Path):
    """So that memory does not grow with the file."""
    read = 0

    def source() -> Iterator[Example]:
        nonlocal read
        while True:
            read += 1
            yield Example("good")

    stream = Predictor.load(student_bundle).stream(source(), batch_size=4)
    assert read == 0
    for taken in range(1, 200):
        next(stream)
        assert read == -(-taken // (4 * STREAM_BATCHES)) * 4 * STREAM_BATCHES
    assert read == 256


def test_no_texts_give_no_predictions(student_bundle: Path):
    predictor = Predictor.load(student_bundle)
    assert predictor.predict([]) == []
    assert predictor.probabilities([]).shape == (0, 2)
    assert list(predictor.stream([])) == []


def test_teacher_statistics_are_aggregates_of_the_source(teacher_bundle: Path):
    statistics = read_manifest(teacher_bundle).statistics
    assert sum(statistics.class_prior) == pytest.approx(1, abs=1e-12)
    assert statistics.class_prior == [0.5, 0.5]
    confusion = np.array(statistics.validation_confusion)
    assert confusion.sum(axis=1).tolist() == [10, 10]  # a tenth of each class
    assert statistics.validation_accuracy == np.trace(confusion) / confusion.sum()


def test_the_class_prior_counts_the_training_texts(tmp_path: Path, tiny_encoder: Path, labelled: list[Example]):
    negative, positive = labelled[:100:2], labelled[1:21:2]
    assert ({item.label for item in negative}, {item.label for item in positive}) == ({"negative"}, {"positive"})
    teach(
        negative + positive,
        tmp_path / "t",
        base_model=str(tiny_encoder),
        epochs=1,
        validation_fraction=0.2,
        precision="fp32",
    )
    assert read_manifest(tmp_path / "t").statistics.class_prior == [40 / 48, 8 / 48]


def test_the_temperature_is_folded_in_and_helps(tmp_path: Path, tiny_encoder: Path, labelled: list[Example]):
    """On validation texts, probabilities are better than without it, and next to the best there are."""
    rng = np.random.default_rng(0)
    noisy = [item if rng.random() < 0.8 else dataclasses.replace(item, label="negative") for item in labelled]
    held_out = tmp_path / "v.jsonl"
    held_out.write_text("\n".join(json.dumps({"text": item.text, "label": item.label}) for item in noisy[:80]))
    options = {"epochs": 8, "learning_rate": 1e-2, "max_length": 32, "precision": "fp32"}
    made = teach(noisy[80:], tmp_path / "t", base_model=str(tiny_encoder), validation=str(held_out), **options)
    assert abs(np.log(made.temperature)) > 0.1
    logits = bundle_logits(tmp_path / "t", 32, noisy[:80], 32)
    labels = np.array([item.label == "positive" for item in noisy[:80]], dtype=np.int64)
    found = {
        scale: score(logits * scale, labels, ("negative", "positive")).negative_log_likelihood
        for scale in (0.8, 1.0, 1.25, made.temperature)
    }
    # The fit takes no label for certain, which costs a little of the plain likelihood.
    assert found[1.0] == pytest.approx(min(found.values()), abs=0.01)
    assert found[1.0] < found[made.temperature] - 1e-3  # the scale that training gave
    # A fit to these very texts would be surer of itself: theirs is corrected for having chosen the epoch, too.
    assert 0.7 < fit_temperature(logits, labels) < 1
    evaluated = evaluate(tmp_path / "t", held_out)
    assert evaluated.negative_log_likelihood == pytest.approx(found[1.0], abs=1e-9)


def test_the_fitted_temperature_by_grid():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 300)
    logits = (4 * (np.eye(3)[labels] + rng.normal(size=(300, 3)))).astype(np.float32)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 2000))
    losses = [score(logits / t, labels, ("a", "b", "c")).negative_log_likelihood for t in grid]
    assert 1.5 < grid[int(np.argmin(losses))] < 15
    assert fit_temperature(logits, labels) == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)


def test_certain_predictions_get_a_bounded_temperature():
    """All right by a wide margin: without Platt's correction the best temperature would be 0."""
    logits = np.array([[5.0, -5.0], [-5.0, 5.0]] * 10, np.float32)
    labels = np.array([0, 1] * 10)
    assert fit_temperature(logits, labels) == pytest.approx(10 / np.log(21), rel=1e-3)


@pytest.mark.parametrize("kind", ["teacher_bundle", "student_bundle"])
def test_no_text_travels_in_a_bundle(
    request: Any, tmp_path: Path, tiny_encoder: Path, labelled: list[Example], kind: str
):
    """Marked words of the source and the target are in the files, and nowhere in what is made of them."""
    marked = [dataclasses.replace(item, text=f"{item.text} zyxqj{index}") for index, item in enumerate(labelled[:60])]
    teach(marked, tmp_path / "t", base_model=str(tiny_encoder), epochs=1, precision="fp32")
    bundle = tmp_path / "t"
    if kind == "student_bundle":
        request.getfixturevalue("quick_export")
        bundle = tmp_path / "s"
        adapt(tmp_path / "t", marked, bundle, student_layers=1, distil_epochs=1, precision="fp32")
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert {"distilshift.json", "README.md", "config.json", "tokenizer.json"} <= {path.name for path in files}
    sentence = marked[0].text.rsplit(" ", 1)[0].encode()
    for path in files:
        content = path.read_bytes()
        assert b"zyxqj" not in content
        assert sentence not in content
        if path.suffix in {".json", ".md"}:
            assert str(tmp_path).encode() not in content  # nor where its maker keeps things
            assert str(tiny_encoder.parent).encode() not in content
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".run")] == []
