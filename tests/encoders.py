"""Tiny random encoders of several families, saved as Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = (
    "good great fine love nice best bad awful poor hate worst sad book film pan was it plot handle very and this the"
)
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
# Ten times the usual spread of random weights: outputs differ from text to text without any training.
WIDE = 0.2
SIZES = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


class Family(NamedTuple):
    """How a family differs from BERT.

    Attributes:
        config: its config class in transformers.
        special: role to special piece, in the order of their ids.
        pair: the pieces and type ids around two texts.
        sizes: its own names of the sizes.
    """

    config: str
    special: dict[str, str]
    pair: str
    sizes: dict[str, int]


BERT_SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_SPECIAL = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "[UNK]", "mask": "<mask>"}
BERT_PAIR, ROBERTA_PAIR = "[CLS] $A [SEP] $B:1 [SEP]:1", "<s> $A </s> </s> $B </s>"
# These count positions from after the padding id.
OFFSET = ("mpnet", "roberta")
TOKEN_TYPES = ("bert", "electra")
FAMILIES = {
    "bert": Family("BertConfig", BERT_SPECIAL, BERT_PAIR, SIZES),
    "mpnet": Family("MPNetConfig", ROBERTA_SPECIAL, ROBERTA_PAIR, SIZES),
    "roberta": Family("RobertaConfig", ROBERTA_SPECIAL, ROBERTA_PAIR, SIZES | {"type_vocab_size": 1}),
    "electra": Family("ElectraConfig", BERT_SPECIAL, BERT_PAIR, SIZES | {"embedding_size": 16}),
    "distilbert": Family("DistilBertConfig", BERT_SPECIAL, BERT_PAIR, {"dim": 32, "n_heads": 2, "hidden_dim": 64}),
}


def make_tokenizer(family: str, words: str = WORDS, max_length: int = 64) -> Any:
    """A WordPiece tokenizer of these words and of letters, with the family's special pieces."""
    special = FAMILIES[family].special
    pieces = [*special.values(), *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    ids = {piece: index for index, piece in enumerate([*pieces, *(w for w in words.split() if w not in pieces)])}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=special["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special['cls']} $A {special['sep']}",
        pair=FAMILIES[family].pair,
        special_tokens=[(special[role], ids[special[role]]) for role in ("cls", "sep")],
    )
    named = {f"{role}_token": piece for role, piece in special.items()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **named)


def make_config(family: str, tokenizer: Any, layers: int, **options: Any) -> Any:
    """The config of a tiny model that fits a tokenizer."""
    values = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "max_position_embeddings": 66 if family in OFFSET else 64,
        ("n_layers" if family == "distilbert" else "num_hidden_layers"): layers,
    }
    return getattr(transformers, FAMILIES[family].config)(**FAMILIES[family].sizes | values | options)


def make_encoder(folder: Path, family: str = "bert", layers: int = 2, words: str = WORDS, seed: int = 0) -> Path:
    """An encoder without a head."""
    tokenizer = make_tokenizer(family, words)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = make_config(family, tokenizer, layers, initializer_range=WIDE)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_language_model(
    folder: Path, family: str = "bert", layers: int = 2, words: str = WORDS, **options: Any
) -> Path:
    """An encoder with a random head for masked language modelling, biases too."""
    tokenizer = make_tokenizer(family, words)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = make_config(family, tokenizer, layers, initializer_range=WIDE, **options)
        model = transformers.AutoModelForMaskedLM.from_config(config)
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(value)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_checkpoint(folder: Path, family: str = "bert", layers: int = 2, seed: int = 0, **options: Any) -> Path:
    """A classification checkpoint with a random head."""
    tokenizer = make_tokenizer(family)
    config = make_config(family, tokenizer, layers, initializer_range=WIDE, **options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
