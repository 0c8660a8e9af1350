"""What `import distilshift` offers: its names, errors without the train extra, and a Predictor that travels."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import distilshift
from distilshift import errors, types
from distilshift.errors import DistilshiftError, MissingExtraError
from distilshift.predict import Predictor

TEXTS = ["a good film", "a bad film"]
# Stands before a program whose interpreter has no PyTorch.
HIDE_TORCH = "import sys; sys.modules['torch'] = None; sys.modules['accelerate'] = None\n"


def test_errors_and_results_are_public():
    made = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DistilshiftError)}
    results = {name for name, kind in inspect.getmembers(types, inspect.isclass) if kind.__module__ == types.__name__}
    assert len(made) > 10
    assert {"Example", "Prediction", "Evaluation"} <= results
    assert made | results <= set(distilshift.__all__)


def test_the_names_of_the_package_are_listed_before_they_are_loaded():
    code = "import distilshift, sys; print(*dir(distilshift)); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, loaded = done.stdout.splitlines()
    assert {"adapt", "teach", "Predictor", "Example", "DataError", "__version__"} <= set(names.split())
    assert "_HOMES" not in names.split()
    assert loaded == "False"


@pytest.mark.parametrize("name", ["adapt", "teach", "pareto", "import_checkpoint"])
def test_without_the_train_extra_a_function_says_how_to_get_it(name: str):
    code = f"try: from distilshift import {name}\nexcept ImportError as error: print(type(error).__name__, error)"
    done = subprocess.run([sys.executable, "-c", HIDE_TORCH + code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"MissingExtraError distilshift.{name} needs ")
    assert "Fix: pip install '.[train]' in the checkout" in done.stdout


def test_without_the_train_extra_the_command_line_says_the_same(tmp_path: Path):
    code = "sys.argv = ['distilshift', 'teach', 'x.csv', '-o', 'y']\nfrom distilshift.cli import start; start()"
    done = subprocess.run(
        [sys.executable, "-c", HIDE_TORCH + code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, "this verb needs " in done.stderr) == (2, True)
    assert "Fix: pip install '.[train]' in the checkout" in done.stderr


def test_predicting_needs_no_extra(student_bundle: Path):
    code = f"from distilshift import Predictor; print(len(Predictor.load({str(student_bundle)!r}).predict(['a'])))"
    assert subprocess.run(
        [sys.executable, "-c", HIDE_TORCH + code], capture_output=True, check=True
    ).stdout.split() == [b"1"]


def test_an_error_keeps_its_parts_when_it_is_pickled():
    error = MissingExtraError("a verb needs x", expected="x", got="none", fix="install it")
    made = pickle.loads(pickle.dumps(error))
    assert (str(made), made.expected, made.got, made.fix) == (str(error), "x", "none", "install it")


def test_a_copied_predictor_is_opened_with_the_same_options(
    student_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(student_bundle.parent)
    predictor = Predictor.load(student_bundle.name, model="fp32", max_windows=2)
    wanted = predictor.predict(TEXTS)
    packed = pickle.dumps(predictor)
    monkeypatch.chdir(tmp_path)  # a worker may run elsewhere
    for made in (pickle.loads(packed), copy.copy(predictor), copy.deepcopy(predictor)):
        assert made is not predictor
        assert made.predict(TEXTS) == wanted
        assert made._network.path == student_bundle / "onnx" / "model.onnx"


def test_a_predictor_works_in_another_process(student_bundle: Path):
    predictor = Predictor.load(student_bundle)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(predictor.predict, (TEXTS,)) == predictor.predict(TEXTS)


def test_a_predictor_that_was_not_loaded_cannot_be_pickled(student_bundle: Path):
    made = Predictor.load(student_bundle)
    with pytest.raises(pickle.PicklingError, match=r"Predictor\.load"):
        pickle.dumps(Predictor(made._network, made.label_names))
