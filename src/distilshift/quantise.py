"""A smaller, faster form of an ONNX model, gated: it must label the user's own texts as fp32 does, and be faster."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from distilshift.activation_ranges import ActivationRange, activation_ranges, product_inputs
from distilshift.card import int8_refusal
from distilshift.network import Network, latency_ms
from distilshift.quantise_graph import Form, constant_products, quantised
from distilshift.static_graph import has_table
from distilshift.types import Example

log = logging.getLogger("distilshift")

# The smallest and fastest first; what comes later costs size or speed for precision. Left out, since measured worse
# (benchmarks/int8_designs.py, benchmarks/LOG.md): scales computed from the batch or for each token, unsigned
# weights, weights in blocks of 4 or 8 bits, smoothed activations, one scale for a matrix.
FORMS = (
    Form("int8, 4-bit embeddings", embedding_bits=4),
    Form("int8, 4-bit embeddings, outlier channels in fp32", embedding_bits=4, outliers=True),
    Form("int8, 8-bit embeddings, outlier channels in fp32", outliers=True),
    Form("int8, a tenth of the products in fp32", outliers=True, fp32_share=0.1),
    Form("int8, a quarter of the products in fp32", outliers=True, fp32_share=0.25),
)
# A static student has a table and next to no products: what fewer bits save is memory. Reading them is no faster than
# fp32, so that labels alone decide.
STATIC_FORMS = (
    Form("table of 4 bits", embedding_bits=4, static=True),
    Form("table of 8 bits", static=True),
)
# Labels are compared in so many texts at a time; a form that has lost too many already is not read further.
CHUNK_TEXTS = 128
# Texts that show the ranges of inner states, and the windows of them that are read; texts that show which products are
# sensitive.
CALIBRATION_TEXTS, CALIBRATION_WINDOWS, SENSITIVITY_TEXTS = 128, 192, 24
# Threads that are timed: one, and all cores.
THREADS = (1, 0)
LATENCY_TEXTS = {1: 60, 0: 20}
BATCH, BATCHES = 32, 2

Logits = NDArray[np.float32]
Ranges = Mapping[str, ActivationRange]
Verdict = Literal["accepted", "too few labels agree", "not faster"]
# An ONNX file on so many threads, to read texts with.
Opener = Callable[[Path, int], Network]


def forms_of(model: onnx.ModelProto) -> tuple[Form, ...]:
    """The forms to try for a network in fp32, the smallest first."""
    return STATIC_FORMS if has_table(model) else FORMS


@dataclass(frozen=True)
class Speed:
    """How fast a network is.

    Attributes:
        threads: CPU threads; 0 for all cores.
        latency_ms_p50, latency_ms_p95: from text to logits, one text at a time.
        texts_per_second: in batches of 32.
    """

    threads: int
    latency_ms_p50: float
    latency_ms_p95: float
    texts_per_second: float


@dataclass(frozen=True)
class Trial:
    """One form against fp32, on target texts.

    Attributes:
        form: its name.
        size_bytes: of the ONNX file.
        agreement: share of the texts that both label alike, 0 to 1.
        max_difference: largest absolute difference of a logit.
        texts: how many were compared; fewer than there are where too many labels differed already.
        verdict: what became of it.
        speeds, fp32_speeds: measured by turns, for one thread and for all; empty where the labels settled it.
    """

    form: str
    size_bytes: int
    agreement: float
    max_difference: float
    texts: int
    verdict: Verdict
    speeds: tuple[Speed, ...] = ()
    fp32_speeds: tuple[Speed, ...] = ()


@dataclass(frozen=True)
class Quantised:
    """What came of the search.

    Attributes:
        trials: all forms that were tried, in order.
        chosen: the accepted one, else the one whose labels agree most.
        fp32_bytes: size of the file it was made from.
        required_agreement: share of labels that it had to keep, 0 to 1.
        held_out: the student was not trained on the texts that were compared.
    """

    trials: tuple[Trial, ...]
    chosen: Trial
    fp32_bytes: int
    required_agreement: float = 1.0
    held_out: bool = False

    @property
    def accepted(self) -> bool:
        """It shall be the default."""
        return self.chosen.verdict == "accepted"

    def to_dict(self) -> dict[str, Any]:
        """The chosen form against fp32, as plain values for the manifest."""
        return {
            "form": self.chosen.form,
            "agreement": self.chosen.agreement,
            "required_agreement": self.required_agreement,
            "held_out": self.held_out,
            "max_difference": self.chosen.max_difference,
            "fp32_bytes": self.fp32_bytes,
            "int8_bytes": self.chosen.size_bytes,
            "fp32_latency_ms_p50": self.chosen.fp32_speeds[0].latency_ms_p50,
            "int8_latency_ms_p50": self.chosen.speeds[0].latency_ms_p50,
            "texts": self.chosen.texts,
            "accepted": self.accepted,
            "verdict": self.chosen.verdict,
            "tried": [asdict(trial) for trial in self.trials],
        }


def quantise(
    source: Path,
    target: Path,
    texts: Sequence[Example],
    logits: Logits,
    min_agreement: float,
    opener: Opener,
    calibration: Sequence[Example],
    held_out: bool = True,
) -> Quantised:
    """Write the first of FORMS that keeps the labels and is faster, else the one that keeps most labels.

    Of a static student, the first of STATIC_FORMS that keeps the labels.

    Args:
        source: the fp32 ONNX file.
        target: the file to write; others beside it come and go.
        texts: target texts, in random order.
        logits: fp32's for them, (texts, classes).
        min_agreement: share of labels that must agree, 0 to 1.
        opener: makes a network of a file and a number of threads.
        calibration: other target texts, which ranges of inner states and sensitive products are measured on.
        held_out: the student was not trained on `texts`.
    """
    model = onnx.load(source)
    fp32 = opener(source, 0)
    ranges = measured_ranges(model, fp32, calibration)
    least = required_agreement(min_agreement, held_out)
    trials: dict[Path, Trial] = {}
    sensitive: list[str] = []
    for index, form in enumerate(forms_of(model)):
        path = target.with_name(f"{target.name}.{index}")
        if form.fp32_share:
            shown = calibration[:SENSITIVITY_TEXTS]
            sensitive = sensitive or _sensitive(model, ranges, path, shown, fp32.logits(shown), opener)
        spared = sensitive[: math.ceil(form.fp32_share * len(sensitive))]
        onnx.save(quantised(model, form, ranges, spared), path)
        trials[path] = _tried(form, (source, path), texts, logits, least, opener)
        if trials[path].verdict != "too few labels agree":  # what is more precise is not faster
            break
    best = max(trials, key=lambda path: _worth(trials[path]))
    if trials[best].texts < len(texts):  # what the user is told of it is measured on all of them
        agreed, difference, compared = _compared(opener(best, 0), texts, logits, 0.0)
        measured = {"agreement": agreed, "max_difference": difference, "texts": compared}
        trials[best] = Trial(**vars(trials[best]) | measured)
    if not trials[best].speeds:
        trials[best] = _timed(trials[best], (source, best), texts, opener)
    best.replace(target)
    for path in trials:
        path.unlink(missing_ok=True)
    found = Quantised(tuple(trials.values()), trials[best], source.stat().st_size, least, held_out)
    if not found.accepted:
        log.warning("%s", int8_refusal(found.to_dict()))
    return found


def required_agreement(min_agreement: float, held_out: bool) -> float:
    """Return the share of labels that int8 must keep, 0 to 1.

    On texts that the student was trained on, its logits are further apart and int8 changes fewer labels than on new
    texts. So half as many may differ where no texts are held out.
    """
    return min_agreement if held_out else 1 - (1 - min_agreement) / 2


def measured_ranges(model: onnx.ModelProto, network: Network, texts: Sequence[Example]) -> Ranges:
    """Ranges of the inputs of a network's products; none for a static student, which has no such product.

    Args:
        model: in fp32.
        network: the same, ready to run.
        texts: the first CALIBRATION_TEXTS of them are read.
    """
    if has_table(model):
        return {}
    inputs = list(islice(network.inputs(texts[:CALIBRATION_TEXTS]), CALIBRATION_WINDOWS))
    return activation_ranges(model, product_inputs(model.graph, constant_products(model.graph)), inputs)


def _worth(trial: Trial) -> tuple[bool, float, int]:
    return trial.verdict == "accepted", trial.agreement, -trial.size_bytes


def _tried(
    form: Form,
    paths: tuple[Path, Path],
    texts: Sequence[Example],
    logits: Logits,
    min_agreement: float,
    opener: Opener,
) -> Trial:
    agreed, difference, compared = _compared(opener(paths[1], 0), texts, logits, min_agreement)
    trial = Trial(form.name, paths[1].stat().st_size, agreed, difference, compared, "too few labels agree")
    if agreed < min_agreement:
        return trial
    trial = _timed(trial, paths, texts, opener)
    enough = form.static or trial.speeds[0].latency_ms_p50 < trial.fp32_speeds[0].latency_ms_p50
    return Trial(**vars(trial) | {"verdict": "accepted" if enough else "not faster"})


def _compared(
    network: Network, texts: Sequence[Example], logits: Logits, min_agreement: float
) -> tuple[float, float, int]:
    """Share of labels that agree, the largest difference of a logit, and the number of texts that were read."""
    may_differ = len(texts) - math.ceil(min_agreement * len(texts) - 1e-9)
    differing, difference, compared = 0, 0.0, 0
    while compared < len(texts) and differing <= may_differ:
        part = slice(compared, compared + CHUNK_TEXTS)
        values, reference = network.logits(texts[part]), logits[part]
        differing += int((values.argmax(axis=1) != reference.argmax(axis=1)).sum())
        difference = max(difference, float(np.abs(values - reference).max()))
        compared += len(values)
    # Not 1 - differing / compared, which is a rounding below what it should be: 0.9299999999999999 of 7 in 100.
    return (compared - differing) / compared, difference, compared


def _timed(trial: Trial, paths: tuple[Path, Path], texts: Sequence[Example], opener: Opener) -> Trial:
    """The trial with its speeds."""
    pairs = [speeds([opener(path, threads) for path in paths], texts, threads) for threads in THREADS]
    fp32_speeds, own = zip(*pairs, strict=True)
    return Trial(**vars(trial) | {"speeds": own, "fp32_speeds": fp32_speeds})


def speeds(networks: Sequence[Network], texts: Sequence[Example], threads: int) -> list[Speed]:
    """Speed of each network, measured by turns on the same texts; they run on `threads` already."""
    single = latency_ms(networks, texts, LATENCY_TEXTS[threads])
    seconds = [0.0 for _ in networks]
    batches = [texts[start : start + BATCH] for start in range(0, BATCH * BATCHES, BATCH) if texts[start:]]
    for batch in batches:
        for index, network in enumerate(networks):
            start = time.perf_counter()
            network.logits(batch, BATCH)
            seconds[index] += time.perf_counter() - start
    read = sum(map(len, batches))
    return [
        Speed(threads, float(np.median(taken)), float(np.percentile(taken, 95)), read / spent)
        for taken, spent in zip(single, seconds, strict=True)
    ]


def _sensitive(
    model: onnx.ModelProto, ranges: Ranges, scratch: Path, texts: Sequence[Example], reference: Logits, opener: Opener
) -> list[str]:
    """All products, those first that bring the logits nearest to fp32's if they alone multiply in fp32."""
    errors = {}
    for name in constant_products(model.graph):
        onnx.save(quantised(model, Form("", outliers=True), ranges, [name]), scratch)
        errors[name] = float(np.abs(opener(scratch, 0).logits(texts) - reference).mean())
    return sorted(errors, key=lambda name: errors[name])
