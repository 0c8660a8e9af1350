"""A static student: a vector a word piece, their mean over the text, and a small head, learnt by distillation.

Expressed exactly as a BERT of one narrow layer, so that every loader runs it. Queries and keys are zero, so that
attention is the mean over the real tokens; the feed-forward part, positions and token types are zero. What `[CLS]`
holds is then the mean of a vector a piece, and a constant. `static_graph` writes that much and no more for the device.

Vectors start as what the teacher's encoder says of each piece alone, beside its embedding, reduced by principal
components: model2vec's idea (https://github.com/MinishLab/model2vec), here with the teacher's adapted encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from distilshift import progress
from distilshift.encoder import Classifier, position_limit
from distilshift.errors import ModelError

STATIC = "static"
PIECES_A_PASS = 512
# Under it, LayerNorm is nearly linear for small vectors: a piece may weigh less than another, and a mean of pieces that
# agree more than one of pieces that do not. With BERT's own 1e-12 all pieces have the same length.
NORM_EPSILON = 1.0
# The standard deviation of the first vectors' numbers, where LayerNorm with this epsilon is still nearly linear.
SPREAD = 0.5


def static_length(max_length: int, max_windows: int) -> int:
    """Tokens that a static student reads in one go: as many as another does in windows, since a mean has no end."""
    return max_length * max_windows


def static_student(teacher: Classifier, width: int, max_length: int) -> Classifier:
    """An untrained static student with the teacher's classes and tokenizer.

    Args:
        teacher: on any device; whose encoder gives the first vectors.
        width: numbers a piece.
        max_length: tokens of a text that it shall see.

    Raises:
        ModelError: texts do not begin with the same token, which a static student relies on.
    """
    student = static_shape(teacher, width, max_length)
    vectors = principal_components(piece_features(teacher), width)
    with torch.no_grad():
        student.model.get_input_embeddings().weight.copy_(SPREAD * vectors)
    return student


def static_shape(teacher: Classifier, width: int, max_length: int) -> Classifier:
    """As `static_student`, with vectors that say nothing: to see whether there can be one."""
    first_token(teacher)
    model = BertForSequenceClassification(_config(teacher, width, max_length)).eval()
    with torch.no_grad():
        _make_static(model)
    return Classifier(model, teacher.tokenizer, max_length)


def _config(teacher: Classifier, width: int, max_length: int) -> BertConfig:
    names = dict(enumerate(teacher.label_names))
    return BertConfig(
        vocab_size=teacher.model.get_input_embeddings().num_embeddings,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=1,
        # Loaders of Hugging Face cut at what the teacher's tokenizer allows, which may be more than it saw.
        max_position_embeddings=max(max_length, position_limit(teacher.model)),
        layer_norm_eps=NORM_EPSILON,
        attention_probs_dropout_prob=0.0,
        pad_token_id=teacher.tokenizer.pad_token_id,
        id2label=names,
        label2id={name: index for index, name in names.items()},
        problem_type="single_label_classification",
    )


def _make_static(model: Any) -> None:
    """Zero what a static student does without, and freeze it: a gradient would bring it back."""
    layer = model.bert.encoder.layer[0]
    attention = layer.attention.self
    nn.init.eye_(attention.value.weight)
    nn.init.eye_(layer.attention.output.dense.weight)
    nn.init.zeros_(attention.value.bias)
    for part in _unused(model):
        for parameter in part.parameters():
            nn.init.zeros_(parameter)
    # One map after the mean is enough: two in a row say no more.
    for part in (*_unused(model), attention.value):
        part.requires_grad_(False)


def _unused(model: Any) -> list[nn.Module]:
    layer, embeddings = model.bert.encoder.layer[0], model.bert.embeddings
    attention = layer.attention.self
    tables = [embeddings.position_embeddings, embeddings.token_type_embeddings]
    return [attention.query, attention.key, layer.intermediate.dense, layer.output.dense, *tables]


def windows_read(model: Any, max_windows: int) -> int:
    """In how many windows a student reads a text at the most; a static one sees all of it at once."""
    return 1 if is_static(model) else max_windows


def is_static(model: Any) -> bool:
    """Whether a model computes no more than a static student does, so that `static_graph` can write it."""
    if model.config.model_type != "bert" or model.config.num_hidden_layers != 1:
        return False
    return not any(parameter.any() for part in _unused(model) for parameter in part.parameters())


@torch.no_grad()
def folded(classifier: Classifier) -> dict[str, NDArray[np.float32]]:
    """The constants of `static_graph`: every linear map before the mean is in the table.

    The table is centred, and its mean in the bias, so that few bits hold it well: weights of a mean sum to 1.

    Args:
        classifier: on the CPU, in evaluation mode; one of which `is_static` is true.
    """
    model = classifier.model
    embeddings, layer = model.bert.embeddings, model.bert.encoder.layer[0]
    value, output, dense = layer.attention.self.value, layer.attention.output, model.bert.pooler.dense
    rows = embeddings.LayerNorm(embeddings.word_embeddings.weight)
    table = (rows.double() @ value.weight.double().T @ output.dense.weight.double().T).float()
    centre = table.mean(dim=0)
    tensors = {
        "token_table": table - centre,
        "bias": output.dense(value.bias) + rows[first_token(classifier)] + centre,
        "inner_gain": output.LayerNorm.weight,
        "inner_shift": output.LayerNorm.bias,
        "outer_gain": layer.output.LayerNorm.weight,
        "outer_shift": layer.output.LayerNorm.bias,
        "pooler": dense.weight,
        "pooler_bias": dense.bias,
        "classifier": model.classifier.weight,
        "classifier_bias": model.classifier.bias,
    }
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def first_token(classifier: Classifier) -> int:
    """The id that every text begins with.

    Raises:
        ModelError: the tokenizer puts nothing before a text.
    """
    return _frame(classifier)[0][0]


def _frame(classifier: Classifier) -> tuple[list[int], list[int]]:
    """The ids before and after a text."""
    whole, bare = (classifier.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    starts = [at for at in range(1, len(whole)) if bare and whole[at : at + len(bare)] == bare]
    if not starts:
        raise ModelError(
            "the tokenizer puts no token before a text",
            expected="one such as [CLS], whose state is the text's",
            got=f"the ids {whole} for 'a'",
            fix="use another --student",
        )
    return whole[: starts[0]], whole[starts[0] + len(bare) :]


def piece_features(classifier: Classifier) -> Tensor:
    """What there is to know of each piece, (pieces, dimensions) float32: its state alone, and its embedding.

    Each with the same variance altogether, so that both count.
    """
    table = classifier.model.get_input_embeddings().weight.detach().float().cpu()
    return torch.cat([(rows - rows.mean(dim=0)) / rows.std() for rows in (piece_states(classifier), table)], dim=1)


def piece_states(classifier: Classifier) -> Tensor:
    """What an encoder says of each piece of its vocabulary alone, (pieces, width) float32 on the CPU.

    The mean of its last states over the piece and the special tokens around it.
    """
    model, (before, after) = classifier.model, _frame(classifier)
    table = model.get_input_embeddings()
    was_training = model.training
    model.eval()
    try:
        rows = []
        with torch.inference_mode(), progress.stage("teacher reads word pieces", table.num_embeddings) as advance:
            for ids in torch.arange(table.num_embeddings, device=table.weight.device).split(PIECES_A_PASS):
                rows.append(_states(model, ids, before, after))
                advance(len(ids))
    finally:
        model.train(was_training)
    return torch.cat(rows)


def _states(model: Any, ids: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    def repeated(special: Sequence[int]) -> Tensor:
        return ids.new_tensor(special).expand(len(ids), -1)

    framed = torch.cat([repeated(before), ids.unsqueeze(1), repeated(after)], dim=1)
    states = model.base_model(input_ids=framed, attention_mask=torch.ones_like(framed)).last_hidden_state
    return states.mean(dim=1).float().cpu()


def principal_components(rows: Tensor, width: int) -> Tensor:
    """Rows reduced to `width` numbers: centred, the directions of most variance, on a scale of 1 altogether.

    Args:
        rows: (pieces, dimensions) float32.
        width: at the most `dimensions` of them say something; what is beyond stays 0.

    Returns:
        (pieces, width) float32; the mean square of all numbers is 1.
    """
    centred = rows.double() - rows.double().mean(dim=0)
    directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :width]
    # The sign of an eigenvector is the library's whim: fixed, so that a run can be repeated elsewhere.
    strongest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    reduced = nn.functional.pad(centred @ (directions * strongest.sign()), (0, max(0, width - rows.shape[1])))
    return (reduced / reduced.square().mean().sqrt().clamp_min(1e-12)).float()
