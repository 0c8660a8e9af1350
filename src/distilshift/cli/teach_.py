"""`distilshift teach`."""

from __future__ import annotations

import rich_click as click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from distilshift.cli.launch import launched, rank
from distilshift.cli.options import StageCall, printable, source_of, stage_options
from distilshift.config import TeachConfig
from distilshift.types import TeachResult


@click.command(name="teach")
@click.argument("data", nargs=-1, required=True)
@stage_options(TeachConfig)
def command(data: tuple[str, ...], call: StageCall[TeachConfig]) -> None:
    """Fine-tune an encoder on labelled texts and write a teacher bundle that holds none of them.

    DATA is a file with a text and a label column (CSV, TSV, JSON, JSONL, Parquet, Arrow, also compressed), several, or
    a folder or a glob of them.
    """
    source = source_of(data)
    if launched(call.num_processes, source):
        return
    from distilshift.source import teach

    result = teach(source, call.output, call.config, overwrite=call.overwrite, fresh=call.fresh)
    if not rank():
        _show(result)


def _show(result: TeachResult) -> None:
    click.echo(
        f"Teacher in {result.bundle}: {result.validation_accuracy:.1%} on held-out source texts (balanced accuracy "
        f"{result.balanced_accuracy:.1%}, macro-F1 {result.macro_f1:.3f}), {result.seconds:.0f} s."
    )
    numbers = ("training texts", "held-out texts", "recall")
    table = Table("class", *(Column(name, justify="right") for name in numbers))
    for each in result.classes:
        recall = "–" if each.recall is None else f"{each.recall:.1%}"
        table.add_row(Text(printable(each.name)), f"{each.training_texts:,}", f"{each.validation_texts:,}", recall)
    Console().print(table)
