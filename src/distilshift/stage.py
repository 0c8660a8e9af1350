"""What every stage does at its edges: fix the inputs' identity, name the versions, keep quiet randomness."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from distilshift.bundle import MANIFEST
from distilshift.config import StageConfig
from distilshift.encoder_folders import encoder_folders, folder_sha256
from distilshift.errors import ConfigError, OutputError
from distilshift.files import require_free, require_short, sha256_of
from distilshift.journal import CODE, FINISHED, JOURNAL, VERSION, fingerprint
from distilshift.run import RunDirectory
from distilshift.types import Example

_LIBRARIES = ("distilshift", "torch", "transformers", "tokenizers", "accelerate", "onnx", "onnxruntime", "numpy")


PACKAGE = Path(str(files("distilshift")))
# Of the package, what only asks for stages or measures what they made.
_NO_RESULTS = frozenset({"bench", "cli", "__main__.py"})


def versions() -> dict[str, str]:
    """Versions of distilshift and of the libraries that shape its results."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def code_sha256(package: Path = PACKAGE) -> str:
    """sha256 (hex) of the source files that shape a stage's results: an editable install changes without a version."""
    modules = {path.relative_to(package): path for path in sorted(package.rglob("*.py"))}
    shaping = {name: path for name, path in modules.items() if name.parts[0] not in _NO_RESULTS}
    return fingerprint([(name.as_posix(), sha256_of(path)) for name, path in shaping.items()])


def seconds_setting(variable: str, default: float) -> float:
    """A duration in seconds from an environment variable.

    Raises:
        ConfigError: it is no number, or negative.
    """
    text = os.environ.get(variable, "")
    try:
        seconds = float(text or default)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ConfigError(f"{variable} is unusable", expected="seconds, 0 or more", got=repr(text), fix="correct it")
    return seconds


def run_path(output: Path) -> Path:
    """Where the unfinished work for an output lives.

    Raises:
        OutputError: the output has no name, as / has none, or one that is too long.
    """
    require_short(output)
    whole = output if output.name not in ("", "..") else output.resolve()
    if not whole.name:
        raise OutputError(f"{output} cannot be a bundle", expected="a folder with a name", got="none", fix="name one")
    return whole.with_name(f"{whole.name}.run")


def require_room(output: Path, overwrite: bool) -> None:
    """Refuse an output that exists before any work is done, unless a run that was killed may have just put it there."""
    run = run_path(output)
    if not any((run / name).exists() for name in (JOURNAL, FINISHED)):
        require_free(output, overwrite)


def placed(output: Path, overwrite: bool, run: RunDirectory, last: str) -> bool:
    """Whether this run has put its bundle in place already, and was killed before it could end.

    Args:
        output: the bundle.
        overwrite: replace it; then it is made again.
        run: the run that continues.
        last: the file that the run saves after its last training.

    Raises:
        OutputError: the output exists, and is not this run's.
    """
    if output.exists() and not overwrite and (run.finished or (last in run and _is_newer(output, run.file(last)))):
        return True
    require_free(output, overwrite)
    return False


def _is_newer(bundle: Path, file: Path) -> bool:
    """Whether a bundle was written after a file: one that a run was to replace was there before its training ended."""
    manifest = bundle / MANIFEST
    return manifest.is_file() and manifest.stat().st_mtime_ns >= file.stat().st_mtime_ns


# Options that allow something and change no result: a refused run may be continued with them.
PERMISSIONS = frozenset({"force"})


def identity(
    stage: str, config: StageConfig, computed: Mapping[str, str] | None = None, **inputs: str
) -> dict[str, Any]:
    """What makes two runs the same: a change in any of it starts another run.

    Options are listed one by one, so that an error can name those that differ; of folders that they name, the content
    counts.

    Args:
        stage: its name.
        config: its options.
        computed: the device and the precision that the options came to, as of `precision.where_computed`.
        inputs: hashes of what it reads.
    """
    values = {name: value for name, value in config.to_dict().items() if name not in PERMISSIONS}
    code = {CODE: code_sha256()} | {f"{VERSION}{name}": value for name, value in versions().items()}
    contents = {f"content of {name}": folder_sha256(folder) for name, folder in encoder_folders(values).items()}
    return {"stage": stage} | values | contents | inputs | dict(computed or {}) | code


def fingerprint_examples(examples: Sequence[Example]) -> str:
    """sha256 (hex) of labelled texts, in order."""
    return fingerprint([(item.text, item.pair, item.label) for item in examples])


def peak_memory_bytes() -> int:
    """The most memory (resident set) that this process has held at once."""
    status = Path("/proc/self/status")
    # On Linux, getrusage begins with the peak of the process that started this one; some sandboxes lack the line.
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed the code inside, and leave the caller's random state as it was.

    Args:
        seed: of the CPU's generator, and of the device's.
        device: where the code draws as well; other devices are left alone, since forking them all costs time.
    """
    kind, devices = ("cpu", []) if device is None or device.type == "cpu" else (device.type, [device])
    with torch.random.fork_rng(devices=devices, device_type=kind):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.get_device_module(kind).manual_seed(seed)
        yield
