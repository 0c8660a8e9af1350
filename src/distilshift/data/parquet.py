"""Parquet and Arrow files to rows; pyarrow is imported when the first such file is read."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any

from distilshift.data.columns import SAMPLE_ROWS, Sample, require_columns
from distilshift.data.rows import ClassLabel, Row, RowError, attempts, shown
from distilshift.data.streams import Opened
from distilshift.errors import DataError, MissingExtraError

_BATCH_ROWS = 1024
_SPOOL_BYTES = 2**24
_ARROW_FILE = b"ARROW1"


def parquet_rows(file: Opened, columns: Mapping[str, str], keep: bool = False) -> Iterator[Row | RowError]:
    """The rows of an opened Parquet file.

    Args:
        file: the file.
        columns: role ("text", "pair", "label", "id") to column name.
        keep: give each row its other columns, too.

    Raises:
        DataError: the file is damaged, or a column is missing or of the wrong type.
        MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = pyarrow()
    with _seekable(file) as stream, _named_damage(arrow, file.name, "Parquet"):
        table = parquet.ParquetFile(stream)

        def batches(names: Sequence[str]) -> Iterator[Any]:
            return table.iter_batches(batch_size=_BATCH_ROWS, columns=list(names))

        yield from _rows(arrow, file.name, table.schema_arrow, batches, columns, keep)


def arrow_rows(file: Opened, columns: Mapping[str, str], keep: bool = False) -> Iterator[Row | RowError]:
    """The rows of an opened Arrow file, of the stream format as `datasets` writes it or of the file format.

    Arguments and errors are those of `parquet_rows`.
    """
    arrow, _ = pyarrow()
    with _seekable(file) as stream, _named_damage(arrow, file.name, "Arrow"):
        is_file = stream.read(len(_ARROW_FILE)) == _ARROW_FILE
        stream.seek(0)
        reader = arrow.ipc.open_file(stream) if is_file else arrow.ipc.open_stream(stream)

        def batches(names: Sequence[str]) -> Iterator[Any]:
            whole = (map(reader.get_batch, range(reader.num_record_batches))) if is_file else iter(reader)
            for batch in whole:
                chosen = batch.select(list(names))
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    yield chosen.slice(start, _BATCH_ROWS)

        yield from _rows(arrow, file.name, reader.schema, batches, columns, keep)


@contextmanager
def _named_damage(arrow: Any, name: str, kind: str) -> Iterator[None]:
    try:
        yield
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{name}: damaged, or not {kind}",
            expected=f"{kind} data",
            got=shown(str(error)),
            fix="write or fetch the file again",
        ) from None


def pyarrow() -> tuple[Any, Any]:
    """The library and its Parquet part.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtraError(
            "Parquet files cannot be read", expected="pyarrow", got="none", fix="pip install '.[train]' in the checkout"
        ) from None
    return arrow, parquet


@contextmanager
def _seekable(file: Opened) -> Iterator[IO[bytes]]:
    """Parquet is read from its end: a pipe or a gzip file goes through a temporary file first."""
    if file.seekable:
        yield file.stream
        return
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
        shutil.copyfileobj(file.stream, spool)
        spool.seek(0)
        yield spool


def _check_types(arrow: Any, schema: Any, name: str, columns: Mapping[str, str]) -> None:
    for role, column in columns.items():
        kind = schema.field(column).type
        value = kind.value_type if arrow.types.is_dictionary(kind) else kind
        if not _fits(arrow.types, value, role):
            wanted = "strings, numbers or booleans" if role == "label" else "strings"
            raise DataError(
                f"{name}: the {role} column {shown(column)} has the wrong type",
                expected=wanted,
                got=str(kind),
                fix=f"name another column with --{role}-column, or store it as strings",
            )


def _fits(types: Any, kind: Any, role: str) -> bool:
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return True
    return role == "id" or (
        role == "label" and (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))
    )


def _rows(
    arrow: Any, name: str, schema: Any, batches: Any, columns: Mapping[str, str], keep: bool
) -> Iterator[Row | RowError]:
    def sample() -> Sample:
        able = [column for column in schema.names if schema.names.count(column) == 1]
        rows = list(islice(_scalars(batches(able), able), SAMPLE_ROWS))
        return {column: [_plain(row[column]) for row in rows] for column in able}

    require_columns(name, columns, schema.names, sample)
    _check_types(arrow, schema, name, columns)
    others = [column for column in schema.names if keep and column not in columns.values()]
    wanted = [*columns.values(), *others]
    classes = _class_names(schema, columns.get("label"))
    return attempts(_reader(name, _scalars(batches(wanted), wanted), columns, others, classes))


def _plain(scalar: Any) -> Any:
    try:
        return _converted(scalar)
    except UnicodeDecodeError:
        return None


def _converted(scalar: Any) -> Any:
    """Return a value as Python has it, or as text where Python has none: a date after 9999, an unknown time zone.

    None if it cannot be written as text, either.

    Raises:
        UnicodeDecodeError: a string is not UTF-8.
    """
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        raise
    except (OverflowError, ValueError, KeyError):  # KeyError: zoneinfo's for an unknown zone
        try:
            return str(scalar.cast("string"))
        except (ValueError, NotImplementedError):
            return None


def _class_names(schema: Any, column: str | None) -> Sequence[str] | None:
    """Names that the `datasets` library keeps for the numbers of a column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        kind, names = features[column]["_type"], [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return None
    return names if kind == "ClassLabel" else None


def _scalars(batches: Iterator[Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        arrays = [batch.column(batch.schema.names.index(column)) for column in names]
        for scalars in zip(*arrays, strict=True):
            yield dict(zip(names, scalars, strict=True))


def _reader(
    name: str,
    scalars: Iterator[dict[str, Any]],
    columns: Mapping[str, str],
    others: Sequence[str],
    classes: Sequence[str] | None,
) -> Any:
    number = 0

    def read() -> Row:
        nonlocal number
        values = next(scalars)
        number += 1
        place = f"{name}, row {number}"
        try:
            wanted = {role: _converted(values[column]) for role, column in columns.items()}
            row = Row(place, wanted, {column: _converted(values[column]) for column in others})
        except UnicodeDecodeError as error:
            raise RowError(
                f"{place}: a byte is not utf-8",
                expected="utf-8 text",
                got=f"byte 0x{error.object[error.start]:02x}",
                fix="write the file again from decoded text, or pass --skip-bad",
            ) from None
        if classes is not None and isinstance(wanted["label"], int):
            index = wanted["label"]
            wanted["label"] = ClassLabel(index, classes[index] if 0 <= index < len(classes) else None)
        return row

    return read
