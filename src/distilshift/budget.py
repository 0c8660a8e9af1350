"""Choosing a student's shape and vocabulary for the target texts, once a run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from distilshift import progress
from distilshift.config import AdaptConfig
from distilshift.config.parsers import parse_bytes
from distilshift.data.corpus import Corpus
from distilshift.encoder import Classifier, layers_of, position_limit
from distilshift.errors import ConfigError
from distilshift.export import export_onnx
from distilshift.files import write_json
from distilshift.narrowing import inner_width, keep_pieces, narrow_feed_forward, positions_for, shorten_positions
from distilshift.network import Network, latency_ms
from distilshift.pieces import Ids, Pieces, Splitting, count_pieces, held_out, most_used, rebuilt
from distilshift.quantise import forms_of, measured_ranges
from distilshift.quantise_graph import quantised
from distilshift.run import RunDirectory
from distilshift.shape import (
    Candidate,
    Frame,
    StudentShape,
    candidate_shapes,
    device_bytes_of,
    has_budget,
    require_feasible,
    search,
)
from distilshift.stage import seeded
from distilshift.static_student import is_static, windows_read
from distilshift.student import cut
from distilshift.tokens import load_tokenizer

# Target texts that a shape is timed on, one at a time, and those that its ranges are measured on: they take no time.
LATENCY_TEXTS, RANGE_TEXTS = 60, 8
NOTE, COUNTS = "shape", "piece-counts"


@dataclass(frozen=True)
class Plan:
    """What student is built, and why.

    Attributes:
        shape: its sizes.
        kept: ids of its pieces in the encoder's tokenizer, ascending; None keeps the vocabulary.
        summary: what was considered and chosen, as plain values for manifest, card and command line.
    """

    shape: StudentShape
    kept: Ids | None
    summary: dict[str, Any]

    def build(self, student: Classifier) -> Classifier:
        """A student of this shape, cut from one that has its layers."""
        return shaped(student, self.shape, self.kept)


def check_budget(config: AdaptConfig) -> None:
    """Refuse, before anything is computed, a size that the options rule out.

    Raises:
        ConfigError: see above.
    """
    if config.distillation != "soft-targets" and (config.size != "base" or has_budget(config)):
        raise ConfigError(
            f"distillation {config.distillation} compares token by token, and a trimmed student has other tokens",
            expected="size base and no budget",
            got=f"size {config.size}, budget {config.budget}, latency_ms {config.latency_ms}",
            fix="pass --size base, or leave --distillation out",
        )


def plan_student(student: Classifier, corpus: Corpus, config: AdaptConfig, run: RunDirectory) -> Plan:
    """Choose the shape; a run that continues takes what it chose before.

    Args:
        student: the untrained student of size base.
        corpus: the target texts.
        config: its size and budgets.
        run: keeps counts and choice.

    Raises:
        ConfigError: no shape is within the budget.
    """
    if config.size == "base" and not has_budget(config):
        return Plan(_whole(student), None, _summary(config, [_base(student)], None))
    pieces = Pieces.of(student.tokenizer)
    vocabulary = _Vocabulary.of(student, pieces, corpus, run)
    frame = frame_of(student, pieces, vocabulary.used, len(vocabulary.required))

    def latency(shape: StudentShape) -> float:
        return untrained_latency_ms(student, shape, vocabulary.kept(shape), corpus, config)

    found = _noted(frame, config, latency, run)
    chosen = require_feasible(found)
    kept = vocabulary.kept(chosen.shape)
    return Plan(chosen.shape, kept, _summary(config, found, vocabulary.summary(kept, corpus, run)))


@dataclass(frozen=True)
class _Vocabulary:
    """What can be left of a tokenizer's pieces.

    Attributes:
        pieces: all of them.
        required: ids that every student keeps.
        counts: as of `count_pieces`.
        whole_because: why none can be left out; then there are neither ids nor counts.
    """

    pieces: Pieces
    required: Ids
    counts: dict[str, Ids]
    whole_because: str | None = None

    @classmethod
    def of(cls, student: Classifier, pieces: Pieces, corpus: Corpus, run: RunDirectory) -> _Vocabulary:
        if reason := _why_whole(student, pieces):
            return cls(pieces, np.zeros(0, np.int64), {}, reason)
        with progress.stage("counting pieces", len(corpus)) as advance:
            counts = run.arrays(COUNTS, lambda: count_pieces(pieces, corpus, advance), lead_only=True)
        return cls(pieces, pieces.required(), counts)

    @property
    def used(self) -> int | None:
        """Pieces that are required or occur; None where the vocabulary stays whole."""
        if self.whole_because:
            return None
        return len(most_used(self.required, self.counts["counted"], len(self.pieces)))

    def kept(self, shape: StudentShape) -> Ids | None:
        """The ids of a shape's pieces; None for all."""
        if self.whole_because or shape.pieces >= len(self.pieces):
            return None
        return most_used(self.required, self.counts["counted"], shape.pieces)

    def summary(self, kept: Ids | None, corpus: Corpus, run: RunDirectory) -> dict[str, Any]:
        """How many pieces are left, and how the held-out texts are split by them, beside by all of them."""
        if kept is None:
            return {"reason": self.whole_because or "The vocabulary is whole: there is room for all of it."}
        trimmed = Pieces(self.pieces.trimmed(kept))

        def count() -> dict[str, Ids]:
            return {"counts": trimmed.counts(held_out(corpus))}

        own = trimmed.splitting(run.arrays("trimmed-piece-counts", count, lead_only=True)["counts"])
        return {
            "pieces": len(kept),
            "whole_pieces": len(self.pieces),
            "held_out_texts": sum(1 for _ in held_out(range(len(corpus)))),
            **_rates("", own),
            **_rates("whole_", self.pieces.splitting(self.counts["held_out"])),
        }


