"""Parquet to rows; pyarrow is imported when the first such file is read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from distilshift.data.rows import Row, RowError, attempts, require_columns, shown
from distilshift.data.streams import Opened
from distilshift.errors import DataError, MissingExtraError

_BATCH_ROWS = 1024
_SPOOL_BYTES = 2**24


def parquet_rows(file: Opened, columns: Mapping[str, str]) -> Iterator[Row | RowError]:
    """The rows of an opened Parquet file.

    Args:
        file: the file.
        columns: role ("text", "pair", "label") to column name.

    Raises:
        DataError: the file is damaged, or a column is missing or of the wrong type.
        MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = pyarrow()
    with _seekable(file) as stream:
        try:
            table = parquet.ParquetFile(stream)
            require_columns(file.name, columns, table.schema_arrow.names)
            _check_types(arrow, table.schema_arrow, file.name, columns)
            scalars = _scalars(table, columns)
            yield from attempts(_reader(file.name, scalars))
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{file.name}: damaged, or not Parquet",
                expected="Parquet data",
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
    return role == "label" and (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _scalars(table: Any, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns.values())):
        arrays = [batch.column(batch.schema.names.index(column)) for column in columns.values()]
        for scalars in zip(*arrays, strict=True):
            yield dict(zip(columns, scalars, strict=True))


def _reader(name: str, scalars: Iterator[dict[str, Any]]) -> Any:
    number = 0

    def read() -> Row:
        nonlocal number
        values = next(scalars)
        number += 1
        place = f"{name}, row {number}"
        try:
            return Row(place, {role: scalar.as_py() for role, scalar in values.items()})
        except UnicodeDecodeError as error:
            raise RowError(
                f"{place}: a byte is not utf-8",
                expected="utf-8 text",
                got=f"byte 0x{error.object[error.start]:02x}",
                fix="write the file again from decoded text, or pass --skip-bad",
            ) from None

    return read
