"""Ship the model, not the data: source-free adaptation and distillation of BERT text classifiers for the edge."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilshift.config import AdaptConfig, EvaluateConfig, ImportConfig, ParetoConfig, TeachConfig
    from distilshift.evaluation import evaluate
    from distilshift.front import pareto
    from distilshift.importing import import_checkpoint
    from distilshift.inspection import inspect
    from distilshift.packing import pack
    from distilshift.pipeline import adapt
    from distilshift.predict import Predictor
    from distilshift.source import teach

# onnxruntime reports its use to Microsoft, on Linux too, unless this is set before it is loaded; your own value wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Where each public name lives; it is imported when first used, so that predicting never loads PyTorch.
_HOMES = {
    "AdaptConfig": "config",
    "EvaluateConfig": "config",
    "ImportConfig": "config",
    "ParetoConfig": "config",
    "Predictor": "predict",
    "TeachConfig": "config",
    "adapt": "pipeline",
    "evaluate": "evaluation",
    "import_checkpoint": "importing",
    "inspect": "inspection",
    "pack": "packing",
    "pareto": "front",
    "teach": "source",
}

__all__ = [
    "AdaptConfig",
    "EvaluateConfig",
    "ImportConfig",
    "ParetoConfig",
    "Predictor",
    "TeachConfig",
    "adapt",
    "evaluate",
    "import_checkpoint",
    "inspect",
    "pack",
    "pareto",
    "teach",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # a tenth of the time to the first label

        return version("distilshift")
    if name not in _HOMES:
        raise AttributeError(f"module 'distilshift' has no attribute {name!r}")
    return getattr(import_module(f"distilshift.{_HOMES[name]}"), name)
