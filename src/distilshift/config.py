"""One dataclass a stage: the only home of defaults, read by the API, the CLI and the docs alike."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from distilshift.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Precision = Literal["auto", "fp32", "bf16"]
Method = Literal["none", "tent", "shot-im", "shot", "nrc", "aad", "dine"]
Distillation = Literal["soft-targets", "distilbert", "pkd", "tinybert", "minilmv2"]
OnnxChoice = Literal["auto", "fp32", "int8"]
Size = Literal["tiny", "small", "base"]

C = TypeVar("C", bound="StageConfig")


def option(default: Any, help: str) -> Any:
    """A dataclass field whose help text feeds `--help` and the reference docs."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Base of every stage's options."""

    # Read by pydantic: an unknown key is an error, not a shrug.
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    @classmethod
    def implied(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults that the options which were given change."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """The resolved options as plain values, for provenance."""
        return asdict(self)

    def portable(self) -> dict[str, Any]:
        """`to_dict` for a bundle that travels: of a path on this machine, only the last name."""
        values = self.to_dict().items()
        return {k: Path(v).name if isinstance(v, str) and os.sep in v and Path(v).exists() else v for k, v in values}


@dataclass(frozen=True, kw_only=True)
class InputConfig(StageConfig):
    """How a file of texts is read."""

    text_column: str = option("text", "Column that holds the text.")
    pair_column: str | None = option(None, "Column with the second text of a two-text task.")
    encoding: str = option("utf-8", "Character encoding of the file; a UTF-8 byte-order mark is dropped.")
    max_chars: Annotated[int, Ge(0)] = option(
        50_000, "A longer text is an error: an unclosed quote, as a rule. 0 means no limit."
    )
    skip_bad: bool = option(False, "Leave out rows that cannot be used, counting them, instead of stopping.")


@dataclass(frozen=True, kw_only=True)
class LabelledInputConfig(InputConfig):
    """How a labelled file is read."""

    label_column: str = option("label", "Column that holds the label.")
    label_names: str | None = option(
        None, "Names for numeric labels, as '0=negative,1=positive'; 'as-is' keeps the numbers as names."
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(StageConfig):
    """What every training stage shares."""

    max_length: Annotated[int, Ge(8)] = option(128, "Tokens of a text that the model sees, special ones included.")
    seed: Annotated[int, Ge(0)] = option(0, "Seed of every random choice.")
    precision: Precision = option("auto", "bf16 where the hardware multiplies it natively, else fp32.")
    threads: Annotated[int, Ge(0)] = option(0, "CPU threads; 0 leaves it to PyTorch.")


@dataclass(frozen=True, kw_only=True)
class TeachConfig(LabelledInputConfig, TrainingConfig):
    """Options of `teach`: labelled source texts to a teacher bundle."""

    base_model: str = option(
        "minilm-l6", "Encoder: a packaged name (minilm-l6, minilm-l3, mpnet-base), a folder, or a hub id."
    )
    validation: str | None = option(None, "File of validation rows; by default a stratified share is held out.")
    validation_fraction: Annotated[float, Gt(0), Lt(1)] = option(0.1, "Share held out where no file is given.")
    epochs: Annotated[int, Ge(1)] = option(4, "Passes over the training texts.")
    learning_rate: Annotated[float, Gt(0)] = option(1e-4, "Peak learning rate of AdamW.")
    batch_size: Annotated[int, Ge(1)] = option(32, "Texts a step.")
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = option(
        0.1, "Share of the target spread over all classes; adaptation needs a teacher that is not overconfident."
    )
    warmup_fraction: Annotated[float, Ge(0), Le(1)] = option(0.1, "Share of the steps with a rising rate.")
    weight_decay: Annotated[float, Ge(0)] = option(0.01, "AdamW's decoupled weight decay.")


@dataclass(frozen=True, kw_only=True)
class ImportConfig(StageConfig):
    """Options of `import`: a fine-tuned classifier to a teacher bundle."""

    max_length: Annotated[int, Ge(8)] = option(128, "Tokens of a text that the model sees, special ones included.")
    label_names: str | None = option(None, "New names for its classes, as '0=negative,1=positive'.")


# What a table learns by: benchmarks/LOG.md.
STATIC_LEARNING: dict[str, Any] = {"distil_epochs": 20, "distil_learning_rate": 1e-3, "spans": 6, "temperature": 1.0}


@dataclass(frozen=True, kw_only=True)
class AdaptConfig(InputConfig, TrainingConfig):
    """Options of `adapt`: a teacher bundle and unlabelled target texts to a student bundle.

    There is no field for labels or for source text, here or anywhere below: adaptation is source-free.
    """

    @classmethod
    def implied(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The one method that adapts with probabilities alone; a static student's way of learning; the whole student.

        A budget alone is looked for among all sizes, and inner states are compared token by token.
        """
        changed: dict[str, Any] = {"method": "dine"} if given.get("teacher_probabilities") else {}
        if given.get("size") == "tiny":  # one layer learns slowly, and in a tenth of the time: benchmarks/LOG.md
            changed |= {"distil_epochs": 20, "distil_learning_rate": 3e-4}
        inner_states = given.get("distillation", "soft-targets") != "soft-targets"
        if inner_states or given.get("budget") is not None or given.get("latency_ms") is not None:
            changed["size"] = "base"
        return changed | (STATIC_LEARNING if given.get("student") == "static" else {})

    teacher_probabilities: str | None = option(
        None,
        "In the place of a teacher: a file (CSV, TSV, JSONL, Parquet, npz) of its probabilities, a row a text in the "
        "order of the texts, a column a class; method is dine then, unless none is given.",
    )
    max_texts: Annotated[int, Ge(0)] = option(
        0, "Use only so many texts, with the same mix of predicted classes and confidences as all of them; 0: all."
    )
    method: Method = option(
        "shot-im", "How the teacher meets the target: none is plain distillation; docs/methods.md has them all."
    )
    adapt_epochs: Annotated[int, Ge(1)] = option(
        4,
        "Passes over the target texts while the teacher adapts, every other one over random spans of them; "
        "tent makes one pass whatever this says.",
    )
    adapt_learning_rate: Annotated[float, Gt(0)] = option(
        2e-5, "Peak learning rate of the teacher's adaptation; tent, which moves few numbers once, wants 1e-3."
    )
    adapt_frozen_layers: Annotated[int, Ge(0)] = option(
        3,
        "Lowest layers of the teacher that stay as they are while it adapts, with the embeddings; 0: it adapts whole.",
    )
    adapt_batch_size: Annotated[int, Ge(2)] = option(64, "Texts a step; the diversity term needs many.")
    diversity_weight: Annotated[float, Ge(0)] = option(1.0, "Weight of the term that keeps every class in use.")
    target_prior: str = option(
        "auto",
        "Class shares to expect: uniform, 'negative=0.3,positive=0.7', or auto: estimated where safe.",
    )
    gate: bool = option(
        True,
        "Use the adapted teacher only if no sign of harm is found; else the student learns from the unadapted one.",
    )
    pseudo_label_weight: Annotated[float, Ge(0)] = option(0.3, "Weight of the pseudo-labels: method shot.")
    neighbours: Annotated[int, Ge(1)] = option(5, "Nearest texts that a text shall agree with: methods nrc and aad.")
    dispersion_decay: Annotated[float, Ge(0)] = option(
        5.0, "How fast the disagreement with the rest of a batch fades, 0 for not at all: method aad."
    )
    mixup_weight: Annotated[float, Ge(0)] = option(1.0, "Weight of consistency between mixed texts: method dine.")

    student: str = option(
        "cut",
        "'cut' keeps some of the teacher's layers; 'static' is a vector a word piece, with other defaults "
        f"({', '.join(f'{name} {value}' for name, value in STATIC_LEARNING.items())}); else as in teach --base-model.",
    )
    size: Size = option(
        "small",
        "How large the student is: base has the whole vocabulary, small and tiny what the target texts use most of it; "
        "with a budget, the largest that is considered. tiny changes distil_epochs to 20 and distil_learning_rate to "
        "3e-4. docs/edge.md has what each costs.",
    )
    budget: str | None = option(
        None, "Bytes that the device has for network, tokenizer and configuration, as 8MB; size is base then."
    )
    latency_ms: Annotated[float, Gt(0)] | None = option(
        None, "Milliseconds that one text may take, p50 on one thread of this machine; size is base then."
    )
    student_layers: Annotated[int, Ge(1)] | None = option(
        None,
        "Transformer layers of the student, whatever its size, which has a number of its own; a static one has none.",
    )
    student_width: Annotated[int, Ge(2)] = option(64, "Numbers a word piece of a static student.")
    distillation: Distillation = option(
        "soft-targets", "What the student learns from: the teacher's predictions, or its inner states as well."
    )
    temperature: Annotated[float, Gt(0)] = option(2.0, "Distillation temperature.")
    distil_epochs: Annotated[int, Ge(1)] = option(6, "Passes over the target texts while the student learns.")
    distil_learning_rate: Annotated[float, Gt(0)] = option(1e-4, "Peak learning rate of the student.")
    distil_batch_size: Annotated[int, Ge(1)] = option(32, "Texts a step.")
    distil_frozen_layers: Annotated[int, Ge(0)] = option(
        1,
        "Lowest layers of the student that stay as it began, with the embeddings: less to learn from few texts, and a "
        "third less time; 0: everything learns.",
    )
    spans: Annotated[int, Ge(0)] = option(
        3, "Random spans of each text that teacher and student train on as well, one every other epoch."
    )
    span_min_words: Annotated[int, Ge(1)] = option(12, "Shortest span, in words.")
    span_max_words: Annotated[int, Ge(1)] = option(80, "Longest span, in words.")
    span_text_weight: Annotated[float, Ge(0), Le(1)] = option(
        0.5, "Share of the whole text's label in that of a span; the rest is what the teacher says of the span alone."
    )
    feedback: Annotated[float, Ge(0), Le(1)] = option(
        0.0, "Joint adaptation: share of the student's own predictions in each update of its labels; 0: none."
    )
    feedback_every: Annotated[int, Ge(1)] = option(2, "Epochs between two updates of the labels by feedback.")
    masked_consistency: Annotated[float, Ge(0)] = option(
        0.0, "Weight of learning the same labels from copies of the texts with masked word pieces; 0: none."
    )
    mask_fraction: Annotated[float, Gt(0), Lt(1)] = option(0.15, "Share of the word pieces masked in such a copy.")
    max_windows: Annotated[int, Ge(1)] = option(
        6, "A text longer than max_length is read in so many windows at the most, by the student on its device too."
    )
    dropout: bool = option(
        False, "Drop hidden units, as the encoder was trained with, while the teacher adapts and the student learns."
    )
    warmup_fraction: Annotated[float, Ge(0), Le(1)] = option(0.1, "Share of the steps with a rising rate.")
    weight_decay: Annotated[float, Ge(0)] = option(0.01, "AdamW's decoupled weight decay.")
    min_agreement: Annotated[float, Ge(0), Le(1)] = option(
        0.99, "int8 becomes the default model only if it labels this share of target texts as fp32 does."
    )


# Plain distillation (Hinton et al. 2015): the student learns what the teacher, as it came, says of what both see.
PLAIN_DISTILLATION: dict[str, Any] = {"method": "none", "spans": 0, "max_windows": 1}


@dataclass(frozen=True, kw_only=True)
class ParetoConfig(StageConfig):
    """Options of `pareto` beside those of `adapt`, which each student is made with: what is compared."""

    students: str = option(
        "base,small-3-layers,small,small-1-layer,tiny", "Names of the students to compare, from docs/edge.md."
    )
    labelled: str | None = option(
        None, "A labelled file of the target: adds a column of accuracy, and chooses nothing."
    )
    label_column: str = option("label", "Column of that file that holds the label.")
    label_names: str | None = option(None, "Names for its numeric labels, as of `evaluate`.")


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig(StageConfig):
    """How a bundle is run."""

    model: OnnxChoice = option("auto", "Which ONNX file: auto takes the one the bundle recommends.")
    batch_size: Annotated[int, Ge(1)] = option(32, "Texts a run of the network.")
    threads: Annotated[int, Ge(0)] = option(1, "CPU threads; 0 takes all cores.")
    max_windows: Annotated[int, Ge(0)] = option(
        0, "A student reads a text that is too long for it in so many windows at the most; 0: as its bundle says."
    )


@dataclass(frozen=True, kw_only=True)
class PredictConfig(InputConfig, RuntimeConfig):
    """Options of `predict`."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(LabelledInputConfig, RuntimeConfig):
    """Options of `evaluate`."""

    threads: Annotated[int, Ge(0)] = option(0, "CPU threads; 0 takes all cores.")


@dataclass(frozen=True, kw_only=True)
class DemoConfig(StageConfig):
    """Options of `demo`; everything else is the stages' own default."""

    target: Literal["products", "tweets", "editorials"] = option("products", "Which of VADER's domains is the target.")
    seed: Annotated[int, Ge(0)] = option(0, "Seed of every random choice, the split included.")
    precision: Precision = option("auto", "bf16 where the hardware multiplies it natively, else fp32.")
    threads: Annotated[int, Ge(0)] = option(0, "CPU threads of training; 0 leaves it to PyTorch.")


def resolve(kind: type[C], *layers: Mapping[str, Any]) -> C:
    """A validated config: defaults, overlaid by each layer in turn.

    Args:
        kind: the config dataclass.
        layers: option names to values; later ones win.

    Raises:
        ConfigError: listing every unknown key, wrong type and out-of-range value at once.
    """
    from pydantic import ValidationError

    merged = {key: value for layer in layers for key, value in layer.items()}
    merged = kind.implied(merged) | merged
    try:
        config: C = _reader(kind).validate_python(merged)  # type: ignore[arg-type]  # mypy: a class is hashable
    except ValidationError as error:
        known = ", ".join(sorted(entry.name for entry in fields(kind)))
        problems = [_explain(entry) for entry in error.errors()]
        unknown = any(entry["type"] == "unexpected_keyword_argument" for entry in error.errors())
        raise ConfigError(
            f"{len(problems)} invalid option(s): " + "; ".join(problems),
            fix=f"known options are {known}" if unknown else "correct them; `--help` lists the ranges",
        ) from None
    return config


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    """What validates a config dataclass, made once each: a benchmark resolves thousands of configs."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _explain(entry: Any) -> str:
    name = ".".join(str(part) for part in entry["loc"]) or "options"
    if entry["type"] == "unexpected_keyword_argument":
        return f"{name} is unknown"
    message = entry["msg"][0].lower() + entry["msg"][1:]
    return f"{name} {message}, got {entry['input']!r}"


def read_toml(path: str | Path) -> dict[str, Any]:
    """The options in a TOML file, unvalidated; `resolve` checks them.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}", got=error.strerror, fix="name a readable TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML", got=str(error), fix="correct that line") from None
