"""One dataclass a stage: the only home of defaults, read by the API, the CLI and the docs alike."""

from distilshift.config.adapt import PLAIN_DISTILLATION, STATES_FIRST, AdaptConfig, Distillation, Method, Size
from distilshift.config.base import (
    InputConfig,
    LabelledInputConfig,
    Precision,
    StageConfig,
    TrainingConfig,
    option,
    overlaid,
    read_toml,
    resolve,
)
from distilshift.config.rules import require_compatible, require_used
from distilshift.config.stages import (
    DemoConfig,
    DriftConfig,
    EvaluateConfig,
    ImportConfig,
    OnnxChoice,
    ParetoConfig,
    PredictConfig,
    QueryConfig,
    RuntimeConfig,
    TeachConfig,
)

__all__ = [
    "PLAIN_DISTILLATION",
    "STATES_FIRST",
    "AdaptConfig",
    "DemoConfig",
    "Distillation",
    "DriftConfig",
    "EvaluateConfig",
    "ImportConfig",
    "InputConfig",
    "LabelledInputConfig",
    "Method",
    "OnnxChoice",
    "ParetoConfig",
    "Precision",
    "PredictConfig",
    "QueryConfig",
    "RuntimeConfig",
    "Size",
    "StageConfig",
    "TeachConfig",
    "TrainingConfig",
    "option",
    "overlaid",
    "read_toml",
    "require_compatible",
    "require_used",
    "resolve",
]
