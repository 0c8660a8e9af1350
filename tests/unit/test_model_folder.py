"""Folders that cannot serve as a model: what they are is said, and the advice works when it is followed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from distilshift import adapt, import_checkpoint, teach
from distilshift.bundle import read_manifest
from distilshift.encoder import load_classifier
from distilshift.errors import ModelError
from distilshift.piece_head import load_piece_head
from distilshift.types import Example
from encoders import make_checkpoint, make_encoder, make_language_model


def config(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | values))


def without(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def pickled(folder: Path, kind: Any = AutoModelForSequenceClassification) -> Path:
    """As older versions of transformers saved it."""
    state = kind.from_pretrained(folder).state_dict()
    without(folder, "model.safetensors")
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def adapter(folder: Path) -> None:
    without(folder, "model.safetensors", "config.json")
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "some/base", "peft_type": "LORA", "task_type": "SEQ_CLS"})
    )
    (folder / "adapter_model.safetensors").write_bytes(b"")


def sentence_transformer(folder: Path, classifier: bool = False) -> None:
    """The files that sentence-transformers writes beside an encoder."""
    if not classifier:
        config(folder, architectures=["BertModel"])
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32, "do_lower_case": false}')
    (folder / "config_sentence_transformers.json").write_text("{}")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')


def setfit(folder: Path) -> None:
    sentence_transformer(folder)
    (folder / "model_head.pkl").write_bytes(b"\x80\x04.")
    (folder / "config_setfit.json").write_text('{"labels": ["no", "yes"]}')


def only(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        without(folder, "model.safetensors")
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"GGUF")

    return damage


def moved_down(folder: Path) -> None:
    """As a Trainer leaves its checkpoints."""
    (folder / "checkpoint-500").mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            path.rename(folder / "checkpoint-500" / path.name)


BLACK_BOX = r"adapt TEXTS --teacher-probabilities FILE --student minilm-l3 -o STUDENT"
AS_CLASSIFIER: dict[str, tuple[Callable[[Path], Any], str]] = {
    "adapter": (adapter, r"got a LoRA adapter of 'some/base'.*num_labels=N\)\.merge_and_unload\(\)"),
    "pickled weights": (
        pickled,
        r"got PyTorch's pickled weights only.* if you trust .*python -c .*then name .*-safetensors",
    ),
    "SetFit": (setfit, f"got a SetFit model.*{BLACK_BOX}; setfit gives them by .*predict_proba"),
    "sentence-transformers": (sentence_transformer, "got a sentence-transformers encoder.*teach LABELLED --base-model"),
    "ONNX": (only("onnx/model.onnx"), f"got an exported ONNX network.*made from; without that, .*{BLACK_BOX}"),
    "GGUF": (only("model-q4.gguf"), f"got a GGUF file.*{BLACK_BOX}"),
    "TensorFlow": (only("tf_model.h5"), f"got TensorFlow weights.*{BLACK_BOX}"),
    "Flax": (only("flax_model.msgpack"), "got Flax weights"),
    **{
        family: (lambda f, family=family: config(f, model_type=family), f"got model_type '{family}', .*{BLACK_BOX}")
        for family in ("deberta-v2", "modernbert", "albert", "t5", "gpt2", "llama", "nosuch")
    },
    "own code": (lambda f: config(f, auto_map={"AutoModel": "m.M"}), f"got a model that needs code.*{BLACK_BOX}"),
    "quantized": (lambda f: config(f, quantization_config={"bits": 4}), "got quantized weights.*that was quantized"),
    "no weights": (lambda f: without(f, "model.safetensors"), "got no model.safetensors.*save_pretrained"),
    "no config": (lambda f: without(f, "config.json"), "got no config.json.*save_pretrained"),
    "no tokenizer": (
        lambda f: without(f, "tokenizer.json", "tokenizer_config.json"),
        "got no tokenizer.*python -c .*where MODEL is",
    ),
    "a level too high": (moved_down, "got a folder that holds models.* name .*checkpoint-500$"),
}


@pytest.mark.parametrize(("damage", "text"), AS_CLASSIFIER.values(), ids=AS_CLASSIFIER)
def test_import_says_what_a_folder_is_and_what_to_do(tmp_path: Path, damage: Callable[[Path], Any], text: str):
    folder = make_checkpoint(tmp_path / "c")
    load_classifier(str(folder), 32)
    damage(folder)
    with pytest.raises(ModelError, match=text) as caught:
        import_checkpoint(str(folder), tmp_path / "t")
    assert "source that you trust" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]


OTHERS = [name for name in AS_CLASSIFIER if name not in ("SetFit", "sentence-transformers")]


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_folder_is_refused_as_an_encoder(tmp_path: Path, name: str, teacher_bundle: Path, source_file: Path):
    """By `teach --base-model`, `adapt --student` and `--mlm-head`, whose advice is that of an encoder."""
    folder = make_checkpoint(tmp_path / "c")
    AS_CLASSIFIER[name][0](folder)
    for call in (
        lambda: teach(source_file, tmp_path / "t", base_model=str(folder)),
        lambda: adapt(
            teacher_bundle, [f"a good film, {index}" for index in range(60)], tmp_path / "s", student=str(folder)
        ),
        lambda: load_piece_head(str(folder), load_classifier(str(teacher_bundle), 32)),
    ):
        with pytest.raises(ModelError, match=r"cannot be used: .* Fix: ") as caught:
            call()
        if "model_type" in str(caught.value.got):
            assert "name another encoder: minilm-l6" in str(caught.value.fix)


def follow(error: ModelError) -> str:
    """Run the Python command that an error advises; the folder that it says to name then."""
    words = shlex.split(re.search(r"python -c .*", str(error.fix)).group())  # type: ignore[union-attr]
    exec(words[2], {})
    return words[-1]


def test_pickled_weights_can_be_imported_after_following_the_advice(tmp_path: Path):
    folder = pickled(make_checkpoint(tmp_path / "it's here", num_labels=3, id2label={0: "a", 1: "b", 2: "c"}))
    with pytest.raises(ModelError) as caught:
        import_checkpoint(str(folder), tmp_path / "t")
    bundle = import_checkpoint(follow(caught.value), tmp_path / "t")
    assert read_manifest(bundle).label_names == ["a", "b", "c"]


@pytest.mark.parametrize(("make", "kind"), [(make_encoder, AutoModel), (make_language_model, AutoModelForMaskedLM)])
def test_a_pickled_encoder_is_converted_without_a_random_head(tmp_path: Path, make: Any, kind: Any):
    folder = pickled(make(tmp_path / "e"), kind)
    with pytest.raises(ModelError) as caught:
        import_checkpoint(str(folder), tmp_path / "t")
    converted = follow(caught.value)
    with pytest.raises(ModelError, match="is not a classification checkpoint"):
        import_checkpoint(converted, tmp_path / "t")
    assert load_classifier(converted, 32, ["a", "b"]).label_names == ["a", "b"]
    if kind is AutoModelForMaskedLM:
        load_piece_head(converted, load_classifier(converted, 32, ["a", "b"]))


def test_a_missing_tokenizer_is_copied_by_following_the_advice(tmp_path: Path):
    folder, base = make_checkpoint(tmp_path / "c"), make_encoder(tmp_path / "base")
    without(folder, "tokenizer.json", "tokenizer_config.json")
    config(folder, _name_or_path=str(base))
    with pytest.raises(ModelError) as caught:
        import_checkpoint(str(folder), tmp_path / "t")
    follow(caught.value)
    assert import_checkpoint(str(folder), tmp_path / "t").is_dir()


@pytest.mark.parametrize("damage", [sentence_transformer, setfit])
def test_a_sentence_encoder_serves_as_base_model_as_advised(tmp_path: Path, damage: Any):
    folder = make_encoder(tmp_path / "e")
    damage(folder)
    rows = [Example(f"good film {n}", label="yes") for n in range(9)] + [
        Example(f"sad {n}", label="no") for n in range(9)
    ]
    bundle = teach(rows, tmp_path / "t", base_model=str(folder), epochs=1).bundle
    assert read_manifest(bundle).label_names == ["no", "yes"]


def test_a_classifier_of_sentence_transformers_is_imported(tmp_path: Path):
    """A cross-encoder, say."""
    folder = make_checkpoint(tmp_path / "c")
    sentence_transformer(folder, classifier=True)
    assert import_checkpoint(str(folder), tmp_path / "t").is_dir()


def test_an_older_sentence_encoder_names_its_inner_folder(tmp_path: Path):
    make_encoder(tmp_path / "e" / "0_Transformer")
    (tmp_path / "e" / "modules.json").write_text("[]")
    with pytest.raises(ModelError, match=r"holds models.*name .*0_Transformer$"):
        load_classifier(str(tmp_path / "e"), 32, ["a", "b"])


def test_a_file_and_a_mistyped_path_are_told_from_a_damaged_model(tmp_path: Path):
    folder = make_checkpoint(tmp_path / "sentiment")
    shutil.copy(folder / "model.safetensors", tmp_path / "loose.safetensors")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for name, text in {
        "sentiment/model.safetensors": f"got a file. Fix: name the folder that it is in: {folder}$",
        "loose.safetensors": "got a file. Fix: name a folder",
        "model.gguf": "got a GGUF file",
        "sentimnet": f"got no such folder. Fix: did you mean {folder}",
        "nothing-like-it": "got no such folder. Fix: check the path",
    }.items():
        with pytest.raises(ModelError, match=text):
            load_classifier(str(tmp_path / name), 32)


@pytest.mark.parametrize(("given", "meant"), [("minilm_l6", "minilm-l6"), ("mpnet_base", "mpnet-base")])
def test_a_mistyped_packaged_encoder_is_proposed(given: str, meant: str, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=rf"Fix: did you mean {meant}\? "):
        load_classifier(given, 32, ["a", "b"])
