"""Options of the main job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from distilshift.config.base import InputConfig, TrainingConfig, option
from distilshift.config.readers import read_label_names, read_shares, read_size
from distilshift.errors import ConfigError

Method = Literal["none", "second-opinion", "tent", "shot-im", "shot", "nrc", "aad", "dine"]
Distillation = Literal["soft-targets", "distilbert", "pkd", "tinybert", "minilmv2"]
# Those that are two trainings, each with a half of the epochs: inner states first, then soft targets. So TinyBERT's
# authors have it, and MiniLMv2's relations come before any task; together they leave the soft targets no gradient.
STATES_FIRST: tuple[Distillation, ...] = ("tinybert", "minilmv2")
Size = Literal["tiny", "small", "base"]

# What a table learns by: benchmarks/LOG.md.
STATIC_LEARNING: dict[str, Any] = {"distil_epochs": 20, "distil_learning_rate": 1e-3, "spans": 6}


@dataclass(frozen=True, kw_only=True)
class AdaptConfig(InputConfig, TrainingConfig):
    """Options of `adapt`: a teacher bundle and unlabelled target texts to a student bundle.

    There is no field for source text, here or anywhere below: adaptation is source-free. It needs no labels either;
    `labels` names those of target texts where somebody has some.
    """

    @classmethod
    def implied(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What some options change of others.

        Probabilities alone: the one method that adapts with them. One layer, or a static student: a way of learning of
        its own. A budget, which is looked for among all sizes, or inner states, compared token by token: the whole
        student.
        """
        changed: dict[str, Any] = {"method": "dine"} if given.get("teacher_probabilities") else {}
        if given.get("size") == "tiny":  # one layer learns slowly, and in a tenth of the time: benchmarks/LOG.md
            changed |= {"distil_epochs": 20, "distil_learning_rate": 3e-4}
        inner_states = given.get("distillation", "soft-targets") != "soft-targets"
        if inner_states or given.get("budget") is not None or given.get("latency_ms") is not None:
            changed["size"] = "base"
        return changed | (STATIC_LEARNING if given.get("student") == "static" else {})

    def __post_init__(self, given: frozenset[str]) -> None:
        super().__post_init__(given)
        if self.span_min_words > self.span_max_words:
            raise ConfigError(
                "the shortest span is longer than the longest",
                expected="span_min_words <= span_max_words",
                got=f"{self.span_min_words} > {self.span_max_words}",
                fix="swap them",
            )

    labels: str | None = option(
        None,
        "File of labelled target texts, 10 to 1,000, such as `distilshift query` writes and a person fills in. They "
        "correct the labels that the student learns from, and measure its accuracy.",
    )
    label_column: str = option("label", "Column of the file of labels that holds the label.")
    label_names: str | None = option(
        None, "Names for labels in the file of labels, as '0=negative,1=positive'.", read_label_names
    )
    teacher_probabilities: str | None = option(
        None,
        "In the place of a teacher: a file (CSV, TSV, JSONL, Parquet, npz) of its probabilities, a row a text in the "
        "order of the texts, a column a class; method is dine then, unless none or second-opinion is given.",
    )
    max_texts: Annotated[int, Ge(0)] = option(
        0, "Use only so many texts, with the same mix of predicted classes and confidences as all of them; 0: all."
    )
    force: bool = option(
        False,
        "Accept fewer than 50 different target texts. The student then learns the teacher's labels unchanged: method "
        "none, no feedback.",
    )
    method: Method = option(
        "second-opinion",
        "How the teacher meets the target: none leaves its labels as they are (plain distillation is that with spans 0 "
        "and max_windows 1), second-opinion averages them with those of an adapted teacher and a model of words, the "
        "others train it or the student; docs/methods.md has them all.",
    )
    opinion_weight: Annotated[float, Ge(0), Le(1)] = option(
        0.5, "The words' share in the labels: method second-opinion."
    )
    adapted_weight: Annotated[float, Ge(0), Le(1)] = option(
        0.3,
        "Share of a teacher that has adapted by information maximization in the labels that the words are averaged "
        "with; 0: none adapts, in half the time: method second-opinion.",
    )
    adapt_epochs: Annotated[int, Ge(1)] = option(
        4,
        "Passes over the target texts while the teacher adapts: methods second-opinion, shot-im, shot, nrc, aad, dine, "
        "the last five with every other one over random spans of them. tent makes one pass.",
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
        "Class shares to expect: 'negative=0.3,positive=0.7', uniform, or auto: those of the labels, moved to one "
        "standard error before what parts of the texts tell (two classes, 48 words or more).",
        read_shares,
    )
    gate: bool = option(
        True,
        "Use what adaptation made only if it shows no sign of harm; else the teacher's labels stay as they were.",
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
        None,
        "Bytes that the device has for network, tokenizer and configuration, as 8MB; size is base then.",
        read_size,
    )
    latency_ms: Annotated[float, Gt(0)] | None = option(
        None, "Milliseconds that one text may take, p50 on one thread of this machine; size is base then."
    )
    student_layers: Annotated[int, Ge(1)] | None = option(
        None,
        "Transformer layers of the student, instead of its size's own number; a static one has none.",
    )
    student_width: Annotated[int, Ge(2)] = option(64, "Numbers a word piece of a static student.")
    distillation: Distillation = option(
        "soft-targets", "What the student learns from: the teacher's predictions, or its inner states as well."
    )
    temperature: Annotated[float, Gt(0)] = option(1.0, "Distillation temperature.")
    distil_epochs: Annotated[int, Ge(1)] = option(6, "Passes over the target texts while the student learns.")
    distil_learning_rate: Annotated[float, Gt(0)] = option(2e-4, "Peak learning rate of the student.")
    distil_batch_size: Annotated[int, Ge(1)] = option(32, "Texts a step.")
    distil_frozen_layers: Annotated[int, Ge(0)] = option(
        1,
        "Lowest layers of the student that do not learn, with the embeddings: less to learn from few texts, and a "
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
    mlm_head: str | None = option(
        None,
        "Masked language modelling beside distillation: a checkpoint with a head for it, of the encoder that the "
        "student, or the teacher it is cut from, began as; as in teach --base-model.",
    )
    mlm_weight: Annotated[float, Gt(0)] = option(1.0, "Weight of masked language modelling: mlm_head.")
    mask_fraction: Annotated[float, Gt(0), Lt(1)] = option(
        0.15, "Share of the word pieces masked in a copy: masked_consistency, mlm_head."
    )
    max_windows: Annotated[int, Ge(1)] = option(
        6, "A text longer than max_length is read in so many windows at the most, by the student on its device too."
    )
    dropout: bool = option(
        False, "Drop hidden units, as the encoder was trained with, while the teacher adapts and the student learns."
    )
    warmup_fraction: Annotated[float, Ge(0), Le(1)] = option(0.1, "Share of the steps with a rising rate.")
    weight_decay: Annotated[float, Ge(0)] = option(
        0.01, "AdamW's decoupled weight decay; not for biases and normalization weights."
    )
    min_agreement: Annotated[float, Ge(0), Le(1)] = option(
        0.99, "int8 becomes the default model only if it labels this share of target texts as fp32 does."
    )


# Plain distillation (Hinton et al. 2015): the student learns what the teacher, as it came, says of what both see.
PLAIN_DISTILLATION: dict[str, Any] = {"method": "none", "spans": 0, "max_windows": 1}
