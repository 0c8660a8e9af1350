"""`import` keeps how a checkpoint reads texts: its labels are those of the checkpoint's own pipeline."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from distilshift import import_checkpoint
from distilshift.bundle import read_manifest
from distilshift.encoder import Classifier, final_linear, load_classifier
from distilshift.errors import ModelError
from distilshift.inference import bundle_logits
from distilshift.metrics import softmax
from distilshift.pieces import Pieces, rebuilt
from distilshift.stage import seeded
from distilshift.student import build_student
from distilshift.tokens import TextTokens, load_tokenizer
from distilshift.types import Example
from encoders import FAMILIES, LETTERS, WORDS, make_checkpoint, make_encoder

VOCABULARY = WORDS.split()
SIDES = ["left", "right"]


def texts(count: int = 80) -> list[str]:
    """Texts of every length up to three times what the models read, with capitals."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        words = rng.choice(VOCABULARY, size=1 + (index * 7) % 190)
        made.append(" ".join(word.title() if rng.random() < 0.3 else word for word in words))
    return made


def edit(folder: Path, **values: Any) -> None:
    """Set entries of tokenizer_config.json; None removes one."""
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def pipeline_scores(folder: Path, given: list[str]) -> np.ndarray:
    """What the checkpoint's own pipeline gives: (texts, classes)."""
    classify = pipeline("text-classification", str(folder), device="cpu", top_k=None)
    rows = classify(given, truncation=True, batch_size=16)
    return np.array([[found["score"] for found in sorted(row, key=lambda found: found["label"])] for row in rows])


def bundle_scores(bundle: Path, given: list[str]) -> np.ndarray:
    return softmax(bundle_logits(bundle, read_manifest(bundle).max_length, [Example(text) for text in given], 16))


