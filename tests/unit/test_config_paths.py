"""Paths in a foreign `tokenizer_config.json`: no file outside the model's folder becomes part of a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distilshift.errors import UnsafeError
from distilshift.scan.model_config import check_tokenizer_config


def written(folder: Path, **values: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({"tokenizer_class": "BertTokenizer"} | values))
    return path


@pytest.fixture
def private(tmp_path: Path) -> Path:
    (tmp_path / "private.txt").write_text("secret\n")
    return tmp_path / "private.txt"


@pytest.mark.parametrize("name", ["vocab", "merges", "vocab_file", "merges_file", "tokenizer_file", "source_spm"])
def test_a_path_of_an_existing_file_elsewhere_is_refused(tmp_path: Path, private: Path, name: str):
    with pytest.raises(UnsafeError, match=f"got {name} "):
        check_tokenizer_config(written(tmp_path / "model", **{name: str(private)}))


@pytest.mark.parametrize("path", ["../private.txt", "a/../../private.txt", "..\\private.txt"])
def test_a_path_that_leads_upwards_is_refused(tmp_path: Path, path: str):
    with pytest.raises(UnsafeError, match="got vocab_file"):
        check_tokenizer_config(written(tmp_path / "model", vocab_file=path))


def test_a_file_in_the_working_directory_is_refused(tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafeError, match=r"got vocab_file 'private\.txt'"):
        check_tokenizer_config(written(tmp_path / "model", vocab_file=private.name))


def test_a_path_that_does_not_exist_or_stays_in_the_folder_passes(tmp_path: Path):
    folder = tmp_path / "model"
    dead = {"tokenizer_file": "/no/such/.cache/blobs/abc", "spm_file": "x" * 5000, "vocab": None}
    path = written(folder, vocab_file=str(folder / "vocab.txt"), **dead)
    (folder / "vocab.txt").write_text("[UNK]\n")
    check_tokenizer_config(path)
