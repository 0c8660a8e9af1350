"""Options of the kill tests, few kills by default: `make soak` asks for more."""

from __future__ import annotations

import pytest
from killing import KILLS


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kills")
    group.addoption("--kills", type=int, default=KILLS, help="how often test_kill.py stops a run, in all")
    group.addoption("--kill-seed", type=int, default=0, help="where it does; the places are drawn from this")
    group.addoption("--kill-log", default=None, help="file to append a JSON line a trial to")
