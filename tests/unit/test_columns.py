"""Missing columns: what is proposed follows from names and content, can be pasted, and works."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distilshift.cli.main import cli
from distilshift.config import InputConfig, LabelledInputConfig
from distilshift.data.read import iter_examples, read_examples, read_labelled
from distilshift.errors import DataError

TEXTS = [f"a {word} film with a plot that I have seen {index} times" for index in range(4) for word in ("good", "bad")]
LABELS = ["positive", "negative"] * 4


def table(columns: dict[str, list[Any]], mark: str = ",") -> str:
    rows = zip(*columns.values(), strict=True)
    return "".join(mark.join(map(str, row)) + "\n" for row in [tuple(columns), *rows])


def shop(text: str, label: str) -> dict[str, list[Any]]:
    """A table as shops export it: the two columns that matter among others."""
    return {
        "id": list(range(1, 9)),
        "created_at": [f"2024-03-0{day} 10:00:00" for day in range(1, 9)],
        "user": ["ann", "bob", "cem", "dee", "eve", "fay", "gus", "hal"],
        text: TEXTS,
        label: LABELS,
        "votes": [0, 3, 1, 12, 5, 7, 2, 9],
    }


def fix_of(path: Path, config: InputConfig) -> str:
    read = read_labelled if isinstance(config, LabelledInputConfig) else read_examples
    with pytest.raises(DataError) as caught:
        read(path, config)  # type: ignore[arg-type]  # each has its own
    return str(caught.value.fix)


@pytest.mark.parametrize(
    ("text", "label"),
    [("review", "sentiment"), ("rezension", "urteil"), ("Tweet Text", "airline_sentiment"), ("reviewText", "stars")],
)
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_columns_that_are_meant_are_proposed_together(tmp_path: Path, text: str, label: str, form: str) -> None:
    columns, path = shop(text, label), tmp_path / f"a.{form}"
    if form == "csv":
        path.write_text(table(columns))
    elif form == "jsonl":
        path.write_text(
            "".join(
                json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in zip(*columns.values(), strict=True)
            )
        )
    else:
        pq.write_table(pa.table(columns), path)
    fix = fix_of(path, LabelledInputConfig())
    assert fix.startswith(f"`--text-column {shlex.quote(text)} --label-column {shlex.quote(label)}`")
    assert fix_of(path, InputConfig()).startswith(f"`--text-column {shlex.quote(text)}`")


def test_what_the_content_leaves_open_is_listed_and_not_guessed(tmp_path: Path) -> None:
    rows = {"id": list(range(8)), "when": ["2024-01-01 10:00:00"] * 8, "plot": TEXTS, "opinion": TEXTS[::-1]}
    (tmp_path / "a.csv").write_text(table(rows | {"kind": LABELS, "colour": ["red", "blue"] * 4}))
    for config, options in ((InputConfig(), ["text"]), (LabelledInputConfig(), ["text", "label"])):
        with pytest.raises(DataError, match="got columns 'id', 'when', 'plot', 'opinion', 'kind', 'colour'") as caught:
            read_labelled(tmp_path / "a.csv", config) if len(options) == 2 else read_examples(
                tmp_path / "a.csv", config
            )  # type: ignore[arg-type]
        wanted = " and ".join(f"--{option}-column" for option in options)
        assert caught.value.fix == f"add the column, or name it with {wanted}"


def test_a_misspelled_option_is_corrected_and_numbers_are_never_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table({"texts": TEXTS, "note": list(range(8))}))
    assert fix_of(tmp_path / "a.csv", InputConfig()) == "`--text-column texts`"
    assert fix_of(tmp_path / "a.csv", InputConfig(text_column="txets")) == "`--text-column texts`"
    (tmp_path / "b.csv").write_text(table({"score": list(range(8)), "stars": [1, 5] * 4}))
    assert fix_of(tmp_path / "b.csv", InputConfig()) == "add the column, or name it with --text-column"


@pytest.mark.parametrize(
    "value", [[{"text": text} for text in TEXTS], {"text": TEXTS[0], "lang": "en"}, [TEXTS[0]], None]
)
def test_a_column_of_lists_or_objects_is_no_text_and_no_label(tmp_path: Path, value: Any) -> None:
    for name, content in (("a.json", [{"data": value}] * 8), ("b.json", [{"data": value, "content": TEXTS[0]}] * 8)):
        (tmp_path / name).write_text(json.dumps(content))
        fix = fix_of(tmp_path / name, LabelledInputConfig())
        assert ("data" in fix, "--text-column content" in fix) == (False, name == "b.json")


@pytest.mark.parametrize("mark", [";", "\t", "|", "~", "^", ":", ","])
@pytest.mark.parametrize(
    "columns", [{"id": [7] * 8, "text": TEXTS, "label": LABELS}, {"an opinion": TEXTS, "n": LABELS}]
)
def test_a_header_that_was_not_cut_is_told_its_delimiter(tmp_path: Path, mark: str, columns: dict[str, Any]) -> None:
    (tmp_path / "a.csv").write_text(table(columns, mark))
    fix = fix_of(tmp_path / "a.csv", LabelledInputConfig(delimiter=";" if mark == "," else ","))
    assert fix == f"`--delimiter {'tab' if mark == chr(9) else shlex.quote(mark)}`"
    if "text" in columns:
        config = LabelledInputConfig(delimiter=shlex.split(fix.strip("`"))[1])
        assert [item.text for item in read_labelled(tmp_path / "a.csv", config).examples] == TEXTS


def test_a_lone_column_whose_name_alone_has_a_colon_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table({"Review: free text": TEXTS}))
    assert fix_of(tmp_path / "a.csv", InputConfig()) == "`--text-column 'Review: free text'`"


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (zip(TEXTS, LABELS, strict=True), "--no-header --text-column 0 --label-column 1"),
        (zip(LABELS, TEXTS, strict=True), "--no-header --text-column 1 --label-column 0"),
        (zip(range(8), LABELS, TEXTS, strict=True), "--no-header --text-column 2 --label-column 1"),
    ],
)
def test_a_table_without_a_header_is_recognised(tmp_path: Path, rows: Iterator[Any], options: str) -> None:
    (tmp_path / "a.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    with pytest.raises(DataError, match="this looks like a file without a header") as caught:
        read_labelled(tmp_path / "a.csv", LabelledInputConfig())
    assert str(caught.value.fix).startswith(f"`{options}`")
    text, label = re.findall(r"column (\d)", options)
    config = LabelledInputConfig(header=False, text_column=text, label_column=label)
    found = read_labelled(tmp_path / "a.csv", config).examples
    assert [(item.text, item.label) for item in found] == list(zip(TEXTS, LABELS, strict=True))


def test_a_lone_column_without_a_header_needs_no_number(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("".join(f"{text}\n" for text in TEXTS))
    assert fix_of(tmp_path / "a.csv", InputConfig()).startswith("`--no-header`")
    assert [item.text for item in iter_examples(tmp_path / "a.csv", InputConfig(header=False))] == TEXTS


def test_years_beside_a_known_name_are_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table({"2023": LABELS, "review": TEXTS}))
    assert fix_of(tmp_path / "a.csv", InputConfig()) == "`--text-column review`"


def test_a_header_of_words_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table({"What did you like": TEXTS, "Your verdict": LABELS}))
    assert "without a header" not in str(fix_of(tmp_path / "a.csv", LabelledInputConfig()))


# The fixes on the command line

GOOD = {"text": TEXTS * 2, "label": LABELS * 2}
MISNAMED = {"no": list(range(16)), "opinion": TEXTS * 2, "verdict": LABELS * 2}
WITHOUT_HEADER = table(GOOD).split("\n", 1)[1]
# A file that is refused, by name and content, and which verbs read such a file.
FAULTS: dict[str, tuple[str, str | bytes, str]] = {
    "misnamed columns": ("a.csv", table(MISNAMED), "teapf"),
    "misnamed, no proposal": ("a.csv", table({"x": list(range(16)), "y": list(range(16))}), "teapf"),
    "no header": ("a.csv", WITHOUT_HEADER, "teapf"),
    "Excel": ("a.csv", table(GOOD | {"text": [f"{text} – it’s" for text in TEXTS * 2]}).encode("cp1252"), "teapf"),
    "UTF-16": ("a.csv", table(GOOD).encode("utf-16"), "teapf"),
    "open quote": ("a.csv", table(GOOD) + '"open,positive\n', "teapf"),
    "joined rows": ("a.csv", table(GOOD) + '"open,positive\nclosed",positive\n', "teapf"),
    "long text": ("a.csv", table(GOOD) + "x" * 60_000 + ",positive\n", "teapf"),
    "blank text": ("a.csv", table(GOOD) + ",positive\n", "teapf"),
    "ragged row": ("a.csv", table(GOOD) + "a,b,c\n", "teapf"),
    "not JSON": ("a.jsonl", '{"text": "x", "label": "y"}\n{oops\n', "teapf"),
    "number as text": ("a.jsonl", '{"text": 1, "label": "y"}\n', "teapf"),
    "numeric labels": ("a.csv", table(GOOD | {"label": [0, 1] * 8}), "te"),
    "blank label": ("a.csv", table(GOOD) + "good,\n", "te"),
}
VERBS = {"t": "teach", "e": "evaluate", "a": "adapt", "p": "predict", "f": "pareto"}


@pytest.fixture
def command(teacher_bundle: Path, student_bundle: Path, tiny_encoder: Path, tmp_path: Path) -> Callable[..., list[Any]]:
    def make(verb: str, data: Path) -> list[Any]:
        output = ["-o", tmp_path / "out"]
        return {
            "t": ["teach", data, *output, "--base-model", tiny_encoder, "--epochs", "1"],
            "e": ["evaluate", student_bundle, data],
            "a": ["adapt", teacher_bundle, data, *output, "--student-layers", "1"],
            "p": ["predict", student_bundle, data, *output],
            "f": ["pareto", teacher_bundle, data, *output],
        }[verb]

    return make


def options_of(verb: str) -> set[str]:
    found = cli.get_command(None, VERBS[verb])  # type: ignore[arg-type,attr-defined]
    return {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize(("fault", "verb"), [(fault, verb) for fault, row in FAULTS.items() for verb in row[2]])
def test_every_option_in_a_fix_is_one_of_the_command(run_cli: Any, command: Any, tmp_path: Path, fault: str, verb: str):
    name, content, _ = FAULTS[fault]
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    done = run_cli(*command(verb, tmp_path / name))
    assert done.code == 2
    fix = done.err.partition("Fix: ")[2]
    named = re.findall(r"(?<!\w)--[a-z][a-z-]+", fix)
    assert named
    assert [option for option in named if option not in options_of(verb)] == []


@pytest.mark.parametrize("fault", ["misnamed columns", "no header", "Excel", "UTF-16", "joined rows", "numeric labels"])
@pytest.mark.parametrize("verb", "teap")
def test_the_printed_fix_runs(
    run_cli: Any, command: Any, quick_export: None, tmp_path: Path, fault: str, verb: str
) -> None:
    name, content, verbs = FAULTS[fault]
    if verb not in verbs or (verb in "ta" and fault not in ("misnamed columns", "no header")):
        pytest.skip("read by others, or alike and slower")
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    done = run_cli(*command(verb, tmp_path / name))
    (options, *_) = re.findall(r"`(--[^`]+)`", done.err.partition("Fix: ")[2])
    forced = ["--force"] if verb == "a" else []  # for so few texts
    mended = run_cli(*command(verb, tmp_path / name), *shlex.split(options), *forced)
    assert mended.code == 0, mended.err


def test_pareto_reads_as_it_is_told(run_cli: Any, command: Any, tmp_path: Path):
    """By its own options before those of the file for `adapt`; a later refusal shows that they held."""
    (tmp_path / "a.csv").write_text(table({"opinion": TEXTS, "verdict": LABELS}))
    (tmp_path / "o.toml").write_text("text_column = 'nosuch'\n")
    pareto = [*command("f", tmp_path / "a.csv"), "--students", "tiny", "--config", tmp_path / "o.toml"]
    assert "--text-column opinion" in run_cli(*pareto).err
    mended = [*pareto, "--text-column", "opinion", "--labelled", tmp_path / "a.csv"]
    assert "`--label-column verdict`" in run_cli(*mended).err


def test_the_walk_covers_every_verb_that_reads_data():
    shared = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(InputConfig)}
    assert shared >= {"--text-column", "--quoting", "--header", "--delimiter"}
    for verb in VERBS:
        assert shared | {"--no-header"} <= options_of(verb)


@pytest.mark.parametrize(
    ("content", "quoting", "texts"),
    [
        ('good film;neg\n"first; second";pos\nbad thing;neg\n', "auto", ["good film", "first; second", "bad thing"]),
        ('"a|b, c",x\n"d, e|f",y\n', "auto", ["a|b, c", "d, e|f"]),
        ('"two;\nlines";x\n"b, c";y\n', "csv", ["two;\nlines", "b, c"]),
        ('"a|b;x\nc|d";y\n', "none", ['"a|b', 'c|d"']),
    ],
)
def test_a_delimiter_in_quotes_does_not_hide_that_of_a_file_without_a_header(
    tmp_path: Path, content: str, quoting: str, texts: list[str]
):
    (tmp_path / "a.csv").write_text(content)
    config = InputConfig(header=False, text_column="0", quoting=quoting)
    assert [item.text for item in iter_examples(tmp_path / "a.csv", config)] == texts
