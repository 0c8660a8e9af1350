"""The table of what options belong to, held to what `adapt` reads of its options while it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from distilshift.config import AdaptConfig
from distilshift.config.rules import USES
from distilshift.pipeline import make_student

QUICK: dict[str, Any] = {"precision": "fp32", "student_layers": 1, "adapt_epochs": 2, "distil_epochs": 2, "spans": 1}
# Read though they are not used: the shares are checked before any work, and TENT replaces a plan's number of epochs.
CHECKED_ONLY = {("none", "target_prior"), ("tent", "adapt_epochs")}


class Watched(AdaptConfig):
    """Options that note which of them the stages read."""

    seen: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        reader = sys._getframe(1).f_globals.get("__name__", "")
        if name in USES and reader.startswith("distilshift.") and not reader.startswith("distilshift.config"):
            Watched.seen.add(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    "options",
    [
        *({"method": method} for method in ("none", "second-opinion", "tent", "shot-im", "shot", "nrc", "aad", "dine")),
        {"method": "none", "feedback": 0.5, "feedback_every": 1},
        {"method": "none", "masked_consistency": 1.0},
    ],
    ids=str,
)
def test_options_are_read_by_what_they_belong_to(
    options: dict[str, Any], teacher_bundle: Path, target_file: Path, tmp_path: Path, quick_export: None
):
    Watched.seen.clear()
    config = Watched(**QUICK | options)
    make_student(teacher_bundle, target_file, tmp_path / "s", config)
    checked = {name for name in USES if (config.method, name) in CHECKED_ONLY}
    assert Watched.seen - checked == {name for name, use in USES.items() if use.holds(config)} - checked
