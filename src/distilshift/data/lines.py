"""Bytes to decoded lines: encodings, byte-order marks, line ends."""

from __future__ import annotations

import codecs
import io
import re
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from distilshift.data.rows import RowError
from distilshift.data.streams import Opened
from distilshift.errors import DataError

_ESCAPED = re.compile("[\udc80-\udcff]")
_UTF16, _UTF32 = "name the encoding: `--encoding utf-16`", "name the encoding: `--encoding utf-32`"
_WIDE = ("utf-16", "utf-32")
# The longer mark first: UTF-32's begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: ("UTF-32", _UTF32),
    codecs.BOM_UTF32_BE: ("UTF-32", _UTF32),
    codecs.BOM_UTF16_LE: ("UTF-16", _UTF16),
    codecs.BOM_UTF16_BE: ("UTF-16", _UTF16),
}
_PACKED = {
    b"\x1f\x8b": ("gzip data", "let the name end in .gz"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or export it as .csv"),
    b"PAR1\x15": ("Parquet data", "let the name end in .parquet"),
    b"ARROW1\0\0": ("Arrow data", "let the name end in .arrow"),
    b"\x28\xb5\x2f\xfd": ("Zstandard data", "let the name end in .zst"),
    b"\xfd7zXZ\0": ("xz data", "let the name end in .xz"),
    **{b"BZh%d1AY&SY" % level: ("bzip2 data", "let the name end in .bz2") for level in range(1, 10)},
}
# Bytes that cp1252 leaves undefined.
_NOT_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")


class Lines:
    """The physical lines of a text file, ends kept: they end at LF, CRLF or CR only, not at U+2028 and its like.

    Attributes:
        name: the file's, for messages.
        number: lines read so far; the number of the latest, from 1.
        limit: characters that a line may have; 0 for no limit.
    """

    def __init__(self, stream: io.TextIOWrapper, name: str, limit: int) -> None:
        self.name, self.number, self.limit = name, 0, limit
        self._stream = stream
        self._undecodable: RowError | None = None
        self._record: list[str] | None = None
        self._waiting: deque[str] = deque()

    @property
    def record(self) -> list[str]:
        """The lines since `begin_record`."""
        return self._record or []

    @property
    def place(self) -> str:
        """File name and number of the latest line."""
        return f"{self.name}, line {self.number}"

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next line; a byte-order mark is dropped.

        Raises:
            RowError: the line is longer than the limit; the next call goes on after it.
            DataError: the bytes cannot be decoded from here on.
        """
        line = self._waiting.popleft() if self._waiting else self._read()
        self.number += bool(line)
        if self._is_cut(line):
            raise self._too_long()
        if self.number == 1:
            line = line.removeprefix("\ufeff")
        if not line:
            raise StopIteration
        if not line.isascii() and self._undecodable is None and (match := _ESCAPED.search(line)):
            self._undecodable = self._bad_byte(ord(match.group()) - 0xDC00)
        if self._record is not None:
            self._record.append(line)
        return line

    def head(self) -> str:
        """Return the first character that is not white space, or nothing; only blank lines before it are taken."""
        for line in iter(self._read, ""):
            if content := line.lstrip("\ufeff \t\r\n"):
                self._waiting.append(line)
                return content[0]
            self.number += not self._is_cut(line)
        return ""

    def chars(self, count: int) -> str:
        """Up to so many characters, without regard to lines; none at the end.

        Raises:
            DataError: one of their bytes cannot be decoded.
        """
        try:
            text = self._waiting.popleft() if self._waiting else self._stream.read(count)
        except UnicodeError as error:
            raise self._undecoded(error) from None
        if not text.isascii() and (match := _ESCAPED.search(text)):
            byte = ord(match.group()) - 0xDC00
            problem, named = f"{self.name}: a byte is not {self._stream.encoding}", self._encoding_fix(byte)
            raise DataError(problem, expected=f"{self._stream.encoding} text", got=f"byte 0x{byte:02x}", fix=named)
        return text

    def begin_record(self) -> None:
        """Remember the lines from here on, for `resume_after_first`."""
        self._record = []

    def resume_after_first(self) -> None:
        """Read the record's lines again but for the first, which is malformed: an open quote swallows good rows."""
        again = (self._record or [])[1:]
        self._waiting.extendleft(reversed(again))
        self.number -= len(again)
        self._undecodable = None

    def verify(self) -> None:
        """Check the lines read since the last call.

        Raises:
            RowError: one of them has a byte that the encoding does not know.
        """
        error, self._undecodable = self._undecodable, None
        if error:
            raise error

    def _read(self) -> str:
        try:
            return self._stream.readline(self.limit or -1)
        except UnicodeError as error:
            raise self._undecoded(error) from None

    def _undecoded(self, error: UnicodeError) -> DataError:
        after = f"{self.name}: bytes after line {self.number} are not {self._stream.encoding}"
        return DataError(after, got=str(error), fix="name the encoding the file has with --encoding")

    def _is_cut(self, line: str) -> bool:
        return 0 < self.limit == len(line) and not line.endswith(("\n", "\r"))

    def _too_long(self) -> RowError:
        while self._is_cut(self._read()):
            pass
        return RowError(
            f"{self.place}: the line is too long",
            expected=f"at most {self.limit:,} characters",
            got="more",
            fix="check that the file is what its name says, raise --max-chars (0: no limit), or pass --skip-bad",
        )

    def _bad_byte(self, byte: int) -> RowError:
        encoding = self._stream.encoding
        return RowError(
            f"{self.place}: a byte is not {encoding}",
            expected=f"{encoding} text",
            got=f"byte 0x{byte:02x}",
            fix=f"{self._encoding_fix(byte)}, or pass --skip-bad",
        )

    def _encoding_fix(self, byte: int) -> str:
        # cp1252 is what Excel writes: latin-1 with printable characters instead of C1 controls.
        other = "cp1252" if codecs.lookup(self._stream.encoding).name == "utf-8" else "utf-8"
        if other == "cp1252" and byte in _NOT_CP1252:
            return "name the encoding the file has with --encoding"
        return f"`--encoding {other}`, if the file has that encoding"


@contextmanager
def open_lines(file: Opened, encoding: str, limit: int) -> Iterator[Lines]:
    """The lines of an opened file.

    Args:
        file: the file.
        encoding: its character encoding, unless the handle has settled that.
        limit: characters that a line may have; 0 for no limit.

    Raises:
        DataError: no such encoding, or the first bytes tell of another one or of another format.
    """
    codec = file.encoding or encoding
    with ExitStack() as stack:
        stream: Any = file.stream
        if not hasattr(stream, "peek"):
            stream = io.BufferedReader(stream)
            stack.callback(stream.detach)
        try:
            canonical = codecs.lookup(codec).name
            text = io.TextIOWrapper(stream, encoding=codec, errors="surrogateescape", newline="")
        except (LookupError, ValueError):
            raise DataError(
                f"{file.name}: --encoding is not known",
                expected="an encoding such as utf-8, cp1252 or utf-16",
                got=repr(codec),
                fix="correct it",
            ) from None
        stack.callback(text.detach)
        head = stream.peek(16)
        _check_head(head, file.name, canonical)
        if head.startswith(codecs.BOM_UTF8) and not canonical.startswith(_WIDE):
            stream.read(len(codecs.BOM_UTF8))
        yield Lines(text, file.name, limit)


def _check_head(head: bytes, name: str, codec: str) -> None:
    marks = {} if codec.startswith(_WIDE) else _MARKS
    for mark, (what, fix) in {**marks, **_PACKED}.items():
        if head.startswith(mark):
            raise DataError(f"{name}, line 1: is not {codec} text", expected=f"{codec} text", got=what, fix=fix)


def require_utf8(path: Path) -> None:
    """Refuse a file that a spreadsheet saved in another encoding: --encoding is that of the texts, not of this file.

    Raises:
        DataError: it is not UTF-8.
    """
    with path.open(encoding="utf-8") as stream:
        try:
            for _ in stream:
                pass
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not in UTF-8",
                expected="a CSV file in UTF-8",
                got=f"byte 0x{error.object[error.start]:02x}",
                fix="save it as CSV in UTF-8 (in Excel: `CSV UTF-8`)",
            ) from None
