"""`inspect --strict`: a bundle that passes holds the network and aggregates; each way to put a text in is found."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from distilshift.bundle import MANIFEST, read_manifest
from distilshift.card import student_card
from distilshift.encoder import load_classifier
from distilshift.errors import BundleError, LeakError
from distilshift.expected_tensors import unexpected_tensors
from distilshift.scan.model_config import MODEL_TYPES
from distilshift.scan.tensors import tensor_shapes
from distilshift.strict import _in_tokenizer, findings, require_strict
from encoders import FAMILIES, make_checkpoint
from forged import Change, edit_json, edit_onnx, make_teacher, reseal

REVIEW = "I bought this kettle in May and it broke after a week, which is why I would not buy it again. " * 2


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("strict") / "teacher")


def test_what_distilshift_makes_passes(teacher_bundle: Path, student_bundle: Path, run_cli: Any):
    for bundle in (teacher_bundle, student_bundle):
        assert list(findings(bundle, read_manifest(bundle))) == []
        done = run_cli("inspect", "--strict", bundle)
        assert (done.code, done.err) == (0, "")


def test_the_wording_of_earlier_cards_passes(student_bundle: Path, tmp_path: Path):
    """Cards of the same facts that called every student adapted, and the vocabulary's texts held out."""
    bundle = tmp_path / "b"
    shutil.copytree(student_bundle, bundle)
    split = {"pieces": 90, "held_out_texts": 12, "pieces_per_word": 1.1, "unknown_share": 0.0}
    split |= {"whole_pieces": 99, "whole_pieces_per_word": 1.0, "whole_unknown_share": 0.0}

    def change(content: Any) -> None:
        content["runtime"]["adaptation"] = "refused"
        content["runtime"]["shape"]["vocabulary"] = split

    edit_json(MANIFEST, change)(bundle)
    reseal(bundle)
    card = student_card(read_manifest(bundle), read_manifest(bundle).runtime or {})
    earlier = card.replace("distilled on texts of its domain", "adapted to its domain")
    earlier = earlier.replace("target texts that the vocabulary was not chosen by", "held-out target texts")
    assert earlier.count("held-out target texts") == earlier.count("adapted to its domain") == 1
    (bundle / "README.md").write_text(earlier)
    assert list(findings(bundle, read_manifest(bundle))) == []


def test_names_of_many_classes_pass(teacher: Path, tmp_path: Path):
    """In one string of the options they are longer than any text may be."""
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    names = ",".join(f"{index}=a.class.of.its.own.{index}" for index in range(12))
    manifest("config", label_names=names)(bundle)
    require_strict(bundle)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tensors_of_each_family_are_known(tmp_path: Path, family: str):
    folder = make_checkpoint(tmp_path / "c", family, layers=3, num_labels=3)
    config, shapes = json.loads((folder / "config.json").read_text()), tensor_shapes(folder / "model.safetensors")
    assert len(shapes) > 20
    assert unexpected_tensors(shapes, config, 3) == []
    name, shape = next((name, shape) for name, shape in shapes.items() if ".layer.0." in name and len(shape) == 2)
    assert unexpected_tensors({name: (200, *shape)}, config, 3) == [f"the tensor {name} {[200, *shape]}"]
    assert unexpected_tensors({name: (shape[0] + 1, shape[1])}, config, 3) != []
    assert unexpected_tensors({name.replace(".layer.0.", ".layer.3."): shape}, config, 3) != []


def add_tensor(name: str, shape: tuple[int, ...], **notes: str) -> Change:
    def apply(bundle: Path) -> None:
        path = bundle / "model.safetensors"
        tensors = load_file(path) | {name: np.zeros(shape, np.float32)}
        save_file(tensors, path, {"format": "pt"} | notes)

    return apply


def longer_embedding(bundle: Path) -> None:
    """A row for each of 200 texts behind those of the pieces."""
    name = "bert.embeddings.word_embeddings.weight"
    rows = tensor_shapes(bundle / "model.safetensors")[name][0] + 200
    add_tensor(name, (rows, 32))(bundle)
    edit_json("config.json", lambda content: content.update(vocab_size=rows))(bundle)


def in_card(bundle: Path) -> None:
    (bundle / "README.md").write_text((bundle / "README.md").read_text() + REVIEW)