def assert_same(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(found.argmax(axis=1), wanted.argmax(axis=1))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def checkpoint_of_many_labels(folder: Path, family: str = "bert") -> Path:
    """A random checkpoint whose classes are about equally frequent."""
    make_checkpoint(folder, family, num_labels=3)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    final_linear(model).bias.data -= torch.from_numpy(np.log(pipeline_scores(folder, texts())).mean(axis=0)).float()
    model.save_pretrained(folder)
    assert np.bincount(pipeline_scores(folder, texts()).argmax(axis=1), minlength=3).min() > 8
    return folder


def device_ids(bundle: Path, given: list[Example]) -> list[list[int]]:
    """Token ids as the device gives them."""
    config = json.loads((bundle / "config.json").read_text())
    path, length = bundle / "tokenizer.json", read_manifest(bundle).max_length
    return TextTokens(load_tokenizer(path, length, config)).windows(given).ids


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_import_labels_texts_as_the_checkpoints_own_pipeline(tmp_path: Path, family: str, side: str):
    folder = checkpoint_of_many_labels(tmp_path / "c", family)
    edit(folder, truncation_side=side, model_max_length=50)
    bundle = import_checkpoint(str(folder), tmp_path / "t")
    assert read_manifest(bundle).max_length == 50
    wanted = pipeline_scores(folder, texts())
    assert_same(bundle_scores(bundle, texts()), wanted)
    edit(folder, truncation_side="left" if side == "right" else "right")
    other = pipeline_scores(folder, texts())
    assert (other.argmax(axis=1) != wanted.argmax(axis=1)).any()  # else any side would do


@pytest.mark.parametrize("side", SIDES)
def test_the_device_cuts_texts_and_pairs_where_the_checkpoint_does(tmp_path: Path, side: str):
    folder = make_checkpoint(tmp_path / "c")
    edit(folder, truncation_side=side, model_max_length=20)
    bundle = import_checkpoint(str(folder), tmp_path / "t")
    pairs = list(zip(texts(20), reversed(texts(20)), strict=True))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wanted = tokenizer([*texts()], truncation=True)["input_ids"]
    assert device_ids(bundle, [Example(text) for text in texts()]) == wanted
    wanted = tokenizer([first for first, _ in pairs], [second for _, second in pairs], truncation=True)["input_ids"]
    assert device_ids(bundle, [Example(*pair) for pair in pairs]) == wanted


def test_a_smaller_vocabulary_leaves_the_cut_side_alone(tmp_path: Path):
    """Students of size small and tiny get a tokenizer that is made anew."""
    folder = make_checkpoint(tmp_path / "c")
    edit(folder, truncation_side="left")
    whole = load_classifier(str(folder), 20)
    smaller = rebuilt(whole.tokenizer, Pieces.of(whole.tokenizer).rules, 20)
    assert smaller.truncation_side == "left"
    (tmp_path / "s").mkdir()
    Classifier(whole.model, smaller, 20).save(tmp_path / "s")
    tokens = TextTokens(load_tokenizer(tmp_path / "s" / "tokenizer.json", 20, whole.model.config.to_dict()))
    long, end = texts()[27], " ".join(texts()[27].split()[-18:])
    assert len(long.split()) > 100
    assert tokens.windows([Example(long)]) == tokens.windows([Example(end)])


@pytest.mark.parametrize(
    ("settings", "truncation", "wanted"),
    [
        ({"model_max_length": 24}, None, 24),
        ({"model_max_length": 24}, 16, 24),  # as in the pipeline, which never asks tokenizer.json
        ({"model_max_length": None}, 16, 16),
        ({"model_max_length": int(1e30)}, None, 64),  # the position table
        ({"model_max_length": 512}, None, 64),
    ],
)
def test_the_length_is_the_checkpoints_own(
    tmp_path: Path, settings: dict[str, Any], truncation: int | None, wanted: int
):
    folder = make_checkpoint(tmp_path / "c")
    edit(folder, **settings)
    rules = json.loads((folder / "tokenizer.json").read_text())
    cut = {"max_length": truncation, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    (folder / "tokenizer.json").write_text(json.dumps(rules | {"truncation": cut if truncation else None}))
    assert read_manifest(import_checkpoint(str(folder), tmp_path / "t")).max_length == wanted
    assert read_manifest(import_checkpoint(str(folder), tmp_path / "u", max_length=12)).max_length == 12


def recased(folder: Path, vocabulary: list[str], lowercase: bool) -> None:
    """Give a checkpoint other pieces and case rules; `do_lower_case` and the class let transformers decide."""
    path = folder / "tokenizer.json"
    rules = json.loads(path.read_text())
    special = [piece for piece in rules["model"]["vocab"] if piece.startswith("[")]
    pieces = dict.fromkeys([*special, *vocabulary, *LETTERS])
    rules["model"]["vocab"] = {piece: index for index, piece in enumerate(list(pieces)[:80])}
    rules["normalizer"]["lowercase"] = lowercase
    path.write_text(json.dumps(rules))


CASED = [word.title() for word in VOCABULARY] + VOCABULARY


@pytest.mark.parametrize(
    ("vocabulary", "lowercase", "settings", "remark"),
    [
        (CASED, False, {}, None),
        (VOCABULARY, True, {}, None),
        (CASED, True, {}, "turns texts into lower case"),
        (VOCABULARY, False, {}, "keeps capitals"),
        # transformers rebuilds BERT's own tokenizers by tokenizer_config.json, whatever tokenizer.json says
        (CASED, False, {"tokenizer_class": "BertTokenizer"}, "turns texts into lower case"),
        (CASED, False, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}, None),
        (VOCABULARY, True, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}, "keeps capitals"),
    ],
)
def test_casing_is_the_pipelines_and_a_doubtful_one_is_told(
    tmp_path: Path, caplog: Any, vocabulary: list[str], lowercase: bool, settings: dict[str, Any], remark: str | None
):
    folder = make_checkpoint(tmp_path / "c", num_labels=3)
    recased(folder, vocabulary, lowercase)
    edit(folder, **settings)
    with caplog.at_level(logging.WARNING, "distilshift"):
        bundle = import_checkpoint(str(folder), tmp_path / "t", label_names="0=a,1=b,2=c")
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == (remark is not None)
    assert all(str(remark) in message for message in warned)
    assert_same(bundle_scores(bundle, texts()), pipeline_scores(folder, texts()))
    plain = [Example(text) for text in texts()]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert device_ids(bundle, plain) == tokenizer(texts(), truncation=True)["input_ids"]
    caplog.clear()
    for message in warned:
        follow(folder, message)
    import_checkpoint(str(folder), tmp_path / "u", label_names="0=a,1=b,2=c")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def follow(folder: Path, advice: str) -> None:
    """Set the case rule as a warning says."""
    name, value, file = re.search(r'set "(\w+)": (true|false) in .*?(\w+\.json)', advice).groups()  # type: ignore[union-attr]
    if file == "tokenizer_config.json":
        edit(folder, **{name: value == "true"})
        return
    rules = json.loads((folder / file).read_text())
    rules["normalizer"][name] = value == "true"
    (folder / file).write_text(json.dumps(rules))


