"""The network of a student bundle as onnxruntime runs it: texts to logits, without PyTorch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distilshift.bundle import Manifest, verify
from distilshift.config import OnnxChoice
from distilshift.data.batch import TokenStore, sorted_batches
from distilshift.data.windows import mean_over_windows
from distilshift.errors import BundleError
from distilshift.metrics import softmax
from distilshift.scan.json_file import read_object
from distilshift.scan.model_config import MAX_CONFIG_BYTES
from distilshift.scan.refusal import require_whole
from distilshift.tokens import TextTokens, load_tokenizer
from distilshift.types import Example

OnnxName = Literal["fp32", "int8"]
INPUT_NAMES = frozenset({"input_ids", "attention_mask", "token_type_ids"})
ONNX_FILES: dict[OnnxName, str] = {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}
# Tokens, padding included, that the network reads at once: on one thread more are no faster, and take more memory.
RUN_TOKENS = 2048


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

    def has_unknown(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        """Return whether each text has a piece that the tokenizer does not know, (texts,).

        Raises:
            BundleError: the tokenizer fails on one of the texts.
        """
        return np.array(self._tokens.has_unknown(examples), bool)

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
