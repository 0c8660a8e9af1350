"""Printed fixes are followed to the letter, and then the command works."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilshift import evaluate, import_checkpoint, pareto, teach
from distilshift.errors import ConfigError, DistilshiftError, ModelError, UnsafeError
from distilshift.types import Example
from encoders import make_checkpoint, make_encoder

ROWS = [Example(f"{word} {n}", label=label) for word, label in (("good", "yes"), ("sad", "no")) for n in range(9)]


def edit(folder: Path, name: str = "config.json", **values: Any) -> None:
    """Set entries of a JSON file; None removes one."""
    content = json.loads((folder / name).read_text()) | values
    (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


Edit = Callable[[Path], None]
# What is wrong with a checkpoint, what its fix says, and the fix done.
CHECKPOINTS: dict[str, tuple[Edit, str, Edit]] = {
    "numbers for names": (
        lambda f: edit(f, id2label={"0": 0, "1": 1}),
        'number the classes in id2label from "0" on, and give each a name in quotes',
        lambda f: edit(f, id2label={"0": "no", "1": "yes"}),
    ),
    "classes from 1 on": (
        lambda f: edit(f, id2label={"1": "no", "2": "yes"}),
        'number the classes in id2label from "0" on',
        lambda f: edit(f, id2label={"0": "no", "1": "yes"}),
    ),
    "a kernel of others": (
        lambda f: edit(f, use_kernels=True),
        "remove use_kernels from it",
        lambda f: edit(f, use_kernels=None),
    ),
    "a tokenizer's code": (
        lambda f: edit(f, "tokenizer_config.json", auto_map={"AutoTokenizer": ["a.B", None]}),
        "remove auto_map from it",
        lambda f: edit(f, "tokenizer_config.json", auto_map=None),
    ),
    "the config of a larger model": (
        lambda f: edit(f, hidden_size=768),
        "put the config.json and the weights of one model together",
        lambda f: edit(f, hidden_size=32),
    ),
    "no padding piece": (
        lambda f: edit(f, "tokenizer_config.json", pad_token=None),
        "set pad_token in its tokenizer_config.json",
        lambda f: edit(f, "tokenizer_config.json", pad_token="[PAD]"),
    ),
    "the tokenizer of a larger model": (
        lambda f: edit(f, "tokenizer.json", model=larger(f)),
        "put the tokenizer files of the model in its folder, and no others",
        lambda f: shutil.copy(f.parent / "spare" / "tokenizer.json", f),
    ),
}


def larger(folder: Path) -> dict[str, Any]:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    return model | {"vocab": model["vocab"] | {f"word{index}": 80 + index for index in range(9)}}


@pytest.mark.parametrize(("damage", "fix", "mend"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_checkpoint_is_imported_once_its_fix_is_followed(tmp_path: Path, damage: Edit, fix: str, mend: Edit):
    folder = make_checkpoint(tmp_path / "c")
    shutil.copytree(folder, tmp_path / "spare")
    damage(folder)
    with pytest.raises((UnsafeError, ModelError)) as caught:
        import_checkpoint(str(folder), tmp_path / "t")
    assert fix in str(caught.value.fix)
    mend(folder)
    assert import_checkpoint(str(folder), tmp_path / "t").is_dir()


def test_a_rule_that_no_known_tokenizer_has_is_no_matter_of_trust(tmp_path: Path):
    folder = make_checkpoint(tmp_path / "c")
    edit(
        folder, "tokenizer.json", pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+"}, "behavior": "Isolated"}
    )
    with pytest.raises(UnsafeError, match=r"patterns that are known to be fast, .* Fix: use a model whose tokenizer"):
        import_checkpoint(str(folder), tmp_path / "t")


def test_an_encoder_is_taught_as_an_import_of_it_advises(tmp_path: Path):
    folder = make_encoder(tmp_path / "an encoder")
    with pytest.raises(ModelError) as caught:
        import_checkpoint(str(folder), tmp_path / "t")
    words = shlex.split(str(caught.value.fix).partition(": ")[2])
    assert words[:4] == ["distilshift", "teach", "LABELLED", "--base-model"]
    assert teach(ROWS, tmp_path / "t", base_model=words[4], epochs=1).bundle.is_dir()


def test_an_option_that_a_bundle_cannot_take_is_named(teacher_bundle: Path, tmp_path: Path):
    label = json.loads((teacher_bundle / "distilshift.json").read_text())["label_names"][0]
    with pytest.raises(ConfigError, match=r"Fix: leave --model out, or name the student"):
        evaluate(teacher_bundle, [Example("good", label=label)], model="int8")
    assert evaluate(teacher_bundle, [Example("good", label=label)]).examples == 1
    with pytest.raises(DistilshiftError, match=r"Fix: name the file with --labelled, or leave --label-names out"):
        pareto(teacher_bundle, ["good"], tmp_path / "p", label_names="as-is")
