"""`distilshift predict`."""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from distilshift.abstention import RiskCoverage, required_confidence
from distilshift.cli.options import chosen, config_options, source_of
from distilshift.cli.rows import Write, row_writer
from distilshift.config import PredictConfig
from distilshift.data.path_names import LIKE_A_PATH
from distilshift.data.read import iter_examples
from distilshift.data.rows import SURROGATE, shown
from distilshift.data.sources import files_of, is_glob
from distilshift.errors import DataError, OutputError
from distilshift.files import new_file, output_errors, require_apart
from distilshift.types import Example, Prediction

if TYPE_CHECKING:
    from distilshift.predict import Predictor


@click.command(name="predict")
@click.argument("bundle")
@click.argument("source", nargs=-1)
@click.option(
    "--text", "texts", multiple=True, help="A text to label, in the place of SOURCE; may be given several times."
)
@click.option("-o", "--output", help="File to write, .jsonl or .csv; - for standard output, as by default.")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), help="Form of the output; by default the file's."
)
@click.option("--overwrite", is_flag=True, help="Replace the output file.")
@config_options(PredictConfig)
def command(
    bundle: str,
    source: tuple[str, ...],
    texts: tuple[str, ...],
    output: str | None,
    form: str | None,
    overwrite: bool,
    **options: object,
) -> None:
    """Label texts with a student BUNDLE, without PyTorch.

    SOURCE is a file (TXT, CSV, TSV, JSON, JSONL, Parquet, Arrow, also compressed), several, a folder or a glob of them,
    or - for standard input, one text per line, which is the default. A SOURCE of several words that is neither a file
    nor looks like one is a text.

    Rows come out in input order, with the other columns of the input behind the prediction. With --skip-bad, a row that
    cannot be used gets an empty label and its problem, so that output and input stay aligned; a blank line always does.

    With --min-accuracy or --abstain-below, a text whose confidence is too low gets no label (null in JSONL, empty in
    CSV), and the reason as `abstained`; standard error tells the share that is labeled.
    """
    config = PredictConfig(**chosen(options))
    from distilshift.predict import Predictor

    if source and texts:
        raise click.UsageError("SOURCE and --text exclude each other.")
    examples, files = _examples(source, texts, config)
    if output not in (None, "-"):
        require_apart(Path(output), bundle, *files)
    predictor = Predictor.load(bundle, model=config.model, threads=config.threads, max_windows=config.max_windows)
    required = required_confidence(predictor.risk_coverage, config.min_accuracy, config.abstain_below)
    waits = source in ((), ("-",)) and not texts and sys.stdin is not None and sys.stdin.isatty()
    if waits:
        click.echo("Reading texts from the terminal, one per line; Ctrl-D ends them.", err=True)
    at_once = config.line_buffered or waits
    columns = (predictor.label_names, config.pair_column is not None)
    labeled: Counter[bool] = Counter()
    with _writer(output, form, *columns, overwrite, at_once, abstains=required is not None) as write:
        empty = True
        for example, prediction in _predictions(predictor, examples, config.batch_size, at_once, required):
            write(example, prediction)
            empty = False
            labeled.update([prediction.label is not None] if prediction else [])
        if empty and files:  # an empty stream is an answer, an empty file a mistake
            raise DataError(f"{files[0]}: the file is empty", expected="at least one row", fix="check the path")
    if required is not None:
        click.echo(_summary(labeled, required, config.min_accuracy, predictor.risk_coverage), err=True)


def _summary(labeled: Counter[bool], required: float, min_accuracy: float | None, curve: RiskCoverage) -> str:
    """How many texts have a label, and how far it may be trusted."""
    texts = labeled.total()
    share = f" ({labeled[True] / texts:.1%})" if texts else ""
    others = f"; the others have a confidence below {required:.3f}" if labeled[False] else ""
    counted = f"Labeled {labeled[True]:,} of {texts:,} texts{share}{others}."
    return counted if min_accuracy is None else f"{counted} {curve.promise(min_accuracy)}"


