"""Errors that need an odd machine, or a file that only breaks late: provoked one by one."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from distilshift import bundle as bundles
from distilshift import demo_data, encoder_checks, packages_fetch, packages_onnx, teach
from distilshift.bench.data import data_folder, load_domain
from distilshift.bundle import read_manifest
from distilshift.cli import predict_
from distilshift.cli.launch import launched
from distilshift.cli.main import _report
from distilshift.errors import (
    BundleError,
    ConfigError,
    DataError,
    MissingExtraError,
    ModelError,
    OutputError,
)
from distilshift.predict import Predictor
from distilshift.stage import seconds_setting
from forged import edit_json, edit_onnx, make_student, reseal


def test_what_no_stage_knows_is_one_line_too(capsys: pytest.CaptureFixture[str]):
    missing = ModuleNotFoundError("No module named 'torch'", name="torch")
    for error, said in (
        (OSError(36, "File name too long", "aaa"), "the system refuses aaa: got File name too long"),
        (OSError("no number"), "the system refuses a file or stream: got no number"),
        (UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "no"), "cannot be encoded: got '\\udce9' for utf-8"),
        (missing, "this verb needs torch: got an install without it. Fix: pip install"),
    ):
        assert _report(error) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "a", "label": "x", "split": "train"}], "has no rows of split test"),
        ([{"text": "a", "split": "train"}], "line 1, is not usable"),
        ([["text"]], "line 1, is not usable"),
    ],
)
def test_a_domain_that_lacks_something_is_named(tmp_path: Path, rows: list[Any], said: str):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    with pytest.raises(DataError, match=said):
        load_domain(tmp_path, "a")


@pytest.mark.parametrize(
    "data",
    [
        b"no gzip",
        gzip.compress(b"{no json", mtime=0),
        gzip.compress(b"\xff", mtime=0),
        gzip.compress(b"{}" * 99, mtime=0)[:-9],
    ],
)
def test_a_damaged_domain_is_named(tmp_path: Path, data: bytes):
    (tmp_path / "a.jsonl.gz").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.jsonl\.gz cannot be read"):
        load_domain(tmp_path, "a")


def test_without_a_folder_of_domains_there_is_a_way_to_name_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DISTILSHIFT_DATA", raising=False)
    with pytest.raises(ConfigError, match="no folder of domains is named"):
        data_folder(None)


def test_a_report_without_results_is_refused(run_cli: Any, tmp_path: Path):
    done = run_cli("bench", "report", "--results", tmp_path / "none")
    assert done.code == 2
    assert "none is no folder. Fix: pass --results" in done.err


def test_several_processes_cannot_share_standard_input(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="several processes cannot share standard input"):
        launched(2, "-")


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_a_setting_that_is_no_duration_is_refused(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("DISTILSHIFT_CHECKPOINT_SECONDS", text)
    with pytest.raises(ConfigError, match="DISTILSHIFT_CHECKPOINT_SECONDS is unusable"):
        seconds_setting("DISTILSHIFT_CHECKPOINT_SECONDS", 60.0)


def test_predicting_from_nothing_is_refused(run_cli: Any, student_bundle: Path, tmp_path: Path):
    (tmp_path / "a.txt").write_text("")
    assert "the file is empty" in run_cli("predict", student_bundle, tmp_path / "a.txt").err
    assert "the text is not UTF-8" in run_cli("predict", student_bundle, "caf\udce9 au lait").err


def test_a_closed_standard_output_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", None)
    with (
        pytest.raises(OutputError, match="standard output: got it is closed"),
        predict_._writer(None, None, [], False, False),
    ):
        pass


def test_an_archive_without_its_file_is_named():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("other"))
    with pytest.raises(DataError, match="a VADER archive is not what it should be"):
        demo_data._tar_member(packed.getvalue(), "wanted")


def test_validation_labels_that_training_lacks_are_named(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,label\n" + "good,x\nbad,y\n" * 4)
    (tmp_path / "v.csv").write_text("text,label\ngood,x\nbad,z\n")
    with pytest.raises(DataError, match=r"v\.csv has labels that .* lacks: got z"):
        teach(tmp_path / "a.csv", tmp_path / "t", validation=str(tmp_path / "v.csv"))
    assert not (tmp_path / "t").exists()


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = make_student(tmp_path / "s")

    def broken(*arguments: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(bundles, "read_object", broken)
    with pytest.raises(BundleError, match=r"damaged or edited: got .*Input/output error"):
        read_manifest(folder)


def test_a_manifest_without_a_part_of_its_statistics_is_named(tmp_path: Path):
    folder = make_student(tmp_path / "s")
    reseal(folder, statistics={"later": 1})
    with pytest.raises(BundleError, match=r"distilshift\.json is damaged or edited"):
        read_manifest(folder)


def test_a_network_with_other_inputs_is_refused(tmp_path: Path):
    folder = make_student(tmp_path / "s")

    def rename(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = model.graph.node[0].input[1] = "pixels"

    edit_onnx(rename)(folder)
    reseal(folder)
    with pytest.raises(BundleError, match="not a text classifier's network: got an input 'pixels'"):
        Predictor.load(folder)


def test_a_tokenizer_that_its_library_refuses_is_named(tmp_path: Path):
    folder = make_student(tmp_path / "s")
    edit_json("tokenizer.json", lambda content: content.update(truncation={"max_length": "many"}))(folder)
    reseal(folder)
    with pytest.raises(BundleError, match=r"tokenizer\.json does not load"):
        Predictor.load(folder)


def test_a_tokenizer_that_fails_on_a_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    predictor = Predictor.load(make_student(tmp_path / "s"))

    class Broken:
        def encode_batch(self, texts: Any, add_special_tokens: bool) -> Any:
            raise Exception("WordPiece error: Missing [UNK] token")

    monkeypatch.setattr(predictor._network._tokens, "_tokenizer", Broken())
    with pytest.raises(BundleError, match=r"the tokenizer fails on a text: got WordPiece error"):
        predictor.predict([("good", "bad")])  # a word may be known already, a pair is not


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(ModelError, match="'a' has no fast tokenizer"):
        encoder_checks.require_fit("a", None, SimpleNamespace(is_fast=False))


def test_a_graph_of_another_kind_is_not_converted():
    with pytest.raises(ModelError, match="the ONNX graph is not a BERT encoder: expected a parameter"):
        packages_onnx._bert_config({}, 2)


def test_converting_without_onnx_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="this encoder is converted from ONNX"):
        packages_onnx.convert_bert(tmp_path / "a.onnx", "", 2, tmp_path)


def test_without_a_home_the_cache_needs_a_place(monkeypatch: pytest.MonkeyPatch):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("DISTILSHIFT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(OutputError, match="no place for the cache"):
        packages_fetch.cache_folder()