def sentence_as_a_piece(content: dict[str, Any]) -> None:
    content["model"]["vocab"]["it broke after a week"] = 5


def long_pieces(content: dict[str, Any]) -> None:
    """Each a part of a text, without a space and no longer than a piece may be."""
    vocabulary = content["model"]["vocab"]
    for index, piece in enumerate(list(vocabulary)[5:]):
        vocabulary[f"{index}-" + REVIEW.replace(" ", "-")[:100]] = vocabulary.pop(piece)


def manifest(part: str, **values: Any) -> Change:
    def apply(bundle: Path) -> None:
        content = json.loads((bundle / MANIFEST).read_text())
        reseal(bundle, **{part: (content[part] or {}) | values})

    return apply


LEAKS: dict[str, tuple[Change, str]] = {
    "a tensor more": (add_tensor("memory", (200, 8)), r"the tensor memory \[200, 8\]"),
    "a vector a text": (add_tensor("bert.bank", (10,)), r"the tensor bert.bank \[10\]"),
    "a layer more": (add_tensor("bert.encoder.layer.7.output.dense.bias", (32,)), "the tensor bert.encoder.layer.7"),
    "rows of no piece": (longer_embedding, "200 rows of the embedding that belong to no piece"),
    "a note beside the tensors": (add_tensor("classifier.bias", (2,), text=REVIEW), "model.safetensors: notes"),
    "a line in the card": (in_card, "README.md: a line of its own, 'I bought this kettle"),
    "a file": (lambda b: (b / "notes.txt").write_text(REVIEW), "the file notes.txt"),
    "a report": (lambda b: (b / "report.html").write_text(REVIEW), "the file report.html"),
    "a string in the config": (
        edit_json("config.json", lambda content: content.update(example=REVIEW)),
        "config.json: a string of .* characters, 'I bought",
    ),
    "a string as a key": (
        edit_json("tokenizer_config.json", lambda content: content.update({REVIEW: 1})),
        "tokenizer_config.json: a string of .* characters",
    ),
    "a list in the config": (
        edit_json("config.json", lambda content: content.update(scores=[0.5] * 200)),
        "config.json: a list of 200 values at 'scores'",
    ),
    "a number a text": (manifest("statistics", atc_thresholds=[0.1] * 100), "a list of 100 values at 'atc_thresholds'"),
    "a statistic more": (manifest("statistics", confidences=[0.1]), "statistics has 'confidences'"),
    "an option more": (manifest("config", example="It broke."), "config has 'example'"),
    "a text for an option": (manifest("config", text_column=REVIEW), "a string of .* characters"),
    "a sentence among the pieces": (edit_json("tokenizer.json", sentence_as_a_piece), "a piece of 5 words"),
    "texts as a vocabulary file": (lambda b: (b / "vocab.txt").write_text(REVIEW), "the file vocab.txt"),
    "many short texts": (
        edit_json("config.json", lambda c: c.update(texts=[[REVIEW[:100]] * 20 for _ in range(60)])),
        "config.json: [0-9,]+ characters in all",
    ),
    "many short lists": (
        edit_json("config.json", lambda c: c.update(bank=[[0.5] * 60 for _ in range(60)])),
        "config.json: 3,6[0-9]+ values in all",
    ),
    "a text without spaces": (
        edit_json("tokenizer.json", lambda c: c["model"]["vocab"].update({"\u597d\u7684" * 90: 5})),
        "a piece of 180 characters",
    ),
    "a text as a merge": (
        edit_json("tokenizer.json", lambda c: c["model"].update(merges=[REVIEW])),
        "a merge of no pieces, 'I bought",
    ),
    "a text in the tokenizer's model": (
        edit_json("tokenizer.json", lambda c: c["model"].update(note=REVIEW)),
        "tokenizer.json: a string of .* characters",
    ),
    "a sentence as an added token": (
        edit_json("tokenizer.json", lambda c: c["added_tokens"].append({"id": 6, "content": "it broke after a week"})),
        "a piece of 5 words, 'it broke after a week'",
    ),
    "two words as a WordPiece": (
        edit_json("tokenizer.json", lambda c: c["model"]["vocab"].update({"John Smith": 5})),
        "a piece of 2 words, 'John Smith'",
    ),
    "parts of texts as pieces": (edit_json("tokenizer.json", long_pieces), "pieces of 9[0-9] characters on average"),
    "a key of an added token": (
        edit_json("tokenizer.json", lambda c: c["added_tokens"][0].update(note="It broke.")),
        "an added token has 'note'",
    ),
    "a map of characters that nothing reads": (
        edit_json("tokenizer.json", lambda c: c["normalizer"].update(precompiled_charsmap=REVIEW)),
        "tokenizer.json: a string of .* characters",
    ),
}


