"""`distilshift adapt`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from distilshift.bundle import MANIFEST
from distilshift.card import estimate_sentence, shape_sentence, shares_sentence, verdict_sentence, vocabulary_sentence
from distilshift.cli.launch import launched, rank
from distilshift.cli.options import StageCall, printable, source_of, stage_options
from distilshift.config import AdaptConfig


@click.command(name="adapt")
@click.argument("inputs", nargs=-1, required=True, metavar="[TEACHER] TEXTS...")
@click.option(
    "--cache",
    help="Folder of teachers' outputs, shared by runs: a teacher reads the same texts only once.",
)
@stage_options(AdaptConfig)
def command(inputs: tuple[str, ...], cache: str | None, call: StageCall[AdaptConfig]) -> None:
    """Adapt the TEACHER bundle to unlabelled TEXTS, distil it into a small student, and export that.

    A teacher that cannot be had itself is given by --teacher-probabilities and an encoder for --student; TEACHER is
    left out then.

    TEXTS is a TXT file (one text per line), a file with a text column (CSV, TSV, JSON, JSONL, Parquet, Arrow, also
    compressed), several, or a folder or a glob of them.
    No label and no source text is asked for, or used if present in TEXTS. Labels of some target texts, if you have
    them, go to --labels.
    """
    teacher, texts = _teacher_and_texts(inputs, call.config)
    if launched(call.num_processes, texts):
        return
    from distilshift.pipeline import adapt

    where = call.output
    result = adapt(teacher, texts, where, call.config, overwrite=call.overwrite, fresh=call.fresh, cache=cache)
    facts = result.summary
    if not rank():
        warned = f", with {len(result.warnings)} warning(s), see above" if result.warnings else ""
        click.echo(
            f"Student in {result.bundle}{warned}: {facts['size_bytes'] / 1e6:.1f} MB on the device "
            f"({facts['default']}), labels {facts['teacher_agreement']:.1%} of the texts as it was taught."
        )
        click.echo(shape_sentence(facts["shape"]))
        if split := vocabulary_sentence(facts["shape"]):
            click.echo(split)
        click.echo(printable(verdict_sentence(facts)))  # labels are named by whoever made the teacher
        if shares := shares_sentence(facts, call.config.target_prior):
            click.echo(printable(shares))
        click.echo(estimate_sentence(facts))
        click.echo(
            f"{result.seconds:.0f} s, {1e3 * result.seconds / facts['texts']:.1f} ms a text, "
            f"peak memory {result.peak_memory_bytes / 2**30:.1f} GiB."
        )


def _teacher_and_texts(inputs: tuple[str, ...], config: AdaptConfig) -> tuple[str | None, str | list[Path]]:
    wanted = ("TEXTS",) if config.teacher_probabilities else ("TEACHER", "TEXTS")
    if len(inputs) < len(wanted):
        raise click.UsageError(f"Missing argument '{wanted[len(inputs)]}'.")
    if len(wanted) == 1:
        if (Path(inputs[0]) / MANIFEST).is_file():
            raise click.UsageError(f"--teacher-probabilities takes the place of TEACHER ({inputs[0]}).")
        return None, source_of(inputs)
    return inputs[0], source_of(inputs[1:])
