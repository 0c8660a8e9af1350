"""Bundles that mean harm, with hashes that fit: refused with the reason before anything is loaded."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tokenizers
import transformers
from onnx import TensorProto, helper, numpy_helper

from distilshift.bundle import MANIFEST, read_manifest, verify
from distilshift.encoder import load_classifier
from distilshift.errors import BundleError, DistilshiftError, ModelError, UnsafeError
from distilshift.predict import Predictor
from distilshift.scan.folder import check_checkpoint
from encoders import FAMILIES, make_checkpoint, make_encoder
from forged import STATISTICS, Change, edit_json, edit_onnx, make_student, make_teacher, reseal
from forged_cases import ALL, HUGE, config, tokenizer_model, write


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_student(tmp_path_factory.mktemp("bundles") / "student")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("bundles") / "teacher")


@pytest.fixture
def loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library that runs what a file says may be reached."""

    def reached(*_: Any, **__: Any) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(onnxruntime, "InferenceSession", reached)
    monkeypatch.setattr(tokenizers.Tokenizer, "from_file", reached)
    for kind in ("AutoConfig", "AutoTokenizer", "AutoModelForSequenceClassification"):
        monkeypatch.setattr(getattr(transformers, kind), "from_pretrained", reached)


def one_line(error: DistilshiftError) -> str:
    assert error.exit_code == 2
    assert error.fix
    assert error.got
    assert str(error).isprintable()
    return str(error)


@pytest.mark.parametrize(("change", "text"), ALL.values(), ids=ALL)
def test_a_forged_bundle_is_refused_before_anything_is_loaded(
    student: Path, tmp_path: Path, loads_nothing: None, change: Change, text: str
):
    bundle = tmp_path / "b"
    shutil.copytree(student, bundle)
    verify(bundle, read_manifest(bundle))  # sound until now
    change(bundle)
    reseal(bundle)
    with pytest.raises(UnsafeError) as caught:
        verify(bundle, read_manifest(bundle))
    assert re.search(text, one_line(caught.value)), caught.value
    assert " is refused before it is loaded: " in str(caught.value)


NAMES = [
    *("../secret", "/etc/passwd", "a/../../b.json", "a/b/c.json", "a\\b.json", "C:a.json", "", ".", "..", "~/a.json"),
    *(".hidden.json", "a/.json", "a\0.json", "a\n.json", "é.json", "x" * 300 + ".json", "-rf.json", "a//b.json", "a/"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_elsewhere_is_refused(student: Path, tmp_path: Path, loads_nothing: None, name: str):
    bundle = tmp_path / "b"
    shutil.copytree(student, bundle)
    reseal(bundle, files=json.loads((bundle / MANIFEST).read_text())["files"] | {name: "0" * 64})
    with pytest.raises(UnsafeError, match="expected plain names within the bundle, got a file named") as caught:
        Predictor.load(bundle)
    one_line(caught.value)


VALUES: dict[str, dict[str, Any]] = {
    "label_names": {"a number": 5, "empty": [], "a class twice": ["a", "a"], "numbers": [0, 1]},
    "max_length": {"text": "128", "zero": 0, "huge": HUGE, "truth": True},
    "kind": {"other": "pickle", "a list": ["student"]},
    "files": {"a list": ["config.json"], "no digest": {"config.json": 1}, "short digest": {"config.json": "ab"}},
    "runtime": {"a list": [1]},
    "runtime.default": {"other": "int4"},
    "runtime.max_windows": {"huge": HUGE, "text": "6"},
    "statistics": {"a list": [1]},
    "statistics.temperature": {"zero": 0, "huge": 1e300, "text": "1"},
    "statistics.class_prior": {"above one": [2.0, -1.0], "another number": [1.0]},
    "statistics.validation_confusion": {"ragged": [[1], [2, 3]], "negative": [[-1, 0], [0, 1]], "text": "x"},
    "versions": {"numbers": {"torch": 2}},
    "config": {"a list": []},
    "seed": {"a fraction": 0.5},
}
SOUND = asdict(STATISTICS)


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(name, value, id=f"{name}-{what}") for name, cases in VALUES.items() for what, value in cases.items()],
)
def test_a_manifest_with_a_wrong_value_is_refused(student: Path, tmp_path: Path, name: str, value: Any):
    bundle = tmp_path / "b"
    shutil.copytree(student, bundle)
    part, _, key = name.partition(".")
    base = {"statistics": SOUND, "runtime": {"default": "fp32"}}.get(part, {})
    reseal(bundle, **{part: base | {key: value} if key else value})
    with pytest.raises(BundleError, match=f"is damaged or edited: got no usable {re.escape(name)}") as caught:
        read_manifest(bundle)
    one_line(caught.value)


