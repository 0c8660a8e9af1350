"""What onnxruntime makes of an ONNX file, held against what distilshift's scanner has read of it.

onnxruntime loads a file and saves what it understood, with no optimization. The scanner's reading, written anew by the
onnx package, goes the same way. Both must give the same bytes, or both must fail to load: then the file held nothing
that the scanner has not seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from google.protobuf.message import DecodeError

from distilshift.errors import UnsafeError
from distilshift.scan.onnx import check_onnx, read_onnx
from distilshift.scan.onnx_operators import OPERATORS, STANDARD
from distilshift.scan.protobuf import Message, Numbers
from scan_mutations import CANARIES

TESTS = Path(__file__).parent.parent / "tests"
REFUSED, EQUAL, BOTH_FAIL = "refused by the scanner", "the same graph", "fails in onnxruntime either way"
OTHER, CRASH = "ANOTHER GRAPH", "onnxruntime crashed"


def seeds(folder: Path) -> dict[str, bytes]:
    """Sound networks: of a tiny random student, the forms of its int8, a static student's, and one made by hand."""
    sys.path.insert(0, str(TESTS))
    import torch

    from distilshift.encoder import load_classifier
    from distilshift.export import export_onnx
    from distilshift.network import Network
    from distilshift.quantise import FORMS, STATIC_FORMS, measured_ranges
    from distilshift.quantise_graph import quantised
    from distilshift.static_student import static_student
    from distilshift.types import Example
    from encoders import make_checkpoint
    from forged import small_network

    student = load_classifier(str(make_checkpoint(folder / "student", layers=1)), 32)
    torch.manual_seed(0)
    made = {"by hand": small_network(20).SerializeToString()}
    for name, classifier, forms in (
        ("student", student, FORMS[:2]),
        ("static", static_student(student, 16, 32), STATIC_FORMS),
    ):
        path = folder / f"{name}.onnx"
        export_onnx(classifier, path)
        made[name] = path.read_bytes()
        model, tokenizer = onnx.load(path), classifier.tokenizer.backend_tokenizer
        tokenizer.enable_truncation(32)
        ranges = measured_ranges(model, Network(path, tokenizer, 0), [Example("a good film"), Example("so bad a plot")])
        made |= {f"{name}, {form.name}": quantised(model, form, ranges).SerializeToString() for form in forms}
    return made


def to_proto(message: Message, proto: Any) -> Any:
    """Write the scanner's reading into a message of the onnx package, and return that."""
    for name, value in message.items():
        kind = proto.DESCRIPTOR.fields_by_name[name]
        if isinstance(value, Numbers):
            getattr(proto, name).extend(value.values())
        elif isinstance(value, list):
            for each in value:
                if kind.message_type:
                    to_proto(each, getattr(proto, name).add())
                else:
                    getattr(proto, name).append(bytes(each) if isinstance(each, memoryview) else each)
        elif kind.message_type:
            getattr(proto, name).SetInParent()
            to_proto(value, getattr(proto, name))
        else:
            setattr(proto, name, bytes(value) if isinstance(value, memoryview) else value)
    return proto


class Oracle:
    """A folder in which files are loaded.

    Args:
        folder: an empty one; files that external data may name are put where they would be found.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "models"
        self._folder.mkdir()
        for name in CANARIES:
            path = self._folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(range(1, 201)) * 1_000)

    def outcome(self, data: bytes) -> str:
        """What became of a file; OTHER is what must not happen."""
        path = self._folder / "model.onnx"
        path.write_bytes(data)
        try:
            check_onnx(path)
        except UnsafeError:
            return REFUSED
        reading = to_proto(read_onnx(path), onnx.ModelProto())
        try:
            if onnx.ModelProto.FromString(data) != reading:
                return f"{OTHER}: the onnx package reads another model"
        except DecodeError:
            return f"{OTHER}: the onnx package reads no model"
        found, error = self.saved(data)
        written = reading.SerializeToString()
        expected = found if written == data else self.saved(written)[0]
        if found != expected:
            return f"{OTHER}: onnxruntime saves another model"
        if found is None:
            return f"{OTHER}: {error}" if _names_a_file(error) else BOTH_FAIL
        wrong = next(_foreign(onnx.load_model_from_string(found).graph), None)
        return f"{OTHER}: {wrong}" if wrong else EQUAL

    def saved(self, data: bytes) -> tuple[bytes | None, str]:
        """What onnxruntime writes of a model, or None and why it does not load; as of a path, as Predictor loads it."""
        path, output = self._folder / "model.onnx", self._folder / "saved.onnx"
        path.write_bytes(data)
        output.unlink(missing_ok=True)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.optimized_model_filepath = str(output)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - onnxruntime raises private types
            return None, str(error)
        return output.read_bytes(), ""


def _names_a_file(error: str) -> bool:
    return any(word in error for word in ("external", "secret.bin", "weights.bin"))


def _foreign(graph: onnx.GraphProto) -> Iterator[str]:
    """What no graph that the scanner passes may have once it is loaded."""
    for node in graph.node:
        if node.op_type not in OPERATORS.get(STANDARD.get(node.domain, "?"), ()):
            yield f"the operator {node.domain}:{node.op_type}"
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            yield f"a graph in {node.op_type}"
    for tensor in graph.initializer:
        if tensor.data_location or tensor.external_data:
            yield f"data of {tensor.name} in another file"
    if graph.sparse_initializer:
        yield "a sparse tensor"
