"""`--num-processes`: the same command in several processes of this machine, which Accelerate joins into one run."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

from distilshift.errors import ConfigError

# How long a failed follower keeps quiet, so that the first process, if it failed likewise, can say why.
GRACE_SECONDS = 5.0


def rank() -> int:
    """The number of this process among those of one command, from 0."""
    return int(os.environ.get("RANK", "0"))


def launched(num_processes: int, data: str | list[Path]) -> bool:
    """Run this command in so many processes, unless this is one of them; whether that was done.

    Exits with the code of the first process that fails.

    Args:
        num_processes: how many.
        data: the files that all of them will read.

    Raises:
        ConfigError: it is standard input, which only one can.
    """
    if num_processes == 1 or "RANK" in os.environ:
        return False
    if data == "-":
        raise ConfigError("several processes cannot share standard input", fix="name a file, or use one process")
    import torch
    from torch.multiprocessing.spawn import ProcessExitedException, start_processes

    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // num_processes)))
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(num_processes)}
    os.environ["LOCAL_WORLD_SIZE"] = str(num_processes)
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # it tells whom it stops after an error
    workers = start_processes(_work, (sys.argv,), num_processes, join=False, start_method="spawn")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the processes get it too, save their work, and end
    try:
        while not workers.join():
            pass
    except ProcessExitedException as failure:
        sys.exit(failure.exit_code if failure.exit_code > 0 else 1)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _work(number: int, arguments: list[str]) -> None:
    """One process: the command, as if alone."""
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number)}
    sys.argv = arguments
    from distilshift.cli import start

    with _FirstSpeaksFirst():
        start()


class _FirstSpeaksFirst:
    """Delays an error, so that the first process can report its own; it never stops one."""

    def __enter__(self) -> None:
        """Nothing is done before an error."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Exits and interrupts are not errors, and pass at once."""
        if isinstance(error, Exception):
            let_the_first_speak()


def let_the_first_speak() -> None:
    """Wait, in any process but the first: when that one ends with an error, the others are stopped."""
    if rank():
        time.sleep(GRACE_SECONDS)
