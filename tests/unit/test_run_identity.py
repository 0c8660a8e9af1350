"""What makes two runs the same beside their options: distilshift's code, the versions, the device, the precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distilshift import adapt, front, output_cache, pareto, precision, stage_run, teach
from distilshift.config import TrainingConfig
from distilshift.encoder import load_classifier
from distilshift.errors import OutputError, RunError
from distilshift.output_cache import key_of
from distilshift.precision import make_accelerator, where_computed
from distilshift.run import RunDirectory, open_run
from distilshift.stage import PACKAGE, code_sha256, identity
from distilshift.types import Example
from encoders import make_checkpoint
from texts import make_texts

CODE = "code of distilshift"


class StopError(Exception):
    """Stands for whatever stops a run."""


def save_and_stop(run: RunDirectory) -> None:
    run.save("note", lambda file: file.write_text("x"))
    raise StopError


def interrupted(path: Path, key: dict[str, Any]) -> None:
    with pytest.raises(StopError), open_run(path, key) as run:
        save_and_stop(run)


def package(folder: Path) -> Path:
    for name in ("a.py", "data/b.py", "bench/c.py", "cli/d.py", "data/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1")
    return folder


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("a.py", True),
        ("data/b.py", True),
        ("new.py", True),
        ("bench/c.py", False),
        ("cli/d.py", False),
        ("data/notes.txt", False),
    ],
)
def test_the_code_of_the_stages_is_told_from_other_code(tmp_path: Path, name: str, counts: bool):
    before, after = package(tmp_path / "before"), package(tmp_path / "after")
    assert code_sha256(before) == code_sha256(after)
    changed = package(tmp_path / "changed")
    (changed / name).write_text("x = 2")
    assert (code_sha256(changed) != code_sha256(before)) is counts


def test_a_renamed_module_is_other_code(tmp_path: Path):
    before, after = package(tmp_path / "before"), package(tmp_path / "after")
    (after / "a.py").rename(after / "b.py")
    assert code_sha256(before) != code_sha256(after)


def test_a_run_holds_the_code_of_this_package():
    assert identity("teach", TrainingConfig())[CODE] == code_sha256(PACKAGE)
    assert (PACKAGE / "stage.py").is_file()


@pytest.mark.parametrize(
    ("changes", "got", "fix"),
    [
        ({CODE: "other"}, f"a change in {CODE}.", "pass --fresh, or remove .*; or go back to the code and versions"),
        ({"version of torch": "3.0"}, r"version of torch \(2.0, now 3.0\)", "pass --fresh, .* go back to the code"),
        ({"device in use": "cpu"}, r"device in use \(cuda, now cpu\)", "continue it on that device .*pass --fresh"),
        ({"precision in use": "bf16"}, r"precision in use \(fp32, now bf16\)", "continue it on that device"),
        ({"seed": 1}, r"a change in seed\.", "repeat the first command to continue it, or pass --fresh"),
        ({"seed": 1, CODE: "other"}, f"a change in {CODE}, seed", "repeat the first command"),
    ],
)
def test_an_error_names_what_differs_and_what_helps(tmp_path: Path, changes: dict[str, Any], got: str, fix: str):
    first = {"seed": 0, CODE: "this", "version of torch": "2.0", "device in use": "cuda", "precision in use": "fp32"}
    interrupted(tmp_path / "s.run", first)
    with pytest.raises(RunError, match=rf"unfinished run that is not this one: got .*{got}.* Fix: {fix}"):
        interrupted(tmp_path / "s.run", first | changes)
    interrupted(tmp_path / "s.run", first)


def test_a_run_of_a_version_that_noted_no_code_is_not_continued(tmp_path: Path):
    interrupted(tmp_path / "s.run", {"seed": 0})
    with pytest.raises(RunError, match=f"got a change in {CODE}, device in use. Fix: "):
        interrupted(tmp_path / "s.run", {"seed": 0, CODE: "this", "device in use": "cpu"})


def test_auto_precision_is_noted_as_what_it_came_to(monkeypatch: pytest.MonkeyPatch):
    found = {}
    for fast in (False, True):
        monkeypatch.setattr(precision, "hardware_multiplies_bf16", lambda device, fast=fast: fast)
        found[fast] = where_computed(make_accelerator(TrainingConfig()))
    assert found[False] == {"device in use": "cpu", "precision in use": "fp32"}
    assert found[True] == {"device in use": "cpu", "precision in use": "bf16"}
    monkeypatch.setattr(precision, "hardware_multiplies_bf16", lambda device: False)
    assert where_computed(make_accelerator(TrainingConfig(precision="bf16"))) == found[True]


def made(verb: str, folder: Path, teacher: Path) -> Any:
    rows = [Example(text, label=label) for text, label in make_texts(60, 1)]
    if verb == "teach":
        return teach(rows, folder / "out", base_model=str(make_checkpoint(folder / "c")))
    texts = [item.text for item in rows]
    return adapt(teacher, texts, folder / "out") if verb == "adapt" else pareto(teacher, texts, folder / "out")


@pytest.mark.parametrize("verb", ["teach", "adapt"])
def test_stages_note_where_they_compute(
    verb: str, teacher_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[dict[str, Any]] = []

    def noted(path: Path, key: dict[str, Any], *others: Any) -> Any:
        seen.append(key)
        raise StopError

    monkeypatch.setattr(stage_run, "open_run", noted)
    for fast in (False, True):
        monkeypatch.setattr(precision, "hardware_multiplies_bf16", lambda device, fast=fast: fast)
        with pytest.raises(StopError):
            made(verb, tmp_path, teacher_bundle)
    changed = {key for key in seen[0] if seen[0][key] != seen[1][key]}
    assert changed == {"precision in use"}
    assert seen[0]["device in use"] == "cpu"
    assert seen[0][CODE] == code_sha256(PACKAGE)


def test_a_comparison_is_not_continued_in_another_precision(
    teacher_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stop(teacher: Path, texts: Any, bundle: Path, config: Any, cache: Path) -> None:
        bundle.mkdir(parents=True)
        raise StopError

    monkeypatch.setattr(front, "adapt", stop)
    monkeypatch.setattr(precision, "hardware_multiplies_bf16", lambda device: False)
    with pytest.raises(StopError):
        made("pareto", tmp_path, teacher_bundle)
    monkeypatch.setattr(precision, "hardware_multiplies_bf16", lambda device: True)
    with pytest.raises(
        OutputError, match=r"precision in use \(fp32, now bf16\). Fix: continue it on .* another output"
    ):
        made("pareto", tmp_path, teacher_bundle)


def test_the_cache_of_outputs_tells_code_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    classifier = load_classifier(str(make_checkpoint(tmp_path / "c")), 32)
    store = classifier.tokenise([Example("good film")])

    def key() -> str:
        return key_of(classifier, store, slice(0, 1), "fp32 on cpu")

    first = key()
    assert key() == first
    monkeypatch.setattr(output_cache, "code_sha256", lambda: "other code")
    assert key() != first
