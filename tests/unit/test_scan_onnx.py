"""The ONNX scanner's reading: the onnx package's, and onnxruntime's of whatever passes."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from onnx import helper, numpy_helper

import scan_oracle
from distilshift.encoder import input_names, load_classifier
from distilshift.errors import UnsafeError
from distilshift.network import ONNX_FILES
from distilshift.scan.onnx import check_onnx, read_onnx
from distilshift.scan.onnx_schema import MODEL
from distilshift.scan.protobuf import Schema, decode
from encoders import make_checkpoint
from forged import small_network
from scan_mutations import KINDS, Mutator
from scan_oracle import CRASH, EQUAL, OTHER, REFUSED, Oracle, seeds, to_proto
from scan_wire import BYTES, VARINT, Body, Field, as_fields, numbers_of, put_together, taken_apart, varint

KINDS_OF_ONNX = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_ENUM: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return seeds(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def oracle(tmp_path: Path) -> Oracle:
    return Oracle(tmp_path)


def compare(schema: Schema, descriptor: Descriptor, seen: set[str]) -> None:
    assert descriptor.full_name == f"onnx.{schema.name}"
    seen.add(schema.name)
    for number, entry in schema.fields.items():
        field = descriptor.fields_by_number[number]
        assert (entry.name, entry.repeated) == (field.name, field.is_repeated)
        if isinstance(entry.kind, Schema):
            compare(entry.kind, field.message_type, seen)
        else:
            assert entry.kind == KINDS_OF_ONNX[field.type]
    for number in schema.refused:
        assert number in descriptor.fields_by_number
        assert number not in schema.fields


def test_the_allowed_fields_are_those_of_onnx():
    seen: set[str] = set()
    compare(MODEL, onnx.ModelProto.DESCRIPTOR, seen)
    assert {"GraphProto", "NodeProto", "AttributeProto", "TensorProto", "TypeProto.Tensor"} <= seen


def test_sound_networks_are_read_as_the_onnx_package_reads_them(networks: dict[str, bytes], oracle: Oracle, tmp_path):
    assert len(networks) == 7
    for data in networks.values():
        (tmp_path / "a.onnx").write_bytes(data)
        reading = to_proto(read_onnx(tmp_path / "a.onnx"), onnx.ModelProto())
        assert reading == onnx.ModelProto.FromString(data)
        assert oracle.outcome(data) == EQUAL


@pytest.mark.parametrize("name", ONNX_FILES.values())
def test_the_networks_of_a_student_bundle_pass(student_bundle: Path, static_bundle: Path, name: str):
    for bundle in (student_bundle, static_bundle):
        reading = to_proto(read_onnx(bundle / name), onnx.ModelProto())
        assert reading == onnx.load(bundle / name)
        assert check_onnx(bundle / name).constants


def test_exports_as_those_of_optimum_pass(tmp_path: Path):
    """By TorchScript with constants as nodes, then quantized by onnxruntime, as transformers.js's networks are."""
    from onnxruntime.quantization import quantize_dynamic

    model = load_classifier(str(make_checkpoint(tmp_path / "c", layers=1)), 32).model
    model.set_attn_implementation("eager")
    example = tuple(torch.ones(2, 8, dtype=torch.int64) for _ in input_names(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, example, str(tmp_path / "a.onnx"), opset_version=14, dynamo=False)
        quantize_dynamic(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert any(node.op_type == "Constant" for node in onnx.load(tmp_path / "a.onnx").graph.node)
    for name in ("a.onnx", "b.onnx"):
        check_onnx(tmp_path / name)
        assert to_proto(read_onnx(tmp_path / name), onnx.ModelProto()) == onnx.load(tmp_path / name)


@pytest.mark.parametrize("kind", [1, 2, 3, 6, 7, 9, 10, 11, 12, 13, 16, 21, 22])
def test_numbers_of_each_type_are_read_in_the_field_of_their_type(tmp_path: Path, kind: int):
    model = small_network(20)
    model.graph.initializer.append(helper.make_tensor("t", kind, [3], [1, 0, 1]))
    onnx.save(model, tmp_path / "a.onnx")
    assert check_onnx(tmp_path / "a.onnx").constants["2 t"] == (3,)
    model.graph.initializer[-1].dims[0] = 5
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(UnsafeError, match=r"the tensor 't' of shape \[5\]"):
        check_onnx(tmp_path / "a.onnx")


# What hides a field from a reader that takes a key as it is; onnxruntime takes its lower 32 bits.
def wide(number: int, wire: int = BYTES) -> bytes:
    return varint(number << 3 | wire | 5 << 32)


def graph_of(model: Body) -> Body:
    return next(field.content for field in model.fields if field.number == 7)


def loop() -> onnx.NodeProto:
    steps, go, value = (helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("go", 9), ("x", 9)))
    results = [helper.make_tensor_value_info(name, 9, []) for name in ("on", "y")]
    nodes = [helper.make_node("Identity", ["go"], [name]) for name in ("on", "y")]
    body = helper.make_graph(nodes, "body", [steps, go, value], results)
    return helper.make_node("Loop", ["", "yes", "yes"], ["looped"], body=body)


def hide_a_node(model: Body) -> None:
    node = helper.make_node("NonZero", ["input_ids"], ["hidden"], "hidden")
    graph_of(model).fields.append(Field(1, BYTES, as_fields(node), key=wide(1)))


def hide_a_loop(model: Body) -> None:
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    for node in (yes, loop()):
        graph_of(model).fields.append(Field(1, BYTES, as_fields(node), key=wide(1)))


def hide_external_data(model: Body) -> None:
    table = next(field.content for field in graph_of(model).fields if field.number == 5)
    table.fields[:] = [field for field in table.fields if field.number != 9]
    for key, value in (("location", "weights.bin"), ("offset", "8")):
        entry = onnx.StringStringEntryProto(key=key, value=value)
        table.fields.append(Field(13, BYTES, as_fields(entry), key=wide(13)))
    table.fields.append(Field(14, VARINT, varint(1), key=wide(14, VARINT)))


@pytest.mark.parametrize("hide", [hide_a_node, hide_a_loop, hide_external_data])
def test_what_a_wide_key_hides_is_seen_by_onnxruntime_and_refused(oracle: Oracle, hide: Callable[[Body], None]):
    sound = small_network(20).SerializeToString()
    model = taken_apart(sound)
    hide(model)
    data = put_together(model)
    loaded, error = oracle.saved(data)
    assert loaded is not None, error
    assert loaded != oracle.saved(sound)[0]
    assert oracle.outcome(data) == REFUSED


def test_packed_and_unpacked_numbers_read_alike(tmp_path: Path):
    model = small_network(20)
    model.graph.initializer.append(onnx.TensorProto(name="t", dims=[2, 1], data_type=6, int32_data=[-5, 2**31 - 1]))
    apart = taken_apart(model.SerializeToString())
    table = [field.content for field in graph_of(apart).fields if field.number == 5][-1]
    dims = b"".join(field.content for field in table.fields if field.number == 1)
    (numbers,) = (field.content for field in table.fields if field.number == 5)
    kept = [field for field in table.fields if field.number not in (1, 5)]
    table.fields[:] = [*kept, Field(1, BYTES, dims), *(Field(5, VARINT, part) for part in numbers_of(numbers, VARINT))]
    (tmp_path / "a.onnx").write_bytes(put_together(apart))
    check_onnx(tmp_path / "a.onnx")
    assert to_proto(read_onnx(tmp_path / "a.onnx"), onnx.ModelProto()) == model


def test_onnxruntime_sees_the_scanners_graph_of_what_passes(networks: dict[str, bytes], oracle: Oracle):
    """A short run of benchmarks/scan_fuzz.py; its record has the long one."""
    mutator, outcomes, kinds = Mutator(networks), Counter(), Counter()
    for index in range(200):
        made = mutator.one(random.Random(f"unit:{index}"))
        outcome = oracle.outcome(made.data)
        assert not outcome.startswith((OTHER, CRASH)), (index, made.kind, made.seed, outcome)
        outcomes[outcome] += 1
        kinds[made.kind] += 1
    assert set(kinds) == set(KINDS)
    assert outcomes[EQUAL] > 20
    assert outcomes[REFUSED] > 80


def test_the_oracle_notices_another_graph(oracle: Oracle, monkeypatch: pytest.MonkeyPatch):
    """Of a scanner that misses the hidden node."""
    sound = small_network(20).SerializeToString()
    model = taken_apart(sound)
    hide_a_node(model)
    monkeypatch.setattr(scan_oracle, "check_onnx", lambda path: None)
    monkeypatch.setattr(scan_oracle, "read_onnx", lambda path: decode(memoryview(sound), MODEL))
    assert oracle.outcome(put_together(model)).startswith(OTHER)
