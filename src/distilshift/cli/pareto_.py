"""`distilshift pareto`."""

from __future__ import annotations

from typing import Any

import rich_click as click

from distilshift.cli.options import chosen, config_options, source_of
from distilshift.config import ParetoConfig, read_toml, resolve


@click.command(name="pareto")
@click.argument("teacher")
@click.argument("texts", nargs=-1, required=True)
@click.option("-o", "--output", required=True, help="Folder for the students, the table and the plot.")
@click.option("--config", "config_file", help="TOML file of options of `adapt`, with which each student is made.")
@config_options(ParetoConfig)
def command(teacher: str, texts: tuple[str, ...], output: str, config_file: str | None, **options: Any) -> None:
    """Make students of several sizes of the TEACHER bundle from unlabelled TEXTS, and compare them.

    Each is made as `distilshift adapt` does, which takes as long each time. Repeat the command to continue one that was
    interrupted.
    """
    given = chosen(options)
    config = resolve(ParetoConfig, given)
    # What the command line says of the texts holds over the file.
    adapt_options = {k: v for k, v in (read_toml(config_file) if config_file else {}).items() if k not in given}
    from distilshift.front import PAGE, pareto, table

    rows = pareto(teacher, source_of(texts), output, config, adapt_options)
    click.echo(table(rows))
    click.echo(f"Written to {output}/{PAGE}.")
