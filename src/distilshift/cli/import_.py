"""`distilshift import`."""

from __future__ import annotations

from typing import Any

import rich_click as click

from distilshift.cli.options import chosen, config_options
from distilshift.config import ImportConfig, resolve


@click.command(name="import")
@click.argument("checkpoint")
@click.option("-o", "--output", required=True, help="Folder of the teacher bundle.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@config_options(ImportConfig)
def command(checkpoint: str, output: str, overwrite: bool, **options: Any) -> None:
    """Turn a fine-tuned Hugging Face classifier (CHECKPOINT: folder or hub id) into a teacher bundle, without data."""
    config = resolve(ImportConfig, chosen(options))
    from distilshift.importing import import_checkpoint

    bundle = import_checkpoint(checkpoint, output, config, overwrite=overwrite)
    click.echo(f"Teacher in {bundle}, imported without data: no statistics of its source.")
