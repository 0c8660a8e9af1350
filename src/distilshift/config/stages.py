"""Options of the stages around the main job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from distilshift.config.base import (
    MAX_BATCH,
    MAX_SEED,
    MAX_THREADS,
    InputConfig,
    LabelledInputConfig,
    Precision,
    StageConfig,
    TrainingConfig,
    option,
)
from distilshift.config.readers import read_label_names, read_names, read_weights

OnnxChoice = Literal["auto", "fp32", "int8"]


@dataclass(frozen=True, kw_only=True)
class TeachConfig(LabelledInputConfig, TrainingConfig):
    """Options of `teach`: labelled source texts to a teacher bundle."""

    base_model: str = option(
        "minilm-l6",
        "Encoder: a packaged name (minilm-l6, minilm-l3, mpnet-base), a folder, or a hub id. A classifier's "
        "own head is replaced by a new one, even if it has the same classes.",
    )
    validation: str | None = option(None, "File of validation rows; by default a stratified share is held out.")
    validation_fraction: Annotated[float, Gt(0), Lt(1)] = option(0.1, "Share held out where no file is given.")
    epochs: Annotated[int, Ge(1)] = option(4, "Passes over the training texts.")
    learning_rate: Annotated[float, Gt(0)] = option(1e-4, "Peak learning rate of AdamW.")
    batch_size: Annotated[int, Ge(1)] = option(32, "Texts a step.")
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = option(
        0.1, "Share of the target spread over all classes; adaptation needs a teacher that is not overconfident."
    )
    class_weights: str | dict[str, float] = option(
        "none",
        "Weights of the classes in the loss: none, balanced (the rarer, the more), or numbers, as 'rare=5,common=1'.",
        read_weights,
    )
    warmup_fraction: Annotated[float, Ge(0), Le(1)] = option(0.1, "Share of the steps with a rising rate.")
    weight_decay: Annotated[float, Ge(0)] = option(
        0.01, "AdamW's decoupled weight decay; not for biases and normalization weights."
    )


@dataclass(frozen=True, kw_only=True)
class ImportConfig(StageConfig):
    """Options of `import`: a fine-tuned classifier to a teacher bundle."""

    max_length: Annotated[int, Ge(8)] | None = option(
        None,
        "Maximum number of tokens per text, special ones included; by default the limit that the checkpoint states.",
    )
    label_names: str | None = option(None, "New names for its classes, as '0=negative,1=positive'.", read_label_names)


@dataclass(frozen=True, kw_only=True)
class ParetoConfig(InputConfig):
    """Options of `pareto`: what is compared, and how its files are read.

    Those of `adapt` come from `--config`, in Python from a dict; what they say of the files holds here, too.
    """

    students: str = option(
        "base,small,small-2-layers,small-1-layer,tiny",
        "Names of the students to compare, from docs/edge.md.",
        read_names,
    )
    labelled: str | None = option(
        None, "A labelled file of the target: adds a column of accuracy, and chooses nothing."
    )
    label_column: str = option("label", "Column of that file that holds the label.")
    label_names: str | None = option(None, "Names for its numeric labels, as of `evaluate`.", read_label_names)
    ignore_label: tuple[str | int, ...] = option((), "Leave out its rows with this label, as of `evaluate`.")


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig(StageConfig):
    """How a bundle is run."""

    model: OnnxChoice = option("auto", "Which ONNX file: auto takes the one the bundle recommends.")
    batch_size: Annotated[int, Ge(1), Le(MAX_BATCH)] = option(32, "Texts a run of the network.")
    threads: Annotated[int, Ge(0), Le(MAX_THREADS)] = option(1, "CPU threads; 0 takes all cores.")
    max_windows: Annotated[int, Ge(0)] = option(
        0, "A text that is too long is read in so many windows at the most; 0: as its bundle says, or `adapt` would."
    )


@dataclass(frozen=True, kw_only=True)
class AbstentionConfig(RuntimeConfig):
    """How a bundle is run that may withhold labels."""

    min_accuracy: Annotated[float, Ge(0), Le(1)] | None = option(
        None,
        "Withhold labels whose confidence is too low for this accuracy of the others, by the student's risk-coverage "
        "curve: docs/abstention.md.",
    )
    abstain_below: Annotated[float, Ge(0), Le(1)] | None = option(
        None, "Withhold labels whose confidence, the probability of the label, is below this."
    )


@dataclass(frozen=True, kw_only=True)
class PredictConfig(InputConfig, AbstentionConfig):
    """Options of `predict`."""

    id_column: str | None = option(None, "Keep only this column of the input; by default all are kept.")
    line_buffered: bool = option(
        False, "Label and write each text as soon as it is read, as for a pipe that stays open. Slower."
    )
    skip_bad: bool = option(
        False, "Give rows that cannot be used an empty label and say their problem, instead of stopping."
    )


@dataclass(frozen=True, kw_only=True)
class DriftConfig(InputConfig):
    """Options of `drift`."""

    level: Annotated[float, Ge(0.001), Lt(1)] = option(0.01, "Probability of a false alarm.")
    max_texts: Annotated[int, Ge(0)] = option(
        1000, "Compare a random sample of this many texts; 0: all. More texts reveal smaller changes."
    )
    batch_size: Annotated[int, Ge(1), Le(MAX_BATCH)] = option(32, "Texts per run of the network.")
    threads: Annotated[int, Ge(0), Le(MAX_THREADS)] = option(1, "CPU threads; 0 takes all cores.")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(LabelledInputConfig, AbstentionConfig):
    """Options of `evaluate`."""

    threads: Annotated[int, Ge(0), Le(MAX_THREADS)] = option(0, "CPU threads; 0 takes all cores.")


@dataclass(frozen=True, kw_only=True)
class QueryConfig(InputConfig, RuntimeConfig):
    """Options of `query`: choose the texts most worth labeling."""

    count: Annotated[int, Ge(1)] = option(50, "Texts to ask about.", short="-n")
    threads: Annotated[int, Ge(0), Le(MAX_THREADS)] = option(0, "CPU threads; 0 takes all cores.")
    seed: Annotated[int, Ge(0), Le(MAX_SEED)] = option(0, "Seed of the draw.")


@dataclass(frozen=True, kw_only=True)
class DemoConfig(StageConfig):
    """Options of `demo`; everything else is the stages' own default."""

    target: Literal["products", "tweets", "editorials"] = option("tweets", "Which of VADER's domains is the target.")
    seed: Annotated[int, Ge(0), Le(MAX_SEED)] = option(0, "Seed of every random choice, the split included.")
    precision: Precision = option("auto", "bf16 where the hardware multiplies it natively, else fp32.")
    threads: Annotated[int, Ge(0), Le(MAX_THREADS)] = option(0, "CPU threads of training; 0 leaves it to PyTorch.")
