"""How often the int8 network of a student labels a text as its fp32 network does, on every domain.

    python benchmarks/agreement.py small=students/small tiny=students/tiny

The students were made for one domain; the others are what a device may meet besides. Labels of texts are not looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from common import DOMAINS, RESULTS, REVISION, hardware, load
from distilshift import Predictor
from distilshift.bundle import read_manifest
from distilshift.files import write_json
from distilshift.journal import fingerprint
from distilshift.stage import versions
from distilshift.types import Example


def labels(bundle: Path, model: str, texts: list[Example]) -> list[str]:
    """What a student says, texts read in windows as its bundle has it."""
    return [found.label for found in Predictor.load(bundle, model=model, threads=1).predict(texts)]


def main() -> None:
    """Compare, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("students", nargs="+", help="NAME=BUNDLE")
    parser.add_argument("--out", type=Path, default=RESULTS / "edge" / "agreement.json")
    options = parser.parse_args()
    result = {"table": "agreement", "code_revision": REVISION, "versions": versions(), "hardware": hardware()}
    result |= {"texts": {}, "students": {}, "agreement": {}}
    for name, _, path in (given.partition("=") for given in options.students):
        manifest = read_manifest(Path(path), "student")
        result["students"][name] = {"files": fingerprint(manifest.files), "config": manifest.config}
        result["agreement"][name] = {}
        for domain in DOMAINS:
            texts = [Example(item.text) for item in load(domain, "test")]
            fp32, int8 = (np.array(labels(Path(path), model, texts)) for model in ("fp32", "int8"))
            result["texts"][domain] = len(texts)
            result["agreement"][name][domain] = float((fp32 == int8).mean())
            print(f"{name}, {domain}: {result['agreement'][name][domain]:.2%}", flush=True)
    write_json(options.out, result)


if __name__ == "__main__":
    main()
