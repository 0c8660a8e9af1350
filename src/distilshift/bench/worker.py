"""Running a job in a process of its own: its peak memory is its own, and its crash stops nothing else.

The job comes as one line on standard input, which then stays open: its end means that the runner is gone, and the work
stops as after Ctrl-C, at a checkpoint. The process inherits the job's lock: nobody takes the job before it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from distilshift.bench.job import KEY_DIGITS, Job

COMMAND = (sys.executable, "-m", "distilshift", "bench", "cell")


@contextmanager
def claimed(job: Job) -> Iterator[IO[str] | None]:
    """The job's lock, held until this process and its children have closed it; None where another runner holds it."""
    folder = job.folders.work / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / job.name).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock


def sweep(job: Job) -> None:
    """Remove what a kill between a cell's result and the end left of its classifier, unless somebody works there."""
    left = [*(job.folders.work / "cells").glob(f"{job.unfinished}-{'[0-9a-f]' * KEY_DIGITS}*")]
    with claimed(job) if left else nullcontext() as lock:
        for path in left if lock else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def log_of(job: Job) -> Path:
    """What the job's process prints."""
    return job.folders.work / "logs" / f"{job.name}.log"


def work(job: Job, lock: IO[str]) -> str:
    """Run a claimed job; what went wrong, or nothing.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once the process has saved its work.
    """
    log = log_of(job)
    log.parent.mkdir(parents=True, exist_ok=True)
    settings = {"OMP_NUM_THREADS": str(job.threads)} if job.threads else {}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | settings,
            pass_fds=[lock.fileno()],
            process_group=0,  # Ctrl-C reaches the runner alone; a second signal would stop without a checkpoint
            text=True,
        )
        _attend(process, job)
    if process.returncode == 0:
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    reason = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
    return lines[-1] if lines else f"{reason} without a word: the disk of its log may be full"


def _attend(process: subprocess.Popen[str], job: Job) -> None:
    """Hand over the job and wait for its end; after a Ctrl-C, for its last checkpoint."""
    assert process.stdin
    try:
        try:
            process.stdin.write(job.to_json() + "\n")
            process.stdin.flush()
        except BrokenPipeError:  # it is dead already: its exit code and its log say why
            pass
        process.wait()
    except KeyboardInterrupt:
        _hang_up(process)
        process.wait()
        raise
    finally:
        _hang_up(process)


def _hang_up(process: subprocess.Popen[str]) -> None:
    """Close the process's input; of one that is dead, what it has not read is lost."""
    assert process.stdin
    with suppress(BrokenPipeError):
        process.stdin.close()


def receive() -> Job:
    """The job of this process; from now on it stops when its runner is gone."""
    line = sys.stdin.readline()
    threading.Thread(target=_stop_with_the_runner, daemon=True).start()
    return Job.from_json(line)


def _stop_with_the_runner() -> None:
    """Wait for the runner's end, then stop: as Ctrl-C does, or where that is ignored, as under `nohup`, at once."""
    sys.stdin.read()
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGTERM if ignored else signal.SIGINT)


def carry_out(job: Job) -> None:
    """Do a job in this process."""
    from distilshift.bench import cell

    (cell.teach_teacher if job.kind == "teacher" else cell.run_cell)(job)
