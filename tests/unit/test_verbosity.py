"""How much a command prints: -q and -v before and after the verb, and progress bars on a terminal."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import distilshift
from distilshift import progress
from distilshift.cli.main import VERBS
from distilshift.progress import HIDDEN


@pytest.fixture(autouse=True)
def visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HIDDEN, "0")  # put back as it was after the test


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list of what a terminal would show of bars."""
    shown: list[str] = []
    monkeypatch.setattr(Console, "is_terminal", property(lambda self: True))
    monkeypatch.setattr(progress.Progress, "add_task", lambda self, name, **options: shown.append(name) or 0)
    monkeypatch.setattr(progress.Progress, "update", lambda self, task, **values: None)
    return shown


def run_stage() -> None:
    with progress.stage("reading", 2) as advance:
        advance(2)


def test_progress_bars_can_be_switched_off_and_on_again(terminal: list[str]):
    run_stage()
    distilshift.disable_progress_bars()
    run_stage()
    assert terminal == ["reading"]
    distilshift.enable_progress_bars()
    run_stage()
    assert terminal == ["reading", "reading"]


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
@pytest.mark.parametrize("first", [True, False])
def test_quiet_hides_progress_wherever_it_stands(
    run_cli: Any, student_bundle: Path, terminal: list[str], flag: str, first: bool
):
    words = ["predict", student_bundle, "a good film"]
    done = run_cli(*([flag, *words] if first else [*words, flag]))
    assert (done.code, done.err) == (0, "")
    assert '"label"' in done.out
    run_stage()
    assert terminal == []
    assert not logging.getLogger("distilshift").isEnabledFor(logging.INFO)
    assert run_cli(*words).code == 0
    assert logging.getLogger("distilshift").isEnabledFor(logging.INFO)


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
@pytest.mark.parametrize("verb", [["inspect"], ["predict"], ["bench", "report", "--results"]])
def test_verbose_may_follow_the_verb(run_cli: Any, caplog: pytest.LogCaptureFixture, verb: list[str], flag: str):
    missing = [*verb, "/no/such/place", *(["a text"] if verb == ["predict"] else [])]
    assert run_cli(*missing).code == 2
    assert "Traceback" not in caplog.text
    assert run_cli(*missing, flag).code == 2
    assert "Traceback of the error" in caplog.text


def test_a_text_that_looks_like_the_option_is_none(
    run_cli: Any, student_bundle: Path, caplog: pytest.LogCaptureFixture
):
    assert run_cli("predict", "/no/such/bundle", "--", "-v").code == 2
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_lists_both(run_cli: Any, verb: str):
    words = [verb, "run"] if verb == "bench" else [verb]
    shown = run_cli(*words, "--help").out
    assert "--quiet" in shown
    assert "--verbose" in shown


@pytest.mark.parametrize(
    ("typed", "meant"), [("predit", "predict"), ("Teach", "teach"), ("evalute", "evaluate"), ("insepct", "inspect")]
)
def test_a_mistyped_verb_is_told_what_it_may_mean(run_cli: Any, typed: str, meant: str):
    done = run_cli(typed, "x")
    assert (done.code, done.out) == (2, "")
    assert f"Did you mean '{meant}'?" in done.err
    assert "Did you mean" not in run_cli("xyz").err
