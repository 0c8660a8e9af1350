"""The command line: a small file a verb, each parses, calls, and says what came of it."""

from __future__ import annotations

import os
import sys


def start() -> None:
    """Run the command line; a Ctrl-C ends it with one line and exit code 130, also while its modules are imported."""
    try:
        from distilshift.cli.main import main

        main()
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            sys.stderr.write("Interrupted. The same command continues where it stopped.\n")
        # CPython remembers an interrupt that passed through an `exec`, as imports make them, even where it was caught,
        # and lets `python -m` die of it instead of exiting; another `exec` makes it forget.
        exec("")
        sys.exit(130)
