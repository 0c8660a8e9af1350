"""Bundles: what was written is read back, and every damage is one line that says what to do."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilshift.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Manifest,
    Statistics,
    _digest,
    new_bundle,
    read_manifest,
    verify,
    write_manifest,
)
from distilshift.errors import BundleError
from distilshift.files import sha256_of

TEACHER = Manifest(
    kind="teacher",
    label_names=["negative", "positive", "gemischt, ähnlich"],
    base_model="tiny",
    max_length=32,
    seed=7,
    config={"epochs": 3, "learning_rate": 1e-4, "validation": None},
    versions={"distilshift": "0.1.0"},
    statistics=Statistics([0.2, 0.3, 0.5], [[1, 0, 0], [0, 2, 0], [0, 1, 3]], 0.857, 1.25),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with files of no use."""
    folder = tmp_path / "bundle"
    with new_bundle(folder, TEACHER) as new:
        (new / "onnx").mkdir()
        for name in ("vocab.txt", "merges.txt", "onnx/notes.txt"):
            (new / name).write_text(f"content of {name} " * 10)
    return folder


def opened(bundle: Path) -> Manifest:
    """Read and verify, as every verb does."""
    manifest = read_manifest(bundle, "teacher")
    verify(bundle, manifest)
    return manifest


def refusal(bundle: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        opened(bundle)
    error = caught.value
    assert len(str(error).splitlines()) == 1
    assert error.fix
    assert str(bundle) in str(error)
    return error


def test_a_bundle_is_read_as_it_was_written(bundle: Path):
    manifest = opened(bundle)
    assert replace(manifest, files={}) == TEACHER
    assert manifest.files == {name: sha256_of(bundle / name) for name in ("vocab.txt", "merges.txt", "onnx/notes.txt")}
    assert not list(bundle.parent.glob(".*"))


@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=2, unique=True),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=4),
    seed=st.none() | st.integers(0, 2**63),
)
@settings(max_examples=30, deadline=None)
def test_any_manifest_survives_the_round_trip(tmp_path_factory: Any, names: list[str], shares: Any, seed: int | None):
    shares, counts = (shares * len(names))[: len(names)], [[row] * len(names) for row in range(len(names))]
    statistics = Statistics(shares, counts, 0.1, 3.3)
    manifest = Manifest("teacher", names, "a/b", 8, seed=seed, statistics=statistics)
    folder = tmp_path_factory.mktemp("bundle")
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest


