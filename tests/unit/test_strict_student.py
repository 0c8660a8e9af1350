"""`inspect --strict` accepts the sentences that distilshift writes into a student's bundle, and no more."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilshift.bundle import Statistics, read_manifest
from distilshift.card import student_card
from distilshift.errors import LeakError
from distilshift.estimates import no_estimate_reason
from distilshift.strict import require_strict
from distilshift.student_warnings import student_warnings
from distilshift.target_facts import Target
from forged import edit_json, reseal

KNOWN = Statistics([0.5, 0.5], [[40, 10], [10, 40]], 0.8, 1.0, validation_confidence=0.8)
LONG = [f"{'a very long name of a class, which its author calls ' * 3}{sign}"[-118:] for sign in "01"]
Change = Callable[..., Path]


@pytest.fixture
def changed(student_bundle: Path, tmp_path: Path) -> Change:
    """Return a function that makes a student with other class names and values in its manifest's `runtime`."""

    def change(names: list[str] | None = None, **runtime: Any) -> Path:
        bundle = tmp_path / "b"
        shutil.copytree(student_bundle, bundle)
        manifest = read_manifest(bundle)
        names = names or manifest.label_names
        labels = {"id2label": dict(enumerate(names)), "label2id": {name: at for at, name in enumerate(names)}}
        edit_json("config.json", lambda content: content.update(labels))(bundle)
        summary = (manifest.runtime or {}) | runtime
        summary["predicted_shares"] = dict.fromkeys(names, 0.5)
        manifest = dataclasses.replace(manifest, label_names=names, runtime=summary)
        (bundle / "README.md").write_text(student_card(manifest, summary), encoding="utf-8")
        reseal(bundle, label_names=names, runtime=summary)
        return bundle

    return change


def test_a_student_without_an_estimate_passes(changed: Change):
    reason = no_estimate_reason(KNOWN, 3)
    assert reason
    assert len(reason) > 120
    require_strict(changed(estimated_accuracy=None, estimated_accuracy_reason=reason))


def all_warnings(names: list[str]) -> list[str]:
    target = Target(3, unknown_share=0.5, unknown_kinds=("emoji and symbols", "MATHEMATICAL", "CJK"))
    never = dataclasses.replace(KNOWN, validation_confusion=[[0, 50], [0, 50]])
    summary = {
        "adaptation": "none",
        "int8": {"held_out": True},
        "teacher_agreement": 0.1,
        "predicted_shares": {names[0]: 0.0, names[1]: 1.0},
    }
    return student_warnings(summary, 1000, target, never)


def test_a_student_with_every_warning_passes_however_long_its_classes_names_are(changed: Change):
    warnings = all_warnings(LONG)
    assert len(warnings) == 6
    require_strict(changed(LONG, warnings=warnings))


@pytest.mark.parametrize(
    ("warnings", "text"),
    [
        (["I bought this kettle in May and it broke after a week. " * 8], "a string of 440 characters"),
        (["short"] * 13, "13 warnings"),
    ],
)
def test_texts_among_the_warnings_are_found(changed: Change, warnings: list[str], text: str):
    with pytest.raises(LeakError, match=text):
        require_strict(changed(warnings=warnings))
