"""A smaller, faster form of an ONNX model, gated: it must label the user's own texts as fp32 does, and be faster."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from distilshift.predict import Network, latency_ms
from distilshift.quantise_graph import Form, constant_products, quantised
from distilshift.static_graph import has_table
from distilshift.types import Example

log = logging.getLogger("distilshift")

# The smallest first; what comes later costs size or speed for precision, or precision for speed. Left out, since
# measured worse (benchmarks/LOG.md): unsigned weights, weights in blocks of 4 or 8 bits, smoothed activations.
FORMS = (
    Form("int8, 4-bit embeddings", embedding_bits=4),
    Form("int8, 8-bit embeddings", remedy="labels"),
    Form("int8, a tenth of the products in fp32", fp32_share=0.1, remedy="labels"),
    Form("int8, a quarter of the products in fp32", fp32_share=0.25, remedy="labels"),
    Form("int8, a scale for each matrix", per_channel=False, remedy="speed"),
)
# A static student has a table and next to no products: what fewer bits save is memory. Reading them is no faster than
# fp32, so that labels alone decide.
STATIC_FORMS = (
    Form("table of 4 bits", embedding_bits=4, static=True),
    Form("table of 8 bits", static=True, remedy="labels"),
)
# Labels are compared in so many texts at a time; a form that has lost too many already is not read further.
CHUNK_TEXTS = 128
# Texts that show which products are sensitive.
SENSITIVITY_TEXTS = 24
# Threads that are timed: one, and all cores.
THREADS = (1, 0)
LATENCY_TEXTS = {1: 60, 0: 20}
BATCH, BATCHES = 32, 2

Logits = NDArray[np.float32]
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
    """

    trials: tuple[Trial, ...]
    chosen: Trial
    fp32_bytes: int

    @property
    def accepted(self) -> bool:
        """It shall be the default."""
        return self.chosen.verdict == "accepted"

    def to_dict(self) -> dict[str, Any]:
        """The chosen form against fp32, as plain values for the manifest."""
        return {
            "form": self.chosen.form,
            "agreement": self.chosen.agreement,
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
    """
    model = onnx.load(source)
    trials: dict[Path, Trial] = {}
    sensitive: list[str] = []
    wrong = "none"
    for index, form in enumerate(forms_of(model)):
        if form.remedy not in ("none", wrong):
            continue
        path = target.with_name(f"{target.name}.{index}")
        if form.fp32_share:
            shown = texts[:SENSITIVITY_TEXTS]
            sensitive = sensitive or _sensitive(model, path, shown, logits[: len(shown)], opener)
        spared = sensitive[: math.ceil(form.fp32_share * len(sensitive))]
        onnx.save(quantised(model, form, spared), path)
        trials[path] = _tried(form, (source, path), texts, logits, min_agreement, opener)
        if trials[path].verdict == "accepted":
            break
        wrong = "labels" if trials[path].verdict == "too few labels agree" else "speed"
    best = max(trials, key=lambda path: _worth(trials[path]))
    if not trials[best].speeds:
        trials[best] = _timed(trials[best], (source, best), texts, opener)
    best.replace(target)
    for path in trials:
        path.unlink(missing_ok=True)
    if trials[best].verdict != "accepted":
        _warn(trials[best], min_agreement)
    return Quantised(tuple(trials.values()), trials[best], source.stat().st_size)


def _worth(trial: Trial) -> tuple[bool, float, int]:
    return trial.verdict == "accepted", trial.agreement, -trial.size_bytes


def _warn(best: Trial, min_agreement: float) -> None:
    log.warning(
        "No quantised form is faster than fp32 and labels %.1f %% of the texts as it does, so fp32 is the default. "
        "The best, %s: %.1f %%, %s.",
        *(100 * min_agreement, best.form, 100 * best.agreement, best.verdict),
    )


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
    model: onnx.ModelProto, scratch: Path, texts: Sequence[Example], reference: Logits, opener: Opener
) -> list[str]:
    """All products, those first that bring the logits nearest to fp32's if they alone multiply in fp32."""
    errors = {}
    for name in constant_products(model.graph):
        onnx.save(quantised(model, Form(""), [name]), scratch)
        errors[name] = float(np.abs(opener(scratch, 0).logits(texts) - reference).mean())
    return sorted(errors, key=lambda name: errors[name])
