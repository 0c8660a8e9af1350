"""Use labelled target texts: correct the labels that a student learns from, and measure how right they are.

`few_labels` has the mathematics, `middle_states` what similarity is taken from: the teacher, or where it is unknown the
student's encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from distilshift import progress
from distilshift.data.batch import TokenStore
from distilshift.encoder import Classifier
from distilshift.few_labels import CERTAINTY, Correction, Similarity, fit_correction
from distilshift.mapped import Arrays
from distilshift.measured import Measured, weighted_accuracy
from distilshift.metrics import softmax
from distilshift.middle_states import middle_states
from distilshift.run import RunDirectory
from distilshift.shards import Rows, shard_spans
from distilshift.target_labels import TargetLabels
from distilshift.views import LabelledView

# Texts that set the scale of the features.
SAMPLE_TEXTS = 2_000
# How often a labelled text occurs in each epoch of the student's training, where others occur once.
REPEATS = 4


@dataclass(frozen=True)
class Relabelled:
    """Labels of all texts, corrected by those that are known.

    Attributes:
        whole: (texts, classes) float32 logits, on the scale of those that were corrected.
        shift: (texts, classes) float32, what was added to the first candidate.
        shares: (classes,), the class shares of the corrected labels.
        measured: how accurate they are.
    """

    whole: Rows
    shift: Rows
    shares: NDArray[np.float64]
    measured: Measured

    def views(self, views: Sequence[LabelledView]) -> list[LabelledView]:
        """The same versions of the texts with corrected labels; a span's own is shifted as its text's is."""
        return [replace(view, text_logits=self.whole, shift=self.shift) for view in views]


def relabel(
    reader: Classifier,
    texts: TokenStore,
    candidates: Mapping[str, Rows],
    labels: TargetLabels,
    temperature: float,
    seed: int,
    accelerator: Accelerator,
    run: RunDirectory,
) -> Relabelled:
    """Correct predictions by labels; kept in the run.

    Args:
        reader: sees which texts are similar.
        texts: the whole texts, tokenized for it.
        candidates: logits of the whole texts, (texts, classes), by name; the one in use first.
        labels: of some of the texts.
        temperature: that calibrates the logits.
        seed: of folds and samples.
        accelerator: where it runs.
        run: keeps the result.
    """
    features = _features(reader, texts, accelerator, run)

    def compute() -> Arrays:
        chosen = np.random.default_rng(seed).permutation(len(texts))[:SAMPLE_TEXTS]
        similarity = Similarity(features[chosen], features[labels.rows])
        known = _distinct({name: rows[labels.rows] / temperature for name, rows in candidates.items()})
        fitted = fit_correction(known, similarity(features[labels.rows]), labels, seed)
        spans = [np.arange(span.start, span.stop) for span in shard_spans(len(texts))]
        corrected = np.concatenate(
            [_corrected(fitted, similarity, candidates, features, s, temperature) for s in spans]
        )
        corrected[labels.rows] = _certain(labels.classes, corrected.shape[1])
        first = next(iter(candidates.values()))[np.arange(len(texts))]
        logits = temperature * corrected
        shift = logits - first
        return {
            "logits": logits.astype(np.float32),
            "shift": (shift - shift.mean(axis=1, keepdims=True)).astype(np.float32),
            "shares": softmax(corrected).mean(axis=0),
            "held_out": fitted.held_out,
        }

    found = run.arrays("relabelled", compute, lead_only=True)
    right = found["held_out"].argmax(axis=1) == labels.classes
    measured = weighted_accuracy(right, labels.weights)
    return Relabelled(Rows([found["logits"]]), Rows([found["shift"]]), np.array(found["shares"]), measured)


def rows_to_learn(rows: NDArray[np.int64] | None, size: int, labels: TargetLabels) -> NDArray[np.int64]:
    """Return the numbers of the texts to train on, labelled ones several times.

    Args:
        rows: of all texts to train on; None for each of them.
        size: number of texts.
        labels: of some of them.
    """
    every = np.arange(size) if rows is None else rows
    return np.concatenate([every, np.repeat(labels.rows, REPEATS - 1)])


def _features(reader: Classifier, texts: TokenStore, accelerator: Accelerator, run: RunDirectory) -> Rows:
    """The reader's middle states of each text, (texts, width) float16."""
    device, autocast = accelerator.device, accelerator.autocast
    reader.model.to(device)
    shards = []
    with progress.stage("comparing texts", len(texts)) as advance:

        def compute(span: slice) -> Arrays:
            seen = middle_states(reader, texts, device, autocast, span=span, crew=run.crew, advance=advance)
            return {"features": seen.astype(np.float16)}

        for number, span in enumerate(shard_spans(len(texts))):
            name = f"features-{number}"
            if name in run:
                advance(span.stop - span.start)
            shards.append(run.arrays(name, partial(compute, span))["features"])
    return Rows(shards)


def _distinct(candidates: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The first candidate, and those that differ from it, as they do not where nothing was adapted."""
    first, *others = candidates.items()
    return dict([first, *((name, rows) for name, rows in others if not np.allclose(rows, first[1], atol=1e-4))])


def _corrected(
    fitted: Correction,
    similarity: Similarity,
    candidates: Mapping[str, Rows],
    features: Rows,
    indices: NDArray[np.int64],
    temperature: float,
) -> NDArray[np.float64]:
    parts = {name: rows[indices] / temperature for name, rows in candidates.items()}
    return fitted.apply(parts, similarity(features[indices]))


def _certain(classes: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Logarithms of the probabilities of labels that are known, (labels, classes)."""
    return np.log(np.where(np.eye(count, dtype=bool)[classes], CERTAINTY, (1 - CERTAINTY) / (count - 1)))
