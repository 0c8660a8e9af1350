"""`distilshift drift`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distilshift.cli.options import chosen, config_options, printable, source_of
from distilshift.config import DriftConfig, resolve
from distilshift.data.held_out import MIN_TEXTS
from distilshift.data.read import iter_examples

if TYPE_CHECKING:
    from distilshift.types import Drift

_NO_OUTPUTS = (
    "Class shares and confidence are not compared: the student was trained on all of its target texts. From "
    f"{MIN_TEXTS:,} different texts on, adapt holds some out."
)


@click.command(name="drift")
@click.argument("student")
@click.argument("texts", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@config_options(DriftConfig)
@click.pass_context
def command(context: click.Context, student: str, texts: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Test whether TEXTS still come from the domain that a STUDENT bundle was made for, without PyTorch.

    TEXTS is a file (formats as for predict), several files, a folder, a glob, or - for standard input. At least 50
    texts are needed.

    The exit code is 0 if no drift is found, 1 if the texts have drifted, and 2 after an error.
    """
    config = resolve(DriftConfig, chosen(options))
    from distilshift.predict import Predictor

    examples = iter_examples(source_of(texts), config)
    predictor = Predictor.load(student, threads=config.threads)
    found = predictor.drift(examples, config.batch_size, level=config.level, max_texts=config.max_texts)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        _show(found)
    context.exit(int(found.drifted))


def _show(found: Drift) -> None:
    table = Table("statistic", "reference", "now", "p-value", "moved")
    for each in found.statistics:
        values = (f"{each.reference:.3g}", f"{each.now:.3g}", f"{each.p_value:.2g}", "yes" if each.moved else "")
        table.add_row(Text(printable(each.name)), *values)
    Console().print(table)
    moved = ", ".join(each.name for each in found.statistics if each.moved)
    verdict = f"Drifted: {printable(moved)}." if found.drifted else "No drift found."
    click.echo(
        f"{verdict} {found.texts:,} texts against {found.reference_texts:,} target texts, p-value {found.p_value:.2g}, "
        f"false-alarm level {found.level:g}."
    )
    if not any(each.name == "confidence" for each in found.statistics):
        click.echo(_NO_OUTPUTS)
