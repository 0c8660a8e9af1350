"""`distilshift teach`."""

from __future__ import annotations

import rich_click as click

from distilshift.cli.launch import launched, rank
from distilshift.cli.options import StageCall, stage_options
from distilshift.config import TeachConfig


@click.command(name="teach")
@click.argument("data")
@stage_options(TeachConfig)
def command(data: str, call: StageCall[TeachConfig]) -> None:
    """Fine-tune an encoder on labelled texts and write a teacher bundle that holds none of them.

    DATA is a CSV, TSV, JSONL or Parquet file (.gz too) with a text and a label column.
    """
    if launched(call.num_processes, data):
        return
    from distilshift.source import teach

    result = teach(data, call.output, call.config, overwrite=call.overwrite, fresh=call.fresh)
    if not rank():
        click.echo(
            f"Teacher in {result.bundle}: {result.validation_accuracy:.1%} on held-out source texts, "
            f"{result.seconds:.0f} s."
        )
