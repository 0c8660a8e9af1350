"""`distilshift query`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich_click as click

from distilshift.cli.options import chosen, config_options, printable, source_of
from distilshift.config import QueryConfig, resolve


@click.command(name="query")
@click.argument("bundle")
@click.argument("texts", nargs=-1, required=True)
@click.option("-o", "--output", required=True, help="CSV file to write, or to add the next texts to.")
@click.option("--json", "json_file", help="Also write the explanation and its numbers to this file.")
@click.option("--overwrite", is_flag=True, help="Replace that JSON file; the CSV file is never replaced.")
@config_options(QueryConfig)
def command(
    bundle: str, texts: tuple[str, ...], output: str, json_file: str | None, overwrite: bool, **options: Any
) -> None:
    """Choose the TEXTS most worth labeling, as a teacher or student BUNDLE sees them.

    TEXTS is a file (TXT, CSV, TSV, JSON, JSONL, Parquet, Arrow, also compressed), several, or a folder or a glob of
    them.

    The CSV file has an empty column label for a person to fill in; leave it empty where you cannot decide. Run the
    command again with the same output, and it adds the next texts: it asks about none twice, and keeps all labels.

    A student runs without PyTorch; a teacher needs the train extra.
    """
    config = resolve(QueryConfig, chosen(options))
    from distilshift.files import require_apart, require_file_name, write_json
    from distilshift.querying import query

    if json_file:
        require_apart(Path(json_file), bundle, *texts, output)
        require_file_name(Path(json_file), overwrite)
    result = query(bundle, source_of(texts), output, config)
    click.echo(printable(result.explanation), err=True)
    click.echo(printable(f"Fill in the column label of {output}: {', '.join(result.predicted)}."), err=True)
    if json_file:
        write_json(Path(json_file), asdict(result) | {"output": str(result.output)})
