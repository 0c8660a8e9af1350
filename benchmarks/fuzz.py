"""Give the readers, the scanners, the manifest and the predictor random files, and count the cases.

    python benchmarks/fuzz.py --cases 4500 --seed 0

The tests are those of tests/unit/test_fuzz.py, of which `make test` runs fewer cases; this adds the record.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import RESULTS, REVISION, hardware
from distilshift.files import write_json
from distilshift.stage import versions

HERE = Path(__file__).parent
TEST = "tests/unit/test_fuzz.py"
RESULT = RESULTS / "soak" / "fuzz.json"
_TEST = re.compile(r"^(tests/\S+\.py::\S+):$", re.MULTILINE)
_COUNT = re.compile(r"(\d+) passing, (\d+) failing, and (\d+) invalid test cases?")


def counts(output: str) -> dict[str, dict[str, int]]:
    """Cases by test, from hypothesis's statistics: those tried, and those of them that failed."""
    _, *parts = _TEST.split(output)
    found = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        passed, failed, _ = (sum(map(int, column)) for column in zip(*_COUNT.findall(text), strict=True))  # phases
        found[name.partition("::")[2]] = {"cases": passed + failed, "failed": failed}
    return found


def main() -> None:
    """Run the tests, and write what they tried."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=4500, help="of each test; a tenth of it where a bundle is loaded")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    start = time.perf_counter()
    test = [sys.executable, "-m", "pytest", TEST, "-p", "no:xdist", "--hypothesis-show-statistics"]
    done = subprocess.run(
        [*test, f"--hypothesis-seed={options.seed}"],
        cwd=HERE.parent,
        env=os.environ | {"DISTILSHIFT_FUZZ_CASES": str(options.cases)},
        capture_output=True,
        text=True,
        check=False,
    )
    if not (tests := counts(done.stdout)):
        print(done.stdout[-20_000:], done.stderr[-2_000:])
        sys.exit("Error: no case was tried, so nothing is written. Fix: see what the tests say above")
    row: dict[str, Any] = {
        "command": f"python benchmarks/fuzz.py --cases {options.cases} --seed {options.seed}",
        "cases": sum(test["cases"] for test in tests.values()),
        "failed": sum(test["failed"] for test in tests.values()),
        "passed": done.returncode == 0,
        "seconds": time.perf_counter() - start,
        "revision": REVISION,
        "hardware": hardware(),
        "versions": versions(),
        "tests": tests,
    }
    if done.returncode:
        print(done.stdout[-20_000:], done.stderr[-2_000:])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, row)
    print(f"{row['cases']} cases, {row['failed']} failed; {options.output}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
