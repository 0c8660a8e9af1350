"""Which of the catalogue's errors the tests provoke: a pytest plugin, off unless it is asked for.

python -m pytest tests -p errors_met --errors-met met.jsonl     # with tests/ on PYTHONPATH
python docs/errors_catalogue.py --met met.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest


def places(frame: FrameType | None, root: str) -> Iterator[tuple[str, int]]:
    """Module and line of each frame of the package, from the error's own outwards."""
    while frame:
        name = frame.f_code.co_filename
        if name.startswith(root) and not name.endswith("/errors.py"):
            yield name.removeprefix(root), frame.f_lineno
        frame = frame.f_back


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--errors-met", default=None, help="file to write each place to that made an error")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("errors_met") is None:
        return
    import distilshift
    from distilshift.errors import DistilshiftError

    root, seen, inner = f"{Path(distilshift.__file__).parent}/", set(), DistilshiftError.__init__

    def made(self: DistilshiftError, *values: object, **fields: object) -> None:
        inner(self, *values, **fields)  # type: ignore[arg-type]
        found = tuple(places(sys._getframe(1), root))
        seen.add((type(self).__name__, found))

    def write() -> None:
        rows = [json.dumps({"kind": kind, "places": found}) for kind, found in sorted(seen)]
        Path(config.getoption("errors_met")).write_text("\n".join(rows) + "\n", encoding="utf-8")

    DistilshiftError.__init__ = made  # type: ignore[method-assign]
    config.add_cleanup(write)
