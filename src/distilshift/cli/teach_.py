"""`distilshift teach`."""

from __future__ import annotations

import rich_click as click

from distilshift.cli.launch import launched, rank
from distilshift.cli.options import StageCall, source_of, stage_options
from distilshift.config import TeachConfig


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
        click.echo(
            f"Teacher in {result.bundle}: {result.validation_accuracy:.1%} on held-out source texts, "
            f"{result.seconds:.0f} s."
        )