def _predictions(
    predictor: Predictor, examples: Iterator[Example], batch_size: int, at_once: bool, required: float | None
) -> Iterator[tuple[Example, Prediction | None]]:
    if not at_once:
        yield from predictor.stream(examples, batch_size, abstain_below=required)
        return
    for example in examples:
        yield from predictor.stream([example], batch_size, abstain_below=required)


def _examples(
    source: tuple[str, ...], texts: tuple[str, ...], config: PredictConfig
) -> tuple[Iterator[Example], list[str]]:
    """What to label, and the files that it comes from."""
    if len(source) == 1 and _is_text(source[0]):
        source, texts = (), source
    if texts:
        if any(not text.strip() for text in texts):
            raise DataError("the text is blank", expected="words", fix="give a text, a file, or - for standard input")
        if config.pair_column is not None:
            raise DataError("the command line holds one text", expected="pairs", got="a text", fix="put them in a file")
        if config.id_column is not None:
            got = f"a text, and --id-column {config.id_column}"
            raise DataError(
                "a text of the command line has no columns", expected="a file", got=got, fix="leave out --id-column"
            )
        return iter([Example(_typed(text)) for text in texts]), []
    files = files_of(source_of(source or ("-",)))  # before there is an output, which a glob might match
    examples = iter_examples(
        [Path(str(file)) for file in files],
        config,
        pass_bad=config.skip_bad,
        pass_blank=True,
        keep_columns=True,
        id_column=config.id_column,
    )
    return examples, [str(file) for file in files if file != "-"]


def _is_text(source: str) -> bool:
    """Whether an argument is a text rather than a file.

    Raises:
        DataError: it may be the name of a file that is not there.
    """
    if not source.strip():
        return True
    if source == "-" or _exists(source):
        return False
    if "\n" in source or (len(source.split()) > 1 and not LIKE_A_PATH.search(source)):
        return True
    if is_glob(source):
        return False
    raise DataError(
        f"{source}: no such file",
        expected="a file, a folder, or a text of several words",
        got=shown(source),
        fix="check the path, or pass a text with --text",
    )


def _typed(text: str) -> str:
    """A text of the command line, also where the locale kept Python from decoding its bytes."""
    if not SURROGATE.search(text):
        return text
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        raise DataError("the text is not UTF-8", got=shown(text), fix="put it in a file, and pass --encoding") from None


def _exists(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # a long text, or one with a NUL byte, is no path
        return False


@contextmanager
def _writer(
    output: str | None,
    form: str | None,
    names: list[str],
    paired: bool,
    overwrite: bool,
    at_once: bool = False,
    abstains: bool = False,
) -> Iterator[Write]:
    """A function that writes one row; a file takes its name only when all rows are in it."""
    if output in (None, "-"):
        if sys.stdout is None:
            raise OutputError("cannot write standard output", got="it is closed", fix="open it, or pass --output")
        if isinstance(sys.stdout, io.TextIOWrapper):
            # UTF-8 as in files: a locale that lacks a character must not lose a row.
            sys.stdout.reconfigure(encoding="utf-8", line_buffering=at_once or sys.stdout.line_buffering)
        with (
            output_errors(Path("standard output")),
            row_writer(sys.stdout, form or "jsonl", names, paired, abstains) as write,
        ):
            yield write
        return
    path = Path(output)
    form = form or _form_of(path)
    with (
        output_errors(path),
        new_file(path, overwrite) as part,
        part.open("w", encoding="utf-8", newline="") as file,
        row_writer(file, form, names, paired, abstains) as write,
    ):
        yield write


def _form_of(path: Path) -> str:
    ending = path.suffix.lower()
    if ending in ("", ".json", ".jsonl", ".ndjson"):
        return "jsonl"
    if ending != ".csv":
        fix = "name it so, or pass --format"
        raise OutputError(f"{path.name} says another form", expected="the ending .jsonl or .csv", got=ending, fix=fix)
    return "csv"
