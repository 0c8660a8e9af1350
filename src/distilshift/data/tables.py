"""Tables that are given as Python objects, without importing the libraries that define them.

A table is a data frame (pandas, polars), a data set (`datasets`), an Arrow table, a structured NumPy array, a mapping
of column names to columns, or a list of mappings, one per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilshift.data.rows import ClassLabel, Row, RowError, listed, shown
from distilshift.errors import DataError

_BATCH_ROWS = 1000
_AS_DICT = 'pass a dict of columns, {"text": [...], "label": [...]}, or a list of texts'

_ABSENT = object()
# One of these is in every frame, or column of one, that can be read.
_KNOWN = ("iloc", "get_column", "to_pydict", "to_pylist", "features")

Values = Iterator[tuple[Any, ...]]


@dataclass(frozen=True)
class Table:
    """A table whose columns are read by name.

    Attributes:
        name: how messages call it.
        columns: names of the columns; None if only the rows know them.
        read: an iterator over the rows' values in the named columns.
        class_names: of a column of class numbers, the name of each class; empty if unknown.
    """

    name: str
    columns: tuple[str, ...] | None
    read: Callable[[Sequence[str]], Values]
    class_names: Callable[[str], Sequence[str]] = lambda column: ()

    def rows(self, columns: Mapping[str, str]) -> Iterator[Row | RowError]:
        """The rows, unchecked, counted from 0.

        Args:
            columns: role ("text", "pair", "label") to column name.

        Raises:
            DataError: a column is missing or occurs twice.
        """
        if self.columns is not None:
            _require_columns(self.name, columns, self.columns)
        names = {role: self.class_names(column) for role, column in columns.items()}
        for number, values in enumerate(self.read(list(columns.values()))):
            place = f"{self.name}, row {number} (counted from 0)"
            cells = dict(zip(columns, values, strict=True))
            absent = next((role for role, value in cells.items() if value is _ABSENT), None)
            if absent is not None:
                yield RowError(**_missing(place, absent, columns[absent], "a row without it"))
                continue
            yield Row(place, {role: _cell(value, names[role]) for role, value in cells.items()})


def table_of(given: Any, text_column: str) -> Table | None:
    """A table to read, or None for a series of texts.

    Args:
        given: anything but a path or an iterator; of a list, the first item decides.
        text_column: by which a single row is told from a column.

    Raises:
        DataError: it is a kind of table, or of anything else, that cannot be read.
    """
    _require_readable(given)
    if hasattr(given, "iloc") and not hasattr(given, "columns") and text_column in given.index:
        raise _unreadable(given, f"this is one row: pass its text, as [row[{shown(text_column)}]], or the whole table")
    name = f"the {type(given).__name__}"
    if isinstance(given, Mapping):
        return _mapping_table(given, name)
    if hasattr(given, "features") and hasattr(given, "iter"):  # of `datasets`; features are None if they are not known
        return _dataset_table(given, name)
    if getattr(getattr(given, "dtype", None), "names", None):  # a structured array of NumPy
        return _frame_table(name, given.dtype.names, lambda index: given[given.dtype.names[index]])
    if hasattr(given, "iloc") and hasattr(given, "columns"):  # pandas
        return _frame_table(name, given.columns, lambda index: given.iloc[:, index])
    if hasattr(given, "get_column") and hasattr(given, "columns"):  # polars
        return _frame_table(name, given.columns, lambda index: given.to_series(index))
    if hasattr(given, "schema") and hasattr(given, "to_pydict"):  # pyarrow
        return _frame_table(name, given.schema.names, lambda index: given.column(index).to_pylist())
    if isinstance(given, Sequence) and given and as_record(given[0]) is not None:
        return Table("the rows", None, lambda columns: record_values(given, columns))
    return None


def _require_readable(given: Any) -> None:
    """Refuse objects whose items are not their rows or texts."""
    name = type(given).__name__
    if isinstance(given, bytes | bytearray | memoryview):
        raise _unreadable(given, "decode it, and pass a list of texts")
    if hasattr(given, "read") and hasattr(given, "readline"):
        raise _unreadable(given, "pass the file's path, or a list of its texts")
    if isinstance(given, set | frozenset):
        raise _unreadable(given, "its order is not fixed: pass sorted(texts)")
    if name.endswith("DatasetDict"):
        raise _unreadable(given, f"pass one of its splits, as in data[{shown(next(iter(given), 'train'))}]")
    if hasattr(given, "collect_schema") and hasattr(given, "collect") and not hasattr(given, "get_column"):
        raise _unreadable(given, "pass the DataFrame that .collect() returns")  # a LazyFrame of polars
    if hasattr(given, "toPandas"):
        raise _unreadable(given, "pass the DataFrame that .toPandas() returns")
    known = isinstance(given, Mapping) or any(hasattr(given, mark) for mark in _KNOWN)
    if not known and any(hasattr(given, mark) for mark in ("columns", "column_names", "__dataframe__")):
        raise _unreadable(given, _AS_DICT)
    if getattr(given, "ndim", 1) != 1 and not hasattr(given, "columns"):
        raise _unreadable(given, "pass an array of one dimension: texts.ravel(), or list(map(tuple, pairs)) for pairs")


def _unreadable(given: Any, fix: str) -> DataError:
    return DataError(
        "the examples cannot be used",
        expected="a table, or a list of examples",
        got=shown(given) if isinstance(given, int | float | None) else f"a {type(given).__name__}",
        fix=fix,
    )


def _frame_table(name: str, columns: Iterable[Any], column: Callable[[int], Iterable[Any]]) -> Table:
    names = tuple(map(str, columns))
    return Table(name, names, lambda wanted: zip(*(column(names.index(each)) for each in wanted), strict=True))


def _mapping_table(given: Mapping[Any, Any], name: str) -> Table:
    columns = {str(key): value for key, value in given.items()}

    def read(wanted: Sequence[str]) -> Values:
        lists = {each: column_values(name, each, columns[each]) for each in wanted}
        if len({len(values) for values in lists.values()}) > 1:
            got = ", ".join(f"{len(values)} in {shown(each)}" for each, values in lists.items())
            raise DataError(f"{name} has columns of unequal length", expected="one length", got=got, fix="correct them")
        return zip(*lists.values(), strict=True)

    return Table(name, tuple(columns), read)


def column_values(name: str, column: str, values: Any) -> list[Any]:
    """The values of a column that was given as a Python object.

    Raises:
        DataError: it is a single value, or has no order.
    """
    if isinstance(values, str | bytes | Mapping | set | frozenset) or not hasattr(values, "__iter__"):
        raise DataError(
            f"{name}: {shown(column)} is not a column",
            expected="a list with one value per row",
            got=f"a {type(values).__name__}",
            fix=f"pass a list, as in {{{column!r}: [...]}}",
        )
    return list(iter_values(values))


def _dataset_table(given: Any, name: str) -> Table:
    features: Mapping[str, Any] = given.features or {}
    columns = tuple(given.column_names or features) or None

    def read(wanted: Sequence[str]) -> Values:
        chosen = given.select_columns(list(dict.fromkeys(wanted))) if columns else given
        for batch in chosen.with_format(None).iter(batch_size=_BATCH_ROWS):
            size = len(next(iter(batch.values())))
            yield from zip(*(batch.get(each, [_ABSENT] * size) for each in wanted), strict=True)

    def class_names(column: str) -> Sequence[str]:
        feature = features.get(column)
        return feature.names if feature is not None and type(feature).__name__ == "ClassLabel" else ()

    return Table(name, columns, read, class_names)


def as_record(item: Any) -> Mapping[str, Any] | None:
    """A row that names its values (a mapping, a named tuple, a row of sqlite3) as a mapping."""
    if isinstance(item, Mapping):
        return item
    if hasattr(item, "_asdict"):
        return dict(item._asdict())
    return {key: item[key] for key in item.keys()} if hasattr(item, "keys") else None  # noqa: SIM118 - no mapping


def record_values(items: Iterable[Any], columns: Sequence[str]) -> Values:
    """The values of the named columns of rows that name their values.

    Raises:
        DataError: while iterating, if a row does not.
    """
    for index, item in enumerate(items):
        if (record := as_record(item)) is None:
            raise DataError(
                "the rows are of several kinds",
                expected="mappings alone",
                got=f"{shown(item)} at index {index}",
                fix="give one kind",
            )
        yield tuple(record.get(column, _ABSENT) for column in columns)


def _require_columns(name: str, columns: Mapping[str, str], found: Sequence[str]) -> None:
    for role, column in columns.items():
        if found.count(column) > 1:
            fix = "rename or remove one of them"
            raise DataError(f"{name}: duplicate column {shown(column)}", expected="every column once", fix=fix)
        if column not in found:
            raise DataError(**_missing(name, role, column, f"columns {listed(found)}" if found else "no columns"))


def _missing(place: str, role: str, column: str, got: str) -> dict[str, str]:
    return {
        "problem": f"{place}: no {role} column",
        "expected": f"a column {shown(column)}",
        "got": got,
        "fix": f"name it, as in {role}_column='...'",
    }


def _cell(value: Any, names: Sequence[str]) -> Any:
    """A cell as a plain Python value: None if it is missing, a ClassLabel where a class number has a name."""
    value = value.item() if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 else value
    if is_missing(value):
        return None
    if names and isinstance(value, int):
        return ClassLabel(value, names[value] if 0 <= value < len(names) else None)
    return str(value) if isinstance(value, str) else value


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def iter_values(given: Any) -> Iterator[Any]:
    """The items of a column, or of a series of texts.

    Raises:
        DataError: it cannot be iterated over.
    """
    if hasattr(given, "to_pylist"):  # a column of pyarrow, whose items are not strings
        return iter(given.to_pylist())
    try:
        return iter(given)
    except TypeError:
        raise _unreadable(given, "pass a list of texts") from None
