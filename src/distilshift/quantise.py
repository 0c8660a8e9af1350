"""An ONNX model to int8 weights, and whether that was worth it on the user's own texts."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift.metrics import agreement
from distilshift.predict import Network, latency_ms
from distilshift.types import Example


@dataclass(frozen=True)
class Parity:
    """fp32 against int8, measured on target texts.

    Attributes:
        agreement: share of texts that both label alike, 0 to 1.
        max_difference: largest absolute difference of a logit.
        fp32_bytes, int8_bytes: file sizes.
        fp32_latency_ms_p50, int8_latency_ms_p50: median over single texts, one thread.
        texts: how many were compared.
        accepted: int8 agrees often enough and is faster.
    """

    agreement: float
    max_difference: float
    fp32_bytes: int
    int8_bytes: int
    fp32_latency_ms_p50: float
    int8_latency_ms_p50: float
    texts: int
    accepted: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return asdict(self)


def quantise_dynamic(source: Path, target: Path) -> None:
    """Signed 7-bit weights in int8, a scale for each output channel; activations are quantised as they come, to 8 bits.

    A bundle is made on one machine and runs on others. x86 CPUs without VNNI add products in pairs in 16 bits, where
    two of 255 x 127 do not fit and are cut off without notice; two of 255 x 64 do. So the integer sums are the same
    on every CPU, with the file's size and speed unchanged: benchmarks/LOG.md, also of why per channel.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The quantiser advises a preprocessing step of its own; the exporter has optimised the graph already.
    logger, level = logging.getLogger(), logging.getLogger().level
    logger.setLevel(logging.ERROR)
    try:
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    finally:
        logger.setLevel(level)


def compare(
    runners: tuple[Network, Network],
    logits: tuple[NDArray[np.float32], NDArray[np.float32]],
    examples: list[Example],
    min_agreement: float,
) -> Parity:
    """What int8 costs and gains.

    Args:
        runners: fp32 and int8, each on one thread, to be timed by turns.
        logits: what each gives for the examples, (texts, classes).
        examples: target texts.
        min_agreement: labels that must agree for int8 to be accepted, 0 to 1.
    """
    agreed = agreement(*logits)
    slow, fast = (float(np.median(taken)) for taken in latency_ms(runners, examples))
    return Parity(
        agreement=agreed,
        max_difference=float(np.abs(logits[0] - logits[1]).max()),
        fp32_bytes=runners[0].path.stat().st_size,
        int8_bytes=runners[1].path.stat().st_size,
        fp32_latency_ms_p50=slow,
        int8_latency_ms_p50=fast,
        texts=len(examples),
        accepted=agreed >= min_agreement and fast < slow,
    )