def test_statistics_of_another_age_are_read(tmp_path: Path):
    """Of an older bundle, which lacks some, and of a younger one, which has more."""
    write_manifest(tmp_path, TEACHER)
    content = json.loads((tmp_path / MANIFEST).read_text())
    for name in ("validation_confidence", "atc_threshold", "atc_thresholds"):
        assert content["statistics"].pop(name, "absent") is None
    content["statistics"]["skewness"] = 0.5
    del content["sha256"]
    (tmp_path / MANIFEST).write_text(json.dumps(content | {"sha256": _digest(content)}))
    assert read_manifest(tmp_path) == TEACHER


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((bundle / MANIFEST).read_text())
    change(content)
    (bundle / MANIFEST).write_text(json.dumps(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


def replace_by_link(path: Path) -> None:
    """The same bytes, but outside the bundle."""
    outside = path.rename(path.parents[1] / "outside")
    path.symlink_to(outside)


def link_folder_out(bundle: Path) -> None:
    outside = (bundle / "onnx").rename(bundle.parent / "outside")
    (bundle / "onnx").symlink_to(outside)


def add_link_to_a_folder(bundle: Path) -> None:
    (bundle.parent / "outside").mkdir()
    (bundle / "more").symlink_to(bundle.parent / "outside")


def nest(bundle: Path) -> None:
    (bundle / MANIFEST).write_text('{"schema_version": 1, "a": ' + "[" * 100_000 + "]" * 100_000 + "}")


def list_parent(bundle: Path) -> None:
    (bundle.parent / "secret").write_text("x")

    def escape(content: dict[str, Any]) -> None:
        content["files"]["../secret"] = sha256_of(bundle.parent / "secret")
        content["sha256"] = _digest(content)

    rewrite(bundle, escape)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated manifest": (lambda b: cut(b / MANIFEST), r"distilshift.json is damaged or edited: got .*line \d+"),
    "empty manifest": (lambda b: (b / MANIFEST).write_text(""), "is damaged or edited: got Expecting value"),
    "binary manifest": (lambda b: (b / MANIFEST).write_bytes(b"\xff\xfe\x00"), "is damaged or edited: got .*decode"),
    "manifest is a list": (lambda b: (b / MANIFEST).write_text("[1]"), "not a JSON object"),
    "deeply nested manifest": (nest, "is damaged or edited: got .*recursion"),
    "huge manifest": (lambda b: (b / MANIFEST).write_text(" " * (MAX_MANIFEST_BYTES + 1)), "over 4194304 bytes"),
    "edited label": (lambda b: rewrite(b, lambda c: c["label_names"].reverse()), "its sha256 does not match"),
    "edited hash": (lambda b: rewrite(b, lambda c: c["files"].popitem()), "its sha256 does not match"),
    "digest removed": (lambda b: rewrite(b, lambda c: c.pop("sha256")), "its sha256 does not match"),
    "newer schema": (lambda b: rewrite(b, lambda c: c.update(schema_version=2)), "expected schema_version 1, got 2"),
    "no schema": (lambda b: rewrite(b, lambda c: c.pop("schema_version")), "expected schema_version 1, got None"),
    "student": (lambda b: write_manifest(b, replace(TEACHER, kind="student")), "expected a teacher, got a student"),
    "no manifest": (lambda b: (b / MANIFEST).unlink(), "is not a bundle: expected a folder with .*, got none"),
    "manifest is a folder": (lambda b: ((b / MANIFEST).unlink(), (b / MANIFEST).mkdir()), "is not a bundle"),
    "no folder": (lambda b: b.rename(b.with_name("moved")), "is not a bundle: .* got no such folder"),
    "truncated file": (lambda b: cut(b / "onnx/notes.txt"), r"onnx/notes.txt is damaged or edited: got its sha256"),
    "edited file": (lambda b: flip_bit(b / "merges.txt"), "merges.txt is damaged or edited: got its sha"),
    "missing file": (lambda b: (b / "vocab.txt").unlink(), "vocab.txt is damaged or edited: got it is missing"),
    "file is a folder": (lambda b: ((b / "vocab.txt").unlink(), (b / "vocab.txt").mkdir()), "it is missing"),
    "added file": (lambda b: (b / "more.json").write_text("x"), "more.json does not belong to the bundle"),
    "added file below": (lambda b: (b / "onnx/a.json").write_text("x"), "onnx/a.json does not belong to the bundle"),
    "added pickle": (
        lambda b: (b / "pytorch_model.bin").write_bytes(pickle.dumps([1])),
        "pytorch_model.bin does not belong to the bundle: got a file that could run code. Fix: remove it",
    ),
    "added code": (lambda b: (b / "modeling.py").write_text("print()"), "could run code"),
    "added link": (lambda b: (b / "a").symlink_to("/etc/hostname"), "a does not belong to the bundle: got a link"),
    "added link to a folder": (add_link_to_a_folder, "more does not belong to the bundle"),
    "link out": (lambda b: replace_by_link(b / "vocab.txt"), "vocab.txt is .*: got it leads out of the bundle"),
    "folder link out": (link_folder_out, "onnx/notes.txt is .*: got it leads out of the bundle"),
    "link to itself": (
        lambda b: ((b / "vocab.txt").unlink(), (b / "vocab.txt").symlink_to("vocab.txt")),
        "vocab.txt is damaged or edited",
    ),
    "path out": (list_parent, "refused before it is loaded: expected plain names .*, got a file named '../secret'"),
}


@pytest.mark.parametrize(("damage", "text"), DAMAGES.values(), ids=DAMAGES)
def test_every_damage_is_refused_in_one_line(bundle: Path, damage: Callable[[Path], Any], text: str):
    opened(bundle)  # whole until now
    damage(bundle)
    assert re.search(text, str(refusal(bundle)))


def test_every_depth_of_nesting_is_refused_or_read(tmp_path: Path):
    """Reading and hashing each have a limit of their own; neither may end in a traceback."""
    outcomes = set()
    for depth in [*range(1, 900, 100), *range(900, 1000), 2000]:
        (tmp_path / MANIFEST).write_text('{"schema_version": 1, "a": ' + "[" * depth + "]" * depth + "}")
        with pytest.raises(BundleError) as caught:
            read_manifest(tmp_path)
        outcomes.add("recursion" in str(caught.value))
    assert outcomes == {True, False}


def test_only_the_named_files_are_checked_for_a_fast_start(bundle: Path):
    manifest = read_manifest(bundle)
    flip_bit(bundle / "merges.txt")
    verify(bundle, manifest, only=("vocab.txt", "onnx/notes.txt"))
    with pytest.raises(BundleError, match=r"merges\.txt"):
        verify(bundle, manifest, only=("vocab.txt", "merges.txt"))
    with pytest.raises(BundleError, match=r"other\.json is damaged or edited: got the manifest does not list it"):
        verify(bundle, manifest, only=("other.json",))


def test_a_failed_bundle_leaves_nothing(tmp_path: Path):
    with pytest.raises(FileNotFoundError), new_bundle(tmp_path / "b", TEACHER) as new:
        (new / "no" / "such" / "folder").write_text("x")
    assert list(tmp_path.iterdir()) == []