@pytest.mark.parametrize(("change", "text"), LEAKS.values(), ids=LEAKS)
def test_a_leak_is_found(teacher: Path, tmp_path: Path, run_cli: Any, change: Change, text: str):
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    require_strict(bundle)  # clean until now
    change(bundle)
    reseal(bundle)
    with pytest.raises(LeakError) as caught:
        require_strict(bundle)
    assert re.search(text, str(caught.value)), caught.value
    done = run_cli("inspect", "--strict", bundle)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert "may hold texts, or values of single texts" in line


def constant_a_text(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((200, 300), np.float32), "bank"))


def many_small(model: onnx.ModelProto) -> None:
    for index in range(30):
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(4_000, np.float32), f"part{index}"))


def named_a_text(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "It broke."))


def many_names(model: onnx.ModelProto) -> None:
    for index in range(400):
        name = f"{index}_" + REVIEW.replace(" ", "_").replace(",", "")[:140]
        model.graph.node.append(helper.make_node("Identity", [model.graph.output[0].name], [f"o{index}"], name))


def unknown_field(bundle: Path) -> None:
    """A field of the graph that ONNX does not know, and that a reader skips: number 99, 60,000 bytes."""
    path = bundle / "onnx" / "model.onnx"
    model = onnx.load(path)
    text = (REVIEW * 400).encode()[:60_000]
    head = b"\x9a\x06\xe0\xd4\x03"
    model.graph.ParseFromString(model.graph.SerializeToString() + head + text)
    path.write_bytes(model.SerializeToString())


def tables_again(model: onnx.ModelProto) -> None:
    """Constants of a shape that the model has, oftener than it has it."""
    (table,) = (t for t in model.graph.initializer if t.name.endswith("word_embeddings.weight"))
    for index in range(3):
        copy = numpy_helper.from_array(numpy_helper.to_array(table).astype(np.uint8), f"bank{index}")
        model.graph.initializer.append(copy)


