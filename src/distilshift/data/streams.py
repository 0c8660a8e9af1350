"""Paths and handles to streams of unpacked bytes, each failure named."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import IO, Any

from distilshift.data.packed import PACKED, is_unpacking, named_damage, unpacked
from distilshift.errors import DataError

Readable = str | Path | IO[Any]


@dataclass(frozen=True)
class Opened:
    """A file ready to be read.

    Attributes:
        stream: its bytes, unpacked.
        name: how messages call it.
        suffix: lower-case suffix without that of its compression, such as ".csv".
        encoding: its encoding where an open text handle has settled that, else None.
        seekable: whether `stream` can be read in any order.
        again: opens it once more from its start, while this reading goes on; None where it can be read only once.
    """

    stream: IO[bytes]
    name: str
    suffix: str
    encoding: str | None
    seekable: bool
    again: Again | None = None


Again = Callable[[], AbstractContextManager[Opened]]


def display_name(path: Readable) -> str:
    """How messages call a file: always printable on one line."""
    if _is_stdin(path):
        return "standard input"
    raw = str(path) if isinstance(path, (str, Path)) else _handle_name(path) or "the stream"
    return " ".join(raw.encode("utf-8", "backslashreplace").decode().split()) or "''"


def _is_stdin(path: Readable) -> bool:
    return isinstance(path, (str, Path)) and str(path) == "-"


def _handle_name(handle: IO[Any]) -> str:
    name = getattr(handle, "name", "")
    return name if isinstance(name, str) and not name.startswith("<") else ""


@contextmanager
def opened(path: Readable) -> Iterator[Opened]:
    """Open a path, standard input (`-`) or a handle; a handle is not closed.

    Raises:
        DataError: it cannot be opened or, within the block, read.
    """
    name = display_name(path)
    with ExitStack() as stack:
        stack.enter_context(_named_errors(name))
        handle, suffix = _handle(path, stack)
        stream, encoding = _as_bytes(handle)
        packed = next((end for end in PACKED if suffix.endswith(end)), "")
        # gzip.open and its like name their handles after the packed file, whose bytes are unpacked by then.
        if packed and not is_unpacking(stream):
            stack.enter_context(named_damage(name, packed))
            rewinds = stream.seekable() and packed != ".zst"
            stream = stack.enter_context(unpacked(stream, packed))
            seekable = False
        else:
            rewinds = seekable = stream.seekable()
        kind = PurePath(suffix.removesuffix(packed)).suffix
        found = Opened(stream, name, kind, encoding, seekable)
        if isinstance(path, (str, Path)):
            again: Again | None = partial(opened, path) if Path(path).is_file() and not _is_stdin(path) else None
        else:
            again = _rewinding(found) if rewinds else None
        yield replace(found, again=again)


def _rewinding(file: Opened) -> Again:
    """Read a handle from where it stood, and put it back."""
    start = file.stream.tell()

    @contextmanager
    def again() -> Iterator[Opened]:
        here = file.stream.tell()
        file.stream.seek(start)
        yield file
        file.stream.seek(here)

    return again


def _handle(path: Readable, stack: ExitStack) -> tuple[Any, str]:
    """An open handle, and a file name in lower case to tell the format from."""
    if _is_stdin(path):
        return _stdin(), "stdin.txt"
    if isinstance(path, (str, Path)):
        return stack.enter_context(_open_path(path)), str(path).lower()
    name = _handle_name(path).lower()
    return path, name if PurePath(name).suffix else "stream.txt"


def _open_path(path: str | Path) -> IO[bytes]:
    try:
        return Path(path).open("rb")
    except ValueError as error:  # a NUL byte in the name
        raise DataError(f"{display_name(path)}: cannot be opened", got=str(error), fix="check the path") from None


def _stdin() -> Any:
    if sys.stdin is None:
        raise DataError("standard input: cannot be read", got="no standard input", fix="name a file")
    return getattr(sys.stdin, "buffer", sys.stdin)


def _as_bytes(handle: Any) -> tuple[Any, str | None]:
    """The bytes below a handle, and the encoding that a text handle was opened with."""
    if hasattr(handle, "buffer"):
        return handle.buffer, handle.encoding
    if isinstance(handle.read(0), str):
        return io.BytesIO(handle.read().encode("utf-8", "surrogatepass")), "utf-8"
    return handle, None


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name}: no such file", expected="a file", got="nothing", fix="check the path") from None
    except IsADirectoryError:
        raise DataError(f"{name}: is a folder", expected="a file", got="a folder", fix="name a file in it") from None
    except PermissionError:
        raise DataError(
            f"{name}: may not be read",
            expected="read permission",
            got="permission denied",
            fix="have it granted, as with `chmod u+r`",
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{name}: cannot be read", expected="a readable file", got=reason, fix="check it") from None
