"""What `edge.py` measures in processes of their own: cold start, peak memory, and the size of an install.

It runs as a process of its own, too, and imports no library: what a process has used counts from before it has loaded
its own program, when it still is its parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PREDICT = [sys.executable, "-m", "distilshift", "predict"]
PYTHON = """import sys
from distilshift import Predictor
predictor = Predictor.load(sys.argv[1])
print(predictor.predict([sys.argv[2]])[0].label)"""


def all_processes(bundles: dict[str, str], text: str, starts: int, rows: list[int], install: bool) -> dict[str, Any]:
    """Cold starts by turns, memory of a short and of a long stream through the first bundle, and an install."""
    taken: dict[str, list[dict[str, float]]] = {}
    for _ in range(starts):
        for student, bundle in bundles.items():
            for cli in (True, False):
                kind = f"{student}, {'command line' if cli else 'Python'}"
                taken.setdefault(kind, []).append(first_label(Path(bundle), text, cli))
    first = Path(next(iter(bundles.values())))
    return {
        "first_label": taken,
        "stream_peak_memory_bytes": {str(count): stream_memory_bytes(first, text, count) for count in rows},
        "install": install_size() if install else {"skipped": "not asked for"},
    }


def first_label(bundle: Path, text: str, cli: bool) -> dict[str, float]:
    """A process from its start to its first label, and the most memory that it held.

    Args:
        bundle: a student.
        text: to be labelled.
        cli: the command, or three lines of Python.

    Returns:
        seconds to the first byte of output, and peak_memory_bytes.
    """
    command = [*PREDICT, str(bundle), text] if cli else [sys.executable, "-c", PYTHON, str(bundle), text]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=_one_thread()) as process:
        assert process.stdout is not None
        answer = process.stdout.read(1)
        seconds = time.perf_counter() - start
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if not answer or process.returncode:
        raise SystemExit(f"Error: {command} ended with {process.returncode}")
    return {"seconds": seconds, "peak_memory_bytes": usage.ru_maxrss * 1024}


def stream_memory_bytes(bundle: Path, text: str, rows: int) -> int:
    """Peak memory of `predict` over so many rows from standard input."""
    with tempfile.TemporaryFile() as lines:
        lines.write(f"{text}\n".encode() * rows)
        lines.seek(0)
        process = subprocess.Popen(
            [*PREDICT, str(bundle), "-"], stdin=lines, stdout=subprocess.DEVNULL, env=_one_thread()
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"Error: predict ended with {process.returncode}")
    return usage.ru_maxrss * 1024


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def install_size() -> dict[str, Any]:
    """Bytes of a fresh environment with the base dependencies alone, pip left out; why not, where it cannot be made."""
    with tempfile.TemporaryDirectory() as folder:
        env = Path(folder) / "env"
        venv.create(env, with_pip=True)
        install = [str(env / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
        install += ["--constraint", str(ROOT / "constraints.txt"), str(ROOT)]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"skipped": done.stderr.strip().splitlines()[-1]}
        (packages,) = (env / "lib").glob("python*/site-packages")
        sizes = {path.name: _bytes(path) for path in packages.iterdir()}
        own = {name: size for name, size in sizes.items() if not name.startswith(("pip", "setuptools", "_distutils"))}
        return {"bytes": sum(own.values()), "largest": dict(sorted(own.items(), key=lambda item: -item[1])[:8])}


def _bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in [path, *path.rglob("*")] if each.is_file() and not each.is_symlink())


if __name__ == "__main__":
    json.dump(all_processes(**json.loads(sys.argv[1])), sys.stdout)
