"""`query`: choose the texts most worth labeling, and write them to a CSV file for a person to fill in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilshift import progress
from distilshift.bundle import Manifest, read_manifest, verify
from distilshift.config import AdaptConfig, QueryConfig, overlaid
from distilshift.data.check import require_pairs
from distilshift.data.corpus import open_corpus
from distilshift.data.given import kept
from distilshift.data.sources import as_files, files_of
from distilshift.errors import DataError
from distilshift.evaluation import require_own_form
from distilshift.files import require_apart
from distilshift.metrics import softmax
from distilshift.network import load_network
from distilshift.predict import STREAM_BATCHES
from distilshift.query_design import Candidates, Draw, Pool, draw, effective_size
from distilshift.query_file import open_query_file, write_query_file
from distilshift.text_sketch import Words, hashed_words, near_copy_groups, unit_vectors, word_vectors
from distilshift.types import Example, QueryResult

# Rank, among all texts, from which a reason is worth telling.
_TOLD = 0.75


def query(
    bundle: str | Path, texts: Any, output: str | Path, config: QueryConfig | None = None, **options: Any
) -> QueryResult:
    """Write the texts most worth a person's minute to a CSV file with an empty column `label`.

    Call it again with the same output, after labels were filled in, and it adds the next texts. Rows that are there
    keep their labels; only their `inclusion` changes, so that 1 / inclusion weighs all answers of the file rightly.

    Args:
        bundle: a teacher bundle, or a student bundle, which needs no PyTorch.
        texts: the unlabeled texts, as of `adapt`.
        output: the file, ending in .csv.
        config: the options; the defaults where None.
        options: single fields of QueryConfig.

    Raises:
        DistilshiftError: the bundle or the texts are unusable; the output belongs to other texts, or has as many open
            questions already.
    """
    settings = overlaid(QueryConfig, config, options)
    folder, path, texts = Path(bundle), Path(output), kept(texts)
    manifest = read_manifest(folder)
    require_own_form(folder, manifest, settings)
    files = as_files(texts)
    require_apart(path, folder, *([] if files is None else map(str, files_of(files))))
    examples = list(open_corpus(texts, settings))
    require_pairs(examples, manifest.pair_column)
    file = open_query_file(path, examples, settings.count)
    pool = _pool(folder, manifest, examples, settings)
    if not set(pool.groups) - set(pool.groups[file.asked]):
        raise DataError("all texts were asked", expected="one without a near copy in the file", fix="add texts")
    found = draw(pool, file.asked, file.weights, settings.count, settings.seed)
    rows = _file_rows(found, pool, examples, manifest.label_names)
    write_query_file(file, list(map(_chance, found.asked_weights)), rows)
    return _result(path, found, pool, manifest.label_names)


def _pool(folder: Path, manifest: Manifest, examples: Sequence[Example], config: QueryConfig) -> Pool:
    words = hashed_words(examples)
    logits, vectors = _outputs(folder, manifest, examples, words, config)
    return Pool(softmax(logits), vectors, near_copy_groups(words))


def _outputs(
    folder: Path, manifest: Manifest, examples: Sequence[Example], words: Words, config: QueryConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits, and vectors of similarity: a teacher's pooled states, or words where a student gives no states."""
    if manifest.kind == "student":
        network = load_network(folder, manifest, config.model, config.threads, config.max_windows)
        rows, step = [], STREAM_BATCHES * config.batch_size
        with progress.stage("reading", len(examples)) as advance:
            for start in range(0, len(examples), step):
                rows.append(network.logits(examples[start : start + step], config.batch_size))
                advance(len(rows[-1]))
        return np.concatenate(rows), word_vectors(words)
    verify(folder, manifest)
    # Only a teacher needs PyTorch, and only here.
    from distilshift.inference import bundle_outputs

    windows = config.max_windows or AdaptConfig.max_windows
    found = bundle_outputs(
        folder, manifest.max_length, examples, config.batch_size, config.threads, windows, features=True
    )
    return found["logits"], unit_vectors(found["features"] - found["features"].mean(axis=0))


def _chance(weight: float) -> float:
    return float(f"{1 / weight:.6g}")


def _file_rows(
    found: Draw, pool: Pool, examples: Sequence[Example], label_names: Sequence[str]
) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for place, row in enumerate(found.batch.rows):
        item, probabilities = examples[row], pool.probabilities[row]
        suggestion = label_names[int(probabilities.argmax())]
        cells = {"row": int(row), "text": item.text} | ({} if item.pair is None else {"pair": item.pair})
        rows.append(
            cells
            | {
                "label": "",
                "suggestion": suggestion,
                "confidence": f"{probabilities.max():.3f}",
                "inclusion": _chance(float(found.weights[place])),
                "reason": reason(found.batch, place, suggestion),
            }
        )
    return rows


def reason(batch: Candidates, place: int, suggestion: str) -> str:
    """Why a text was drawn, in plain words.

    Args:
        batch: the batch.
        place: the text's place in it.
        suggestion: its predicted class.
    """
    parts = []
    if batch.uncertainty[place] >= _TOLD:
        parts.append(f"the model is surer of {100 * batch.uncertainty[place]:.0f} % of the texts")
    if batch.scarcity[place] >= 1.5:
        parts.append(f"few texts look like {suggestion}")
    if others := int(batch.copies[place]) - 1:
        parts.append(f"has {others} near {'copy' if others == 1 else 'copies'}")
    if batch.novelty[place] >= _TOLD:
        parts.append("unlike the texts asked before")
    return "; ".join(parts) or "one of its kind, so that every kind is asked about"


def _result(path: Path, found: Draw, pool: Pool, label_names: Sequence[str]) -> QueryResult:
    weights = np.concatenate([found.asked_weights, found.weights])
    counts = np.bincount(pool.probabilities[found.batch.rows].argmax(axis=1), minlength=len(label_names))
    predicted = dict(zip(label_names, counts.tolist(), strict=True))
    texts, effective = len(pool.groups), effective_size(weights)
    named = ", ".join(f"{name} {count}" for name, count in predicted.items())
    earlier = f", after {len(found.asked_weights):,} before" if len(found.asked_weights) else ""
    explanation = (
        f"Chose {len(found.weights):,} of {texts:,} texts ({found.groups:,} without near copies){earlier}. "
        f"By predicted class: {named}. "
        f"Every kind of text is covered; uncertain texts, and those of rare classes, were likelier to be "
        f"drawn. A row stands for {weights.min():.0f} to {weights.max():.0f} texts (1 / inclusion); all answers "
        f"together measure as precisely as {effective:.0f} random ones."
    )
    return QueryResult(
        output=path,
        rows=tuple(found.batch.rows.tolist()),
        asked=len(weights),
        texts=texts,
        groups=found.groups,
        predicted=predicted,
        weights=(float(weights.min()), float(weights.max())),
        effective_answers=effective,
        explanation=explanation,
    )
