"""Loading, tokenising, running and cutting BERT-family classifiers, and what cannot be loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from distilshift import ImportConfig, encoder, import_checkpoint
from distilshift.bundle import read_manifest
from distilshift.encoder import (
    Classifier,
    final_linear,
    layers_of,
    load_classifier,
    position_limit,
    scale_logits,
    takes_token_types,
)
from distilshift.errors import ConfigError, DataError, ModelError, UnsafeError
from distilshift.inference import forward_all
from distilshift.student import build_student, cut, kept_layers
from distilshift.types import Example
from encoders import BERT_PAIR, FAMILIES, OFFSET, TOKEN_TYPES, make_checkpoint, make_encoder, make_tokenizer

TEXTS = [
    Example(text) for text in ("good film", "a very sad plot and it was the worst", "zebra", "it was " * 200, "bad")
]
PAIRS = [Example("good film", "bad book"), Example("sad " * 100, "it was"), Example("pan", "great handle " * 60)]
CPU = torch.device("cpu")
families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that gives a four-layer checkpoint of a family, made once."""
    made: dict[str, Path] = {}

    def get(family: str = "bert") -> Path:
        if family not in made:
            made[family] = make_checkpoint(tmp_path_factory.mktemp("checkpoint") / family, family, layers=4)
        return made[family]

    return get


def logits_of(classifier: Classifier, examples: list[Example], batch_size: int = 64) -> np.ndarray:
    store = classifier.tokenise(examples)
    return forward_all(classifier, store, CPU, nullcontext, batch_size=batch_size)["logits"]


@families
@pytest.mark.parametrize("examples", [TEXTS, PAIRS], ids=["texts", "pairs"])
@pytest.mark.parametrize("max_length", [8, 30, 512])
def test_texts_are_cut_at_max_length(checkpoint: Any, family: str, examples: list[Example], max_length: int):
    classifier = load_classifier(str(checkpoint(family)), max_length)
    limit = min(max_length, 64)
    assert classifier.max_length == limit
    shard, tokenizer = classifier.shard(examples), classifier.tokenizer
    lengths = classifier.tokenise(examples).lengths
    assert lengths.max() == limit
    assert lengths.min() < 13
    for index, example in enumerate(examples):
        ids = shard.ids[shard.offsets[index] : shard.offsets[index + 1]]
        assert ids[0] == tokenizer.cls_token_id
        assert ids[-1] == tokenizer.sep_token_id
        both = (example.text, example.pair) if example.pair else (example.text,)
        assert ids.tolist() == tokenizer(*both, truncation=True, max_length=limit)["input_ids"]
    assert np.isfinite(logits_of(classifier, examples)).all()  # the longest text fits the position table
    assert set(shard.type_ids) == ({0, 1} if examples is PAIRS and FAMILIES[family].pair == BERT_PAIR else {0})


@families
def test_a_batch_has_the_models_own_inputs_and_padding(checkpoint: Any, family: str):
    classifier = load_classifier(str(checkpoint(family)), 32)
    batch = classifier.inputs(classifier.tokenise(TEXTS), np.array([0, 1]), CPU)
    names = {"input_ids", "attention_mask"} | ({"token_type_ids"} if family in TOKEN_TYPES else set())
    assert set(batch) == names
    assert takes_token_types(classifier.model) is (family in TOKEN_TYPES)
    assert batch["input_ids"][0, 4:].unique().tolist() == [1 if family in OFFSET else 0]
    assert batch["attention_mask"].sum(dim=1).tolist() == [4, 11]
    assert batch["input_ids"].shape == (2, 16)  # few widths, see WIDTH_MULTIPLE
    odd = load_classifier(str(checkpoint(family)), 30)  # whose longest text has a width that is no multiple
    assert odd.inputs(odd.tokenise(TEXTS), np.arange(5), CPU)["input_ids"].shape == (5, 30)


@families
def test_attention_weights_are_not_dropped_but_hidden_states_are(checkpoint: Any, family: str):
    model = load_classifier(str(checkpoint(family)), 32).model
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    weights = {"mpnet": "attn.dropout", "distilbert": "attention.dropout"}.get(family, "self.dropout")
    assert [rate for name, rate in rates.items() if name.endswith(weights)] == [0.0] * 4
    assert max(rates.values()) >= 0.1


