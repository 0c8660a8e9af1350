"""Stop teaching, adapting and benchmarks at random points, and count the runs that end as one left alone.

    python benchmarks/soak.py --kills 32 --seed 0

The stops are those of tests/pipeline/test_kill.py, which can repeat one of them; this adds the record. Of those that
are asked for, of each verb, some come too late and do not count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RESULTS, REVISION, hardware
from distilshift.files import write_json
from distilshift.stage import versions

HERE = Path(__file__).parent
# The lines that pytest prints, a trial each, are the progress.
WANTED = "test_a_stopped_run"
TEST = "tests/pipeline/test_kill.py"
RESULT = RESULTS / "soak" / "kills.json"


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts over the trials; a stop is late where the run had ended before it."""
    stops = [stop for trial in trials for stop in trial["stops"]]
    return {
        "kills": sum(stop["in_time"] for stop in stops),
        "late": sum(not stop["in_time"] for stop in stops),
        "trials": len(trials),
        "identical": sum(trial["identical"] for trial in trials),
    }


def main() -> None:
    """Run the test, and write what it did."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    arguments = [TEST, "--kills", str(options.kills), "--kill-seed", str(options.seed)]
    with tempfile.TemporaryDirectory() as scratch:
        log, start = Path(scratch) / "trials.jsonl", time.perf_counter()
        test = [sys.executable, "-m", "pytest", "-vv", "-k", WANTED, *arguments, "--kill-log", str(log)]
        code = subprocess.run(test, cwd=HERE.parent, check=False).returncode
        trials = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not trials:
        sys.exit("Error: no run was stopped, so nothing is written. Fix: see what the tests say above")
    row = {
        "command": f"python benchmarks/soak.py --kills {options.kills} --seed {options.seed}",
        **summary(trials),
        "passed": code == 0,
        "seconds": time.perf_counter() - start,
        "revision": REVISION,
        "hardware": hardware(),
        "versions": versions(),
        "points": trials,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, row)
    print(f"{row['identical']} of {row['trials']} runs identical after {row['kills']} kills; {options.output}")
    sys.exit(code)


if __name__ == "__main__":
    main()
