"""Ship the model, not the data: source-free adaptation and distillation of BERT text classifiers for the edge."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilshift.config import (
        AdaptConfig,
        DriftConfig,
        EvaluateConfig,
        ImportConfig,
        ParetoConfig,
        QueryConfig,
        TeachConfig,
    )
    from distilshift.errors import (
        BundleError,
        ConfigError,
        DataError,
        DistilshiftError,
        DownloadError,
        EstimateError,
        LeakError,
        MissingExtraError,
        ModelError,
        OutputError,
        RunError,
        UnsafeError,
    )
    from distilshift.evaluation import evaluate
    from distilshift.front import pareto
    from distilshift.importing import import_checkpoint
    from distilshift.inspection import inspect
    from distilshift.packing import pack
    from distilshift.pipeline import adapt
    from distilshift.predict import Predictor
    from distilshift.progress import disable_progress_bars, enable_progress_bars
    from distilshift.querying import query
    from distilshift.source import teach
    from distilshift.types import (
        AdaptResult,
        ClassRecord,
        Drift,
        Evaluation,
        Example,
        Prediction,
        QueryResult,
        Statistic,
        TeachResult,
    )

# onnxruntime reports its use to Microsoft, on Linux too, unless this is set before it is loaded; your own value wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Where each public name lives; it is imported when first used, so that predicting never loads PyTorch.
_HOMES = {
    "AdaptConfig": "config",
    "AdaptResult": "types",
    "BundleError": "errors",
    "ClassRecord": "types",
    "ConfigError": "errors",
    "DataError": "errors",
    "DistilshiftError": "errors",
    "DownloadError": "errors",
    "Drift": "types",
    "DriftConfig": "config",
    "EstimateError": "errors",
    "EvaluateConfig": "config",
    "Evaluation": "types",
    "Example": "types",
    "ImportConfig": "config",
    "LeakError": "errors",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "OutputError": "errors",
    "ParetoConfig": "config",
    "Prediction": "types",
    "Predictor": "predict",
    "QueryConfig": "config",
    "QueryResult": "types",
    "RunError": "errors",
    "Statistic": "types",
    "TeachConfig": "config",
    "TeachResult": "types",
    "UnsafeError": "errors",
    "adapt": "pipeline",
    "disable_progress_bars": "progress",
    "enable_progress_bars": "progress",
    "evaluate": "evaluation",
    "import_checkpoint": "importing",
    "inspect": "inspection",
    "pack": "packing",
    "pareto": "front",
    "query": "querying",
    "teach": "source",
}

__all__ = [
    "AdaptConfig",
    "AdaptResult",
    "BundleError",
    "ClassRecord",
    "ConfigError",
    "DataError",
    "DistilshiftError",
    "DownloadError",
    "Drift",
    "DriftConfig",
    "EstimateError",
    "EvaluateConfig",
    "Evaluation",
    "Example",
    "ImportConfig",
    "LeakError",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "ParetoConfig",
    "Prediction",
    "Predictor",
    "QueryConfig",
    "QueryResult",
    "RunError",
    "Statistic",
    "TeachConfig",
    "TeachResult",
    "UnsafeError",
    "adapt",
    "disable_progress_bars",
    "enable_progress_bars",
    "evaluate",
    "import_checkpoint",
    "inspect",
    "pack",
    "pareto",
    "query",
    "teach",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # a tenth of the time to the first label

        return version("distilshift")
    if name not in _HOMES:
        raise AttributeError(f"module 'distilshift' has no attribute {name!r}")
    try:
        module = import_module(f"distilshift.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        from distilshift.errors import missing_extra

        raise missing_extra(f"distilshift.{name}", error) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__", *(name for name in globals() if name.startswith("__"))]
