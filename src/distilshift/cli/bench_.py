"""`distilshift bench`."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from distilshift.bench.data import data_folder, domain_file, parts_of
from distilshift.bench.estimate import in_words, remaining_seconds, seconds_by_method
from distilshift.bench.families import families_report
from distilshift.bench.job import Folders, Job, elsewhere, note_matrix
from distilshift.bench.matrix import chosen_cells, read_matrix
from distilshift.bench.report import fill, has_place, report
from distilshift.bench.runner import Report, Runner, missing
from distilshift.bench.show import board
from distilshift.bench.worker import carry_out, receive
from distilshift.errors import ConfigError, MissingExtraError
from distilshift.files import write_text

results_option = click.option(
    "--results", default="benchmarks/results", show_default=True, help="Folder of result files, a folder a table."
)


class WithRun(click.RichGroup):
    """A group whose first command need not be named: `bench MATRIX.toml` is `bench run MATRIX.toml`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in where it is left out."""
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named or not args else ["run", *args])


@click.group(name="bench", cls=WithRun)
def command() -> None:
    """Measure methods over pairs of domains: `distilshift bench MATRIX.toml`.

    MATRIX names a table, its pairs (or domains), methods and seeds, and options of teacher and student. Kill it at any
    time: the same command continues. Two of them may share a machine: each takes cells that the other has not.
    """


@command.command(name="run")
@click.argument("matrix")
@click.option("--data", help="Folder of <domain>.jsonl.gz files. Default: the data set's in $DISTILSHIFT_DATA.")
@results_option
@click.option(
    "--work", default="benchmarks/scratch", show_default=True, help="Folder for teachers and unfinished work."
)
@click.option("--plan", is_flag=True, help="Print the cells that would run, and how long that takes.")
@click.option("--only", multiple=True, help="A method, a pair as source-target, or a seed; may be repeated.")
@click.option("--keep-older", is_flag=True, help="Keep cells from before an option existed, if it is at its default.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="CPU threads; 0 leaves it to the libraries.")
def run_command(
    matrix: str,
    data: str | None,
    results: str,
    work: str,
    plan: bool,
    only: tuple[str, ...],
    keep_older: bool,
    threads: int,
) -> None:
    """Measure the cells of MATRIX that have no result yet."""
    wanted = read_matrix(matrix)
    cells = chosen_cells(wanted, only)
    folders = Folders(data_folder(data or wanted.config.data, wanted.config.data_set), Path(results), Path(work))
    for domain in {part for cell in cells for name in (cell.source, cell.target) for part in parts_of(name)}:
        domain_file(folders.data, domain)
    jobs = [Job("cell", wanted, cell, folders, threads, keep_older) for cell in cells]
    if plan:
        _print_plan(missing(jobs), len(jobs))
        return
    note_matrix(jobs[0])
    with board(folders.results / wanted.config.table, len(jobs)) as shown:
        report = Runner(jobs, shown).run()
    _print_report(report)


def _print_plan(missing_jobs: list[Job], total: int) -> None:
    """The cells that would be measured, which those that another table has are not."""
    jobs = [job for job in missing_jobs if not elsewhere(job)]
    for job in jobs:
        click.echo(job.cell.title)
    click.echo(f"{len(jobs)} of {total} cells to run.")
    if len(jobs) < len(missing_jobs):
        click.echo(f"{len(missing_jobs) - len(jobs)} more are another table's or row's, with the same teacher.")
    if not jobs:
        return
    untaught = {job.teacher for job in jobs if not job.teacher.exists()}
    known = seconds_by_method(jobs[0].result.parent)
    left = in_words(remaining_seconds([job.cell for job in jobs], known))
    click.echo(f"Time: {left}, and {len(untaught)} teachers to teach.")


def _print_report(report: Report) -> None:
    """Say what came out; exits with 1 where a cell failed."""
    click.echo(f"{len(report.measured)} cells measured.")
    if report.shared:
        whose = "those of another table or row, with the same options, data and teacher"
        click.echo(f"{len(report.shared)} cells are {whose}.")
    if report.taken:
        click.echo(f"{len(report.taken)} cells are another runner's; if it fails, run this again.")
    for cell, reason in report.failed.items():
        click.echo(f"Failed: {cell.title}: {reason}", err=True)
    if report.failed:
        sys.exit(1)


@command.command(name="report")
@results_option
@click.option("--page", help="Markdown page to fill, between its marks, instead of printing.")
@click.option("--figures", help="Folder for the figures, <table>-gains.svg and <table>-pairs.svg; needs matplotlib.")
@click.option("--families", is_flag=True, help="Print gain and harm by task family instead of the tables.")
def report_command(results: str, page: str | None, figures: str | None, families: bool) -> None:
    """Make the tables and figures from the result files."""
    if not Path(results).is_dir():
        raise ConfigError(f"{results} is no folder", fix="pass --results")
    if figures:
        _draw(Path(results), Path(figures))
    if families:
        click.echo(families_report(Path(results)))
        return
    tables = report(Path(results))
    if page is None:
        click.echo(tables)
        return
    path = Path(page)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{page} cannot be read", expected="a page in UTF-8", got=str(error), fix="name it") from None
    if not has_place(text, "bench"):
        marks = "<!-- bench table: … -->, <!-- end -->"
        raise ConfigError(f"{page} has no place for the tables", expected=marks, fix="add them")
    write_text(path, fill(text, "bench", tables))


def _draw(results: Path, folder: Path) -> None:
    try:
        from distilshift.bench.figures import write_figures
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "figures cannot be drawn",
            expected="matplotlib",
            got=str(error),
            fix="pip install '.[figures]' in the checkout",
        ) from error
    write_figures(results, folder)


@command.command(name="cell", hidden=True)
def cell_command() -> None:
    """Do the one job on standard input; `run` starts this."""
    carry_out(receive())
