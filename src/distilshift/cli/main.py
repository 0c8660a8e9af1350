"""The `distilshift` command: verbs are found by name and imported when called."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys

import rich_click as click
from click import exceptions as click_exceptions

from distilshift.cli import verbosity
from distilshift.cli.launch import let_the_first_speak, rank
from distilshift.cli.verbosity import with_verbosity
from distilshift.errors import DistilshiftError, missing_extra

# In the order a newcomer meets them; each lives in `distilshift.cli.<verb>_`, imported when needed.
VERBS = (
    *("demo", "teach", "import", "adapt", "pareto", "evaluate"),
    *("query", "predict", "drift", "inspect", "pack", "bench"),
)
# What an option takes stands behind its help: a column of its own leaves too little room for names on 80 characters.
click.rich_click.OPTIONS_TABLE_COLUMN_TYPES = ["required", "opt_long", "opt_short", "help"]
click.rich_click.OPTIONS_TABLE_HELP_SECTIONS = ["help", "metavar", "required", "default", "envvar", "deprecated"]


class LazyGroup(click.RichGroup):
    """A group that imports a verb when it is called, so that predicting never waits for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module."""
        if cmd_name not in VERBS:
            return None
        return with_verbosity(importlib.import_module(f"distilshift.cli.{cmd_name}_").command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; a mistyped one is told which one is like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0].lower(), VERBS, n=1)
            if not close:
                raise
            raise click.UsageError(f"{error.message.rstrip('.')}. Did you mean {close[0]!r}?", ctx) from None


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="distilshift")
def cli() -> None:
    """Ship the model, not the data: adapt and distil a text classifier for a new domain, without labels."""


with_verbosity(cli)


def main() -> None:
    """Run the command line; every error that is the user's to fix ends in one line and exit code 2.

    Raises:
        KeyboardInterrupt: Ctrl-C; `cli.start` says what follows from it.
    """
    # Threads that spin while they wait cripple each other on a busy machine; PyTorch reads this when it is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    verbosity.reset(quiet=rank() > 0)
    try:
        sys.exit(cli(standalone_mode=False))
    except click_exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        raise KeyboardInterrupt from None
    except (DistilshiftError, ModuleNotFoundError, OSError, UnicodeEncodeError) as error:
        sys.exit(_report(error))


def _report(error: DistilshiftError | ModuleNotFoundError | OSError | UnicodeEncodeError) -> int:
    let_the_first_speak()
    if verbosity.tracebacks():
        logging.exception("Traceback of the error:")
    if isinstance(error, ModuleNotFoundError):
        error = missing_extra("this verb", error)
    if not isinstance(error, DistilshiftError):
        error = _refusal(error)
    click.echo(f"Error: {error}", err=True)
    return error.exit_code


def _refusal(error: OSError | UnicodeEncodeError) -> DistilshiftError:
    """What the system said no to, where no stage knew more of it."""
    if isinstance(error, UnicodeEncodeError):
        got = f"{error.object[error.start : error.end]!r} for {error.encoding}"
        return DistilshiftError("a name or an option cannot be encoded", got=got, fix="write it in UTF-8")
    place = error.filename if isinstance(error.filename, str) else "a file or stream"
    reason = error.strerror or str(error)
    return DistilshiftError(f"the system refuses {place}", got=reason, fix="check the path, its rights and its disk")
