"""The import rule: left never imports right, stages never import each other, and predicting never needs PyTorch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import distilshift

PACKAGE = Path(distilshift.__file__).parent
# From left to right. A name covers the modules below it. A layer is a list of islands: modules of one island may
# import each other, islands of one layer may not.
LAYERS: list[list[set[str]]] = [
    [{"errors"}, {"types"}, {"scatter"}],
    [{"config"}, {"files"}, {"progress"}, {"mapped"}],
    [{"journal"}, {"scan"}],
    [{"model_folder"}],
    [{"wrong_bundle"}],
    [{"run"}, {"bundle"}, {"metrics"}, {"data"}, {"losses"}, {"packages", "packages_fetch", "packages_onnx"}],
    [{"words"}, {"encoder_folders"}, {"training_log"}, {"abstention"}, {"projection"}, {"shift_tests"}],
    [{"tokens"}, {"drift"}],
    [{"network"}],
    [
        {"predict"},
        {"risk_coverage"},
        {"target_labels", "measured", "few_labels"},
        {"select", "part_shares", "target_prior", "estimates", "gate", "target_facts"},
        {"unknown"},
        {"text_sketch"},
        {"query_design", "similarity_order"},
        {"query_file"},
    ],
    [
        {"encoder", "encoder_checks"},
        {"precision"},
        {"stage"},
        {"demo_data"},
        {"card", "teacher_report", "student_warnings"},
        {"expected_tensors"},
        {"shape"},
    ],
    [
        {"first_token"},
        {"frozen"},
        {"inner"},
        {"strict", "strict_tensors"},
        {"static_graph"},
        {"pieces", "narrowing"},
    ],
    [
        {"inspection"},
        {"packing"},
        {"inference"},
        {"middle_states"},
        {"parallel"},
        {"calibration", "validation"},
        {"student"},
        {"static_student"},
        {"vocabulary"},
        {"masking"},
        {"frozen_states"},
        {"output_cache"},
        {"teacher_states"},
        {"checkpoint"},
        {"loss_record"},
        {"target_check"},
    ],
    [{"loop"}, {"shards"}, {"piece_head"}, {"stage_run"}],
    [{"second_opinion", "near_copies"}, {"parts"}],
    [{"views"}],
    [{"methods"}],
    [{"judging"}, {"relabelling"}],
    [
        {"source", "supervised"},
        {"importing"},
        {"adaptation"},
        {"dine"},
        {"distil", "distil_features", "joint"},
        {"black_box"},
        {"export"},
        {"quantise", "quantise_graph", "activation_ranges"},
        {"evaluation", "querying"},
    ],
    [{"learning"}, {"student_bundle"}, {"student_calibration"}, {"budget"}, {"teacher_input"}],
    [{"pipeline"}],
    [{"demo"}, {"bench"}, {"front"}],
    [{"cli"}],
    [{"__main__"}],
]
# What the device installs (click comes with rich_click), and the modules that run with no more.
BASE = {"numpy", "onnxruntime", "tokenizers", "annotated_types", "rich", "rich_click", "click"}
LIGHT = {
    *(
        "errors",
        "types",
        "config",
        "files",
        "scan",
        "model_folder",
        "wrong_bundle",
        "network",
        "expected_tensors",
        "strict",
        "strict_tensors",
        "progress",
        "mapped",
        "journal",
        "run",
        "bundle",
        "metrics",
        "data",
        "words",
        "tokens",
        "abstention",
        "risk_coverage",
        "projection",
        "shift_tests",
        "drift",
        "predict",
        "evaluation",
        "querying",
        "query_design",
        "query_file",
        "similarity_order",
        "text_sketch",
    ),
    *(
        "select",
        "target_prior",
        "estimates",
        "gate",
        "packages",
        "packages_fetch",
        "packages_onnx",
        "demo_data",
        "card",
        "teacher_report",
        "cli",
        "__main__",
        "",
    ),
}

Sources = Mapping[str, str]


def sources() -> dict[str, str]:
    """Module to source; the package itself is ''."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports(source: str, *, lazy: bool) -> set[str]:
    """Absolute names that a module imports; `lazy` includes those inside functions, but never those for types alone."""
    nodes: list[ast.AST] = list(ast.parse(source).body)
    names = set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not lazy:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import: {ast.unparse(node)}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        nodes += ast.iter_child_nodes(node)
    return names


