"""The exceptions a user can meet: each says what was expected, what was found, and the fix."""

from __future__ import annotations


class DistilshiftError(Exception):
    """Base of every error that is the user's to fix; the CLI prints it on one line and exits with 2.

    Args:
        problem: what went wrong, naming the file, option or bundle.
        expected: what would have been right.
        got: what was found instead.
        fix: what to do about it.
    """

    exit_code = 2

    def __init__(
        self,
        problem: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.problem, self.expected, self.got, self.fix = problem, expected, got, fix
        super().__init__(self._one_line())

    def _one_line(self) -> str:
        parts = (("expected ", self.expected), ("got ", self.got))
        facts = ", ".join(label + text for label, text in parts if text)
        line = f"{self.problem}: {facts}" if facts else self.problem
        if self.fix:
            line = f"{line.rstrip('.')}. Fix: {self.fix}"
        # File names and contents are quoted; a terminal shall not take them for commands.
        return "".join(char if char.isprintable() else _escaped(char) for char in " ".join(line.split()))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


class ConfigError(DistilshiftError):
    """An option is unknown, of the wrong type or out of its range."""


class DataError(DistilshiftError):
    """An input file cannot be read as texts (and labels)."""


class BundleError(DistilshiftError):
    """A bundle is missing, damaged, edited or of the wrong kind."""


class UnsafeError(BundleError):
    """A file of a bundle or checkpoint could harm whoever loads it, or is not what its name says."""


class LeakError(BundleError):
    """A bundle holds more than the network, its tokenizer and aggregates: `inspect --strict`."""


class ModelError(DistilshiftError):
    """A checkpoint cannot serve as a BERT-family text classifier."""


class EstimateError(DistilshiftError):
    """A statistic cannot be computed from the numbers it is given."""


class DownloadError(DistilshiftError):
    """A packaged model or data set could not be had, or is not what it should be."""


class OutputError(DistilshiftError):
    """An output cannot be written: it exists already, the disk is full, the folder is read-only."""


class RunError(DistilshiftError):
    """A run directory belongs to another run, is in use, or is damaged."""


class MissingExtraError(DistilshiftError, ImportError):
    """A verb or function needs a part of distilshift that is not installed; `except ImportError` catches it too."""


def missing_extra(what: str, error: ModuleNotFoundError) -> MissingExtraError:
    """The error for a verb or function that failed to import a module."""
    return MissingExtraError(
        f"{what} needs {error.name}", got="an install without it", fix="pip install '.[train]' in the checkout"
    )
