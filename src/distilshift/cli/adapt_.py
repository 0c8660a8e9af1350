"""`distilshift adapt`."""

from __future__ import annotations

from typing import Any

import rich_click as click

from distilshift.cli.options import chosen, config_options
from distilshift.config import AdaptConfig, resolve


@click.command(name="adapt")
@click.argument("teacher")
@click.argument("texts")
@click.option("-o", "--output", required=True, help="Folder of the student bundle.")
@click.option("--config", "config_file", help="TOML file of options; those given here win.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@click.option("--fresh", is_flag=True, help="Discard an unfinished run instead of continuing it.")
@config_options(AdaptConfig)
def command(
    teacher: str, texts: str, output: str, config_file: str | None, overwrite: bool, fresh: bool, **options: Any
) -> None:
    """Adapt the TEACHER bundle to unlabelled TEXTS, distil it into a small student, and export that.

    TEXTS is a TXT file (a text a line), or CSV, TSV, JSONL or Parquet with a text column (.gz too).
    No label and no source text is asked for, or used if present.
    """
    config = resolve(AdaptConfig, chosen(options, config_file))
    from distilshift.pipeline import adapt

    result = adapt(teacher, texts, output, config, overwrite=overwrite, fresh=fresh)
    facts = result.summary
    click.echo(
        f"Student in {result.bundle}: {facts['size_bytes'] / 1e6:.1f} MB on the device ({facts['default']}), "
        f"labels {facts['teacher_agreement']:.1%} of the texts as its adapted teacher, {result.seconds:.0f} s."
    )
