"""Writing so that a stop at any moment leaves the old output or the new one, never half of either."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distilshift.errors import OutputError

# The file that shows that a folder is a bundle.
MARK = "distilshift.json"
# Native libraries report a full disk in their own exception types; this text is what they share.
_NO_SPACE_TEXT = "No space left on device"
# What a temporary folder beside an output adds to its name, and what a file system allows for a name, in bytes.
_NAME_BYTES = 255 - len("..part-xxxxxxxx")
_REASONS = {
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that can be written",
    errno.EPERM: "choose a folder that can be written",
    errno.ENOTDIR: "choose a folder whose parent is a folder",
    errno.EEXIST: "choose another output",
    errno.ENAMETOOLONG: "choose a shorter name",
}


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while writing `path` into OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        raise OutputError(f"cannot write {path}", got=os.strerror(error.errno), fix=_REASONS[error.errno]) from error
    except Exception as error:
        if _NO_SPACE_TEXT not in str(error):
            raise
        raise OutputError(f"cannot write {path}", got=_NO_SPACE_TEXT, fix=_REASONS[errno.ENOSPC]) from error


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Force a written file to the disk, so that a rename never precedes the content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a text file atomically; `durable` as in `new_file`."""
    with output_errors(path), new_file(path, overwrite=True, durable=durable) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, *, durable: bool = True) -> None:
    """Replace a JSON file atomically; keys keep their order; `durable` as in `new_file`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", durable=durable)


def whole_path(output: Path) -> Path:
    """An output by its full name, which stays true while folders are renamed; the name itself may be a link."""
    if output.name in ("", ".."):
        return Path(os.path.realpath(output))
    return Path(os.path.realpath(output.parent)) / output.name


def require_short(output: Path) -> None:
    """Refuse, before any work is done, a name that leaves no room for that of a temporary folder.

    Raises:
        OutputError: it is too long.
    """
    size = len(os.fsencode(output.name))
    if size > _NAME_BYTES:
        raise OutputError(
            f"cannot write {output.name[:40]}…",
            expected=f"a name of {_NAME_BYTES} bytes at the most",
            got=str(size),
            fix="choose a shorter name",
        )


def require_apart(output: Path, *inputs: str | Path | None) -> None:
    """Refuse an output that is one of the inputs, or lies in a bundle that is one: that would no longer be whole.

    Raises:
        OutputError: it does.
    """
    whole = Path(os.path.realpath(output))
    for path in inputs:
        try:
            found = Path(os.path.realpath(path or "", strict=True))
        except (OSError, ValueError):  # what is not there is for its reader to report
            continue
        if path and (whole == found or (found in whole.parents and (found / MARK).is_file())):
            got = "the same" if whole == found else "a place in it"
            raise OutputError(f"{output} would change {path}, which is read", got=got, fix="choose another output")


def require_free(output: Path, overwrite: bool = False, mark: str = MARK) -> None:
    """Refuse an output that exists, before any work is done.

    Args:
        output: the folder to be.
        overwrite: let it be replaced if it is ours.
        mark: the file that shows that it is.

    Raises:
        OutputError: it exists, and `overwrite` is off or it is not ours; its name is too long.
    """
    require_short(output)
    if not output.exists() and not output.is_symlink():
        return
    if not overwrite:
        raise OutputError(f"{output} exists", expected="a new name", fix="choose another output, or pass --overwrite")
    ours = output.is_dir() and not output.is_symlink() and (output / mark).is_file()
    empty = output.is_dir() and not any(output.iterdir())
    if not ours and not empty:
        raise OutputError(
            f"{output} has no {mark}, so --overwrite leaves it alone", fix="choose another output, or remove it"
        )


def require_file_name(path: Path, overwrite: bool = False) -> Path:
    """The file that a path leads to, once it is known that it may be written.

    Raises:
        OutputError: as of `new_file`.
    """
    found = Path(os.path.realpath(path))  # what a link names is replaced, not the link
    if found.is_symlink() or (found.exists() and not found.is_dir() and not found.is_file()):
        raise OutputError(f"{path} is no file", expected="the name of one", fix="choose another output")
    if found.is_dir() or (found.exists() and not overwrite):
        fix = "choose another output" if found.is_dir() else "choose another output, or pass --overwrite"
        raise OutputError(f"{path} exists", expected="a new name", fix=fix)
    return found


@contextmanager
def made_parents(path: Path) -> Iterator[None]:
    """The folders above `path`, made where missing; if the block fails, those that it leaves empty vanish again.

    Raises:
        OutputError: one cannot be made.
    """
    missing: list[Path] = []
    try:
        with output_errors(path):
            missing += [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:  # the innermost first
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def new_file(path: Path, overwrite: bool = False, *, durable: bool = True) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the name when the block succeeds, and vanishes otherwise.

    Args:
        path: the file to be.
        overwrite: let it replace one.
        durable: wait until it is on the disk, which a power cut then cannot undo; a killed process never needs that.

    Raises:
        OutputError: `path` exists and `overwrite` is off, or is a folder, a pipe or a device.
    """
    path = require_file_name(path, overwrite)
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    with made_parents(path):
        try:
            yield part
            _set_file_mode(part)
            if durable:
                flush(part)
            require_file_name(path, overwrite)  # another process may have taken the name since
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def staged_folder(output: Path, overwrite: bool = False, mark: str = MARK) -> Iterator[Path]:
    """A temporary folder beside `output` that takes its name when the block succeeds, and vanishes otherwise.

    Raises:
        OutputError: `output` exists, or cannot be written.
    """
    require_free(output, overwrite, mark)
    output = whole_path(output)
    with made_parents(output), output_errors(output):
        _sweep(output, "part")
        with _temporary_folder(output, "part") as part:
            part.chmod(0o777 & ~_umask())
            yield part
            for path in part.rglob("*"):
                if path.is_file():
                    _set_file_mode(path)
                    flush(path)
            require_free(output, overwrite, mark)  # another process may have taken the name since
            _swap(part, output)
        _sweep(output, "old")  # only now: it may have been the last whole version


def _umask() -> int:
    """The permissions that the user withholds from new files; the system tells them only in exchange for others."""
    found = os.umask(0o077)
    os.umask(found)
    return found


def _set_file_mode(path: Path) -> None:
    """Give a file the permissions of any new one: safetensors makes its files for their owner alone."""
    mode = 0o666 & ~_umask()
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


@contextmanager
def _temporary_folder(output: Path, use: str) -> Iterator[Path]:
    """A folder beside `output`, removed at the end; a lock tells it from those of killed processes."""
    path = Path(tempfile.mkdtemp(prefix=f".{output.name}.{use}-", dir=output.parent))
    try:
        with _lock(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Whether nobody else holds the folder; it is held meanwhile where the file system can."""
    import fcntl  # here: a device without it can still predict

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _sweep(output: Path, use: str) -> None:
    """Remove what killed processes left of their temporary folders; those in use, and links, stay."""
    for entry in output.parent.iterdir():
        if entry.name.startswith(f".{output.name}.{use}-") and entry.is_dir() and not entry.is_symlink():
            with suppress(OSError), _lock(entry) as free:
                if free:
                    shutil.rmtree(entry, ignore_errors=True)


def _swap(part: Path, output: Path) -> None:
    """Give `part` the name `output`; what had it is moved aside first, removed last, and put back on failure."""
    if not output.exists():
        part.rename(output)
        return
    with _temporary_folder(output, "old") as aside:
        output.rename(aside / "old")
        try:
            part.rename(output)
        except BaseException:
            (aside / "old").rename(output)
            raise
