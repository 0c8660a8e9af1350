"""A scatter plot of named points as SVG, written by hand: a handful of points needs no plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 28, 44
# Room around the points, as a share of the axis.
MARGIN = 0.12
_TICKS = 4


@dataclass(frozen=True)
class Point:
    """One named point.

    Attributes:
        name: its label.
        x: above 0; the axis is logarithmic.
        y: as it is.
    """

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Panel:
    """Points over two axes.

    Attributes:
        x_title, y_title: of the axes, with units.
        points: one or more.
    """

    x_title: str
    y_title: str
    points: Sequence[Point]


def scatter_svg(panels: Sequence[Panel], title: str) -> str:
    """Panels side by side, as an SVG document."""
    width, height = WIDTH * len(panels), HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for index, panel in enumerate(panels):
        parts += [f'<g transform="translate({index * WIDTH} 0)">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel) -> list[str]:
    low_x, high_x = _range([math.log(point.x) for point in panel.points])
    low_y, high_y = _range([point.y for point in panel.points])
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(value: float) -> float:
        return LEFT + (math.log(value) - low_x) / (high_x - low_x) * (right - LEFT)

    def down(value: float) -> float:
        return bottom - (value - low_y) / (high_y - low_y) * (bottom - TOP)

    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#444"/>']
    for step in range(_TICKS + 1):
        share = step / _TICKS
        x, y = math.exp(low_x + share * (high_x - low_x)), low_y + share * (high_y - low_y)
        parts += [_text(across(x), bottom + 16, f"{x:.3g}", "middle"), _text(LEFT - 6, down(y) + 4, f"{y:.4g}", "end")]
        parts.append(f'<path d="M{LEFT} {down(y):.1f}H{right}" stroke="#ddd"/>')
    for point in panel.points:
        x, y = across(point.x), down(point.y)
        anchor = "end" if x > (LEFT + right) / 2 else "start"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1565c0"/>')
        parts.append(_text(x + (-8 if anchor == "end" else 8), y - 6, point.name, anchor))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 10, panel.x_title, "middle"))
    return [*parts, _text(LEFT, TOP - 12, panel.y_title, "start")]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis, which never meet."""
    low, high = min(values), max(values)
    room = MARGIN * (high - low) or max(abs(low) * MARGIN, MARGIN)
    return low - room, high + room


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222">{escape(text)}</text>'
