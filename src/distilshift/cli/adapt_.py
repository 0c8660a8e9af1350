"""`distilshift adapt`."""

from __future__ import annotations

from typing import Any

import rich_click as click

from distilshift.card import estimate_sentence, verdict_sentence
from distilshift.cli.launch import launched, num_processes_option, rank
from distilshift.cli.options import chosen, config_options
from distilshift.config import AdaptConfig, resolve


@click.command(name="adapt")
@click.argument("teacher")
@click.argument("texts")
@click.option("-o", "--output", required=True, help="Folder of the student bundle.")
@click.option("--config", "config_file", help="TOML file of options; those given here win.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@click.option("--fresh", is_flag=True, help="Discard an unfinished run instead of continuing it.")
@num_processes_option
@config_options(AdaptConfig)
def command(
    teacher: str,
    texts: str,
    output: str,
    config_file: str | None,
    overwrite: bool,
    fresh: bool,
    num_processes: int,
    **options: Any,
) -> None:
    """Adapt the TEACHER bundle to unlabelled TEXTS, distil it into a small student, and export that.

    TEXTS is a TXT file (a text a line), or CSV, TSV, JSONL or Parquet with a text column (.gz too).
    No label and no source text is asked for, or used if present.
    """
    config = resolve(AdaptConfig, chosen(options, config_file))
    if launched(num_processes, texts):
        return
    from distilshift.pipeline import adapt

    result = adapt(teacher, texts, output, config, overwrite=overwrite, fresh=fresh)
    facts = result.summary
    if not rank():
        click.echo(
            f"Student in {result.bundle}: {facts['size_bytes'] / 1e6:.1f} MB on the device ({facts['default']}), "
            f"labels {facts['teacher_agreement']:.1%} of the texts as its teacher."
        )
        click.echo(verdict_sentence(facts))
        click.echo(estimate_sentence(facts))
        click.echo(
            f"{result.seconds:.0f} s, {1e3 * result.seconds / facts['texts']:.1f} ms a text, "
            f"peak memory {result.peak_memory_bytes / 2**30:.1f} GiB."
        )
