"""The fields of onnx.proto that a text classifier's network needs; every other field is refused.

A test compares numbers, names and types with the onnx package's own schema. What is left out could hold a graph, code
or data in another place: functions, training steps, graphs in operators, sparse tensors, tensors of strings, data in
other files, types that are not tensors, plans for several devices.
"""

from __future__ import annotations

from distilshift.scan.protobuf import Entry, Schema


def _many(name: str, kind: str | Schema) -> Entry:
    return Entry(name, kind, repeated=True)


_STRING_PAIR = Schema("StringStringEntryProto", {1: Entry("key", "string"), 2: Entry("value", "string")})
_OPERATOR_SET = Schema("OperatorSetIdProto", {1: Entry("domain", "string"), 2: Entry("version", "int64")})
_TENSOR = Schema(
    "TensorProto",
    {
        1: _many("dims", "int64"),
        2: Entry("data_type", "int32"),
        4: _many("float_data", "float"),
        5: _many("int32_data", "int32"),
        7: _many("int64_data", "int64"),
        8: Entry("name", "string"),
        9: Entry("raw_data", "bytes"),
        10: _many("double_data", "double"),
        11: _many("uint64_data", "uint64"),
        12: Entry("doc_string", "string"),
        14: Entry("data_location", "int32"),
        16: _many("metadata_props", _STRING_PAIR),
    },
    {3: "a segment of a tensor", 6: "a tensor of strings", 13: "a tensor with data in another file"},
)
_DIMENSION = Schema(
    "TensorShapeProto.Dimension",
    {1: Entry("dim_value", "int64"), 2: Entry("dim_param", "string"), 3: Entry("denotation", "string")},
)
_SHAPE = Schema("TensorShapeProto", {1: _many("dim", _DIMENSION)})
_TENSOR_TYPE = Schema("TypeProto.Tensor", {1: Entry("elem_type", "int32"), 2: Entry("shape", _SHAPE)})
_TYPE = Schema("TypeProto", {1: Entry("tensor_type", _TENSOR_TYPE), 6: Entry("denotation", "string")})
_VALUE = Schema(
    "ValueInfoProto",
    {
        1: Entry("name", "string"),
        2: Entry("type", _TYPE),
        3: Entry("doc_string", "string"),
        4: _many("metadata_props", _STRING_PAIR),
    },
)
_ATTRIBUTE = Schema(
    "AttributeProto",
    {
        1: Entry("name", "string"),
        2: Entry("f", "float"),
        3: Entry("i", "int64"),
        4: Entry("s", "bytes"),
        5: Entry("t", _TENSOR),
        7: _many("floats", "float"),
        8: _many("ints", "int64"),
        9: _many("strings", "bytes"),
        10: _many("tensors", _TENSOR),
        13: Entry("doc_string", "string"),
        20: Entry("type", "int32"),
    },
    {
        **dict.fromkeys((6, 11), "a graph in an operator"),
        **dict.fromkeys((22, 23), "a sparse tensor in an operator"),
        21: "an attribute of a function",
    },
)
_NODE = Schema(
    "NodeProto",
    {
        1: _many("input", "string"),
        2: _many("output", "string"),
        3: Entry("name", "string"),
        4: Entry("op_type", "string"),
        5: _many("attribute", _ATTRIBUTE),
        6: Entry("doc_string", "string"),
        7: Entry("domain", "string"),
        9: _many("metadata_props", _STRING_PAIR),
    },
    {8: "a choice between functions", 10: "a plan for several devices"},
)
_GRAPH = Schema(
    "GraphProto",
    {
        1: _many("node", _NODE),
        2: Entry("name", "string"),
        5: _many("initializer", _TENSOR),
        10: Entry("doc_string", "string"),
        11: _many("input", _VALUE),
        12: _many("output", _VALUE),
        13: _many("value_info", _VALUE),
        16: _many("metadata_props", _STRING_PAIR),
    },
    {14: "notes on quantization", 15: "a sparse tensor"},
)
MODEL = Schema(
    "ModelProto",
    {
        1: Entry("ir_version", "int64"),
        2: Entry("producer_name", "string"),
        3: Entry("producer_version", "string"),
        4: Entry("domain", "string"),
        5: Entry("model_version", "int64"),
        6: Entry("doc_string", "string"),
        7: Entry("graph", _GRAPH),
        8: _many("opset_import", _OPERATOR_SET),
        14: _many("metadata_props", _STRING_PAIR),
    },
    {20: "training steps", 25: "functions of its own", 26: "a plan for several devices"},
)
