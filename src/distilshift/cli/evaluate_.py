"""`distilshift evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from distilshift.cli.options import chosen, config_options, printable, source_of
from distilshift.config import EvaluateConfig, resolve
from distilshift.types import Evaluation

# Characters of a table that nobody's terminal has: what it needs is what it gets.
_MAX_WIDTH = 100_000


@click.command(name="evaluate")
@click.argument("bundle")
@click.argument("data", nargs=-1, required=True)
@click.option("--json", "json_file", help="Also write the numbers to this file.")
@click.option("--overwrite", is_flag=True, help="Replace that file.")
@config_options(EvaluateConfig)
def command(bundle: str, data: tuple[str, ...], json_file: str | None, overwrite: bool, **options: Any) -> None:
    """Measure a BUNDLE on labelled DATA.

    DATA is a file (CSV, TSV, JSON, JSONL, Parquet, Arrow, also compressed), several, or a folder or a glob of them.

    A student is run as on the device; a teacher needs the train extra.
    """
    config = resolve(EvaluateConfig, chosen(options))
    from distilshift.evaluation import evaluate
    from distilshift.files import require_apart, require_file_name, write_json

    if json_file:
        require_apart(Path(json_file), bundle, *data)
        require_file_name(Path(json_file), overwrite)
    result = evaluate(bundle, source_of(data), config)
    try:
        if json_file:
            write_json(Path(json_file), asdict(result))
    finally:  # numbers that took long are not lost: where one of both cannot be written, the other is
        _show(result)


def _show(result: Evaluation) -> None:
    console = Console()
    click.echo(
        f"{result.examples} texts: accuracy {result.accuracy:.1%}, balanced accuracy {result.balanced_accuracy:.1%}, "
        f"macro-F1 {result.macro_f1:.3f}, calibration error {result.calibration_error:.3f}, negative log-likelihood "
        f"{result.negative_log_likelihood:.3f} nats"
    )
    names = [Text(printable(name)) for name in result.label_names]
    if result.answered is not None:
        right = "" if result.answered_accuracy is None else f", {result.answered_accuracy:.1%} of them right"
        click.echo(
            f"Labels are given to {result.answered:.1%} of the texts{right}; the numbers above are of all texts."
        )
    table = Table("label \\ predicted", *map(Column, names), "recall")
    for name, row, recall in zip(names, result.confusion, result.class_recall, strict=True):
        table.add_row(name, *map(str, row), "–" if recall is None else f"{recall:.1%}")
    widest = table.__rich_measure__(console, console.options.update(max_width=_MAX_WIDTH)).maximum
    Console(width=max(console.width, widest)).print(table)  # a line that wraps is read more easily than half a number