def test_too_many_files_are_refused(student: Path, tmp_path: Path):
    bundle = tmp_path / "b"
    shutil.copytree(student, bundle)
    reseal(bundle, files={f"a{index}.json": "0" * 64 for index in range(300)})
    with pytest.raises(BundleError, match="300 files listed"):
        Predictor.load(bundle)


# Sizes that only the weights can vouch for.
ABSURD = {
    "hidden_size": 10**9,
    "vocab_size": HUGE,
    "max_position_embeddings": 10**9,
    "intermediate_size": 10**9,
    "type_vocab_size": 10**9,
    "num_hidden_layers": 200,
}


@pytest.mark.parametrize("name", ABSURD)
def test_a_config_that_asks_for_more_than_the_weights_hold_is_refused(
    teacher: Path, tmp_path: Path, loads_nothing: None, name: str
):
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    config(**{name: ABSURD[name]})(bundle)
    with pytest.raises(UnsafeError, match=f"sizes for .* parameters|got {name} {ABSURD[name]}") as caught:
        load_classifier(str(bundle), 32)
    one_line(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_sound_checkpoints_pass(tmp_path: Path, family: str):
    check_checkpoint(make_checkpoint(tmp_path / "classifier", family, layers=3))
    check_checkpoint(make_encoder(tmp_path / "encoder", family))


def test_sizes_under_two_spellings_count_as_the_larger(teacher: Path, tmp_path: Path):
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    config(hidden_size=10**9, dim=1)(bundle)
    with pytest.raises(UnsafeError, match="sizes for"):
        load_classifier(str(bundle), 32)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("adapter_config.json", "{}", "got a LoRA adapter, which is no model by itself"),
        ("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["a.B", null]}}', "got auto_map"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../../secret.safetensors"}}', "weights in '../../sec"),
        (
            "model.safetensors.index.json",
            '{"weight_map": {"a": "pytorch_model.bin"}}',
            "weights in 'pytorch_model.bin'",
        ),
        ("model.safetensors.index.json", '{"weight_map": [1]}', "weights in None"),
        ("vocab.txt", "x" * (32 * 1024 * 1024 + 1), "over 33554432 bytes"),
    ],
)
def test_a_checkpoints_other_files_are_looked_at(
    teacher: Path, tmp_path: Path, loads_nothing: None, name: str, content: str, text: str
):
    folder = tmp_path / "checkpoint"
    shutil.copytree(teacher, folder)
    (folder / name).write_text(content)
    with pytest.raises((UnsafeError, ModelError), match=re.escape(text)) as caught:
        load_classifier(str(folder), 32)
    one_line(caught.value)


# What no look at a file can tell is met when it runs.


def network_giving(*nodes: onnx.NodeProto, output: int = TensorProto.FLOAT, **tables: np.ndarray) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tables.items())
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info("logits", output, None))

    return edit_onnx(change)


