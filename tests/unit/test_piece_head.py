"""Masked language modelling beside distillation: the head is its encoder's own, learns, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM

from distilshift import adapt, joint, pipeline
from distilshift.config import AdaptConfig
from distilshift.encoder import Classifier, load_classifier
from distilshift.errors import ConfigError, DistilshiftError
from distilshift.joint import JointObjective, distil_jointly
from distilshift.masking import Masking, special_tokens
from distilshift.parallel import Batch
from distilshift.piece_head import load_piece_head, piece_head
from distilshift.precision import make_accelerator
from distilshift.run import open_run
from distilshift.shards import Rows
from distilshift.types import Example
from distilshift.views import LabelledView
from distilshift.vocabulary import used_rows_only
from encoders import FAMILIES, WORDS, make_encoder, make_language_model, make_tokenizer

TEXTS = [Example(text) for text in ("good book", "bad film", "sad plot was it", "very nice pan and this")]
LABELS = ["no", "yes"]
CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_language_model(tmp_path / "bert")


def student_of(checkpoint: Path) -> Classifier:
    student = load_classifier(str(checkpoint), 32, LABELS)
    student.model.eval()
    return student


def all_logits(model: Any, student: Classifier) -> torch.Tensor:
    """The language model's own, (texts, width, pieces)."""
    store = student.tokenise(TEXTS)
    with torch.no_grad():
        return model(**student.inputs(store, np.arange(len(TEXTS)), CPU)).logits


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_head_says_what_its_checkpoint_says(tmp_path: Path, family: str):
    checkpoint = make_language_model(tmp_path / family, family)
    student = student_of(checkpoint)
    wanted = all_logits(AutoModelForMaskedLM.from_pretrained(checkpoint).eval(), student)
    store = student.tokenise(TEXTS)
    with piece_head(student, str(checkpoint), [store]) as head, used_rows_only(student.model, [store]) as (small,):
        states = student.model.base_model(**student.inputs(small, np.arange(len(TEXTS)), CPU)).last_hidden_state
        got = head(states, student.model.get_input_embeddings().weight)
    used = np.unique(student.inputs(store, np.arange(len(TEXTS)), CPU)["input_ids"])
    torch.testing.assert_close(got, wanted[..., used])
    assert wanted.std() > 1  # else a wrong head would not show


def test_a_narrower_vocabulary_keeps_each_pieces_bias(checkpoint: Path):
    student, whole = student_of(checkpoint), load_piece_head(str(checkpoint), student_of(checkpoint))
    pieces = student.tokenizer.get_vocab()
    fewer = make_tokenizer("bert", WORDS.replace("good great", ""))
    student.model.set_input_embeddings(torch.nn.Embedding(len(fewer), 32))
    narrow = load_piece_head(str(checkpoint), Classifier(student.model, fewer, 32))
    for piece, row in fewer.get_vocab().items():
        assert narrow.bias[row] == whole.bias[pieces[piece]]


def test_the_loss_by_hand(checkpoint: Path, tmp_path: Path):
    """One pass over texts and masked copies; the language model's own error at the masked places, a mean a text."""
    student, store = student_of(checkpoint), student_of(checkpoint).tokenise(TEXTS)
    config = AdaptConfig(precision="fp32", mlm_head=str(checkpoint), mlm_weight=3.0)
    said = Rows([np.zeros((len(TEXTS), 2), np.float32)])
    views = [LabelledView(store, said, said, 1.0)]
    masking, accelerator = Masking.of(special_tokens(student), 0.5), make_accelerator(config)
    with open_run(tmp_path / "run", {}) as run, piece_head(student, config.mlm_head, [store]) as head:
        head.bias.data = load_piece_head(str(checkpoint), student).bias.data  # of all rows, as the embedding has here
        objective = JointObjective(student, views, config, accelerator, run, None, masking, head)
        batch = Batch.share(0, np.arange(len(TEXTS)), accelerator)
        torch.manual_seed(0)
        got = objective.loss(student.model, batch)
        torch.manual_seed(0)
        plain = JointObjective(student, views, config, accelerator, run, None, masking).loss(student.model, batch)
    ids = student.inputs(store, batch.indices, CPU)
    torch.manual_seed(0)
    hit = (torch.rand(ids["input_ids"].shape) < 0.5) & (ids["input_ids"] > 4)  # 0 to 4 are special
    masked = ids | {"input_ids": torch.where(hit, 4, ids["input_ids"])}
    with torch.no_grad():
        logits = AutoModelForMaskedLM.from_pretrained(checkpoint).eval()(**masked).logits
    errors = [
        F.cross_entropy(z[h], row[h]) if h.any() else torch.tensor(0.0)
        for z, row, h in zip(logits, ids["input_ids"], hit, strict=True)
    ]
    torch.testing.assert_close(got - plain, 3 * torch.stack(errors).mean())


