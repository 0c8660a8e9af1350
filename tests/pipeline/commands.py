"""The commands that are stopped: what each writes where, when it is done, and what must be the same in the end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilshift.files import sha256_of

# Measured time, and what follows from it: which form of int8 is the first that is faster, and what is the default.
TIMED_FILES = ("onnx/model_quantized.onnx",)
TIMED_RUNTIME = ("default", "size_bytes", "int8")
TIMED_CARD_ROWS = ("| latency", "| int8 labels as fp32", "| form of int8", "| size of the ONNX")
TIMED_CARD_END = "## Forms that were tried"
TIMED_RESULT = ("seconds", "cell_seconds", "peak_memory_bytes", "test_accuracy_int8")


def names(folder: Path) -> set[str]:
    """What lies in a folder, hidden or not; nothing where there is none."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def content(bundle: Path) -> dict[str, Any]:
    """What of a bundle must not depend on how often its run was stopped: sha256 by file, and the manifest's facts."""
    found: dict[str, Any] = {
        path.relative_to(bundle).as_posix(): sha256_of(path) for path in bundle.rglob("*") if path.is_file()
    }
    card = (bundle / "README.md").read_text().partition(TIMED_CARD_END)[0].splitlines()
    found["README.md"] = [line for line in card if not line.startswith(TIMED_CARD_ROWS)]
    manifest = json.loads((bundle / "distilshift.json").read_text())
    del manifest["sha256"], manifest["files"]["README.md"]
    if runtime := manifest["runtime"]:
        for part, timed in ((runtime, TIMED_RUNTIME), (manifest["files"], TIMED_FILES), (found, TIMED_FILES)):
            for name in timed:
                del part[name]
    found["distilshift.json"] = manifest
    return found


@dataclass(frozen=True)
class Command:
    """`teach` or `adapt`: a bundle, and a run directory beside it.

    Attributes:
        arguments: all but the output.
    """

    arguments: list[Any]

    def line(self, output: Path) -> list[Any]:
        """The command line."""
        return [*self.arguments, "-o", output]

    def journals(self, output: Path) -> list[Path]:
        """Of the runs under way."""
        return [output.with_name(f"{output.name}.run") / "journal.json"]

    def is_staged(self, output: Path) -> bool:
        """A bundle is being written."""
        return any(name.startswith(f".{output.name}.part-") for name in names(output.parent))

    def is_placed(self, output: Path) -> bool:
        """What was asked for is there."""
        return output.exists()

    def is_unfinished(self, output: Path) -> bool:
        """It must be started again. A bundle without a run directory had finished, or with an empty one."""
        return not output.exists() or bool(names(output.with_name(f"{output.name}.run")))

    def content(self, output: Path) -> dict[str, Any]:
        """What a finished command has made."""
        return content(output)

    def orphans(self, output: Path, finished: bool) -> set[str]:
        """What lies about, that a command which has finished, or which could clean up, must not leave."""
        run = output.with_name(f"{output.name}.run")
        # A kill before the very last call leaves an empty folder.
        expected = {run.name} if not finished or (run.is_dir() and not names(run)) else set()
        return names(output.parent) - {output.name} - expected

    def is_refusal(self, code: int, lines: list[str]) -> bool:
        """Whether it ended as on a full disk: one line that says so, after those of the work that was done."""
        *before, last = lines
        said = last.startswith("Error: cannot write ") and "No space left on device. Fix: free some space" in last
        return code == 2 and said and not any(line.startswith("Error: ") for line in before)


@dataclass(frozen=True)
class Benchmark(Command):
    """`bench` with one cell: its file, the teacher's bundle, and their run directories in the folder of work."""

    def line(self, output: Path) -> list[Any]:
        return [*self.arguments, "--results", output / "results", "--work", output / "work", "--threads", "1"]

    def journals(self, output: Path) -> list[Path]:
        return [*output.glob("work/*/*.run/journal.json")]

    def is_staged(self, output: Path) -> bool:
        return any(".part-" in name for part in ("cells", "teachers") for name in names(output / "work" / part))

    def _results(self, output: Path) -> list[Path]:
        return [path for path in (output / "results").glob("*/[!.]*.json") if path.name != "matrix.json"]

    def is_placed(self, output: Path) -> bool:
        return bool(self._results(output))

    def is_unfinished(self, output: Path) -> bool:
        return not self._results(output) or bool(names(output / "work" / "cells"))

    def content(self, output: Path) -> dict[str, Any]:
        (cell,) = self._results(output)
        (manifest,) = output.glob("work/teachers/*/distilshift.json")
        (accuracy,) = output.glob("work/teachers/[!.]*-on-*.json")
        row = {key: value for key, value in json.loads(cell.read_text()).items() if key not in TIMED_RESULT}
        return {"cell": row, "teacher": content(manifest.parent), "accuracy": accuracy.read_text()}

    def orphans(self, output: Path, finished: bool) -> set[str]:
        hidden = {path.name for path in output.rglob(".*") if ".run" not in path.parts[-2]}
        ended = {path.name for path in output.glob("work/*/*.run")} | names(output / "work" / "cells")
        return names(output.parent) - {output.name} | hidden | (ended if finished else set())

    def is_refusal(self, code: int, lines: list[str]) -> bool:
        said = any(text in lines[-1] for text in ("No space left on device", "the disk of its log may be full"))
        return said and (code == 2 if lines[-1].startswith("Error: ") else code == 1 and lines[-1].startswith("Failed"))