def shape_name(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = REVIEW * 300


def quantised_name(model: onnx.ModelProto) -> None:
    model.graph.quantization_annotation.add().tensor_name = REVIEW * 300


def many_notes(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {str(index): REVIEW[:60] for index in range(800)})


NETWORK_LEAKS: dict[str, tuple[Change, str]] = {
    "a constant": (edit_onnx(constant_a_text), r"model.onnx: the constant bank \[200, 300\]"),
    "many small constants": (edit_onnx(many_small), "numbers in small constants"),
    "a note": (edit_onnx(lambda m: setattr(m.graph, "doc_string", REVIEW)), "model.onnx: a note, 'I bought"),
    "a note of a node": (edit_onnx(lambda m: setattr(m.graph.node[0], "doc_string", REVIEW)), "a note, 'I bought"),
    "a maker": (edit_onnx(lambda m: setattr(m, "producer_name", REVIEW)), "model.onnx: the name 'I bought"),
    "the graph's name": (edit_onnx(lambda m: setattr(m.graph, "name", "It broke.")), "the name 'It broke.'"),
    "a node's name": (edit_onnx(lambda m: setattr(m.graph.node[0], "name", "\u574f\u4e86")), "model.onnx: the name"),
    "a tensor's name": (edit_onnx(named_a_text), "model.onnx: the name 'It broke.'"),
    "many short notes": (edit_onnx(many_notes), "bytes that are no numbers"),
    "many long names": (edit_onnx(many_names), "bytes that are no numbers"),
    "the name of a side": (edit_onnx(shape_name), "bytes that are no numbers"),
    "a quantised tensor's name": (edit_onnx(quantised_name), "got notes on quantization"),
    "what ONNX does not know": (unknown_field, r"model.onnx is refused .* got a part \d+ of"),
    "a known table again": (edit_onnx(tables_again), "numbers in small constants|the constant bank"),
    "metadata": (edit_onnx(lambda m: helper.set_model_props(m, {"text": REVIEW})), "model.onnx: a note"),
}


def no_form(runtime: dict[str, Any]) -> None:
    runtime["int8"]["form"] = "another"


@pytest.mark.parametrize(
    "change",
    [
        no_form,
        lambda runtime: runtime.update(predicted_shares=[0.5, 0.5]),
        lambda runtime: runtime.update(parameters=10**400),
        lambda runtime: runtime.pop("texts"),
    ],
)
def test_a_card_that_cannot_be_made_of_the_manifest_is_a_finding(student_bundle: Path, tmp_path: Path, change: Any):
    bundle = tmp_path / "b"
    shutil.copytree(student_bundle, bundle)
    runtime = json.loads((bundle / MANIFEST).read_text())["runtime"]
    change(runtime)
    reseal(bundle, runtime=runtime)
    with pytest.raises(LeakError, match="runtime lacks what a student's card says"):
        require_strict(bundle)


@pytest.mark.parametrize("merges", [[5], [[1, 2]], 7, {"a": 1}, [None]])
def test_merges_of_no_strings_are_findings(teacher: Path, tmp_path: Path, merges: Any):
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    edit_json("tokenizer.json", lambda content: content["model"].update(merges=merges))(bundle)
    assert any("a merge of no pieces" in each for each in _in_tokenizer(bundle))


@pytest.mark.parametrize(("change", "text"), NETWORK_LEAKS.values(), ids=NETWORK_LEAKS)
def test_a_leak_in_a_network_is_found(student_bundle: Path, tmp_path: Path, change: Change, text: str):
    bundle = tmp_path / "b"
    shutil.copytree(student_bundle, bundle)
    change(bundle)
    reseal(bundle)
    with pytest.raises(BundleError, match=text):
        require_strict(bundle)


def test_strict_verifies_too(teacher: Path, tmp_path: Path):
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    (bundle / "config.json").write_text("{}")
    with pytest.raises(BundleError, match=r"config\.json is damaged or edited: got its sha256 is not"):
        require_strict(bundle)


def test_what_was_written_into_a_card_is_found_without_a_new_hash(teacher: Path, tmp_path: Path):
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    (bundle / "README.md").write_text((bundle / "README.md").read_text() + "It broke.\n")
    with pytest.raises(LeakError, match=r"README\.md: a line of its own, 'It broke\.'"):
        require_strict(bundle)


def test_a_folder_can_have_no_name_of_its_own(teacher: Path, tmp_path: Path):
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    (bundle / "It broke after a week.").mkdir()
    with pytest.raises(LeakError, match=r"It broke after a week\./, which the manifest does not list"):
        require_strict(bundle)


def test_a_card_cannot_steer_the_terminal(teacher: Path, tmp_path: Path, run_cli: Any):
    bundle = tmp_path / "b"
    shutil.copytree(teacher, bundle)
    (bundle / "README.md").write_text("# A \x1b]0;title\x07 card\n")
    reseal(bundle)
    done = run_cli("inspect", bundle)
    assert done.code == 0
    assert "\x1b]0" not in done.out
    assert "\x07" not in done.out


def test_an_exported_network_names_no_folder_of_its_maker(student_bundle: Path):
    for name in ("model.onnx", "model_quantized.onnx"):
        content = (student_bundle / "onnx" / name).read_bytes()
        assert b"stack_trace" not in content
        assert b'File "' not in content
        assert str(Path(__file__).parents[2]).encode() not in content


@pytest.mark.parametrize("family", sorted(MODEL_TYPES))
def test_every_family_that_is_accepted_passes(tmp_path: Path, family: str):
    """Of a classifier as transformers makes it."""
    bundle = make_teacher(tmp_path / "b")
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "vocab_size": json.loads((bundle / "config.json").read_text())["vocab_size"],
        "max_position_embeddings": 40,
    }
    own = {"hidden_dim": 48} if family == "distilbert" else {}
    config = AutoConfig.for_model(family, **sizes, **own, num_labels=2)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(bundle)
    reseal(bundle)
    assert read_manifest(bundle) == require_strict(bundle)
    assert load_classifier(str(bundle), 32).model.config.model_type == family
