"""A corpus is gone through again and again, and is the same each time or says that it is not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilshift.config import AdaptConfig
from distilshift.data.corpus import open_corpus
from distilshift.errors import DataError
from distilshift.types import Example

CONFIG = AdaptConfig()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("one\ntwo\nthree\nfour\n")
    return path


def test_a_file_and_its_texts_are_the_same_corpus(file: Path):
    from_file, from_list = open_corpus(file, CONFIG), open_corpus(["one", "two", "three", "four"], CONFIG)
    assert len(from_file) == len(from_list) == 4
    assert from_file.sha256 == from_list.sha256
    for _ in range(2):
        assert [example.text for example in from_file] == ["one", "two", "three", "four"]


def test_labels_are_dropped_and_do_not_matter():
    labelled = open_corpus([Example("a", label="x"), Example("b", label="y")], CONFIG)
    assert labelled.sha256 == open_corpus(["a", "b"], CONFIG).sha256
    assert [example.label for example in labelled] == [None, None]


def test_pairs_differ_from_texts_and_order_matters():
    hashes = {
        open_corpus(texts, CONFIG).sha256
        for texts in (["a", "b"], ["b", "a"], ["a"], [Example("a", "b")], [Example("ab"), Example("c")])
    }
    assert len(hashes) == 5


@pytest.mark.parametrize(("change", "got"), [("one\ntwo\n", "2 texts"), ("one\ntwo\nthree\nfive\n", "other texts")])
def test_a_file_that_changes_in_use_is_named(file: Path, change: str, got: str):
    corpus = open_corpus(file, CONFIG)
    file.write_text(change)
    with pytest.raises(DataError, match=rf"texts.txt changed while it was in use.*{got}"):
        list(corpus)


@pytest.mark.parametrize("texts", [None, 5, True])
def test_what_is_neither_a_file_nor_texts_is_refused(texts: Any):
    with pytest.raises(DataError, match="a list of examples"):
        open_corpus(texts, CONFIG)


def test_an_empty_file_is_refused_for_its_own_reason(tmp_path: Path):
    empty = tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(DataError, match="the file is empty"):
        open_corpus(empty, CONFIG)


def test_bad_rows_are_reported_once_however_often_it_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "texts.csv"
    path.write_text('text,x\none,1\n" ",2\ntwo,3\n')
    with caplog.at_level(logging.WARNING, "distilshift"):
        corpus = open_corpus(path, AdaptConfig(skip_bad=True))
        assert [example.text for example in corpus] == [example.text for example in corpus] == ["one", "two"]
    assert len(caplog.records) == 1


def test_texts_are_found_by_index_in_the_order_asked_for(file: Path):
    assert [example.text for example in open_corpus(file, CONFIG).at(np.array([3, 0, 3]))] == ["four", "one", "four"]


def test_a_part_is_a_corpus_of_its_own(file: Path):
    part = open_corpus(file, CONFIG).only(np.array([True, False, False, True]))
    assert [example.text for example in part] == [example.text for example in part] == ["one", "four"]
    assert part.sha256 == open_corpus(["one", "four"], CONFIG).sha256
