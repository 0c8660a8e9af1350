"""Commands started by forking a process that has loaded the libraries: five seconds less a start, and the same run.

    with Nursery() as nursery:
        child = nursery.start(["teach", "texts.csv", "-o", "teacher"], {"TMPDIR": "/tmp/x"})

Run as a program, this file is that process. It has one thread and one child at a time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import IO, Any, NoReturn

# What the verbs load when they need it. None of them starts a thread, which a fork would lose.
LIBRARIES = (
    *("distilshift.pipeline", "distilshift.source", "distilshift.bench.cell", "distilshift.bench.worker"),
    *("torch.onnx", "torch.export", "torch._dynamo"),
)


class Child:
    """A command under way, with what the tests use of `subprocess.Popen`."""

    def __init__(self, nursery: subprocess.Popen[str], pid: int, log: Path) -> None:
        self._nursery, self.pid, self._log = nursery, pid, log
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        assert self._nursery.stdout
        if self.returncode is None and select.select([self._nursery.stdout], [], [], 0)[0]:
            self.returncode = int(self._nursery.stdout.readline())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; what it printed on standard output and on standard error."""
        assert self._nursery.stdout
        if self.returncode is None:
            ready = select.select([self._nursery.stdout], [], [], timeout)[0]
            assert ready, f"{self._log} has not ended after {timeout} s"
            self.returncode = int(self._nursery.stdout.readline())
        out, err = (self._log.with_suffix(f".{name}").read_text(encoding="utf-8") for name in ("out", "err"))
        return out, err


class Nursery:
    """The process that is forked."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Start it; `settings` are variables that the libraries read when they are loaded."""
        self._folder = tempfile.TemporaryDirectory()  # what a command prints shall not meet the disk that it fills
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | settings,
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def start(self, arguments: Sequence[Any], settings: Mapping[str, str]) -> Child:
        """`distilshift ARGUMENTS` in a session of its own."""
        log = Path(self._folder.name) / "log"
        assert self._process.stdin
        assert self._process.stdout
        job = {"arguments": [*map(str, arguments)], "settings": dict(settings), "log": str(log)}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return Child(self._process, int(self._process.stdout.readline()), log)


def command(arguments: list[str], settings: dict[str, str], log: Path) -> int:
    """In the child: be that command; its exit code."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, place in ((0, Path(os.devnull)), (1, log.with_suffix(".out")), (2, log.with_suffix(".err"))):
        handle = os.open(place, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(handle, number)
        os.close(handle)
    os.environ |= settings
    tempfile.tempdir = None  # it was looked up before TMPDIR was set
    worker = sys.modules["distilshift.bench.worker"]
    worker.subprocess = SimpleNamespace(Popen=Worker, PIPE=None, STDOUT=None)  # type: ignore[attr-defined]
    return carry_out(arguments)


def carry_out(arguments: list[str]) -> int:
    """In a process that is ready: run the command line; its exit code."""
    from distilshift.cli import start

    sys.argv = ["distilshift", *arguments]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - what was read ahead is another's
    try:
        start()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001 - a new process would print it, too
        traceback.print_exc()
        return 1
    return 0


class Worker:
    """A benchmark's worker, forked from its runner, with what `bench.worker` uses of `subprocess.Popen`."""

    def __init__(self, line: Sequence[str], *, stdout: IO[str], env: Mapping[str, str], **rest: Any) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(writing)  # the end of its input tells it that the runner is gone
            for handle, number in ((reading, 0), (stdout.fileno(), 1), (stdout.fileno(), 2)):
                os.dup2(handle, number)
            os.environ |= env
            leave(carry_out([*line[line.index("distilshift") + 1 :]]))
        os.close(reading)
        self.stdin = os.fdopen(writing, "w")
        self.returncode: int | None = None

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def leave(code: int) -> NoReturn:
    """End a forked process without what its parent has yet to do."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Fork for each line of standard input, and say the child's number, then its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in LIBRARIES:
        __import__(name)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            leave(command(job["arguments"], job["settings"], Path(job["log"])))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
