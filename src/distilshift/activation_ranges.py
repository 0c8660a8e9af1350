"""Ranges of the inputs of a network's products, measured on texts: what quantization with fixed scales needs.

A scale that is fixed when the student is made does not depend on the other texts of a batch, or on padding. A range is
the one with the least mean square error of quantization, which cuts rare extremes off. Encoders have a few channels
that are many times as large as all others; the range without them is measured as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

# Levels of a uint8, and the bins that errors are computed on.
LEVELS, BINS = 255, 2048
# Rows (tokens) of each input that go into a histogram: extremes are taken from all of them.
ROWS_PER_INPUT = 16
# Channels that may be outliers, and how many times as wide they must make the range to be called that.
OUTLIERS, MIN_GAIN = 4, 1.3
# Shares of a limit that are considered.
SHARES = np.geomspace(0.05, 1, 48)

Inputs = Mapping[str, NDArray[np.int64]]
Values = NDArray[np.float32]


@dataclass(frozen=True)
class Interval:
    """Numbers that 256 levels are spread over; it holds 0, which is represented exactly.

    Attributes:
        low, high: its ends, `low` <= 0 <= `high`.
    """

    low: float
    high: float

    @property
    def scale(self) -> np.float32:
        """Difference between two levels."""
        return np.float32(max(self.high - self.low, float(np.finfo(np.float32).tiny) * LEVELS) / LEVELS)

    @property
    def zero_point(self) -> np.uint8:
        """The level that stands for 0."""
        return np.uint8(np.clip(np.rint(-self.low / self.scale), 0, LEVELS))

    def quantized(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """The values as 256 levels give them back."""
        zero = float(self.zero_point)
        return (np.clip(np.rint(values / self.scale) + zero, 0, LEVELS) - zero) * self.scale


@dataclass(frozen=True)
class ActivationRange:
    """What values a tensor takes, its last axis being the channels.

    Attributes:
        whole: interval for all channels.
        rest: interval for all channels but the outliers.
        outliers: numbers of the channels that are much larger than the others, ascending; often none.
    """

    whole: Interval
    rest: Interval
    outliers: tuple[int, ...] = ()


def activation_ranges(
    model: onnx.ModelProto, names: Sequence[str], texts: Sequence[Inputs], threads: int = 1
) -> dict[str, ActivationRange]:
    """Return the range of each named tensor.

    Args:
        model: a network in fp32.
        names: tensors of its graph.
        texts: inputs of one text each, so that no padding is measured.
        threads: CPU threads.
    """
    seen = _Watched(model, sorted(set(names)), threads)
    extremes: dict[str, Values] = {}
    for inputs in texts:
        for name, values in seen.run(inputs):
            found = np.stack([values.min(axis=0), -values.max(axis=0)])
            extremes[name] = np.minimum(extremes[name], found) if name in extremes else found
    histograms = {name: _Histograms(low, -high) for name, (low, high) in extremes.items()}
    for inputs in texts:
        for name, values in seen.run(inputs):
            histograms[name].add(values[:: max(1, len(values) // ROWS_PER_INPUT)])
    return {name: each.result() for name, each in histograms.items()}


class _Watched:
    """A network whose inner tensors can be read."""

    def __init__(self, model: onnx.ModelProto, names: list[str], threads: int) -> None:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self._names = names
        self._session = onnxruntime.InferenceSession(
            copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [entry.name for entry in self._session.get_inputs()]

    def run(self, inputs: Inputs) -> list[tuple[str, Values]]:
        """The tensors' names and values, (tokens, channels)."""
        found = self._session.run(self._names, {name: inputs[name] for name in self._inputs})
        return [(name, each.reshape(-1, each.shape[-1])) for name, each in zip(self._names, found, strict=True)]


class _Histograms:
    """Values of one tensor: of all channels, and of all but those of largest magnitude."""

    def __init__(self, low: Values, high: Values) -> None:
        order = np.argsort(np.maximum(-low, high), kind="stable")
        self._outliers = np.sort(order[-OUTLIERS:]) if len(order) > OUTLIERS else order[:0]
        rest = np.delete(np.arange(len(order)), self._outliers)
        self._bounds = [_bounds(low, high), _bounds(low[rest], high[rest])]
        self._counts = [np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)]

    def add(self, values: Values) -> None:
        for counts, bounds, part in zip(
            self._counts, self._bounds, (values, np.delete(values, self._outliers, axis=1)), strict=True
        ):
            counts += np.histogram(part, bins=BINS, range=bounds)[0]

    def result(self) -> ActivationRange:
        whole, rest = (
            best_interval(counts, *bounds) for counts, bounds in zip(self._counts, self._bounds, strict=True)
        )
        gain = whole.scale / rest.scale
        return ActivationRange(whole, rest, tuple(map(int, self._outliers)) if gain >= MIN_GAIN else ())


def _bounds(low: Values, high: Values) -> tuple[float, float]:
    """The range of some channels, 0 included and not empty."""
    first, last = min(0.0, float(low.min())), max(0.0, float(high.max()))
    return (first, last) if last > first else (first, first + 1.0)


def best_interval(counts: NDArray[np.integer], low: float, high: float) -> Interval:
    """Return the part of a histogram's range with the least mean square error of quantization.

    Args:
        counts: of values in bins of equal width.
        low: the histogram's lower end, at most 0.
        high: its upper end, at least 0.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    centers = (edges[1:] + edges[:-1]) / 2

    def error(first: float, last: float) -> float:
        return float(counts @ (centers - Interval(first, last).quantized(centers)) ** 2)

    first, last = low, high
    for _ in range(2):
        first = min((low * share for share in SHARES), key=lambda end: (error(end, last), end))
        last = min((high * share for share in SHARES), key=lambda end: (error(first, end), -end))
    return Interval(float(first), float(last))


def product_inputs(graph: Any, products: Sequence[str]) -> list[str]:
    """The tensors that some products, named by their results, take as their first input."""
    return [node.input[0] for node in graph.node if node.output[0] in products]
