"""`distilshift predict`."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import rich_click as click

from distilshift.cli.options import chosen, config_options
from distilshift.config import PredictConfig
from distilshift.data.read import iter_examples
from distilshift.data.rows import SURROGATE, shown
from distilshift.errors import DataError, OutputError
from distilshift.files import new_file, output_errors, require_apart
from distilshift.types import Example, Prediction

READABLE = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".gz")
Write = Callable[[Example, Prediction | None], None]


@click.command(name="predict")
@click.argument("bundle")
@click.argument("source", default="-")
@click.option("-o", "--output", help="File to write, .jsonl or .csv; - for standard output, as by default.")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), help="Form of the output; by default the file's."
)
@click.option("--overwrite", is_flag=True, help="Replace the output file.")
@config_options(PredictConfig)
def command(bundle: str, source: str, output: str | None, form: str | None, overwrite: bool, **options: Any) -> None:
    """Label texts with a student BUNDLE, without PyTorch.

    SOURCE is a text, a file (TXT, CSV, TSV, JSONL, Parquet, .gz too), or - for standard input, a text a line.
    Rows come out in input order, while later ones are still being read. With --skip-bad, a row that cannot be used
    gets an empty label and its problem, so that output and input stay aligned.
    """
    config = PredictConfig(**chosen(options))
    from distilshift.predict import Predictor

    examples = _examples(source, config)
    if output not in (None, "-"):
        require_apart(Path(output), bundle, source if _exists(source) else None)
    predictor = Predictor.load(bundle, model=config.model, threads=config.threads, max_windows=config.max_windows)
    with _writer(output, form, predictor.label_names, config.pair_column is not None, overwrite) as write:
        empty = True
        for example, prediction in predictor.stream(examples, config.batch_size):
            write(example, prediction)
            empty = False
        if empty and source != "-":  # an empty stream is an answer, an empty file a mistake
            raise DataError(f"{source}: the file is empty", expected="at least one row", fix="check the path")


def _examples(source: str, config: PredictConfig) -> Iterator[Example]:
    if not source.strip():
        raise DataError("the text is blank", expected="words", fix="give a text, a file, or - for standard input")
    if source == "-" or _exists(source):
        return iter_examples(source, config, pass_bad=config.skip_bad)
    if "\n" not in source and source.lower().endswith(READABLE):
        fix = "check the path, or give a text that ends so through standard input"
        raise DataError(f"{source} does not exist", expected="a file, as its ending says", fix=fix)
    if config.pair_column is not None:
        raise DataError("the command line holds one text", expected="pairs", got="a text", fix="put them in a file")
    return iter([Example(_typed(source))])


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
def _writer(output: str | None, form: str | None, names: list[str], paired: bool, overwrite: bool) -> Iterator[Write]:
    """A function that writes one row; a file takes its name only when all rows are in it."""
    if output in (None, "-"):
        if sys.stdout is None:
            raise OutputError("cannot write standard output", got="it is closed", fix="open it, or pass --output")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as files are: a locale that lacks a character shall lose no row
        with output_errors(Path("standard output")):
            yield _row_writer(sys.stdout, form or "jsonl", names, paired)
            sys.stdout.flush()
        return
    path = Path(output)
    form = form or _form_of(path)
    with output_errors(path), new_file(path, overwrite) as part, part.open("w", encoding="utf-8", newline="") as f:
        yield _row_writer(f, form, names, paired)


def _form_of(path: Path) -> str:
    ending = path.suffix.lower()
    if ending in ("", ".json", ".jsonl", ".ndjson"):
        return "jsonl"
    if ending != ".csv":
        fix = "name it so, or pass --format"
        raise OutputError(f"{path.name} says another form", expected="the ending .jsonl or .csv", got=ending, fix=fix)
    return "csv"


def _row_writer(file: TextIO, form: str, names: list[str], paired: bool) -> Write:
    if form == "jsonl":

        def write_json(example: Example, prediction: Prediction | None) -> None:
            row: dict[str, Any] = {"text": example.text} | ({"pair": example.pair} if example.pair is not None else {})
            row |= {"label": prediction and prediction.label, "probabilities": prediction and prediction.probabilities}
            row |= {"problem": example.problem} if example.problem else {}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

        return write_json
    rows = csv.writer(file)
    columns = ["text", *(["pair"] if paired else []), "label", *names, "problem"]
    if twice := [name for name in names if columns.count(name) > 1]:
        raise OutputError(
            "a class is called as a column is",
            expected=f"no class of the name {', '.join(columns[: -len(names) - 1])} or problem",
            got=", ".join(twice),
            fix="pass --format jsonl",
        )
    rows.writerow(columns)

    def write_csv(example: Example, prediction: Prediction | None) -> None:
        texts = [example.text, example.pair or ""] if paired else [example.text]
        shares = [prediction.probabilities[name] for name in names] if prediction else [""] * len(names)
        rows.writerow([*texts, prediction.label if prediction else "", *shares, example.problem or ""])

    return write_csv
