"""A teacher of which nothing but its probabilities for the target texts is known, in the place of a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distilshift import progress
from distilshift.bundle import Manifest
from distilshift.config import AdaptConfig, TeachConfig
from distilshift.data.corpus import Corpus
from distilshift.data.probabilities import Probabilities, read_probabilities
from distilshift.data.sample import confidence_strata_mask
from distilshift.encoder import Classifier, load_classifier
from distilshift.errors import ConfigError, DataError
from distilshift.judging import Judgement
from distilshift.run import RunDirectory
from distilshift.shards import Rows
from distilshift.static_student import STATIC, static_length, static_student
from distilshift.student import new_student
from distilshift.views import LabelledView, Reading, view_count, view_tokens

# A probability of 0 has no logarithm; beyond this a teacher is as good as certain.
LOWEST = 1e-6
JUDGEMENT = Judgement("none", "Nothing but its probabilities was known, so it could be neither adapted nor judged.")


@dataclass(frozen=True)
class BlackBox:
    """Such a teacher.

    Attributes:
        said: its probabilities, a row a text.
    """

    said: Probabilities

    @classmethod
    def open(cls, config: AdaptConfig) -> BlackBox:
        """Read the file that the options name.

        Raises:
            ConfigError: an option asks for what such a teacher cannot give.
            DataError: the file cannot be used.
        """
        _require_possible(config)
        return cls(_read(str(config.teacher_probabilities), config.encoding))

    def manifest(self, config: AdaptConfig) -> Manifest:
        """What stands for a bundle's manifest; it tells one file from another."""
        names, name = self.said.label_names, Path(self.said.name).name
        return Manifest(
            "teacher", names, "a teacher's probabilities", config.max_length, files={name: self.said.sha256}
        )

    def student(self, config: AdaptConfig, layers: int | None) -> Classifier:
        """The untrained student, `layers` as of `new_student`; a static one has the packaged encoder's vectors."""
        if config.student == STATIC:
            encoder = load_classifier(TeachConfig().base_model, config.max_length, self.said.label_names)
            length = static_length(encoder.max_length, config.max_windows)
            return static_student(encoder, config.student_width, length)
        return new_student(config.student, config.max_length, self.said.label_names, layers)

    def require_rows(self, corpus: Corpus) -> None:
        """Refuse another number of rows than of texts.

        Raises:
            DataError: the numbers differ.
        """
        if len(self.said.rows) != len(corpus):
            raise DataError(
                f"{self.said.name} is not of these texts",
                expected=f"{len(corpus):,} rows, one for each text of {corpus.name}, in its order",
                got=f"{len(self.said.rows):,}",
                fix="give the probabilities of these very texts; rows left out by --skip-bad have none",
            )

    def within_budget(self, corpus: Corpus, config: AdaptConfig) -> tuple[BlackBox, Corpus]:
        """As many texts, with their rows, as `max_texts` allows."""
        if not 0 < config.max_texts < len(corpus):
            return self, corpus
        chosen = confidence_strata_mask(self.said.rows, config.max_texts, config.seed)
        return BlackBox(replace(self.said, rows=self.said.rows[chosen])), corpus.only(chosen)

    def reading(self) -> Reading:
        """What it says of the texts, as logits."""
        said = np.log(np.maximum(self.said.rows, LOWEST))
        rows = Rows([said.astype(np.float32)])
        return Reading(rows, rows)

    def views(
        self, student: Classifier, corpus: Corpus, labels: Rows, config: AdaptConfig, run: RunDirectory
    ) -> list[LabelledView]:
        """The whole texts and their spans, tokenised for the student; a span has its text's label."""
        count = view_count(config.distil_epochs, config.spans)
        with progress.stage("tokenising", len(corpus) * count) as advance:
            stores = view_tokens(student, "student", corpus, count, config, run, advance)
        return [LabelledView(store, labels, labels, 1.0) for store in stores]


def _read(path: str, encoding: str) -> Probabilities:
    """The file, in UTF-8, as `predict` writes it whatever the texts' encoding is; else in theirs."""
    try:
        return read_probabilities(path)
    except DataError:
        if encoding.lower() in ("utf-8", "utf8"):
            raise
    return read_probabilities(path, encoding)


def _require_possible(config: AdaptConfig) -> None:
    given = [
        ("method", config.method, ("dine", "second-opinion", "none")),
        ("distillation", config.distillation, ("soft-targets",)),
    ]
    for name, value, possible in given:
        if value not in possible:
            raise ConfigError(
                f"{name} {value} needs the teacher itself, not its probabilities only",
                expected=f"{name} {' or '.join(possible)}",
                got=value,
                fix=f"give the teacher's bundle instead, or --{name} {possible[0]}",
            )
    if config.student == "cut":
        raise ConfigError(
            "a student cannot be cut from a teacher's probabilities",
            expected="an encoder",
            got="student cut",
            fix="pass --student minilm-l3, or another encoder as in teach --base-model",
        )
