"""Figures of the published tables, as SVG, from the result files alone.

The same results give the same bytes with the same version of matplotlib: no date, no random ids.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distilshift.bench.methods import METHODS
from distilshift.bench.table import BASELINE, HARM, Gain, Table, read_table, table_folders
from distilshift.files import output_errors, write_text

OWN = "distilshift"
# Colours that stay apart for the colour-blind (Okabe and Ito 2008).
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
OF_FORBIDDEN = {"source data": VERMILION, "target labels": GREEN}
WIDTH, ROW_HEIGHT = 7.2, 0.24  # inches


def write_figures(results: Path, folder: Path) -> list[Path]:
    """Draw what the tables of a folder of results have to show, to `<table>-gains.svg` and `<table>-pairs.svg`.

    Raises:
        OutputError: the folder cannot be written.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, Callable[[Table], Figure | None]] = {"gains": gains_figure, "pairs": pairs_figure}
    written = []
    for source in table_folders(results):
        table = read_table(source)
        for name, draw in kinds.items():
            # Text, not outlines: small files, in the reader's own sans-serif.
            with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "distilshift", "font.size": 9}):
                figure = draw(table)
                if figure is not None:
                    path = folder / f"{table.matrix.config.table}-{name}.svg"
                    write_text(path, _svg(figure))
                    written.append(path)
    return written


def gains_figure(table: Table) -> Figure | None:
    """A line a row with its gain over plain distillation; rows that lack pairs are left out. None: no row has all."""
    upwards = [method for method in reversed(METHODS) if method in table.matrix.config.methods]
    found = [(method, gain) for method in upwards if (gain := _whole_gain(table, method))]
    if not found:
        return None
    figure, axes = _canvas(len(found))
    for place, (method, gain) in enumerate(found):
        colour = BLUE if OWN in METHODS[method].title else OF_FORBIDDEN.get(METHODS[method].uses, GREY)
        mean, low, high = (100 * value for value in (gain.mean, gain.low, gain.high))
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="round")
        filled = colour if METHODS[method].compresses else "white"
        axes.plot(mean, place, "o", color=colour, markerfacecolor=filled, markersize=5.5)
        axes.annotate(f"{mean:+.1f}", (high, place), (5, 0), textcoords="offset points", va="center", color=colour)
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    _label(axes, [METHODS[method].title.replace("*", "") for method, _ in found])
    _embolden(axes, [method == OWN for method, _ in found])
    for text, colour in (("uses source data", VERMILION), ("uses target labels", GREEN)):
        if colour in {OF_FORBIDDEN.get(METHODS[method].uses) for method, _ in found}:
            axes.plot([], [], "o", color=colour, label=text)
    axes.plot([], [], "o", color=GREY, markerfacecolor="white", label="not compressed")
    axes.legend(frameon=False, loc="upper left", handletextpad=0.2)
    axes.margins(x=0.12)
    axes.set_xlabel(f"points over plain distillation, held-out texts, mean of {len(table.matrix.pairs())} pairs")
    return figure


def pairs_figure(table: Table) -> Figure | None:
    """A line a pair, from plain distillation's accuracy to the default's; None where no pair has both."""
    ends = {
        pair: (100 * values).mean(axis=0)
        for pair in table.matrix.pairs()
        if len(values := table.values([BASELINE, OWN], pair))
    }
    if not ends or table.matrix.config.positive_shares:
        return None
    found = sorted(ends.items(), key=lambda item: item[1][1] - item[1][0])
    figure, axes = _canvas(len(found))
    for place, (_, (before, after)) in enumerate(found):
        colour = VERMILION if after - before < -100 * HARM else BLUE
        axes.plot([before, after], [place, place], color=colour, linewidth=1.6, alpha=0.5)
        axes.plot(before, place, "o", color=GREY, markersize=4.5)
        axes.plot(after, place, "o", color=colour, markersize=5.5)
        right = (max(before, after), place)
        axes.annotate(f"{after - before:+.1f}", right, (6, 0), textcoords="offset points", va="center", color=colour)
    axes.plot([], [], "o", color=GREY, markersize=4.5, label="plain distillation")
    axes.plot([], [], "o", color=BLUE, markersize=5.5, label="distilshift")
    axes.legend(frameon=False, loc="lower left", handletextpad=0.2)
    _label(axes, [" → ".join(pair) for pair, _ in found])
    axes.margins(x=0.1)
    axes.set_xlabel("accuracy on held-out texts, per cent")
    return figure


def _whole_gain(table: Table, method: str) -> Gain | None:
    """The gain of a row that has all pairs."""
    gain = table.gain(method) if method != BASELINE else None
    return gain if gain and gain.pairs == len(table.matrix.pairs()) else None


def _canvas(rows: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 0.8 + ROW_HEIGHT * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylim(-0.7, rows - 0.3)
    return figure, axes


def _label(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)


def _embolden(axes: Axes, which: list[bool]) -> None:
    for label, own in zip(axes.get_yticklabels(), which, strict=True):
        label.set_fontweight("bold" if own else "normal")


def _svg(figure: Figure) -> str:
    page = io.StringIO()
    figure.savefig(page, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"
