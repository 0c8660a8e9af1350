"""`inspect`: what a bundle may have around it, what stays refused, and what Python and the command line say."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

import distilshift
from distilshift.bundle import MANIFEST
from distilshift.errors import BundleError, LeakError
from distilshift.predict import Predictor
from forged import make_student, make_teacher, reseal


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return make_student(tmp_path / "hub" / "student")


def write(name: str, content: bytes = b"x") -> Callable[[Path], Any]:
    def change(bundle: Path) -> None:
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(content)

    return change


HARMLESS = {
    "the hub's attributes": (write(".gitattributes"), ".gitattributes"),
    "a license": (write("LICENSE"), "LICENSE"),
    "a license as a text": (write("LICENSE.txt"), "LICENSE.txt"),
    "one of several licenses": (write("LICENSE-APACHE"), "LICENSE-APACHE"),
    "a table": (write("results.CSV"), "results.CSV"),
    "a Mac's folder view": (write(".DS_Store"), ".DS_Store"),
    "a picture": (write("figures.png"), "figures.png"),
    "notes": (write("onnx/notes.md"), "onnx/notes.md"),
    "the hub's metadata": (write(".cache/huggingface/download/config.json.metadata"), ".cache/"),
    "a version control system's folder": (write(".git/hooks/pre-commit.py"), ".git/"),
    "an empty folder": (lambda bundle: (bundle / "plots").mkdir(), "plots/"),
}


@pytest.mark.parametrize(("add", "name"), HARMLESS.values(), ids=HARMLESS)
def test_a_harmless_file_is_reported_and_not_fatal(student: Path, add: Callable, name: str, run_cli: Any):
    add(student)
    assert distilshift.inspect(student).unlisted == (name,)
    assert Predictor.load(student).predict(["good film"])
    done = run_cli("inspect", student)
    assert done.code == 0
    assert f"Not part of the bundle, and not loaded: {name}." in done.out
    with pytest.raises(LeakError, match="which the manifest does not list"):
        distilshift.inspect(student, strict=True)


LOADABLE = [
    *("model.safetensors.old", "more.safetensors", "onnx/other.onnx", "onnx/model.onnx_data", "onnx/model.onnx_data_1"),
    *("pytorch_model.bin", "model.pt", "a.PKL", "modeling.py", "tokenizer.model", "vocab.txt", "merges.txt", "a.txt"),
    *("generation_config.json", "onnx/config.json", "adapter_config.json", "chat_template.jinja", "tf_model.h5"),
    *("flax_model.msgpack", "weights.gguf", "onnx/model.ort", "a.npz", "lib.so", "a.tiktoken", "weights.data"),
    *(
        "rust_model.ot",
        "model.xml",
        "openvino_model.xml",
        "source.spm",
        "model.params",
        "model.t7",
        "weights.new_format",
    ),
    *("model.ckpt-1000.index", "model.ckpt-1000.data-00000-of-00001", "a.mlpackage/Manifest.json", "checkpoint"),
    *(".a.safetensors", "license.model", "readme.json"),
]


@pytest.mark.parametrize("name", LOADABLE)
def test_a_file_that_could_be_loaded_stays_refused(student: Path, name: str):
    distilshift.inspect(student)
    write(name)(student)
    with pytest.raises(BundleError, match=r"does not belong to the bundle: got a file that (a loader|could run)"):
        distilshift.inspect(student)


@pytest.mark.parametrize("name", ["notes.md", "LICENSE", "figure.png"])
def test_a_pickle_under_any_name_stays_refused(student: Path, name: str):
    write(name, pickle.dumps([1]))(student)
    with pytest.raises(BundleError, match="got a pickle"):
        distilshift.inspect(student)


def test_an_edited_card_is_reported_and_not_fatal(student: Path, run_cli: Any):
    (student / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    found = distilshift.inspect(student)
    assert found.edited == ("README.md",)
    assert Predictor.load(student).predict(["good film"])
    done = run_cli("inspect", student)
    assert done.code == 0
    assert "Edited since the bundle was made: README.md." in done.out
    assert "all hashes match but that of README.md" in " ".join(done.out.split())


def test_an_edited_card_is_still_looked_at(student: Path):
    (student / "README.md").write_bytes(pickle.dumps([1]))
    with pytest.raises(BundleError, match="got a pickle"):
        distilshift.inspect(student)


def as_snapshot(bundle: Path) -> Path:
    """The bundle as huggingface_hub caches it: each file a link to a blob."""
    repository = bundle.parent / "models--me--student"
    snapshot = repository / "snapshots" / "0123abc"
    (repository / "blobs").mkdir(parents=True)
    for index, path in enumerate(sorted(p for p in bundle.rglob("*") if p.is_file())):
        blob = repository / "blobs" / f"{index:040x}"
        shutil.copy(path, blob)
        link = snapshot / path.relative_to(bundle)
        link.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (len(path.relative_to(bundle).parts) + 1)
        link.symlink_to(f"{up}blobs/{blob.name}")
    return snapshot


def test_a_snapshot_of_the_hubs_cache_is_no_damage(student: Path, tmp_path: Path):
    write(".gitattributes")(student)
    snapshot = as_snapshot(student)
    assert (snapshot / "onnx" / "model.onnx").is_symlink()
    (tmp_path / "latest").symlink_to(snapshot)
    for folder in (snapshot, tmp_path / "latest"):
        assert distilshift.inspect(folder).unlisted == (".gitattributes",)
        assert Predictor.load(folder).predict(["good film"])


def change_blob(snapshot: Path) -> None:
    (snapshot / "config.json").resolve().write_text("{}")


def link_out(snapshot: Path, name: str = "tokenizer.json", target: str = "secret") -> None:
    (snapshot.parents[2] / "secret").write_bytes((snapshot / name).read_bytes())
    (snapshot / name).unlink()
    (snapshot / name).symlink_to(snapshot.parents[2] / target)


def card_out(snapshot: Path) -> None:
    link_out(snapshot, "README.md")


def blobs_elsewhere(snapshot: Path) -> None:
    """`blobs` itself leads out."""
    blobs = snapshot.parents[1] / "blobs"
    blobs.rename(snapshot.parents[2] / "private")
    blobs.symlink_to(snapshot.parents[2] / "private")


def folder_out(snapshot: Path) -> None:
    (snapshot / "onnx").rename(snapshot.parents[2] / "onnx")
    (snapshot / "onnx").symlink_to(snapshot.parents[2] / "onnx")


def extra_link(snapshot: Path) -> None:
    (snapshot.parents[2] / "secret").write_text("x")
    (snapshot / "notes.md").symlink_to(snapshot.parents[2] / "secret")


@pytest.mark.parametrize("trick", [change_blob, link_out, card_out, blobs_elsewhere, folder_out, extra_link])
def test_links_do_not_defeat_the_checks(student: Path, trick: Callable[[Path], None]):
    snapshot = as_snapshot(student)
    distilshift.inspect(snapshot)
    trick(snapshot)
    with pytest.raises(BundleError, match=r"is damaged or edited|does not belong to the bundle: got a link"):
        distilshift.inspect(snapshot)


def test_links_out_of_a_folder_that_is_no_snapshot_are_refused(student: Path):
    snapshot = as_snapshot(student)
    other = snapshot.parent.rename(snapshot.parents[1] / "copies") / snapshot.name
    with pytest.raises(BundleError, match="it leads out of the bundle"):
        distilshift.inspect(other)


def test_the_result_is_frozen_and_says_what_is_there(tmp_path: Path):
    teacher = make_teacher(tmp_path / "teacher")
    found = distilshift.inspect(str(teacher), strict=True)
    assert (found.kind, found.strict, found.unlisted, found.edited) == ("teacher", True, (), ())
    assert {file.name: file.sha256 for file in found.files} == found.manifest.files
    assert all(file.size_bytes == (teacher / file.name).stat().st_size for file in found.files)
    assert not distilshift.inspect(teacher).strict
    with pytest.raises(FrozenInstanceError):
        found.strict = False  # type: ignore[misc]


def test_the_command_line_says_that_the_strict_check_passed(tmp_path: Path, run_cli: Any):
    teacher = make_teacher(tmp_path / "teacher")
    assert "Strict check passed" in run_cli("inspect", teacher, "--strict").out
    assert "Strict" not in run_cli("inspect", teacher).out
    done = run_cli("inspect", teacher, "--strict", "--json")
    assert json.loads(done.out)["kind"] == "teacher"  # nothing but the manifest
    assert "Strict check passed" in done.err


def test_a_listed_file_keeps_its_hash_whatever_is_unlisted(student: Path):
    write("LICENSE")(student)
    reseal(student)
    assert "LICENSE" in json.loads((student / MANIFEST).read_text())["files"]
    with pytest.raises(BundleError, match="LICENSE, a kind of file that no bundle holds"):
        distilshift.inspect(student)
