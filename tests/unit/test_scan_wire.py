"""Bytes of an ONNX file that parsers could read differently, and networks that could be two: refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import helper

from distilshift.errors import UnsafeError
from distilshift.scan.onnx import check_onnx
from distilshift.scan.onnx_schema import MODEL
from distilshift.scan.protobuf import Schema, WireError, decode
from forged import small_network
from scan_wire import BYTES, varint

OPSET = b"\x42\x02\x10\x14"
# Each is what some parser reads, at the level of the whole model: field 1 is a whole number, 2 a text, 7 the graph.
WIRE = {
    "a key of 33 bits": (varint(1 << 3 | 1 << 32) + b"\x0a", "a field's key"),
    "a key of 70 bits": (b"\x88" + b"\x80" * 8 + b"\x01\x0a", "a field's key"),
    "a key longer than it has to be": (b"\x88\x00\x0a", "a field's key"),
    "a key without an end": (b"\x88\x80", "a number without an end"),
    "a key of eleven bytes": (b"\x88" + b"\x80" * 9 + b"\x00\x0a", "a number without an end"),
    "the field 0": (b"\x00\x0a", "the field number 0"),
    "a number longer than it has to be": (b"\x08\x8a\x00", "over-long"),
    "a number of 65 bits": (b"\x08" + b"\xff" * 9 + b"\x02", "over-long"),
    "a length longer than it has to be": (b"\x12\x81\x00x", "over-long"),
    "a length of 33 bits": (b"\x12\x81\x80\x80\x80\x10x", "bytes where 1 are left"),
    "a length beyond the end": (b"\x12\x05x", "5 bytes where 1 are left"),
    "a text as a number": (b"\x10\x01", "of wire type 0"),
    "a number as a text": (b"\x0a\x01x", "of wire type 2"),
    "a number of eight bytes": (b"\x09" + bytes(8), "of wire type 1"),
    "a group": (b"\x0b\x0c", "wire type 3"),
    "the end of a group": (b"\x0c", "wire type 4"),
    "a wire type that none has": (b"\x0e", "wire type 6"),
    "a number twice": (b"\x08\x0a\x08\x0a", "ir_version twice"),
    "a text twice": (b"\x12\x01x\x12\x01y", "producer_name twice"),
    "a field that onnx does not have": (b"\x4a\x01x", "a part 9 of ModelProto"),
    "a field of a message in it": (b"\x42\x02\x1a\x00", "a part 3 of OperatorSetIdProto"),
    "a text that is not UTF-8": (b"\x12\x01\xff", "not UTF-8"),
    "a byte at the end": (OPSET + b"\x08", "a number without an end"),
    "a graph twice": (b"\x3a\x00\x3a\x00", "graph twice"),
}


@pytest.mark.parametrize(("data", "text"), WIRE.values(), ids=WIRE)
def test_bytes_that_parsers_may_read_differently_are_refused(data: bytes, text: str):
    decode(memoryview(OPSET), MODEL)
    with pytest.raises(WireError, match=text):
        decode(memoryview(data), MODEL)


def test_a_small_file_cannot_fill_the_memory_with_fields():
    assert len(decode(memoryview(OPSET * 10), MODEL, 20)["opset_import"]) == 10
    with pytest.raises(WireError, match="more than 19 fields"):
        decode(memoryview(OPSET * 10), MODEL, 19)


INT32 = {0, 1, 2**31 - 1, 2**64 - 1, 2**64 - 2**31}
BEYOND = {2**31, 2**32, 2**35 - 1, 2**63, 2**64 - 2**31 - 1, 2**64 - 2**40}


@pytest.mark.parametrize("value", sorted(INT32 | BEYOND))
@pytest.mark.parametrize("around", [b"", b"\x01", b"\xff\x01"])
def test_a_number_of_32_bits_has_no_more(value: int, around: bytes):
    schema = Schema("M", {5: MODEL.fields[7].kind.fields[5].kind.fields[5]})  # type: ignore[union-attr]
    packed = around + varint(value) + around
    data = memoryview(varint(5 << 3 | BYTES) + varint(len(packed)) + packed)
    if value in INT32:
        assert decode(data, schema)["int32_data"].values()[bool(around)] == (value + 2**31) % 2**64 - 2**31
    else:
        with pytest.raises(WireError, match="int32_data with a number"):
            decode(data, schema)


def named_twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def attribute(**values: object) -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.graph.node[0].attribute.append(onnx.AttributeProto(name="axis", **values))


def first(**values: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = onnx.TensorProto(**{"name": "t", "dims": [2], "data_type": 1, **values})
        model.graph.initializer.append(tensor)

    return change


SENSE: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "two initializers of a name": (named_twice, "two of the name 'table': initializer"),
    "two operator sets of a domain": (
        lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 11)),
        "two of the name '': operator set",
    ),
    "an attribute of no type": (attribute(i=1), "the attribute 'axis' of type None with i"),
    "an attribute of another type": (attribute(i=1, type=1), "of type 1 with i"),
    "an attribute of two values": (attribute(i=1, f=1.0, type=2), "of type 2 with f, i"),
    "an attribute of a function": (attribute(ref_attr_name="a", type=2), "an attribute of a function"),
    "an attribute twice": (lambda m: [attribute(i=1, type=2)(m) for _ in "ab"], "two of the name 'axis'"),
    "numbers in two places": (first(raw_data=bytes(8), float_data=[1, 2]), "of raw_data, float_data"),
    "numbers of another type": (first(int32_data=[1, 2]), "of int32_data"),
    "numbers too few": (first(float_data=[1]), r"of shape \[2\] in 4 bytes"),
    "numbers too many": (first(float_data=[1, 2, 3]), r"of shape \[2\] in 12 bytes"),
    "numbers of no place": (first(), "in 0 bytes of nothing"),
    "a list of external places": (first(raw_data=bytes(8), external_data=[{"key": "location"}]), "in another file"),
    "a location alone": (first(raw_data=bytes(8), data_location=1), "'t' with data in another file"),
    "a segment": (first(raw_data=bytes(8), segment={"begin": 0}), "a segment of a tensor"),
    "a sequence": (
        lambda m: m.graph.input.append(helper.make_tensor_sequence_value_info("s", 1, None)),
        "a part 4 of TypeProto",
    ),
    "training": (lambda m: m.training_info.add(), "training steps"),
    "several devices": (lambda m: m.configuration.add(), "a plan for several devices"),
    "quantization notes": (lambda m: m.graph.quantization_annotation.add(), "notes on quantization"),
    "a mark of onnxruntime's own format": (lambda m: setattr(m, "producer_name", "ORTM"), "onnxruntime's own format"),
}


def scanned(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(data)
    check_onnx(tmp_path / "a.onnx")


@pytest.mark.parametrize(("change", "text"), SENSE.values(), ids=SENSE)
def test_a_network_that_could_be_two_is_refused(tmp_path: Path, change: Callable, text: str):
    model = small_network(20)
    scanned(tmp_path, model.SerializeToString())
    change(model)
    with pytest.raises(UnsafeError, match=text):
        scanned(tmp_path, model.SerializeToString(deterministic=True))