NODE = helper.make_node
RUNNING: dict[str, tuple[Change, str]] = {
    "another number of rows": (
        network_giving(NODE("Identity", ["rows"], ["logits"]), rows=np.zeros((7, 2), np.float32)),
        r"network: got float32 of shape \(7, 2\)",
    ),
    "one axis": (
        network_giving(NODE("Identity", ["rows"], ["logits"]), rows=np.zeros(2, np.float32)),
        r"network: got float32 of shape \(2,\)",
    ),
    "numbers that are none": (
        network_giving(NODE("Identity", ["rows"], ["logits"]), rows=np.full((1, 2), np.nan, np.float32)),
        "a logit that is no finite number",
    ),
    "whole numbers": (
        network_giving(NODE("Identity", ["rows"], ["logits"]), output=TensorProto.INT64, rows=np.zeros((1, 2), int)),
        "got int64 of shape",
    ),
    "a shape that fails": (
        network_giving(NODE("Reshape", ["input_ids", "to"], ["logits"]), output=TensorProto.INT64, to=np.array([7, 7])),
        "is not a text classifier's network: got|does not load",
    ),
    "classes that are not the manifest's": (
        network_giving(NODE("Identity", ["rows"], ["logits"]), rows=np.zeros((1, 5), np.float32)),
        "parts of different models: expected 2 logits, got 5",
    ),
    "another input": (edit_onnx(lambda m: setattr(m.graph.input[0], "name", "password")), "password|does not load"),
    "ids beyond the embedding": (tokenizer_model(vocab={"[UNK]": 4, "x": 4_000_000}), "of another model"),
    "ids of the template beyond the embedding": (
        edit_json("tokenizer.json", lambda t: t["post_processor"]["special_tokens"]["[CLS]"].update(ids=[999_999])),
        "of another model: expected at most 80 pieces, got 1000000",
    ),
    "padding beyond the embedding": (config(pad_token_id=HUGE), "got pad_token_id"),
    "negative padding": (config(pad_token_id=-1), "got pad_token_id -1"),
    "no vocabulary size": (edit_json("config.json", lambda c: c.pop("vocab_size")), "of another model"),
}


@pytest.mark.parametrize(("change", "text"), RUNNING.values(), ids=RUNNING)
def test_what_only_running_can_tell_ends_in_one_line(student: Path, tmp_path: Path, change: Change, text: str):
    bundle = tmp_path / "b"
    shutil.copytree(student, bundle)
    assert Predictor.load(bundle).predict(["good film"])[0].label in ("negative", "positive")
    change(bundle)
    reseal(bundle)
    with pytest.raises(BundleError) as caught:
        Predictor.load(bundle)
    assert re.search(text, one_line(caught.value)), caught.value


def test_more_pieces_around_a_text_than_it_may_have(student: Path, tmp_path: Path):
    bundle = tmp_path / "b"
    shutil.copytree(student, bundle)
    reseal(bundle, max_length=2)
    with pytest.raises(BundleError, match="leaves no room for a text: expected fewer than 2 pieces around it, got 3"):
        Predictor.load(bundle)


def test_a_classifier_whose_ids_have_gaps_is_refused(teacher: Path, tmp_path: Path):
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    edit_json("tokenizer.json", lambda content: content["model"]["vocab"].update(film=5_000))(bundle)
    with pytest.raises(ModelError, match=r"is of another model: .* at most 80 pieces, got 5001"):
        load_classifier(str(bundle), 32)


def test_the_command_line_ends_in_one_line_with_code_2(student: Path, tmp_path: Path, run_cli: Any):
    bundle = tmp_path / "b"
    shutil.copytree(student, bundle)
    write("pytorch_model.bin", pickle.dumps(print))(bundle)
    reseal(bundle)
    for arguments in (["inspect", bundle], ["predict", bundle, "good film"]):
        done = run_cli(*arguments)
        assert (done.code, done.out) == (2, "")
        (line,) = done.err.splitlines()
        assert "pytorch_model.bin, a file that could run code" in line


def test_a_file_name_cannot_steer_the_terminal(tmp_path: Path, run_cli: Any):
    done = run_cli("inspect", tmp_path / "\x1b[31mred\x07")
    assert done.code == 2
    assert "\x1b" not in done.err
    assert r"\x1b[31mred\x07" in done.err
