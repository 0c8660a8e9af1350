"""`distilshift teach`."""

from __future__ import annotations

from typing import Any

import rich_click as click

from distilshift.cli.launch import launched, num_processes_option, rank
from distilshift.cli.options import chosen, config_options
from distilshift.config import TeachConfig, resolve


@click.command(name="teach")
@click.argument("data")
@click.option("-o", "--output", required=True, help="Folder of the teacher bundle.")
@click.option("--config", "config_file", help="TOML file of options; those given here win.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@click.option("--fresh", is_flag=True, help="Discard an unfinished run instead of continuing it.")
@num_processes_option
@config_options(TeachConfig)
def command(
    data: str,
    output: str,
    config_file: str | None,
    overwrite: bool,
    fresh: bool,
    num_processes: int,
    **options: Any,
) -> None:
    """Fine-tune an encoder on labelled texts and write a teacher bundle that holds none of them.

    DATA is a CSV, TSV, JSONL or Parquet file (.gz too) with a text and a label column.
    """
    config = resolve(TeachConfig, chosen(options, config_file))
    if launched(num_processes, data):
        return
    from distilshift.source import teach

    result = teach(data, output, config, overwrite=overwrite, fresh=fresh)
    if not rank():
        click.echo(
            f"Teacher in {result.bundle}: {result.validation_accuracy:.1%} on held-out source texts, "
            f"{result.seconds:.0f} s."
        )
