"""Labels and probabilities from a student bundle, with numpy, tokenizers and onnxruntime alone."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from distilshift.abstention import RiskCoverage, required_confidence
from distilshift.bundle import read_manifest
from distilshift.config import DriftConfig, InputConfig, OnnxChoice
from distilshift.config.base import MAX_BATCH, MAX_THREADS, require_within
from distilshift.data.check import require_pairs, require_whole_row
from distilshift.data.given import examples_of
from distilshift.errors import BundleError, ConfigError
from distilshift.metrics import softmax
from distilshift.network import Network, load_network
from distilshift.types import Drift, Example, Prediction

if TYPE_CHECKING:
    from distilshift.drift import Reference

# Several batches are sorted by length together, so that each holds texts of like length.
STREAM_BATCHES = 16

Text = str | tuple[str, str]
TEXT_COLUMN = InputConfig.text_column


class Predictor:
    """A student bundle, ready to label texts.

    predictor = Predictor.load("student")
    predictor.predict(["A joy to use."])[0].label
    """

    def __init__(
        self,
        network: Network,
        label_names: list[str],
        pair_column: str | None = None,
        risk_coverage: RiskCoverage | None = None,
    ) -> None:
        self._network, self.label_names, self._pair_column = network, label_names, pair_column
        self.risk_coverage = risk_coverage or RiskCoverage.from_json(None)
        self._source: tuple[Path, dict[str, Any]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path and the options of the bundle, which is opened again where the copy is loaded.

        Raises:
            PicklingError: the predictor was not made by `load`.
        """
        if self._source is None:
            raise pickle.PicklingError("only a Predictor from Predictor.load can be pickled")
        folder, options = self._source
        return partial(type(self).load, **options), (folder,)

    @classmethod
    def load(
        cls, bundle: str | Path, *, model: OnnxChoice = "auto", threads: int = 1, max_windows: int = 0
    ) -> Predictor:
        """Open a student bundle, after checking the hashes of the files that it reads.

        Args:
            bundle: the folder.
            model: fp32, int8, or the one the bundle recommends.
            threads: CPU threads; 0 takes all cores.
            max_windows: maximum number of windows that a text too long for the network is read in; their
                probabilities are averaged. 0 takes the bundle's number.

        Raises:
            BundleError: not a student bundle, damaged, or its parts do not fit together.
            ConfigError: an option is out of its range.
        """
        if model not in get_args(OnnxChoice):
            raise ConfigError(
                "model is unknown", expected=" or ".join(get_args(OnnxChoice)), got=str(model), fix="choose one"
            )
        require_within("threads", threads, 0, MAX_THREADS)
        require_within("max_windows", max_windows, 0)
        folder = Path(bundle)
        manifest = read_manifest(folder, "student")
        network = load_network(folder, manifest, model, threads, max_windows)
        curve = RiskCoverage.from_json((manifest.runtime or {}).get("abstention"))
        predictor = cls(network, manifest.label_names, manifest.pair_column, curve)
        # Absolute, so that a process that starts in another folder finds it.
        predictor._source = folder.absolute(), {"model": model, "threads": threads, "max_windows": max_windows}
        return predictor

    def probabilities(
        self,
        texts: Iterable[Text] | Any,
        batch_size: int = 32,
        *,
        text_column: str = TEXT_COLUMN,
        pair_column: str | None = None,
    ) -> NDArray[np.float64]:
        """Class probabilities, (texts, classes), in the order of `label_names`; rows sum to 1.

        Args:
            texts: texts or (text, text) pairs in a list, an array, a Series or another iterable; or a table of pandas,
                polars, `datasets` or pyarrow, a dict of columns, or a list of dicts.
            batch_size: texts per run of the network.
            text_column: column of a table that holds the texts.
            pair_column: column of a table that holds the second texts; by default the one that the bundle was made
                with, if it labels pairs.

        Raises:
            DataError: one text was given instead of a list; a text is missing, is not a string, or carries a problem;
                it is one where pairs are read, or a pair where single texts are. A blank text is labelled as any other.
            ConfigError: the batch size is out of its range.
        """
        require_within("batch_size", batch_size, 1, MAX_BATCH)
        examples = list(map(require_whole_row, self._examples(texts, text_column, pair_column)))
        require_pairs(examples, self._pair_column)
        if not examples:
            return np.empty((0, len(self.label_names)))
        return softmax(self._network.logits(examples, batch_size))

    def predict(
        self,
        texts: Iterable[Text] | Any,
        batch_size: int = 32,
        *,
        text_column: str = TEXT_COLUMN,
        pair_column: str | None = None,
        min_accuracy: float | None = None,
        abstain_below: float | None = None,
    ) -> list[Prediction]:
        """The likeliest label of each text, or of each (text, text) pair, with all probabilities.

        Errors as of `probabilities`, too.

        Args:
            texts: as of `probabilities`.
            batch_size: texts per run of the network.
            text_column: as of `probabilities`.
            pair_column: as of `probabilities`.
            min_accuracy: withhold labels whose confidence is too low for this accuracy of the others, as far as the
                bundle's risk-coverage curve can tell.
            abstain_below: withhold labels whose confidence, the probability of the label, is below this.

        Raises:
            ConfigError: both are given, or the curve cannot promise the accuracy; says what it can.
        """
        required = required_confidence(self.risk_coverage, min_accuracy, abstain_below)
        rows = self.probabilities(texts, batch_size, text_column=text_column, pair_column=pair_column)
        return [self._prediction(row, required) for row in rows]

    def stream(
        self,
        texts: Iterable[Text | Example] | Any,
        batch_size: int = 32,
        *,
        text_column: str = TEXT_COLUMN,
        pair_column: str | None = None,
        min_accuracy: float | None = None,
        abstain_below: float | None = None,
    ) -> Iterator[tuple[Example, Prediction | None]]:
        """Predictions in input order, of any number of texts in constant memory.

        Args:
            texts: texts, pairs or examples, or a table, as of `probabilities`, read as they are needed: 16 batches at a
                time, sorted by length.
            batch_size: texts per run of the network.
            text_column: as of `probabilities`.
            pair_column: as of `probabilities`.
            min_accuracy: as of `predict`.
            abstain_below: as of `predict`.

        Yields:
            each text with its prediction, or with None if it is an example that carries a problem.

        Raises:
            DataError, ConfigError: as of `probabilities` and `predict`.
        """
        required = required_confidence(self.risk_coverage, min_accuracy, abstain_below)
        require_within("batch_size", batch_size, 1, MAX_BATCH)
        source = self._examples(texts, text_column, pair_column)
        while chunk := list(islice(source, batch_size * STREAM_BATCHES)):
            usable = [item for item in chunk if item.problem is None]
            require_pairs(usable, self._pair_column)
            rows = iter(softmax(self._network.logits(usable, batch_size)) if usable else ())
            for item in chunk:
                yield item, self._prediction(next(rows), required) if item.problem is None else None

    def drift(
        self,
        texts: Iterable[Text | Example] | Any,
        batch_size: int = 32,
        *,
        level: float = DriftConfig.level,
        max_texts: int = DriftConfig.max_texts,
        text_column: str = TEXT_COLUMN,
        pair_column: str | None = None,
    ) -> Drift:
        """Test whether texts still come from the domain that the student was made for.

        Args:
            texts: at least 50, as of `probabilities`.
            batch_size: texts per run of the network.
            level: probability of a false alarm.
            max_texts: size of the random sample of the texts that is compared; 0 takes all.
            text_column: as of `probabilities`.
            pair_column: as of `probabilities`.

        Raises:
            DataError: there are too few texts, or as of `probabilities`.
            ConfigError: an option is out of its range, or `max_windows` differs from the bundle's, so that predictions
                cannot be compared with the reference's.
            BundleError: the bundle has no reference, or it is damaged.
        """
        from distilshift.data.sample import reservoir  # here: predicting does without them
        from distilshift.drift import Outputs, compare
        from distilshift.projection import project

        config = DriftConfig(level=level, max_texts=max_texts, batch_size=batch_size)
        reference = self._reference()
        items = map(require_whole_row, self._examples(texts, text_column, pair_column))
        examples = reservoir(items, config.max_texts, seed=0)
        require_pairs(examples, self._pair_column)
        outputs = Outputs.of(self.probabilities(examples, batch_size))
        unknown = self._network.has_unknown(examples)
        return compare(reference, project(examples), unknown, outputs, self.label_names, config.level)

    def _reference(self) -> Reference:
        from distilshift.drift import read_reference

        if self._source is None:
            raise BundleError(
                "there is no reference to compare texts with", fix="create the Predictor with Predictor.load"
            )
        folder, options = self._source
        manifest = read_manifest(folder, "student")
        own = int((manifest.runtime or {}).get("max_windows", 1))
        if options["max_windows"] not in (0, own):
            raise ConfigError(
                "drift needs texts to be read in the same windows as those of the reference",
                expected=f"max_windows {own}, as in the bundle",
                got=str(options["max_windows"]),
                fix="load the student without max_windows",
            )
        return read_reference(folder, manifest)

    def _examples(self, texts: Any, text_column: str, pair_column: str | None) -> Iterator[Example]:
        return examples_of(texts, text_column, pair_column or self._pair_column)

    def _prediction(self, row: NDArray[np.float64], required: float | None) -> Prediction:
        shares = dict(zip(self.label_names, map(float, row), strict=True))
        label = self.label_names[int(row.argmax())]
        if required is None or row.max() >= required:
            return Prediction(label, shares)
        return Prediction(None, shares, f"confidence {row.max():.3f} is below {required:.3f}")
