"""Change small ONNX networks at random, and check that onnxruntime sees what the scanner has seen of those it passes.

    python benchmarks/scan_fuzz.py --cases 100000 --seconds 220

stops after so many seconds and, called again, goes on where it stopped, until all cases are done. Each case has its own
seed, so `--case 1234` shows one again. Cases run in child processes, since onnxruntime may crash on what it is given.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import distilshift.scan
from common import RESULTS, REVISION, hardware
from distilshift.files import write_json
from distilshift.stage import versions
from scan_mutations import KINDS, Mutated, Mutator
from scan_oracle import CRASH, OTHER, REFUSED, Oracle, seeds

RESULT = RESULTS / "scan_fuzz.json"
# Cases of one child process.
BLOCK = 500
# Of the refused ones, every so manieth is loaded too, to see whether the mutations have teeth.
CONTROL_EVERY = 20
CONTROL_FAILS, CONTROL_EQUAL, CONTROL_OTHER = "does not load", "loads as the original", "loads as another graph"


def scanner_digest() -> str:
    """Of the source that reads ONNX files: a record is continued only with the same."""
    folder = Path(distilshift.scan.__file__).parent
    names = ("protobuf.py", "onnx.py", "onnx_schema.py", "onnx_operators.py")
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()


class Fuzz:
    """The cases of one seed.

    Args:
        networks: sound ones, by name.
        seed: of all cases.
        folder: scratch.
    """

    def __init__(self, networks: dict[str, bytes], seed: int, folder: Path) -> None:
        self._mutator, self._seed, self._oracle = Mutator(networks), seed, Oracle(folder)
        self._originals = {name: self._oracle.saved(data)[0] for name, data in networks.items()}

    def mutated(self, index: int) -> Mutated:
        """The changed network of a case."""
        return self._mutator.one(random.Random(f"{self._seed}:{index}"))

    def case(self, index: int) -> dict[str, str]:
        """One case: what was changed and what came of it."""
        made = self.mutated(index)
        outcome = self._oracle.outcome(made.data)
        found = {"kind": made.kind, "seed": made.seed, "outcome": outcome}
        if outcome == REFUSED and index % CONTROL_EVERY == 0:
            loaded, original = self._oracle.saved(made.data)[0], self._originals[made.seed]
            same = CONTROL_EQUAL if loaded == original else CONTROL_OTHER
            found["control"] = CONTROL_FAILS if loaded is None else same
        return found

    def _child(self, writer: int, indices: range) -> NoReturn:
        """Write each case's outcome, and end without what the parent would still do."""
        try:
            with os.fdopen(writer, "w") as out:
                for index in indices:
                    print(json.dumps(self.case(index)), file=out, flush=True)
            os._exit(0)
        finally:  # only after an error
            traceback.print_exc()
            os._exit(1)

    def block(self, start: int, stop: int) -> Iterator[dict[str, str]]:
        """Cases of a child process; one that it dies of counts as a crash, and another child does the rest."""
        while start < stop:
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                self._child(writer, range(start, stop))
            os.close(writer)
            with os.fdopen(reader) as lines:
                for line in lines:
                    start += 1
                    yield json.loads(line)
            status = os.waitpid(child, 0)[1]
            if status and start < stop:
                made = self.mutated(start)
                yield {"kind": made.kind, "seed": made.seed, "outcome": CRASH}
                start += 1


def count(record: dict[str, Any], index: int, found: dict[str, str]) -> None:
    """Add a case to the record."""
    kinds, outcome = record["outcomes_by_kind"], found["outcome"]
    if outcome.startswith(OTHER) or outcome == CRASH:
        record["findings"].append({"case": index} | found)
        outcome = outcome.partition(":")[0]
    for counts in (record["outcomes"], kinds.setdefault(found["kind"], {})):
        counts[outcome] = counts.get(outcome, 0) + 1
    if "control" in found:
        sample = record["refused_sample"]
        sample[found["control"]] = sample.get(found["control"], 0) + 1
    record["cases"] = index + 1


def fresh(options: argparse.Namespace, networks: dict[str, bytes]) -> dict[str, Any]:
    """A record without a case."""
    return {
        "command": f"python benchmarks/scan_fuzz.py --cases {options.cases} --seed {options.seed}",
        "cases": 0,
        "seconds": 0.0,
        "seed": options.seed,
        "scanner_sha256": scanner_digest(),
        "revision": REVISION,
        "hardware": hardware(),
        "versions": versions(),
        "networks": {name: hashlib.sha256(data).hexdigest() for name, data in networks.items()},
        "kinds": list(KINDS),
        "outcomes": {},
        "refused_sample": {},
        "findings": [],
        "outcomes_by_kind": {},
    }


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many, to be continued")
    parser.add_argument("--case", type=int, help="run this case alone, and keep its file as case.onnx")
    parser.add_argument("--output", type=Path, default=RESULT)
    return parser.parse_args()


def main() -> None:
    """Run cases, and write the record after each block."""
    options, start = arguments(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        networks = seeds(Path(name))
        fuzz = Fuzz(networks, options.seed, Path(name))
        if options.case is not None:
            Path("case.onnx").write_bytes(fuzz.mutated(options.case).data)
            sys.exit(str(fuzz.case(options.case)))
        record = fresh(options, networks)
        if options.output.is_file():
            before = json.loads(options.output.read_text())
            if all(before[key] == record[key] for key in ("command", "scanner_sha256", "networks")):
                record = before
        spent = record["seconds"]
        while record["cases"] < options.cases and time.monotonic() - start < options.seconds:
            first = record["cases"]
            for index, found in enumerate(fuzz.block(first, min(first + BLOCK, options.cases)), first):
                count(record, index, found)
            record["seconds"] = round(spent + time.monotonic() - start, 1)
            write_json(options.output, record)
    print(f"{record['cases']:,} cases: {record['outcomes']}; {len(record['findings'])} findings; {options.output}")
    sys.exit(bool(record["findings"]))


if __name__ == "__main__":
    main()