@families
def test_outputs_come_in_order_whatever_the_batches(checkpoint: Any, family: str):
    classifier = load_classifier(str(checkpoint(family)), 32)
    together, alone = logits_of(classifier, TEXTS), logits_of(classifier, TEXTS, batch_size=1)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(together[::-1], logits_of(classifier, TEXTS[::-1]), rtol=0, atol=1e-5)
    gaps = np.abs(together[:, None] - together[None]).max(axis=2)
    assert gaps[~np.eye(len(TEXTS), dtype=bool)].min() > 1e-3  # else any order would do


@families
def test_features_are_what_the_last_linear_map_sees(checkpoint: Any, family: str):
    classifier = load_classifier(str(checkpoint(family)), 32)
    classifier.model.train()
    seen = forward_all(classifier, classifier.tokenise(TEXTS), CPU, nullcontext, features=True, batch_size=2)
    head = final_linear(classifier.model)
    by_hand = seen["features"] @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(seen["logits"], by_hand, rtol=0, atol=1e-5)
    assert classifier.model.training  # as it was


@families
def test_scaling_is_exact(checkpoint: Any, family: str):
    classifier = load_classifier(str(checkpoint(family)), 32)
    before = logits_of(classifier, TEXTS)
    scale_logits(classifier.model, 0.5)
    np.testing.assert_allclose(logits_of(classifier, TEXTS), before / 2, rtol=0, atol=1e-6)


def test_the_position_table_limits_a_text(checkpoint: Any):
    limits = {family: position_limit(load_classifier(str(checkpoint(family)), 512).model) for family in FAMILIES}
    assert limits == dict.fromkeys(FAMILIES, 64)


@pytest.mark.parametrize(
    ("teacher", "student", "kept"),
    [(6, 3, [0, 2, 4]), (12, 6, [0, 2, 4, 6, 8, 10]), (12, 4, [0, 3, 6, 9]), (6, 4, [0, 1, 3, 4]), (2, 1, [0])],
)
def test_kept_layers_by_hand(teacher: int, student: int, kept: list[int]):
    assert kept_layers(teacher, student) == kept


@given(st.integers(1, 48), st.integers(1, 48))
def test_kept_layers_are_spread_evenly(teacher: int, student: int):
    if student > teacher:
        with pytest.raises(ConfigError, match=f"expected at most {teacher}, .* got {student}"):
            kept_layers(teacher, student)
        return
    kept = kept_layers(teacher, student)
    gaps = {b - a for a, b in zip(kept, [*kept[1:], teacher], strict=True)}
    assert kept[0] == 0
    assert max(gaps) - min(gaps) <= 1
    assert min(gaps) >= 1


@families
def test_a_cut_student_has_the_teachers_chosen_layers_and_loads_again(checkpoint: Any, tmp_path: Path, family: str):
    teacher = load_classifier(str(checkpoint(family)), 32)
    before = {key: value.clone() for key, value in teacher.model.state_dict().items()}
    student = cut(teacher, 2)
    for own, source in zip(layers_of(student.model), (0, 2), strict=True):
        for (name, ours), theirs in zip(
            own.state_dict().items(), layers_of(teacher.model)[source].parameters(), strict=True
        ):
            assert torch.equal(ours, theirs), name
    outside = {key for key in student.model.state_dict() if ".layer." not in key}
    assert len(outside) > 5
    assert all(torch.equal(student.model.state_dict()[key], before[key]) for key in outside)
    assert student.model.config.num_hidden_layers == 2
    assert student.tokenizer is teacher.tokenizer
    student.save(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert len(layers_of(again)) == again.config.num_hidden_layers == 2
    wanted = logits_of(student, TEXTS)
    np.testing.assert_array_equal(logits_of(load_classifier(str(tmp_path), 32), TEXTS), wanted)
    # The teacher is as it was, and is another function.
    assert teacher.model.config.num_hidden_layers == 4
    assert all(torch.equal(value, before[key]) for key, value in teacher.model.state_dict().items())
    with torch.no_grad():
        final_linear(student.model).weight.zero_()
    assert np.abs(logits_of(teacher, TEXTS) - wanted).max() > 1e-2


@pytest.mark.parametrize(("layers", "wanted"), [(1, 1), (2, 2), (5, 2)])
def test_another_encoder_brings_its_tokenizer_and_takes_the_teachers_classes(
    checkpoint: Any, tmp_path: Path, layers: int, wanted: int
):
    """An encoder with no more layers than asked for stays whole."""
    other = make_encoder(tmp_path / "other", "mpnet", words="zebra lion")
    teacher = load_classifier(str(checkpoint()), 32)
    teacher.model.config.id2label = {0: "no", 1: "yes"}
    student = build_student(teacher, str(other), layers)
    assert len(layers_of(student.model)) == wanted
    assert student.label_names == ["no", "yes"]
    assert student.tokenizer.tokenize("zebra") == ["zebra"]
    assert teacher.tokenizer.tokenize("zebra") != ["zebra"]
    assert student.max_length == 32


def test_a_student_deeper_than_its_teacher_is_refused(checkpoint: Any):
    with pytest.raises(ConfigError, match=r"student_layers is too large: expected at most 4, .* got 5\. Fix"):
        build_student(load_classifier(str(checkpoint()), 32), "cut", 5)


def test_a_new_head_has_the_given_classes_in_order(tmp_path: Path):
    classifier = load_classifier(str(make_encoder(tmp_path / "e")), 32, ["c", "a", "b"])
    assert classifier.label_names == ["c", "a", "b"]
    assert classifier.model.config.label2id == {"c": 0, "a": 1, "b": 2}
    assert final_linear(classifier.model).out_features == 3


def edit_config(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | values))


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def other_tokenizer(folder: Path) -> None:
    """More pieces than the embedding has rows: ids would point past its end."""
    make_tokenizer("bert", words=" ".join(f"word{index}" for index in range(200))).save_pretrained(folder)


