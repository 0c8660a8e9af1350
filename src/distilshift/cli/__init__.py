"""The command line: a small file a verb, each parses, calls, and says what came of it."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

# Verbs that continue what they were stopped at.
_RESUMABLE = {"teach", "adapt", "pareto", "bench"}


def start() -> None:
    """Run the command line; a Ctrl-C ends it with one line and exit code 130, also while its modules are imported.

    A SIGTERM ends `predict` and other short ones with 143, without the file that they were writing.
    """
    interrupts = _noted_interrupts()
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    resumable = verb in _RESUMABLE
    if not resumable:  # what keeps nothing of its work leaves nothing of it, either
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        from distilshift.cli.main import main

        main()
    except (KeyboardInterrupt, Exception) as error:
        if not isinstance(error, KeyboardInterrupt) and not interrupts:
            raise
        # Compiled libraries make an error of their own of an interrupt that strikes where they call Python.
        if os.environ.get("RANK", "0") == "0":
            more = " The same command continues where it stopped." if resumable else ""
            sys.stderr.write(f"Interrupted.{more}\n")
        # CPython remembers an interrupt that passed through an `exec`, as imports make them, even where it was caught,
        # and lets `python -m` die of it instead of exiting; another `exec` makes it forget.
        exec("")
        sys.exit(130)


def _noted_interrupts() -> list[int]:
    """A list that holds something once a Ctrl-C has come; each is raised as ever."""
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody wants it otherwise
        signal.signal(signal.SIGINT, note)
    return seen
