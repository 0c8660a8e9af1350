"""Fixtures: the command line in this process, a tiny random BERT and texts with a signal, all made on the spot."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from texts import NEGATIVE, NEUTRAL, POSITIVE, make_texts

# Many small operations on shared machines: one thread is faster than two that wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts the tests in the background has SIGINT ignored, and so would the runs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Finished(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """A function that runs `distilshift ARGUMENTS` in this process."""
    from distilshift.cli.main import main

    def run(*arguments: str | Path) -> Finished:
        monkeypatch.setattr(sys, "argv", ["distilshift", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return Finished(int(stop.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer random BERT encoder (width 32) with a WordPiece tokenizer, as a Hugging Face folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "encoder"
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *POSITIVE, *NEGATIVE, *NEUTRAL[2:]])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", model_max_length=64, **special)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def source_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 labelled texts, JSONL."""
    path = tmp_path_factory.mktemp("data") / "source.jsonl"
    rows = [json.dumps({"text": text, "label": label}) for text, label in make_texts(200, 1)]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def target_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 unlabelled texts, a text a line."""
    path = tmp_path_factory.mktemp("data") / "target.txt"
    path.write_text("\n".join(text for text, _ in make_texts(120, 2)) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """The tiny encoder with a head for masked language modelling."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("tiny") / "language"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForMaskedLM(BertConfig.from_pretrained(tiny_encoder)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def teacher_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, source_file: Path) -> Path:
    """A teacher bundle of the tiny encoder, taught on `source_file`."""
    from distilshift import teach

    output = tmp_path_factory.mktemp("bundles") / "teacher"
    teach(
        source_file,
        output,
        base_model=str(tiny_encoder),
        epochs=8,
        learning_rate=6e-3,
        max_length=32,
        precision="fp32",
    )
    return output


@pytest.fixture(scope="session")
def student_bundle(tmp_path_factory: pytest.TempPathFactory, teacher_bundle: Path, target_file: Path) -> Path:
    """A one-layer student bundle, adapted to `target_file`."""
    from distilshift import adapt

    output = tmp_path_factory.mktemp("bundles") / "student"
    adapt(
        teacher_bundle,
        target_file,
        output,
        student_layers=1,
        distil_epochs=4,
        distil_learning_rate=1e-3,
        precision="fp32",
    )
    return output


@pytest.fixture(scope="session")
def static_bundle(tmp_path_factory: pytest.TempPathFactory, teacher_bundle: Path, target_file: Path) -> Path:
    """A static student bundle that reads 96 tokens, adapted to `target_file`."""
    from distilshift import adapt

    output = tmp_path_factory.mktemp("bundles") / "static"
    adapt(
        teacher_bundle,
        target_file,
        output,
        student="static",
        student_width=16,
        max_windows=3,
        distil_learning_rate=5e-3,
        precision="fp32",
    )
    return output