def without_padding(folder: Path) -> None:
    tokenizer = make_tokenizer("bert")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"cannot be used: expected a folder .*safetensors"),
    "pickled weights only": (
        pickle_only,
        "cannot be used: .*safetensors.*, got PyTorch's pickled weights",
    ),
    "truncated weights": (lambda f: truncate(f / "model.safetensors"), "refused .* each byte in one tensor"),
    "no config": (lambda f: (f / "config.json").unlink(), "cannot be used: .* got no config.json"),
    "config is no JSON": (
        lambda f: (f / "config.json").write_text("{"),
        "refused .*expected a JSON object",
    ),
    "no tokenizer": (
        lambda f: [(f / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")],
        "cannot be used: .* got no tokenizer",
    ),
    "unknown architecture": (
        lambda f: edit_config(f, model_type="nosuch"),
        "cannot be used: .*nosuch.* Fix: label the target texts with it",
    ),
    "remote code": (
        lambda f: edit_config(f, model_type="mine", auto_map={"AutoConfig": "evil.Config"}),
        "got a model that needs code of its own",
    ),
    "one class": (lambda f: make_checkpoint(f, num_labels=1), "is not a single-label classifier: .*num_labels 1"),
    "several labels a text": (
        lambda f: edit_config(f, problem_type="multi_label_classification"),
        "is not a single-label classifier: .*multi_label",
    ),
    "regression": (lambda f: edit_config(f, problem_type="regression"), "is not a single-label classifier"),
    "no head": (make_encoder, r"is not a classification checkpoint: .* got none for classifier"),
    "tokenizer of another model": (
        other_tokenizer,
        r"tokenizer of .* is of another model: .* at most 80 pieces, got 257",
    ),
    "no padding token": (without_padding, "has no padding token"),
    "relative positions": (
        lambda f: edit_config(f, position_embedding_type="relative_key_query"),
        "has relative positions: expected absolute ones, got relative_key_query",
    ),
    "two classes of one name": (
        lambda f: edit_config(f, id2label={"0": "no", "1": "no"}, label2id={"no": 0}),
        "does not name its classes: .* got 'no', 'no'. Fix: pass --label-names 0=name0,1=name1",
    ),
}


@pytest.mark.parametrize(("damage", "text"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_imported_is_refused_in_one_line(tmp_path: Path, damage: Callable[[Path], Any], text: str):
    folder, output = make_checkpoint(tmp_path / "checkpoint"), tmp_path / "out"
    load_classifier(str(folder), 32)  # whole until now
    damage(folder)
    with pytest.raises((ModelError, UnsafeError), match=text) as caught:
        import_checkpoint(str(folder), output)
    assert caught.value.fix
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


@pytest.mark.parametrize("name", ["/no/such/folder", "nosuch", "no/such", "../nosuch"])
def test_a_name_that_leads_nowhere_is_refused(name: str, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    text = r"cannot (load|be used).*: expected a folder.* (Fix: .*minilm-l6|no such folder. Fix: check the path)"
    with pytest.raises(ModelError, match=text):
        load_classifier(name, 32, ["a", "b"])


def test_not_a_bert_is_refused(tmp_path: Path):
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(vocab_size=90, n_embd=16, n_layer=1, n_head=1, n_positions=64, pad_token_id=0)
    model = GPT2ForSequenceClassification(config)
    with pytest.raises(ModelError, match=r"gpt2 is not a BERT-family encoder: .* Fix: use BERT, "):
        cut(Classifier(model, make_tokenizer("bert"), 32), 1)
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"expected one of bert, .*, got model_type 'gpt2'"):
        load_classifier(str(tmp_path), 32)


@pytest.mark.parametrize(("names", "fix"), [(["no", "yes"], "name another encoder"), (None, "label the target texts")])
def test_another_family_of_the_hub_is_refused_before_anything_is_taught(
    checkpoint: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: list[str] | None, fix: str
):
    """Of a local folder, its own check does so."""
    shutil.copytree(checkpoint(), tmp_path / "c")
    edit_config(tmp_path / "c", model_type="deberta-v2")
    monkeypatch.setattr(encoder, "require_model", lambda name, use: None)
    monkeypatch.setattr(encoder, "check_checkpoint", lambda folder: None)
    text = rf"is of another family: expected one of bert, .* got model_type 'deberta-v2'. Fix: {fix}"
    with pytest.raises(ModelError, match=text):
        load_classifier(str(tmp_path / "c"), 32, names)


def test_a_classifier_of_several_labels_per_text_is_imported_once_its_config_is_set_as_advised(
    checkpoint: Any, tmp_path: Path
):
    shutil.copytree(checkpoint(), tmp_path / "c")
    edit_config(tmp_path / "c", problem_type="multi_label_classification")
    with pytest.raises(ModelError, match=r'set "problem_type": null in its config.json'):
        import_checkpoint(str(tmp_path / "c"), tmp_path / "t")
    edit_config(tmp_path / "c", problem_type=None)
    assert import_checkpoint(str(tmp_path / "c"), tmp_path / "t").is_dir()


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ({"1": "no", "2": "yes"}, "does not number its classes in order: expected id2label with 0 to 1, got 1, 2"),
        ({"0": 0, "1": 1}, "does not name its classes: .* got 0, 1. Fix: pass --label-names 0=name0,1=name1"),
    ],
)
def test_odd_names_of_a_checkpoint_of_the_hub_are_refused(
    checkpoint: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: dict[str, Any], text: str
):
    shutil.copytree(checkpoint(), tmp_path / "c")
    edit_config(tmp_path / "c", id2label=names, label2id={})
    monkeypatch.setattr(encoder, "check_checkpoint", lambda folder: None)
    with pytest.raises(ModelError, match=text):
        import_checkpoint(str(tmp_path / "c"), tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_names_mend_an_import(checkpoint: Any, tmp_path: Path):
    shutil.copytree(checkpoint(), tmp_path / "c")
    edit_config(tmp_path / "c", id2label={"0": "no", "1": "no"}, label2id={"no": 0})
    output = import_checkpoint(str(tmp_path / "c"), tmp_path / "t", label_names="1=yes,0=no")
    assert read_manifest(output, "teacher").label_names == ["no", "yes"]


def test_import_keeps_the_function_and_renames_the_classes(checkpoint: Any, tmp_path: Path):
    output = import_checkpoint(str(checkpoint()), tmp_path / "t", label_names="1=yes,0=no", max_length=16)
    imported = load_classifier(str(output), 512)
    assert imported.label_names == ["no", "yes"]
    original = load_classifier(str(checkpoint()), 512)
    assert original.label_names == ["LABEL_0", "LABEL_1"]
    np.testing.assert_array_equal(logits_of(imported, TEXTS), logits_of(original, TEXTS))
    manifest = json.loads((output / "distilshift.json").read_text())
    assert (manifest["label_names"], manifest["max_length"], manifest["statistics"]) == (["no", "yes"], 16, None)


@pytest.mark.parametrize(
    "names", ["0=no", "0=no,1=yes,2=maybe", "no,yes", "0=no,2=yes", "0=same,1=same", "as-is", "0=,1=a"]
)
def test_wrong_names_for_an_import_are_refused(checkpoint: Any, tmp_path: Path, names: str):
    with pytest.raises(DataError, match=r"--label-names.*(0=negative,1=positive|0=name0,1=name1)"):
        import_checkpoint(str(checkpoint()), tmp_path / "t", ImportConfig(label_names=names))
    assert list(tmp_path.iterdir()) == []