@pytest.mark.parametrize("names", [["LABEL_0", "LABEL_1"], ["no", "yes"], ["a", "b", "c"]])
@pytest.mark.parametrize("family", FAMILIES)
def test_new_classes_get_a_new_head_whatever_head_was_there(tmp_path: Path, family: str, names: list[str], caplog: Any):
    """A checkpoint of two classes: as many as are asked for, of the same names or of others, or another number."""
    folder = make_checkpoint(tmp_path / "c", family)
    old = load_classifier(str(folder), 32)
    with seeded(1), caplog.at_level(logging.INFO, "distilshift"):
        new = load_classifier(str(folder), 32, names)
    assert "is replaced by a new one" in caplog.text
    with seeded(1):
        again = load_classifier(str(folder), 32, names)
    body, parts = f"{new.model.base_model_prefix}.", new.model.state_dict()
    for key, value in old.model.state_dict().items():
        assert torch.equal(parts[key], again.model.state_dict()[key])
        if key.startswith(body):
            assert torch.equal(parts[key], value), key
        elif value.shape == parts[key].shape and not key.endswith("bias"):
            assert torch.cosine_similarity(parts[key].flatten(), value.flatten(), dim=0) < 0.5, key
    assert final_linear(new.model).weight.std() > 0.05
    assert new.label_names == names


def test_weights_that_do_not_fit_the_config_are_no_new_head(tmp_path: Path):
    """Of a head, another size is replaced; of the encoder, it is damage."""
    folder = make_checkpoint(tmp_path / "c")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"max_position_embeddings": 60}))
    with pytest.raises(ModelError, match=r"do not fit its config.json: .*position_embeddings.* of another size"):
        load_classifier(str(folder), 32, ["no", "yes"])


def test_an_encoder_without_a_head_is_loaded_in_silence(tmp_path: Path, caplog: Any):
    with caplog.at_level(logging.INFO, "distilshift"):
        load_classifier(str(make_encoder(tmp_path / "e")), 32, ["no", "yes"])
    assert caplog.text == ""


def test_an_import_says_how_texts_are_read_and_how_to_name_classes(tmp_path: Path, caplog: Any):
    folder = make_checkpoint(tmp_path / "c", num_labels=3)
    edit(folder, truncation_side="left", model_max_length=40)
    with caplog.at_level(logging.INFO, "distilshift"):
        import_checkpoint(str(folder), tmp_path / "t")
    assert (
        "Classes: LABEL_0, LABEL_1, LABEL_2. Of a text, up to 40 tokens are read; of a longer one, the end"
        in caplog.text
    )
    advice = next(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    names = advice.partition("--label-names ")[2]
    caplog.clear()
    bundle = import_checkpoint(str(folder), tmp_path / "u", label_names=names)
    assert read_manifest(bundle).label_names == ["name0", "name1", "name2"]
    assert all(record.levelno < logging.WARNING for record in caplog.records)


def test_classes_can_be_renamed_by_their_names(tmp_path: Path):
    folder = make_checkpoint(tmp_path / "c")
    bundle = import_checkpoint(str(folder), tmp_path / "t", label_names="LABEL_1=yes,0=no")
    assert read_manifest(bundle).label_names == ["no", "yes"]


@pytest.mark.parametrize("student", ["cut", "other"])
def test_a_student_reads_the_side_that_its_teacher_labelled(tmp_path: Path, student: str):
    folder, other = make_checkpoint(tmp_path / "c"), make_checkpoint(tmp_path / "other")
    edit(folder, truncation_side="left")
    made = build_student(load_classifier(str(folder), 20), "cut" if student == "cut" else str(other), 1)
    assert made.tokenizer.truncation_side == "left"
