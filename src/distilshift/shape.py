"""How large a student is: the shapes to choose from, best first, and what each takes on a device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from distilshift.config import AdaptConfig, Size
from distilshift.config.parsers import parse_bytes
from distilshift.errors import ConfigError

# An ONNX file's nodes and names, and config.json.
OVERHEAD_BYTES = 30_000


@dataclass(frozen=True)
class StudentShape:
    """The sizes that can be chosen; the width, and with it the number of heads, stays the encoder's.

    Attributes:
        layers: transformer layers.
        inner: width of the feed-forward part.
        pieces: rows of the token embedding.
        positions: rows of the position table.
    """

    layers: int
    inner: int
    pieces: int
    positions: int


@dataclass(frozen=True)
class Frame:
    """What an encoder's student has whatever its shape.

    Attributes:
        whole: the shape that it has untouched.
        width, embedding_width: numbers a token in the layers, and in the embedding.
        piece_bytes: of the tokenizer's file, for each piece.
        min_positions: rows that `max_length` tokens need.
        used_pieces: pieces that must be kept and those that the texts use; None where the vocabulary stays whole.
        required_pieces: those that must be kept.
        static: it is a table of pieces and a linear map; there are no layers and no positions on the device.
    """

    whole: StudentShape
    width: int
    embedding_width: int
    piece_bytes: float
    min_positions: int
    used_pieces: int | None
    required_pieces: int = 0
    static: bool = False


@dataclass(frozen=True)
class Level:
    """A step of the search, relative to the encoder.

    Attributes:
        layers: transformer layers at the most.
        inner: share of the feed-forward width.
        pieces: at the most; None keeps the vocabulary whole and all positions.
    """

    layers: int
    inner: float = 1.0
    pieces: int | None = None


# From best to smallest: benchmarks/LOG.md has what each costs on held-out target texts.
SIZES: dict[Size, Level] = {"base": Level(3), "small": Level(3, 1.0, 8_000), "tiny": Level(1, 0.25, 4_000)}
LEVELS = (
    SIZES["base"],
    Level(3, 1.0, 12_000),
    SIZES["small"],
    Level(3, 1.0, 5_500),
    Level(2, 1.0, 8_000),
    Level(2, 1.0, 6_000),
    Level(2, 0.5, 6_000),
    Level(2, 0.25, 5_000),
    Level(1, 1.0, 5_000),
    Level(1, 0.5, 4_000),
    SIZES["tiny"],
    Level(1, 0.25, 3_000),
    Level(1, 0.125, 2_500),
)


@dataclass(frozen=True)
class Candidate:
    """A shape that was considered.

    Attributes:
        shape: its sizes.
        estimated_bytes: that a device needs, with embeddings of 8 bits.
        latency_ms: p50 of an untrained network of this shape, one text on one thread; None where nothing asked for it.
        reason: why it was taken or not.
    """

    shape: StudentShape
    estimated_bytes: int
    latency_ms: float | None
    reason: str

    @property
    def fits(self) -> bool:
        """It is within all budgets."""
        return self.reason == "fits"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return asdict(self.shape) | {k: v for k, v in asdict(self).items() if k != "shape"}


def megabytes(size_bytes: int) -> str:
    """A size for people, rounded up to a kilobyte: a budget of so much is enough."""
    return f"{math.ceil(size_bytes / 1e3) / 1e3:g} MB"


def shape_at(level: Level, frame: Frame, layers: int | None = None) -> StudentShape:
    """The shape of a level for an encoder.

    Args:
        level: of the search.
        frame: what the encoder is.
        layers: that were asked for, whatever the level says.
    """
    whole = frame.whole
    shape = replace(whole, layers=min(layers or level.layers, whole.layers))
    if level.pieces is None:
        return shape
    # Feed-forward widths in multiples of 8, for the CPU's vectors.
    inner = whole.inner if level.inner == 1.0 else max(1, round(level.inner * whole.inner / 8)) * 8
    pieces = whole.pieces
    if frame.used_pieces is not None:
        pieces = min(max(level.pieces, frame.required_pieces), frame.used_pieces)
    return replace(shape, inner=min(inner, whole.inner), pieces=pieces, positions=frame.min_positions)


def candidate_shapes(frame: Frame, config: AdaptConfig) -> list[StudentShape]:
    """The shapes to try, best first: that of the size alone, or with a budget all from it to the smallest."""
    first = LEVELS.index(SIZES[config.size])
    levels = LEVELS[first:] if has_budget(config) else LEVELS[first : first + 1]
    return list(dict.fromkeys(shape_at(level, frame, config.student_layers) for level in levels))


def has_budget(config: AdaptConfig) -> bool:
    """Whether bytes or milliseconds are limited."""
    return config.budget is not None or config.latency_ms is not None


def device_bytes_of(shape: StudentShape, frame: Frame) -> int:
    """Bytes that a device needs for the int8 network, its tokenizer and its configuration: an estimate.

    A weight of a product takes one byte, each of its outputs a scale and a bias of four; so does a row of a table.
    Tables in 4 bits are smaller, but the labels of the target texts decide whether they will do: see `quantise`.
    """
    width, table = frame.width, frame.embedding_width
    layer = 4 * width * width + 2 * width * shape.inner + 8 * (5 * width + shape.inner) + 16 * width
    head = width * width + 8 * width + (table * width if table != width else 0)
    pieces = shape.pieces * (table + 4 + frame.piece_bytes)
    network = 0 if frame.static else shape.layers * layer + head + shape.positions * (table + 4)
    return int(network + pieces) + OVERHEAD_BYTES


def search(
    frame: Frame, config: AdaptConfig, latency_of: Callable[[StudentShape], float], shapes: Sequence[StudentShape]
) -> list[Candidate]:
    """The shapes in order, up to the first that is within all budgets.

    Args:
        frame: what the encoder is.
        config: its budgets.
        latency_of: measures a shape, in ms; called only where a latency is asked for and the bytes fit.
        shapes: best first.
    """
    found: list[Candidate] = []
    for shape in shapes:
        found.append(_judged(shape, frame, config, latency_of))
        if found[-1].fits:
            break
    return found


def _judged(
    shape: StudentShape, frame: Frame, config: AdaptConfig, latency_of: Callable[[StudentShape], float]
) -> Candidate:
    size, limit = device_bytes_of(shape, frame), parse_bytes(config.budget) if config.budget else None
    if limit is not None and size > limit:
        return Candidate(shape, size, None, f"{megabytes(size)} > {limit / 1e6:g} MB")
    if config.latency_ms is None:
        return Candidate(shape, size, None, "fits")
    latency = latency_of(shape)
    if latency > config.latency_ms:
        return Candidate(shape, size, latency, f"{latency:.2f} ms > {config.latency_ms:g} ms")
    return Candidate(shape, size, latency, "fits")


def require_feasible(found: Sequence[Candidate]) -> Candidate:
    """The candidate that fits, the last one.

    Raises:
        ConfigError: none does; it names the smallest.
    """
    if found[-1].fits:
        return found[-1]
    smallest = min(found, key=lambda each: each.estimated_bytes)
    fastest = min((each.latency_ms for each in found if each.latency_ms is not None), default=None)
    shape = smallest.shape
    speed = f", and the fastest {fastest:.2f} ms" if fastest is not None else ""
    raise ConfigError(
        "no student is within the budget",
        expected=f"at least {megabytes(smallest.estimated_bytes)}{speed}",
        got=found[-1].reason,
        fix=f"allow that: the smallest student has {shape.layers} layer(s), an inner width of {shape.inner} and "
        f"{shape.pieces:,} pieces; or teach a narrower encoder",
    )
