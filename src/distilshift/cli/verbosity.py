"""`-v` and `-q`, which every command takes, before the verb and after it."""

from __future__ import annotations

import logging
from typing import Any

import rich_click as click

from distilshift.progress import disable_progress_bars

_LOG = logging.getLogger("distilshift")
_shown = {"tracebacks": False}


def reset(quiet: bool) -> None:
    """Begin a command: information and warnings are logged unless they are another process's to log."""
    _shown["tracebacks"] = False
    _LOG.setLevel(logging.ERROR if quiet else logging.INFO)


def tracebacks() -> bool:
    """Whether an error is to be printed with its traceback."""
    return _shown["tracebacks"]


def _verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    _shown["tracebacks"] |= value


def _quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        _LOG.setLevel(max(_LOG.level, logging.WARNING))
        disable_progress_bars()


def _option(flags: tuple[str, str], callback: Any, help_text: str) -> click.Option:
    # Eager, so that an error in a later option finds it set.
    return click.Option(flags, is_flag=True, expose_value=False, is_eager=True, callback=callback, help=help_text)


def with_verbosity(command: click.Command) -> click.Command:
    """The command with both options; of a group, the commands below it."""
    if isinstance(command, click.Group) and command.commands:
        for below in command.commands.values():
            with_verbosity(below)
    elif not any(option.name == "quiet" for option in command.params):
        command.params += [
            _option(("-v", "--verbose"), _verbose, "Show the traceback of an error."),
            _option(("-q", "--quiet"), _quiet, "Print results, warnings and errors only: no progress."),
        ]
    return command
