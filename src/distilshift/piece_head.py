"""A head for masked language modelling: with it, a student learns the target's language beside its labels.

A classifier has none; the encoder that it began as may. The head is that encoder's own map from hidden states to the
space of the embedding, with a bias for each word piece; what it maps is held against the student's own embedding, to
which BERT-family checkpoints tie their last matrix. It is there while the student trains, and is then thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, AutoTokenizer

from distilshift.data.batch import TokenStore
from distilshift.encoder import Classifier, loading, locate
from distilshift.errors import ConfigError, ModelError
from distilshift.model_folder import require_model
from distilshift.scan.folder import check_checkpoint
from distilshift.vocabulary import used_rows

# What the families call the head's parts.
_PARTS = ("cls.", "lm_head.", "generator_", "vocab_")


class PieceHead(nn.Module):
    """Hidden states to logits of word pieces.

    Args:
        transform: hidden states (…, width) to the embedding's space, (…, embedding width).
        bias: of each row of the embedding.
    """

    def __init__(self, transform: nn.Module, bias: Tensor) -> None:
        super().__init__()
        self.transform, self.bias = transform, nn.Parameter(bias)

    def forward(self, states: Tensor, embedding: Tensor) -> Tensor:
        """(tokens, width) and (rows, embedding width) to (tokens, rows)."""
        return self.transform(states) @ embedding.T + self.bias


def load_piece_head(name: str, student: Classifier) -> PieceHead:
    """The head of a checkpoint, its bias in the order of the student's pieces.

    Args:
        name: of the encoder that the student, or the teacher that it is cut from, began as; see `teach --base-model`.
        student: whose pieces, a part of the encoder's, and whose width it must fit.

    Raises:
        ModelError: the checkpoint cannot be loaded, or has no head that can be used.
        ConfigError: it is not of the student's encoder.
        UnsafeError: a file of a local folder could harm whoever loads it.
    """
    source = locate(name)
    require_model(source, "encoder")
    if Path(source).is_dir():
        check_checkpoint(Path(source))
    with loading(name):
        model, report = AutoModelForMaskedLM.from_pretrained(
            source, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
        pieces = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False).get_vocab()
    decoder, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    _require_trained(name, report["missing_keys"])
    if decoder is None or decoder.weight is not embedding.weight:
        raise _no_head(name, "one whose last matrix is the embedding", "a matrix of its own")
    _require_fit(name, student, pieces, (model.config.hidden_size, embedding.embedding_dim))
    return PieceHead(_transform(model), decoder.bias.detach()[_rows(student, pieces)])


def _transform(model: Any) -> nn.Module:
    """The map of a masked language model, without its last matrix."""
    if hasattr(model, "cls"):  # BERT
        return model.cls.predictions.transform
    if hasattr(model, "lm_head"):  # RoBERTa, MPNet
        return nn.Sequential(model.lm_head.dense, nn.GELU(), model.lm_head.layer_norm)
    if hasattr(model, "generator_predictions"):  # ELECTRA
        return model.generator_predictions
    return nn.Sequential(model.vocab_transform, model.activation, model.vocab_layer_norm)  # DistilBERT


def _require_trained(name: str, missing: Sequence[str]) -> None:
    if parts := [key for key in missing if key.startswith(_PARTS)]:
        raise _no_head(name, "trained weights for it", f"none for {', '.join(sorted(parts)[:3])}")


def _no_head(name: str, expected: str, got: str) -> ModelError:
    return ModelError(
        f"{name!r} has no head for masked language modelling",
        expected=expected,
        got=got,
        fix="leave --mlm-head out, or name a checkpoint that has one",
    )


def _require_fit(name: str, student: Classifier, pieces: dict[str, int], widths: tuple[int, int]) -> None:
    own = (student.model.config.hidden_size, student.model.get_input_embeddings().embedding_dim)
    unknown = sorted(student.tokenizer.get_vocab().keys() - pieces.keys())
    if own == widths and not unknown:
        return
    got = f"widths {widths} for {own}" if own != widths else f"no word piece {unknown[0]!r}"
    raise ConfigError(
        f"the head of {name!r} does not fit the student",
        expected="the encoder that the student, or the teacher it is cut from, began as",
        got=got,
        fix="name that encoder as --mlm-head",
    )


def _rows(student: Classifier, pieces: dict[str, int]) -> Tensor:
    """Where each row of the student's embedding is in the encoder's; a row without a piece takes the padding's."""
    rows = torch.full((student.model.get_input_embeddings().num_embeddings,), pieces[student.tokenizer.pad_token])
    for piece, row in student.tokenizer.get_vocab().items():
        rows[row] = pieces[piece]
    return rows


@contextmanager
def piece_head(student: Classifier, name: str | None, stores: Sequence[TokenStore]) -> Iterator[PieceHead | None]:
    """Inside the block, the student's model has the head as a part of it, which learns and is saved with it.

    Args:
        student: with its whole embedding.
        name: see `load_piece_head`; None: no head.
        stores: texts that the embedding will be cut down to (`vocabulary.used_rows_only`), and the head with it.
    """
    if name is None:
        yield None
        return
    model, head = student.model, load_piece_head(name, student)
    head.bias = nn.Parameter(head.bias.detach()[used_rows(len(head.bias), stores)])
    model.add_module("piece_head", head.to(model.device))
    try:
        yield head
    finally:
        del model.piece_head
