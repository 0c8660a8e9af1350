"""What a process of several does with an error."""

from __future__ import annotations

import pytest

from distilshift.cli import launch, main


@pytest.mark.parametrize(
    ("number", "error", "waits"),
    [(1, ValueError("broken"), 1), (0, ValueError("broken"), 0), (1, SystemExit(3), 0), (1, KeyboardInterrupt(), 0)],
)
def test_an_error_goes_on_after_a_moment_in_any_process_but_the_first(
    monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException, waits: int
):
    waited: list[float] = []

    def fail() -> None:
        raise error

    monkeypatch.setenv("RANK", "")
    monkeypatch.setenv("LOCAL_RANK", "")
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.setattr(launch.time, "sleep", waited.append)
    monkeypatch.setattr(main, "main", fail)
    interrupted = isinstance(error, KeyboardInterrupt)  # of which the entry point makes an exit code
    with pytest.raises(SystemExit if interrupted else type(error)) as raised:
        launch._work(number, ["distilshift"])
    assert raised.value.code == 130 if interrupted else raised.value is error
    assert waited == [launch.GRACE_SECONDS] * waits
