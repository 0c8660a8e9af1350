"""Ways to quantize the inputs of products, side by side on students: labels kept, dependence on the batch, size, speed.

    python benchmarks/int8_designs.py dvd=STUDENT,TRAINED_ON.jsonl,HELD_OUT.jsonl

`batch` computes one scale from the whole batch, as onnxruntime's quantizer writes it; `token` one for each token; the
others have fixed scales. Speeds are of one thread, the designs in random order on each text. Labels of texts are not
looked at: the reference is fp32.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from common import RESULTS, REVISION, hardware
from distilshift import quantise_graph
from distilshift.bundle import read_manifest
from distilshift.config import InputConfig
from distilshift.data.read import read_examples
from distilshift.files import write_json
from distilshift.metrics import softmax
from distilshift.network import ONNX_FILES, Network, load_network
from distilshift.quantise import measured_ranges
from distilshift.quantise_graph import WEIGHT_LIMIT, Form, quantised
from distilshift.stage import versions
from distilshift.types import Example
from edge_runners import onnx_runner

BATCH, ALONE = 32, 200
Writer = Any
Product = Callable[..., None]


def batch_product(writer: Writer, node: NodeProto, weights: Any, result: str, *_: Any) -> None:
    """A scale and a zero point of the whole tensor."""
    source, values, scales = _matrix(writer, node, weights)
    names = [f"{source}_{part}" for part in ("quantized", "scale", "zero_point")]
    if names[0] not in writer.results:
        writer.results.add(names[0])
        writer.nodes.append(helper.make_node("DynamicQuantizeLinear", [source], names))
    whole = writer.node("MatMulInteger", [names[0], values, names[2]], f"{result}_whole")
    real = writer.node("Cast", [whole], f"{result}_real", to=TensorProto.FLOAT)
    writer.node("Mul", [real, writer.node("Mul", [names[1], scales], f"{result}_factor")], result)


def token_product(writer: Writer, node: NodeProto, weights: Any, result: str, *_: Any) -> None:
    """A scale of each token, without a zero point."""
    source, values, scales = _matrix(writer, node, weights)
    size = writer.node("Abs", [source], f"{source}_size")
    largest = writer.node("ReduceMax", [size, writer.constant("last", np.array([-1]))], f"{source}_max", keepdims=1)
    step = writer.node("Mul", [largest, writer.constant("step", np.float32(1 / 127))], f"{source}_step")
    steps = writer.node("Div", [source, step], f"{source}_steps")
    raised = writer.node("Add", [steps, writer.constant("middle", np.float32(128.5))], f"{source}_raised")
    quantized = writer.node("Cast", [raised], f"{source}_quantized", to=TensorProto.UINT8)
    zero = writer.constant("zero_point", np.uint8(128))
    whole = writer.node("MatMulInteger", [quantized, values, zero], f"{result}_whole")
    real = writer.node("Cast", [whole], f"{result}_real", to=TensorProto.FLOAT)
    writer.node("Mul", [writer.node("Mul", [real, step], f"{result}_rows"), scales], result)


def _matrix(writer: Writer, node: NodeProto, weights: Any) -> tuple[str, str, str]:
    source, matrix = node.input[0], node.input[1]
    values, scales = quantise_graph._columns(weights, WEIGHT_LIMIT)
    return source, writer.constant(f"{matrix}_int8", values), writer.constant(f"{matrix}_scale", scales)


# Design to its form, and what writes its products in the place of quantise_graph's.
DESIGNS: dict[str, tuple[Form, Product | None]] = {
    "batch, 4-bit embeddings": (Form("", embedding_bits=4), batch_product),
    "batch, 8-bit embeddings": (Form(""), batch_product),
    "token, 4-bit embeddings": (Form("", embedding_bits=4), token_product),
    "token, 8-bit embeddings": (Form(""), token_product),
    "fixed, 4-bit embeddings": (Form("", embedding_bits=4), None),
    "fixed, 8-bit embeddings": (Form(""), None),
    "fixed, outlier channels in fp32, 4-bit embeddings": (Form("", embedding_bits=4, outliers=True), None),
    "fixed, outlier channels in fp32, 8-bit embeddings": (Form("", outliers=True), None),
}


def networks(bundle: Path, trained_on: list[Example], scratch: Path) -> dict[str, Network]:
    """fp32 and each design, on one thread."""
    manifest, fp32_file = read_manifest(bundle, "student"), bundle / ONNX_FILES["fp32"]
    model, windows = onnx.load(fp32_file), int((manifest.runtime or {})["max_windows"])
    found = {"fp32": load_network(bundle, manifest, "fp32")}
    ranges, own = measured_ranges(model, found["fp32"], trained_on), quantise_graph._int8_product
    for name, (form, product) in DESIGNS.items():
        path = scratch / f"{len(found)}.onnx"
        quantise_graph._int8_product = product or own
        onnx.save(quantised(model, form, ranges), path)
        quantise_graph._int8_product = own
        found[name] = onnx_runner(bundle, path, 1, windows)
    return found


def kept(network: Network, fp32: Network, texts: list[Example]) -> dict[str, float]:
    """How near a network is to fp32, and how much a text's answer depends on the batch."""
    values, reference = network.logits(texts), fp32.logits(texts)
    some = texts[:ALONE]
    alone = softmax(np.concatenate([network.logits([text]) for text in some]))
    together = softmax(network.logits(some, BATCH))
    return {
        "agreement": float((values.argmax(axis=1) == reference.argmax(axis=1)).mean()),
        "mean_logit_difference": float(np.abs(values - reference).mean()),
        "labels_changed_by_batch": int((alone.argmax(axis=1) != together.argmax(axis=1)).sum()),
        "probability_changed_by_batch": float(np.abs(alone - together).max()),
    }


