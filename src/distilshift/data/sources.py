"""What a caller names to the files that are read: a file, several, a folder of shards, a glob, a saved data set."""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilshift.data.formats import is_readable
from distilshift.data.packed import unpacked_name
from distilshift.data.path_names import require_no_names
from distilshift.data.streams import Readable, display_name
from distilshift.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Source = Readable | Sequence[Path]

_GLOB = re.compile(r"[*?[]")
_SPLIT = re.compile(r"(?:^|[^a-z])(train|test|validation|valid|val|dev)(?![a-z])", re.IGNORECASE)
# What `Dataset.save_to_disk` and `DatasetDict.save_to_disk` leave beside their data.
_STATE, _SPLITS = "state.json", "dataset_dict.json"
# What stands beside data and is none.
_SIDE_FILES = frozenset({_STATE, _SPLITS, "dataset_info.json", "dataset_infos.json", "config.json", "metadata.json"})
# Endings of data that cannot be read: to pass over them would lose rows without a word.
_OTHER_DATA = frozenset(
    re.findall(
        r"\S+", ".7z .avro .db .feather .numbers .ods .orc .pickle .pkl .rar .sqlite .tar .tgz .xls .xlsx .xml .zip"
    )
)


def names_files(data: Any) -> TypeIs[str | Path | Sequence[Path]]:
    """Whether data is the name of a file, a folder or a glob, or a list of Path objects, rather than texts."""
    several = isinstance(data, list | tuple) and bool(data) and all(isinstance(item, Path) for item in data)
    return isinstance(data, str | Path) or several


def as_files(given: Any) -> str | list[Path] | None:
    """The files that an input names, or None if it is something else.

    Raises:
        DataError: it is a list of strings that name files.
    """
    if isinstance(given, str | os.PathLike):
        return str(os.fspath(given))
    require_no_names(given)
    several = names_files(given)
    return list(given) if several else None


def is_glob(name: str) -> bool:
    """Whether a name has a wildcard."""
    return bool(_GLOB.search(name))


def source_name(source: Source) -> str:
    """How messages call a source: always printable on one line."""
    if not isinstance(source, list | tuple):
        return display_name(source)  # type: ignore[arg-type]  # Readable
    more = f" and {len(source) - 1} more" if len(source) > 1 else ""
    return display_name(source[0]) + more


def files_of(source: Source) -> list[Readable]:
    """Return the files of a source in the order in which they are read.

    Args:
        source: a file, a folder, a glob, "-", an open handle, or a list of Path objects.

    Raises:
        DataError: a folder or a glob has no file that can be read, or files that do not belong together.
    """
    if isinstance(source, list | tuple):
        if len(source) > 1 and any(str(path) == "-" for path in source):
            got, fix = source_name(source), "name files"
            raise DataError("standard input: among files", expected="it alone", got=got, fix=fix)
        return [file for path in source for file in files_of(path)]
    if not isinstance(source, str | Path) or str(source) in ("", "-"):
        return [source]  # type: ignore[list-item]  # Readable
    try:
        if Path(source).is_dir():
            return list(_in_folder(Path(source)))
        if is_glob(str(source)) and not Path(source).exists():
            return list(_matching(str(source)))
    except OSError as error:
        got = error.strerror or str(error)
        fix = "check the path"
        raise DataError(f"{display_name(source)}: cannot be read", expected="a file", got=got, fix=fix) from None
    return [source]


def _matching(pattern: str) -> list[Path]:
    found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - an absolute pattern
    files = [path for path in found if path.is_file()]
    if not files:
        got = "folders alone" if found else "nothing"
        raise DataError(f"{display_name(pattern)}: no such file", expected="a match", got=got, fix="check the pattern")
    return files


def _in_folder(folder: Path) -> list[Path]:
    name = display_name(folder)
    if (folder / _SPLITS).is_file():
        splits = sorted(path.parent.name for path in folder.glob(f"*/{_STATE}"))
        raise DataError(
            f"{name}: holds several splits",
            expected="one split",
            got=", ".join(splits) or "none",
            fix=f"name one, such as {name}/{splits[0]}" if splits else "save the data set again",
        )
    if (folder / _STATE).is_file():
        return _saved(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file() and _is_data(path))
    if not files:
        raise DataError(
            f"{name}: is a folder without data files",
            expected="files such as .csv, .jsonl or .parquet",
            got=", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "an empty folder",
            fix="name a file, or the folder that holds them",
        )
    unpacked = [unpacked_name(path.name) for path in files]
    if twice := [path.name for path, own in zip(files, unpacked, strict=True) if unpacked.count(own) > 1]:
        got, fix = ", ".join(twice), "remove one of them, or name the files"
        raise DataError(f"{name}: holds a file twice, packed and not", expected="each once", got=got, fix=fix)
    for what, kinds in (("kinds of file", _kinds(files)), ("splits", _split_names(files))):
        if len(kinds) > 1:
            raise DataError(
                f"{name}: holds several {what}",
                expected="one",
                got=", ".join(sorted(kinds)),
                fix="name the files, or a glob of them in quotes",
            )
    if left_out := _left_out(folder):
        raise DataError(
            f"{name}: holds more data than the files that would be read",
            expected="all data in files directly in the folder, of a kind that can be read",
            got=", ".join(left_out[:5]) + (f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""),
            fix=f"convert or move them, or name the files, as in {shlex.quote(f'{name}/*{files[0].suffix}')}",
        )
    return files


def _is_data(path: Path) -> bool:
    return is_readable(path.name) and not _is_aside(path)


def _is_aside(path: Path) -> bool:
    """Whether a name says that a file or folder is no data: it is hidden, or kept beside data by other programs."""
    return path.name.startswith((".", "_")) or path.name in _SIDE_FILES


def _left_out(folder: Path) -> list[str]:
    """The files of data in a folder that cannot be read, and its subfolders with data, which are not looked into."""
    beside = [path for path in sorted(folder.iterdir()) if not _is_aside(path)]
    return [
        f"{path.name}/" if path.is_dir() else path.name
        for path in beside
        if (any(map(_is_any_data, path.rglob("*"))) if path.is_dir() else _is_unreadable_data(path))
    ]


def _is_any_data(path: Path) -> bool:
    return path.is_file() and (_is_data(path) or _is_unreadable_data(path))


def _is_unreadable_data(path: Path) -> bool:
    return Path(unpacked_name(path.name)).suffix in _OTHER_DATA


def _kinds(files: Sequence[Path]) -> set[str]:
    return {Path(unpacked_name(path.name)).suffix for path in files}


def _split_names(files: Sequence[Path]) -> set[str]:
    return {match.group(1).lower() for path in files if (match := _SPLIT.search(path.name))}


def _saved(folder: Path) -> list[Path]:
    """The files of a data set that `datasets` has saved, in its order."""
    try:
        names = [entry["filename"] for entry in json.loads((folder / _STATE).read_bytes())["_data_files"]]
    except (ValueError, KeyError, TypeError):
        names = []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise DataError(
            f"{display_name(folder)}: is no data set that can be read",
            expected=f"{_STATE} as `save_to_disk` writes it",
            got="something else",
            fix="save it again",
        )
    return [folder / name for name in names]
