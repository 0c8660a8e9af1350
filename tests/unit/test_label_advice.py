"""Labels that are not a bundle's: the advice names the bundle's classes, and works when it is followed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from distilshift import evaluate
from distilshift.bundle import read_manifest
from distilshift.errors import DataError
from distilshift.types import Example

WORDS = ["good film", "bad book", "nice plot"]


def labelled(folder: Path, labels: list[str]) -> Path:
    path = folder / "labelled.csv"
    rows = [f"{WORDS[index % 3]} {index},{label}" for index, label in enumerate(labels * 3)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


def advised(bundle: Path, path: Path) -> str:
    """The value of --label-names that an error proposes."""
    with pytest.raises(DataError) as caught:
        evaluate(bundle, path)
    assert "class-" not in str(caught.value)
    assert "as-is" not in str(caught.value)  # with which no label would be the bundle's
    return shlex.split(re.search(r"--label-names ([^`]+)", str(caught.value.fix)).group(1))[0]  # type: ignore[union-attr]


@pytest.mark.parametrize("labels", [["0", "1"], ["1"], ["-1", "1"], ["1", "2"], ["4"]])
def test_numbers_are_named_by_the_bundles_classes(teacher_bundle: Path, tmp_path: Path, labels: list[str]):
    path = labelled(tmp_path, labels)
    names = advised(teacher_bundle, path)
    classes = read_manifest(teacher_bundle).label_names
    wanted = [classes[1]] if labels == ["1"] else classes[: len(labels)]
    assert names == ",".join(f"{label}={name}" for label, name in zip(labels, wanted, strict=True))
    assert evaluate(teacher_bundle, path, label_names=names).examples == 3 * len(labels)


def test_more_numbers_than_classes_get_no_guess(teacher_bundle: Path, tmp_path: Path):
    classes = ", ".join(read_manifest(teacher_bundle).label_names)
    with pytest.raises(DataError, match=rf"one of the bundle's classes \({classes}\) with --label-names"):
        evaluate(teacher_bundle, labelled(tmp_path, ["1", "2", "3"]))


def test_minus_one_beside_class_numbers_gets_no_class_of_the_bundle(teacher_bundle: Path, tmp_path: Path):
    path = labelled(tmp_path, ["-1", "0", "1"])
    names = advised(teacher_bundle, path)
    assert names == ",".join(
        f"{number}={name}" for number, name in enumerate(read_manifest(teacher_bundle).label_names)
    )
    assert evaluate(teacher_bundle, path, label_names=names, ignore_label=("-1",)).examples == 6


def test_labels_of_another_case_are_renamed_as_advised(teacher_bundle: Path, tmp_path: Path):
    classes = read_manifest(teacher_bundle).label_names
    path = labelled(tmp_path, [classes[0].upper(), classes[1]])
    names = advised(teacher_bundle, path)
    assert evaluate(teacher_bundle, path, label_names=names).examples == 6


def test_labels_that_are_like_none_get_the_form_alone(teacher_bundle: Path, tmp_path: Path):
    assert advised(teacher_bundle, labelled(tmp_path, ["joy", "anger"])) == "THEIRS=OURS,..."


@pytest.mark.parametrize("in_memory", [False, True])
def test_all_labels_without_a_name_are_told_at_once_and_the_bundles_own_need_none(
    teacher_bundle: Path, tmp_path: Path, in_memory: bool
):
    first, second = read_manifest(teacher_bundle).label_names
    labels = ["bad", second, "so so", "fine", "best"]
    path = labelled(tmp_path, labels)
    data = [Example(f"good film {index}", label=label) for index, label in enumerate(labels * 3)] if in_memory else path
    with pytest.raises(DataError, match=r"no name for a label: .*got 'best', 'fine', 'so so'. Fix: ") as caught:
        evaluate(teacher_bundle, data, label_names=f"bad={first}")
    (names,) = re.findall(r"`--label-names ([^`]+)`, or", str(caught.value.fix))
    assert shlex.split(names) == [f"bad={first},best=NAME,fine=NAME,so so=NAME"]
    (ignoring,) = re.findall(r"or `([^`]+)`", str(caught.value.fix))
    ignored = tuple(shlex.split(ignoring)[1::2])
    assert evaluate(teacher_bundle, data, label_names=f"bad={first}", ignore_label=ignored).examples == 6


def test_a_column_of_texts_for_labels_gets_no_endless_mapping(teacher_bundle: Path, tmp_path: Path):
    path = labelled(tmp_path, [f"words {index}" for index in range(200)])
    with pytest.raises(DataError, match="Fix: name another column with --label-column"):
        evaluate(teacher_bundle, path, label_names="0=negative,1=positive")
