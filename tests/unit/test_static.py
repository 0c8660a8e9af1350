"""The static student: a BERT that is a mean of vectors, its folded graph, and its way through the program."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers

from distilshift import Predictor, adapt, evaluate
from distilshift.bundle import read_manifest
from distilshift.config import AdaptConfig, resolve
from distilshift.config.adapt import STATIC_LEARNING
from distilshift.encoder import Classifier, load_classifier
from distilshift.errors import ConfigError, ModelError
from distilshift.export import export_onnx
from distilshift.network import ONNX_FILES
from distilshift.quantise import STATIC_FORMS
from distilshift.quantise_graph import quantised
from distilshift.scan.onnx import check_onnx
from distilshift.static_graph import has_table, quantised_table
from distilshift.static_student import (
    first_token,
    folded,
    is_static,
    piece_features,
    piece_states,
    principal_components,
    static_length,
    static_student,
)
from distilshift.strict import require_strict
from distilshift.types import Example
from encoders import FAMILIES, make_checkpoint
from forged import reseal
from texts import make_texts

TEXTS = [Example("good film"), Example("the worst book i love, a b c"), Example("a plot and very sad " * 12)]
# Sums of some ten numbers in another order; a wrong graph differs in the first digit.
FP32_TOLERANCE = 5e-6
WIDTH = 16


@pytest.fixture(scope="module", params=FAMILIES)
def static(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A static student of a teacher of each family, every trainable number moved away from its start."""
    teacher = load_classifier(str(make_checkpoint(tmp_path_factory.mktemp("teacher"), request.param)), 32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = static_student(teacher, WIDTH, 64)
        with torch.no_grad():
            for parameter in student.model.parameters():
                parameter += parameter.requires_grad * 0.3 * torch.randn_like(parameter)
    return student


def batch_of(student: Classifier) -> dict[str, np.ndarray]:
    return student.tokenise(TEXTS).batch(np.arange(len(TEXTS)))


def torch_logits(student: Classifier) -> np.ndarray:
    inputs = {name: torch.from_numpy(array) for name, array in batch_of(student).items()}
    with torch.inference_mode():
        return student.model.eval()(**inputs).logits.numpy()


def onnx_logits(student: Classifier, model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = batch_of(student)
    return session.run(None, {entry.name: batch[entry.name] for entry in session.get_inputs()})[0]


def test_the_bert_computes_the_mean_of_a_vector_a_piece(static: Classifier):
    """By hand in float64, from the folded constants."""
    parts, batch = folded(static), batch_of(static)
    mask = batch["attention_mask"][..., None].astype(np.float64)
    states = (parts["token_table"].astype(np.float64)[batch["input_ids"]] * mask).sum(axis=1) / mask.sum(axis=1)
    states = states + parts["bias"]
    for name in ("inner", "outer"):
        spread = np.sqrt(states.var(axis=1, keepdims=True) + static.model.config.layer_norm_eps)
        states = (states - states.mean(axis=1, keepdims=True)) / spread * parts[f"{name}_gain"] + parts[f"{name}_shift"]
    pooled = np.tanh(states @ parts["pooler"].T + parts["pooler_bias"])
    logits = pooled @ parts["classifier"].T + parts["classifier_bias"]
    assert np.ptp(logits) > 0.1
    np.testing.assert_allclose(torch_logits(static), logits, atol=FP32_TOLERANCE)


def test_the_folded_graph_is_the_bert(static: Classifier, tmp_path: Path):
    export_onnx(static, tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx")
    assert has_table(graph)
    assert [entry.name for entry in graph.graph.input] == ["input_ids", "attention_mask"]
    assert {node.domain for node in graph.graph.node} == {""}
    check_onnx(tmp_path / "a.onnx")
    np.testing.assert_allclose(onnx_logits(static, graph), torch_logits(static), atol=FP32_TOLERANCE)


@pytest.mark.parametrize(("form", "tolerance"), zip(STATIC_FORMS, (0.15, 0.01), strict=True), ids=str)
def test_tables_of_fewer_bits_are_smaller_and_near(static: Classifier, tmp_path: Path, form, tolerance: float):
    export_onnx(static, tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    made, reference = quantised(model, form, {}), onnx_logits(static, model)
    assert {node.domain for node in made.graph.node} == {""}
    assert not has_table(made)
    assert len(made.SerializeToString()) < len(model.SerializeToString())
    assert 0 < np.abs(onnx_logits(static, made) - reference).max() < tolerance * np.ptp(reference) + tolerance
    onnx.save(made, tmp_path / "b.onnx")
    check_onnx(tmp_path / "b.onnx")


@pytest.mark.parametrize(("bits", "limit"), [(4, 7), (8, 127)])
def test_the_graph_reads_what_few_bits_hold(static: Classifier, tmp_path: Path, bits, limit: int):
    """Against the table of fp32 whose numbers are those of the fewer bits."""
    export_onnx(static, tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    made = quantised_table(model, bits)
    for tensor in model.graph.initializer:
        if tensor.name == "token_table":
            table = onnx.numpy_helper.to_array(tensor)
            scales = np.abs(table).max(axis=1, keepdims=True) / limit
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.rint(table / scales) * scales, "token_table"))
    np.testing.assert_allclose(onnx_logits(static, made), onnx_logits(static, model), atol=1e-4)


def test_what_is_unused_is_zero_and_frozen(static: Classifier):
    assert is_static(static.model)
    layer = static.model.bert.encoder.layer[0]
    for part in (layer.attention.self.query, layer.attention.self.key, layer.output.dense):
        assert not any(parameter.requires_grad or parameter.any() for parameter in part.parameters())
    with torch.no_grad():
        layer.output.dense.bias[0] = 1
        assert not is_static(static.model)
        layer.output.dense.bias[0] = 0


def test_other_models_are_not_static(tmp_path: Path):
    assert not is_static(load_classifier(str(make_checkpoint(tmp_path / "bert", layers=1)), 32).model)
    assert not is_static(load_classifier(str(make_checkpoint(tmp_path / "roberta", "roberta", layers=1)), 32).model)


def test_a_piece_is_read_alone(tmp_path: Path):
    teacher = load_classifier(str(make_checkpoint(tmp_path)), 32)
    states = piece_states(teacher)
    assert states.shape == (len(teacher.tokenizer), 32)
    ids = torch.tensor([teacher.tokenizer("good")["input_ids"]])
    with torch.inference_mode():
        alone = teacher.model.eval().bert(input_ids=ids).last_hidden_state.mean(dim=1)[0]
    torch.testing.assert_close(states[teacher.tokenizer.vocab["good"]], alone, atol=1e-5, rtol=0)
    assert first_token(teacher) == teacher.tokenizer.cls_token_id
    features = piece_features(teacher)
    assert features.shape == (len(teacher.tokenizer), 64)
    assert features.mean(dim=0).abs().max() < 1e-5


def test_principal_components_keep_the_most_variance():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5000, 6, generator=generator) * torch.tensor([9.0, 0.1, 5.0, 0.1, 0.1, 0.1]) + 3
    reduced = principal_components(rows, 2)
    assert reduced.square().mean().item() == pytest.approx(1, abs=1e-5)
    assert abs(np.corrcoef(reduced[:, 0], rows[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(reduced[:, 1], rows[:, 2])[0, 1]) > 0.99
    assert principal_components(rows, 8)[:, 6:].abs().max() == 0


def test_a_tokenizer_without_a_first_token_is_refused(tmp_path: Path):
    teacher = load_classifier(str(make_checkpoint(tmp_path)), 32)
    from tokenizers import processors

    teacher.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    with pytest.raises(ModelError, match="puts no token before a text"):
        static_student(teacher, 8, 32)


def test_options_of_its_own():
    assert resolve(AdaptConfig, {"student": "static"}).distil_epochs == STATIC_LEARNING["distil_epochs"]
    assert resolve(AdaptConfig, {"student": "static", "distil_epochs": 2}).distil_epochs == 2
    assert resolve(AdaptConfig, {}).distil_epochs == AdaptConfig().distil_epochs != STATIC_LEARNING["distil_epochs"]
    assert static_length(128, 6) == 768


def test_inner_states_are_refused(teacher_bundle: Path, target_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="no inner states"):
        adapt(teacher_bundle, target_file, tmp_path / "s", student="static", distillation="minilmv2")


def test_a_bundle_is_written_checked_and_strict(static_bundle: Path):
    manifest = require_strict(static_bundle)
    runtime = manifest.runtime or {}
    assert (manifest.max_length, runtime["max_windows"]) == (96, 1)
    assert runtime["int8"]["form"] in {form.name for form in STATIC_FORMS}
    assert runtime["int8"]["verdict"] in {"accepted", "too few labels agree"}
    assert runtime["export"]["max_difference"] < FP32_TOLERANCE
    card = (static_bundle / "README.md").read_text(encoding="utf-8")
    assert "and is faster" not in card


@pytest.mark.parametrize("windows", [1, 3])
def test_it_stays_static_with_fewer_positions_than_its_teacher(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, windows: int
):
    """Of the teacher's 64 positions, 16 and 48 are left."""
    options = {"student": "static", "student_width": 16, "max_windows": windows, "distil_epochs": 2}
    adapt(teacher_bundle, target_file, tmp_path / "s", max_length=16, precision="fp32", **options)
    student = load_classifier(str(tmp_path / "s"), 16 * windows)
    assert student.model.config.max_position_embeddings == 16 * windows
    assert is_static(student.model)
    assert (read_manifest(tmp_path / "s").runtime or {})["max_windows"] == 1


def test_it_learnt_the_signal_and_evaluates(static_bundle: Path, tmp_path: Path):
    rows = make_texts(100, 3)
    path = tmp_path / "labelled.csv"
    path.write_text("text,label\n" + "\n".join(f'"{text}",{label}' for text, label in rows) + "\n")
    assert evaluate(static_bundle, path).accuracy > 0.9


def test_transformers_and_both_networks_agree(static_bundle: Path):
    texts = [text for text, _ in make_texts(20, 4)]
    classify = transformers.pipeline("text-classification", str(static_bundle))
    said = [found["label"] for found in classify(texts)]
    for name in ONNX_FILES:
        predicted = Predictor.load(static_bundle, model=name).predict(texts)
        assert np.mean([each.label == label for each, label in zip(predicted, said, strict=True)]) >= 0.95


def test_one_text_and_many_have_the_same_probabilities(static_bundle: Path):
    predictor = Predictor.load(static_bundle)
    texts = [text for text, _ in make_texts(9, 5)] + ["good " * 200]
    alone = np.concatenate([predictor.probabilities([text]) for text in texts])
    np.testing.assert_allclose(predictor.probabilities(texts), alone, atol=1e-6)


def test_pairs_and_empty_places_run(static_bundle: Path, tmp_path: Path):
    bundle = tmp_path / "of-pairs"
    shutil.copytree(static_bundle, bundle)
    reseal(bundle, config=read_manifest(bundle).config | {"pair_column": "other"})
    found = Predictor.load(bundle).predict([("good film", "bad film")])
    assert set(found[0].probabilities) == set(read_manifest(static_bundle).label_names)
