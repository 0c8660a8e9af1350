"""Compressed streams to their bytes; zstandard is imported when the first such file is read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shlex
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from distilshift.errors import DataError, MissingExtraError

# Suffix to what messages call the format.
PACKED = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard"}
# Bytes that are unpacked at once; four may stand for 128 KiB.
_PIECE = 256


def unpacked_name(name: str) -> str:
    """A file name in lower case, without the suffix of its compression."""
    low = name.lower()
    return low.removesuffix(next((end for end in PACKED if low.endswith(end)), ""))


def is_unpacking(stream: Any) -> bool:
    """Whether a stream gives unpacked bytes already, as that of `gzip.open` does."""
    return isinstance(stream, gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile)


def unpacked(stream: IO[bytes], ending: str) -> Any:
    """A stream of the unpacked bytes.

    Raises:
        MissingExtraError: a Zstandard stream, and zstandard is not installed.
    """
    if ending == ".zst":
        return io.BufferedReader(_ZstdReader(stream))
    if ending == ".gz":
        return gzip.GzipFile(fileobj=stream)
    return (bz2.BZ2File if ending == ".bz2" else lzma.LZMAFile)(stream)


@contextmanager
def named_damage(name: str, ending: str) -> Iterator[None]:
    """Name the file whose packed data are damaged.

    Raises:
        DataError: they are.
    """
    try:
        yield
    except Exception as error:
        damage = isinstance(error, EOFError | zlib.error | lzma.LZMAError) or type(error).__name__ == "ZstdError"
        # An OSError with a number is the system's.
        if not damage and not (isinstance(error, OSError) and error.errno is None):
            raise
        if "requires too much memory" in str(error):
            raise DataError(
                f"{name}: its Zstandard window is too long",
                expected="a window of at most 128 MiB",
                got="a longer one, as `zstd --long` makes",
                fix=f"unpack it first: `zstd -d --long=31 {shlex.quote(name)}`",
            ) from None
        raise DataError(
            f"{name}: damaged {PACKED[ending]} file",
            expected=f"complete {PACKED[ending]} data",
            got=str(error),
            fix=f"fetch or pack it again; if it is not packed, remove {ending} from its name",
        ) from None


class _ZstdReader(io.RawIOBase):
    """Frames of Zstandard, unpacked; unlike zstandard's own reader it does not take a cut file for a whole one."""

    def __init__(self, stream: IO[bytes]) -> None:
        try:
            import zstandard
        except ImportError:
            raise MissingExtraError(
                "Zstandard files cannot be read",
                expected="zstandard",
                got="none",
                fix="pip install '.[train]' in the checkout, or unpack the file",
            ) from None
        self._stream, self._new_frame = stream, zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            ended = self._frame is None or self._frame.eof
            chunk = (self._frame.unused_data if self._frame and ended else b"") or self._stream.read(_PIECE)
            if not chunk:
                if not ended:
                    raise EOFError("the file ended before its last frame did")
                return 0
            if ended:
                self._frame = self._new_frame()
            self._ready = self._frame.decompress(chunk)
        taken, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)
