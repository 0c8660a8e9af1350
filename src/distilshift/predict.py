"""Labels and probabilities from a student bundle, with numpy, tokenizers and onnxruntime alone."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distilshift.bundle import Manifest, read_manifest, verify
from distilshift.config import InputConfig, OnnxChoice
from distilshift.config.base import MAX_BATCH, MAX_THREADS, require_within
from distilshift.data.batch import TokenStore, sorted_batches
from distilshift.data.check import require_pairs, require_whole_row
from distilshift.data.given import examples_of
from distilshift.data.windows import mean_over_windows
from distilshift.errors import BundleError, ConfigError
from distilshift.metrics import softmax
from distilshift.scan.json_file import read_object
from distilshift.scan.model_config import MAX_CONFIG_BYTES
from distilshift.scan.refusal import require_whole
from distilshift.tokens import TextTokens, load_tokenizer
from distilshift.types import Example, Prediction

__all__ = ["ONNX_FILES", "Network", "OnnxName", "Predictor", "Runner", "latency_ms", "load_network", "load_tokenizer"]

OnnxName = Literal["fp32", "int8"]
INPUT_NAMES = frozenset({"input_ids", "attention_mask", "token_type_ids"})
ONNX_FILES: dict[OnnxName, str] = {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}
# Tokens, padding included, that the network reads at once: on one thread more are no faster, and take more memory.
RUN_TOKENS = 2048
# Several batches are sorted by length together, so that each holds texts of like length.
STREAM_BATCHES = 16

Text = str | tuple[str, str]
TEXT_COLUMN = InputConfig.text_column


class Network:
    """One ONNX file with the bundle's tokenizer.

    Args:
        path: the ONNX file.
        tokenizer: it cuts at the length that the network takes.
        pad_id: what fills the shorter rows of a batch.
        threads: CPU threads; 0 takes all cores.
        max_windows: maximum number of windows that a long text is read in; 1 reads its beginning only.

    Attributes:
        path: the ONNX file.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer, pad_id: int, threads: int = 1, max_windows: int = 1) -> None:
        self.path, self._tokens, self._pad_id = path, TextTokens(tokenizer, max_windows), pad_id
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A plan of the memory for each width of a batch, kept: 80 MB more at the peak, and no faster.
        options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - onnxruntime raises private types for every defect of a file
            reason = str(error).splitlines()[0]
            raise BundleError(f"{path} does not load", got=reason, fix="make the student again") from None
        self._names = [entry.name for entry in self._session.get_inputs()]
        if unknown := set(self._names) - INPUT_NAMES:
            raise self._broken(f"an input {min(unknown)!r}")

    def _broken(self, got: str) -> BundleError:
        return BundleError(f"{self.path} is not a text classifier's network", got=got, fix="make the student again")

    def run(self, store: TokenStore, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Logits of these texts, (len(indices), classes).

        Raises:
            BundleError: the network fails, or gives something else.
        """
        return self._run(store.batch(indices))

    def _run(self, batch: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        try:
            (logits,) = self._session.run(None, {name: batch[name] for name in self._names})
        except Exception as error:  # noqa: BLE001 - onnxruntime raises private types for every defect of a network
            raise self._broken(str(error).splitlines()[0]) from None
        if getattr(logits, "dtype", None) != np.float32 or logits.ndim != 2 or len(logits) != len(batch["input_ids"]):
            raise self._broken(f"{getattr(logits, 'dtype', type(logits))} of shape {np.shape(logits)}")
        if not np.isfinite(logits).all():
            raise self._broken("a logit that is no finite number")
        return logits

    def logits(self, examples: Sequence[Example], batch_size: int = 32) -> NDArray[np.float32]:
        """Logits of all texts in their order, (texts, classes).

        Of a text that is read in windows, the log of their mean probabilities.

        Raises:
            BundleError: the tokenizer or the network fails on one of the texts.
        """
        windows = self._tokens.windows(examples)
        if len(windows.ids) == 1:
            return self._single(windows.ids[0], windows.type_ids[0])
        rows = self._logits(TokenStore.from_rows(windows.ids, windows.type_ids, self._pad_id), batch_size)
        if len(rows) == len(examples):
            return rows
        counts = np.array(windows.counts)
        logits, long = rows[np.cumsum(counts) - counts], counts > 1
        logits[long] = np.log(mean_over_windows(softmax(rows[np.repeat(long, counts)]), counts[long]))
        return logits

    def _single(self, ids: Sequence[int], types: Sequence[int]) -> NDArray[np.float32]:
        """Logits of one window, (1, classes), without the detours that many are worth."""
        return self._run(self._inputs(ids, types))

    def _inputs(self, ids: Sequence[int], types: Sequence[int]) -> dict[str, NDArray[np.int64]]:
        values = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
        return {name: np.array([values[name]], np.int64) for name in self._names}

    def inputs(self, examples: Sequence[Example]) -> Iterator[dict[str, NDArray[np.int64]]]:
        """Inputs of the network for each window of each text: (1, tokens), without padding."""
        windows = self._tokens.windows(examples)
        return map(self._inputs, windows.ids, windows.type_ids)

    def _logits(self, store: TokenStore, batch_size: int) -> NDArray[np.float32]:
        """Logits of each window, (windows, classes); batches hold windows of like length."""
        rows: NDArray[np.float32] | None = None
        for batch in sorted_batches(store.lengths, batch_size):
            texts = max(1, RUN_TOKENS // max(1, int(store.lengths[batch].max())))
            for indices in (batch[start : start + texts] for start in range(0, len(batch), texts)):
                values = self.run(store, indices)
                if rows is None:
                    rows = np.empty((len(store), values.shape[1]), np.float32)
                rows[indices] = values
        return rows if rows is not None else np.empty((0, 0), np.float32)


class Runner(Protocol):
    """Whatever turns texts into logits."""

    def logits(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """(texts, classes)."""


def latency_ms(runners: Sequence[Runner], examples: Sequence[Example], texts: int = 100) -> list[list[float]]:
    """Milliseconds from text to logits, one text at a time, for each runner in turn on the same text.

    Args:
        runners: measured side by side, alternating.
        examples: the first `texts` of them are used, after a few to warm up.
        texts: samples.

    Returns:
        the raw samples of each runner.
    """
    samples: list[list[float]] = [[] for _ in runners]
    warm_up = list(examples[:5])
    for index, example in enumerate([*warm_up, *examples[:texts]]):
        for runner, taken in zip(runners, samples, strict=True):
            start = time.perf_counter()
            runner.logits([example])
            if index >= len(warm_up):
                taken.append(1000 * (time.perf_counter() - start))
    return samples


class Predictor:
    """A student bundle, ready to label texts.

    predictor = Predictor.load("student")
    predictor.predict(["A joy to use."])[0].label
    """

    def __init__(self, network: Network, label_names: list[str], pair_column: str | None = None) -> None:
        self._network, self.label_names, self._pair_column = network, label_names, pair_column
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
        predictor = cls(network, manifest.label_names, manifest.pair_column)
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
    ) -> list[Prediction]:
        """The likeliest label of each text, or of each (text, text) pair, with all probabilities.

        Arguments and errors as of `probabilities`.
        """
        rows = self.probabilities(texts, batch_size, text_column=text_column, pair_column=pair_column)
        return [self._prediction(row) for row in rows]

    def stream(
        self,
        texts: Iterable[Text | Example] | Any,
        batch_size: int = 32,
        *,
        text_column: str = TEXT_COLUMN,
        pair_column: str | None = None,
    ) -> Iterator[tuple[Example, Prediction | None]]:
        """Predictions in input order, of any number of texts in constant memory.

        Args:
            texts: texts, pairs or examples, or a table, as of `probabilities`, read as they are needed: 16 batches at a
                time, sorted by length.
            batch_size: texts per run of the network.
            text_column: as of `probabilities`.
            pair_column: as of `probabilities`.

        Yields:
            each text with its prediction, or with None if it is an example that carries a problem.

        Raises:
            DataError, ConfigError: as of `probabilities`.
        """
        require_within("batch_size", batch_size, 1, MAX_BATCH)
        source = self._examples(texts, text_column, pair_column)
        while chunk := list(islice(source, batch_size * STREAM_BATCHES)):
            usable = [item for item in chunk if item.problem is None]
            require_pairs(usable, self._pair_column)
            rows = iter(softmax(self._network.logits(usable, batch_size)) if usable else ())
            for item in chunk:
                yield item, self._prediction(next(rows)) if item.problem is None else None

    def _examples(self, texts: Any, text_column: str, pair_column: str | None) -> Iterator[Example]:
        return examples_of(texts, text_column, pair_column or self._pair_column)

    def _prediction(self, row: NDArray[np.float64]) -> Prediction:
        shares = dict(zip(self.label_names, map(float, row), strict=True))
        return Prediction(self.label_names[int(row.argmax())], shares)


def load_network(
    bundle: Path, manifest: Manifest, model: OnnxChoice = "auto", threads: int = 1, max_windows: int = 0
) -> Network:
    """The chosen ONNX file of a student bundle, its files and their fit checked; arguments as of `Predictor.load`."""
    recommended = manifest.runtime or {}
    choice = recommended.get("default", "fp32") if model == "auto" else model
    windows = max_windows or int(recommended.get("max_windows", 1))
    verify(bundle, manifest, only=("config.json",))
    if (name := ONNX_FILES[choice]) not in manifest.files:
        raise BundleError(
            f"{bundle} has no {choice} network", fix="choose the model auto, or use the whole student bundle"
        )
    verify(bundle, manifest, only=(name,))
    verify(bundle, manifest, only=("tokenizer.json",), scan=False)  # load_tokenizer looks at it
    config = read_object(bundle / "config.json", MAX_CONFIG_BYTES)
    tokenizer = load_tokenizer(bundle / "tokenizer.json", manifest.max_length, config)
    network = Network(bundle / name, tokenizer, _pad_id(bundle / "config.json", config), threads, windows)
    classes = network.logits([Example("a")]).shape[1]
    if classes != len(manifest.label_names):
        raise BundleError(
            f"{bundle} has parts of different models",
            expected=f"{len(manifest.label_names)} logits",
            got=str(classes),
            fix="make the student again",
        )
    return network


def _pad_id(path: Path, config: dict[str, Any]) -> int:
    value, rows = config.get("pad_token_id"), config["vocab_size"]
    if value is None:
        return 0
    return require_whole(path, "pad_token_id", value, 0, rows - 1)