def timed(sides: dict[str, Network], texts: list[Example], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a text, one at a time and in batches, p50; ratios are to the first design on the same texts."""
    samples: dict[str, dict[str, list[float]]] = {name: {"single": [], "batch": []} for name in sides}
    random = np.random.default_rng(0)
    for turn in range(rounds):
        for kind, part in (("single", texts[turn : turn + 1]), ("batch", texts[turn : turn + BATCH])):
            if kind == "batch" and turn % 4:
                continue
            for name in random.permutation(list(sides)):
                start = time.perf_counter()
                sides[name].logits(part, BATCH)
                samples[name][kind].append(1000 * (time.perf_counter() - start) / len(part))
    first = samples[next(iter(DESIGNS))]
    return {
        name: {f"{kind}_ms_p50": float(np.median(taken)) for kind, taken in each.items()}
        | {f"{kind}_ratio": float(np.median(np.divide(taken, first[kind]))) for kind, taken in each.items()}
        for name, each in samples.items()
    }


def main() -> None:
    """Compare, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("students", nargs="+", help="NAME=BUNDLE,TRAINED_ON,HELD_OUT")
    parser.add_argument("--rounds", type=int, default=160)
    parser.add_argument("--most", type=int, default=1000, help="held-out texts; default: %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS / "edge" / "int8.json")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "table": "int8",
        "code_revision": REVISION,
        "versions": versions(),
        "hardware": hardware(),
    }
    result["students"] = {}
    for name, _, given in (each.partition("=") for each in options.students):
        bundle, *files = given.split(",")
        trained_on, held_out = ([Example(x.text) for x in read_examples(f, InputConfig()).examples] for f in files)
        held_out, rows = held_out[: options.most], {}
        with tempfile.TemporaryDirectory() as scratch:
            sides = networks(Path(bundle), trained_on, Path(scratch))
            speeds = timed(sides, held_out, options.rounds)
            for design, network in sides.items():
                seen = kept(network, sides["fp32"], trained_on[: options.most])["agreement"]
                size = {"size_bytes": network.path.stat().st_size, "agreement_trained_on": seen}
                rows[design] = size | kept(network, sides["fp32"], held_out) | speeds[design]
                print(name, design, rows[design], flush=True)
        result["students"][name] = {"texts": len(held_out), "designs": rows}
    write_json(options.out, result)


if __name__ == "__main__":
    main()