def frame_of(student: Classifier, pieces: Pieces, used_pieces: int | None, required_pieces: int = 0) -> Frame:
    """What the student has whatever its shape."""
    config = student.model.config
    width = int(config.hidden_size)
    return Frame(
        whole=_whole(student),
        width=width,
        embedding_width=int(student.model.get_input_embeddings().embedding_dim),
        piece_bytes=pieces.file_bytes / len(pieces),
        min_positions=positions_for(student.model, student.max_length),
        used_pieces=used_pieces,
        required_pieces=required_pieces,
        static=is_static(student.model),
    )


def shaped(student: Classifier, shape: StudentShape, kept: Ids | None) -> Classifier:
    """A copy of a classifier, cut to a shape.

    Args:
        student: with as many layers or more.
        shape: its sizes; those that it has already are left alone.
        kept: ids of the pieces that stay; None keeps all.
    """
    if shape == _whole(student):
        return student
    made, tokenizer = cut(student, shape.layers), student.tokenizer
    narrow_feed_forward(made.model, shape.inner)
    if kept is not None:
        tokenizer = rebuilt(tokenizer, Pieces.of(tokenizer).trimmed(kept), student.max_length)
        keep_pieces(made.model, kept)
    if shape.positions < made.model.config.max_position_embeddings:
        shorten_positions(made.model, shape.positions)
    return Classifier(made.model, tokenizer, student.max_length)


def untrained_latency_ms(
    student: Classifier, shape: StudentShape, kept: Ids | None, corpus: Corpus, config: AdaptConfig
) -> float:
    """Milliseconds from text to logits, p50 over target texts, one at a time on one thread, in int8.

    Weights do not change the time, so the student need not have learnt anything.
    """
    texts = corpus.at(np.arange(min(len(corpus), LATENCY_TEXTS)))
    made = shaped(student, shape, kept)
    with tempfile.TemporaryDirectory() as scratch, seeded(config.seed):
        folder = Path(scratch)
        export_onnx(made, folder / "model.onnx")
        made.tokenizer.save_pretrained(folder)
        tokenizer = load_tokenizer(folder / "tokenizer.json", made.max_length, made.model.config.to_dict())
        reading = (tokenizer, made.tokenizer.pad_token_id, 1, windows_read(made.model, config.max_windows))
        model = onnx.load(folder / "model.onnx")
        ranges = measured_ranges(model, Network(folder / "model.onnx", *reading), texts[:RANGE_TEXTS])
        onnx.save(quantised(model, forms_of(model)[0], ranges), folder / "int8.onnx")
        network = Network(folder / "int8.onnx", *reading)
        (samples,) = latency_ms([network], texts, LATENCY_TEXTS)
    return float(np.median(samples))


def _whole(student: Classifier) -> StudentShape:
    config = student.model.config
    layers, positions = len(layers_of(student.model)), int(config.max_position_embeddings)
    return StudentShape(layers, inner_width(student.model), int(config.vocab_size), positions)


def _base(student: Classifier) -> Candidate:
    frame = frame_of(student, Pieces.of(student.tokenizer), None)
    return Candidate(frame.whole, device_bytes_of(frame.whole, frame), None, "fits")


def _why_whole(student: Classifier, pieces: Pieces) -> str | None:
    """Why the vocabulary cannot be trimmed; None where it can."""
    if not pieces.is_word_piece:
        return "The vocabulary is whole: only WordPiece can be trimmed."
    model, padding = student.model, student.tokenizer.pad_token_id
    counts_from_padding = position_limit(model) < int(model.config.max_position_embeddings)
    if counts_from_padding and int((pieces.required() < padding).sum()) != padding:
        return "The vocabulary is whole: positions are counted from the padding id, which would move."
    return None


def _noted(
    frame: Frame, config: AdaptConfig, latency: Callable[[StudentShape], float], run: RunDirectory
) -> list[Candidate]:
    """What was considered, found once: latencies differ from one time to the next.

    A choice that failed is not kept: another machine, or an idler one, may be faster.
    """
    if NOTE not in run:
        found = search(frame, config, latency, candidate_shapes(frame, config)) if run.crew.leads else []
        values = {"considered": [asdict(each) for each in found]}
        run.save(NOTE, lambda path: write_json(path, values), **values)
    noted = [
        Candidate(StudentShape(**each["shape"]), each["estimated_bytes"], each["latency_ms"], each["reason"])
        for each in run.facts(NOTE)["considered"]
    ]
    if not noted[-1].fits:
        for name in (NOTE, COUNTS):
            run.drop(name)
    return noted


def _rates(prefix: str, splitting: Splitting) -> dict[str, Any]:
    known = splitting.words > 0
    return {
        f"{prefix}unknown_share": splitting.unknown_share if known else None,
        f"{prefix}pieces_per_word": splitting.pieces_per_word if known else None,
    }


def _summary(config: AdaptConfig, found: list[Candidate], vocabulary: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "size": config.size,
        "budget_bytes": parse_bytes(config.budget) if config.budget else None,
        "budget_latency_ms": config.latency_ms,
        **asdict(found[-1].shape),
        "estimated_bytes": found[-1].estimated_bytes,
        "estimated_latency_ms": found[-1].latency_ms,
        "considered": [each.to_dict() for each in found],
        "vocabulary": vocabulary,
    }