def own(names: Iterable[str], modules: Iterable[str]) -> set[str]:
    """Those of the names that are modules of this package, without its own name."""
    known, found = set(modules), set()
    for name in names:
        top, _, rest = name.partition(".")
        if top == "distilshift":
            parts = rest.split(".")
            found |= {".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in known} or {""}
    return found


def place(module: str) -> tuple[int, int]:
    """Layer and island of a module."""
    top = module.partition(".")[0]
    for layer, islands in enumerate(LAYERS):
        for island, names in enumerate(islands):
            if top in names:
                return layer, island
    raise AssertionError(f"{module} has no layer: give it one in LAYERS")


def wrong_imports(modules: Sources) -> set[tuple[str, str]]:
    """Pairs of a module and what it must not import, lazily or not."""
    wrong = set()
    for module in modules.keys() - {""}:
        layer, island = place(module)
        for other in own(imports(modules[module], lazy=True), modules) - {module}:
            if other == "":  # the package's own front door imports from everywhere
                wrong.add((module, "distilshift"))
                continue
            other_layer, other_island = place(other)
            if other_layer > layer or (other_layer == layer and other_island != island):
                wrong.add((module, other))
    return wrong


def third_party(modules: Sources, module: str, *, lazy: bool = False) -> set[str]:
    """Top names of the libraries that a module imports."""
    tops = {name.partition(".")[0] for name in imports(modules[module], lazy=lazy)}
    return tops - sys.stdlib_module_names - {"distilshift"}


def too_heavy(modules: Sources) -> set[tuple[str, str]]:
    """Pairs of a light module and what it imports at once beyond the base install, directly or through others."""
    wrong = set()
    for module in modules:
        if module.partition(".")[0] not in LIGHT:
            continue
        seen, waiting = set(), [module]
        while waiting:
            current = waiting.pop()
            if current in seen:
                continue
            seen.add(current)
            wrong |= {(module, name) for name in third_party(modules, current) - BASE}
            waiting += own(imports(modules[current], lazy=False), modules)
    return wrong


def test_left_never_imports_right_and_stages_never_each_other():
    assert wrong_imports(sources()) == set()


def test_every_module_has_a_layer_and_every_layer_its_modules():
    tops = {module.partition(".")[0] for module in sources()} - {""}
    named = [name for islands in LAYERS for island in islands for name in island]
    assert sorted(named) == sorted(tops)


def test_losses_import_torch_alone():
    modules = sources()
    losses = {module for module in modules if module.startswith("losses.")}
    assert losses == {f"losses.{name}" for name in ("adapt", "dine", "distil", "features", "joint", "neighbours")}
    for module in losses:
        assert third_party(modules, module, lazy=True) == {"torch"}
        assert own(imports(modules[module], lazy=True), modules) == set()


def test_what_runs_on_the_device_imports_the_base_install_alone():
    modules = sources()
    assert too_heavy(modules) == set()
    # The walk reaches libraries where they are: the training modules import them at once.
    assert third_party(modules, "encoder") >= {"torch", "transformers"}
    assert "torch" not in third_party(modules, "evaluation", lazy=True)


def chain(**changes: str) -> dict[str, str]:
    """A small package that keeps the rule, with some modules replaced."""
    modules = {
        "": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from distilshift.source import teach",
        "errors": "import json",
        "config": "from distilshift.errors import ConfigError",
        "metrics": "import numpy as np",
        "predict": "import onnxruntime\nfrom distilshift.metrics import softmax",
        "encoder": "import torch",
        "source": "from distilshift import progress\nfrom distilshift.encoder import load",
        "distil": "from distilshift.encoder import load",
        "progress": "",
        "pipeline": "from distilshift.distil import distil",
        "cli": "",
        "cli.predict_": "from distilshift.config import x\ndef f():\n    from distilshift.predict import Predictor",
    }
    return modules | changes


def test_the_rule_is_kept_by_a_package_that_keeps_it():
    assert wrong_imports(chain()) == set()
    assert too_heavy(chain()) == set()


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("errors", "from distilshift.config import x", ("errors", "config")),
        ("errors", "def f():\n    import distilshift.config", ("errors", "config")),
        ("metrics", "class A:\n    def f(self):\n        from distilshift import predict", ("metrics", "predict")),
        ("source", "from distilshift.distil import label", ("source", "distil")),
        (
            "distil",
            "try:\n    import distilshift.source\nexcept ImportError:\n    pass",
            ("distil", "source"),
        ),
        ("distil", "from distilshift.pipeline import adapt", ("distil", "pipeline")),
        ("pipeline", "from distilshift.cli.predict_ import command", ("pipeline", "cli.predict_")),
        ("pipeline", "from distilshift import teach", ("pipeline", "distilshift")),
    ],
)
def test_a_wrong_import_is_found_wherever_it_hides(module: str, source: str, wrong: tuple[str, str]):
    assert wrong in wrong_imports(chain(**{module: source}))


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"predict": "import torch"}, ("predict", "torch")),
        ({"metrics": "from sklearn.metrics import f1_score"}, ("predict", "sklearn")),
        ({"config": "import pydantic"}, ("cli.predict_", "pydantic")),
        ({"": "from distilshift.source import teach"}, ("", "torch")),
        ({"cli.predict_": "from distilshift.encoder import load"}, ("cli.predict_", "torch")),
    ],
)
def test_a_heavy_import_is_found_through_other_modules(changes: dict[str, str], wrong: tuple[str, str]):
    assert wrong in too_heavy(chain(**changes))


def test_a_heavy_import_inside_a_function_is_allowed():
    assert too_heavy(chain(predict="def f():\n    import torch")) == set()


def test_a_module_without_a_layer_is_an_error():
    with pytest.raises(AssertionError, match="novelty has no layer"):
        wrong_imports(chain(novelty=""))