def test_the_head_learns_with_the_student_and_is_gone_afterwards(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    student, seen = student_of(checkpoint), []
    measured = joint.masked_piece_error

    def noting(*arguments: torch.Tensor) -> torch.Tensor:
        seen.append(measured(*arguments))
        return seen[-1]

    monkeypatch.setattr(joint, "masked_piece_error", noting)
    said = Rows([np.zeros((len(TEXTS), 2), np.float32)])
    views = [LabelledView(student.tokenise(TEXTS), said, said, 1.0)]
    sizes: dict[str, Any] = {"distil_epochs": 120, "distil_batch_size": 4, "distil_learning_rate": 1e-2}
    config = AdaptConfig(precision="fp32", mlm_head=str(checkpoint), distil_frozen_layers=0, mask_fraction=0.5, **sizes)
    names = set(student.model.state_dict())
    with open_run(tmp_path / "run", {}) as run:
        distil_jointly(student, views, config, make_accelerator(config), run, None)
    errors = [step.detach().mean().item() for step in seen]
    assert np.mean(errors[-10:]) < 0.75 * np.mean(errors[:10])  # half of each text is masked: 0 is out of reach
    assert set(student.model.state_dict()) == names


def test_a_student_with_the_head_beside_it_is_the_plain_bundle_it_was(
    tiny_language_model: Path, teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None
):
    options: dict[str, Any] = {"student_layers": 1, "distil_epochs": 2, "precision": "fp32"}
    for name, more in (("plain", {}), ("language", {"mlm_head": str(tiny_language_model)})):
        adapt(teacher_bundle, target_file, tmp_path / name, **options | more)
    plain, language = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "language"))
    assert plain.keys() == language.keys()
    assert any(not torch.equal(plain[name], language[name]) for name in plain)
    assert str(tiny_language_model) not in (tmp_path / "language" / "distilshift.json").read_text()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (make_encoder, "has no head for masked language modelling: expected trained weights for it, got none for cls."),
        (
            lambda folder: make_language_model(folder, tie_word_embeddings=False),
            "has no head for masked language modelling: expected one whose last matrix is the embedding",
        ),
        (
            lambda folder: make_language_model(folder, hidden_size=16),
            r"does not fit the student.*got widths \(16, 16\) for \(32, 32\)",
        ),
        (
            lambda folder: make_language_model(folder, words=WORDS.replace("awful", "")),
            "does not fit the student.*got no word piece 'awful'",
        ),
        (lambda folder: folder, "got no such folder"),
    ],
    ids=["no head", "untied", "width", "words", "missing"],
)
def test_a_head_that_cannot_be_used_is_refused(tmp_path: Path, checkpoint: Path, make: Any, text: str):
    with pytest.raises(DistilshiftError, match=text):
        load_piece_head(str(make(tmp_path / "other")), student_of(checkpoint))


def test_it_is_refused_before_any_work(
    teacher_bundle: Path, target_file: Path, tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "read_texts", lambda *args: pytest.fail("the teacher was asked"))
    with pytest.raises(DistilshiftError, match=r"has no head for masked language modelling.*leave --mlm-head out"):
        adapt(teacher_bundle, target_file, tmp_path / "s", mlm_head=str(tiny_encoder), student_layers=1)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"student": "static"}, "a static student has no inner states.*got mlm_head"),
        ({"method": "dine"}, "mlm_head go with plain soft targets"),
        ({"distillation": "pkd"}, "mlm_head go with plain soft targets"),
    ],
)
def test_what_does_not_go_with_it(teacher_bundle: Path, target_file: Path, tmp_path: Path, options: Any, text: str):
    with pytest.raises(ConfigError, match=text):
        adapt(teacher_bundle, target_file, tmp_path / "s", mlm_head="any", **options)
