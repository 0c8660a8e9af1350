"""What a forged bundle may hold: changes of a sound one, and what is said of each."""

from __future__ import annotations

import base64
import gzip
import io
import json
import pickle
import zipfile
from typing import Any

import onnx
from onnx import TensorProto, helper

from forged import Change, edit_header, edit_json, edit_onnx

HUGE = 10**12


def write(name: str, data: bytes) -> Change:
    return lambda bundle: (bundle / name).write_bytes(data)


def append(name: str, data: bytes) -> Change:
    return lambda bundle: (bundle / name).write_bytes((bundle / name).read_bytes() + data)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(print))
    return file.getvalue()


def tokenizer(**values: Any) -> Change:
    return edit_json("tokenizer.json", lambda content: content.update(values))


def tokenizer_model(**values: Any) -> Change:
    return edit_json("tokenizer.json", lambda content: content["model"].update(values))


def config(**values: Any) -> Change:
    return edit_json("config.json", lambda content: content.update(values))


def replacing(pattern: dict[str, str], content: str, times: int = 1) -> dict[str, Any]:
    rule = {"type": "Replace", "pattern": pattern, "content": content}
    return {"type": "Sequence", "normalizers": [rule] * times}


def character_map(texts: bytes, trie: int = 4) -> dict[str, Any]:
    data = trie.to_bytes(4, "little") + bytes(4) + texts
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode()}


def nested(depth: int) -> bytes:
    return b'{"a": ' + b"[" * depth + b"]" * depth + b"}"


# Files of a kind that no bundle holds, and files that are not what they are called.
FILES: dict[str, tuple[Change, str]] = {
    "listed pickle": (write("pytorch_model.bin", pickle.dumps([1])), "pytorch_model.bin, a file that could run code"),
    "listed pickle below": (write("onnx/a.pkl", b"x"), "onnx/a.pkl, a file that could run code"),
    "pickle in capitals": (write("MODEL.PKL", b"x"), "MODEL.PKL, a file that could run code"),
    "listed checkpoint": (write("a.pt", b"x"), "could run code"),
    "listed code": (write("modeling_bert.py", b"print()"), "modeling_bert.py, a file that could run code"),
    "library": (write("a.so", b"\x7fELF"), "could run code"),
    "unknown kind": (write("weights.h5", b"x"), "weights.h5, a kind of file that no bundle holds"),
    "no suffix": (write("model", b"x"), "model, a kind of file that no bundle holds"),
    "adapter": (write("adapter_config.json", b"{}"), "makes loaders fetch another model"),
    "zip as tensors": (write("model.safetensors", zipped()), "a zip archive at its end"),
    "zip as text": (write("vocab.txt", zipped()), "got a zip archive, as PyTorch's pickles are"),
    "zip as JSON": (write("tokenizer.json", zipped()), "got a zip archive"),
    "zip as ONNX": (write("onnx/model.onnx", zipped()), "got a zip archive"),
    "zip behind text": (append("README.md", zipped()), "got a zip archive at its end"),
    "zip behind tensors": (append("model.safetensors", zipped()), "got a zip archive at its end"),
    "zip behind ONNX": (append("onnx/model.onnx", zipped()), "got a zip archive at its end"),
    "gzip as text": (write("README.md", gzip.compress(b"x")), "got a gzip archive"),
    "pickle as text": (write("README.md", pickle.dumps([1])), "got a pickle"),
    "pickle as JSON": (write("added_tokens.json", pickle.dumps({"a": 1})), "got a pickle"),
    "program as text": (write("README.md", b"\x7fELF"), "got a program"),
    "bytes as text": (write("README.md", b"\xff\xfe\xfd"), "expected UTF-8 text"),
    "NUL in text": (write("README.md", b"a\0b"), "got a NUL character"),
    "huge text": (write("README.md", b"x" * (32 * 1024 * 1024 + 1)), "over 33554432 bytes"),
    "huge config": (write("config.json", b" " * (4 * 1024 * 1024 + 1)), "over 4194304 bytes"),
    "huge tokenizer": (write("tokenizer.json", b" " * (32 * 1024 * 1024 + 1)), "over 33554432 bytes"),
    "deep config": (write("config.json", nested(100)), "deep nesting"),
    "very deep config": (write("config.json", nested(100_000)), "deep nesting"),
    "deep tokenizer": (write("tokenizer.json", nested(100_000)), "deep nesting"),
    "deep other JSON": (write("special_tokens_map.json", nested(100)), "deep nesting"),
    "no JSON": (write("config.json", b"{"), "expected a JSON object"),
    "a list": (write("config.json", b"[]"), "not a JSON object"),
    "NaN": (write("config.json", b'{"a": NaN}'), "got NaN, which is no JSON"),
    "a number of digits": (write("config.json", b'{"a": ' + b"9" * 10_000 + b"}"), "expected a JSON object"),
    "a key twice": (write("config.json", b'{"auto_map": {}, "auto_map": {"a": 1}}'), "the key 'auto_map' twice"),
    "half a character": (write("config.json", rb'{"a": "\ud800"}'), "half a surrogate pair"),
    "empty ONNX": (write("onnx/model.onnx", b""), "an empty file"),
    "text as ONNX": (write("onnx/model.onnx", b"hello"), "expected an ONNX model"),
}
# What a config may ask of transformers.
CONFIGS: dict[str, tuple[Change, str]] = {
    "remote code": (config(auto_map={"AutoModel": "evil--x.Model"}), "auto_map .*expected|expected .* got auto_map"),
    "trusting remote code": (config(trust_remote_code=True), "got trust_remote_code True"),
    "pipeline": (config(custom_pipelines={"a": {"impl": "a.B"}}), "got custom_pipelines"),
    "kernel of a hub": (config(attn_implementation="evil/kernel"), "got attn_implementation 'evil/kernel'"),
    "quantiser": (config(quantization_config={"quant_method": "gptq"}), "got quantization_config"),
    "weights elsewhere": (config(transformers_weights="../../x.bin"), "got transformers_weights"),
    "unknown model": (config(model_type="rag"), "expected one of bert, .*, got model_type 'rag'"),
    "model type of another type": (config(model_type=["bert"]), r"got model_type \['bert'\]"),
    "classes without end": (config(num_labels=HUGE), f"expected a whole number .*, got num_labels {HUGE}"),
    "classes of another type": (config(num_labels="2"), "got num_labels '2'"),
    "class names that are a number": (config(id2label=5), "got id2label 5"),
    "class names with gaps": (config(id2label={"0": "a", "9": "b"}), "got id2label"),
    "negative width": (config(hidden_size=-1), "got hidden_size -1"),
    "width of another type": (config(hidden_size=[384]), "got hidden_size"),
    "endless layers": (config(num_hidden_layers=HUGE), f"got num_hidden_layers {HUGE}"),
    "endless buckets": (config(relative_attention_num_buckets=HUGE), "got relative_attention_num_buckets"),
    "code for the tokenizer": (
        lambda b: write("tokenizer_config.json", json.dumps({"auto_map": {"AutoTokenizer": ["x.Y", None]}}).encode())(
            b
        ),
        "tokenizer_config.json is refused .* got auto_map",
    ),
    "another tokenizer file": (
        write("tokenizer_config.json", b'{"fast_tokenizer_files": ["tokenizer.5.0.0.json"]}'),
        "got fast_tokenizer_files",
    ),
    "another config file": (config(configuration_files=["config.5.0.0.json"]), "got configuration_files"),
}
TOKENIZERS: dict[str, tuple[Change, str]] = {
    "doubling": (tokenizer(normalizer=replacing({"String": "a"}, "aa", 40)), "make a text .* times longer"),
    "one long replacement": (tokenizer(normalizer=replacing({"String": "a"}, "b" * 1000)), "a text 1,000 times longer"),
    "replacing nothing": (tokenizer(normalizer=replacing({"String": ""}, "b" * 100)), "times longer"),
    "long prefix": (tokenizer(normalizer={"type": "Prepend", "prepend": "x" * 10_000}), "times longer"),
    "hidden in a second list": (
        tokenizer(normalizer={"type": "Sequence", "a": [], "normalizers": [{"type": "Evil"}]}),
        "got normalizer 'Evil'",
    ),
    "character map": (tokenizer(normalizer=character_map(b"x" * 10_000 + b"\0")), "times longer"),
    "cut character map": (tokenizer(normalizer=character_map(b"", trie=4_000_000_000)), "character map of 4,000"),
    "map that is no base64": (
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "é"}),
        "precompiled_charsmap",
    ),
    "slow pattern": (tokenizer(normalizer=replacing({"Regex": "(a+)+$"}, "")), r"the pattern '\(a\+\)\+\$'"),
    "slow split": (
        tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated"}),
        "pre_tokenizer with the pattern",
    ),
    "pattern as large as memory": (
        tokenizer(decoder={"type": "Replace", "pattern": {"Regex": "((a{1000}){1000}){1000}"}, "content": ""}),
        "decoder with the pattern",
    ),
    "prefix that is no text": (tokenizer(normalizer={"type": "Prepend", "prepend": 5}), "got a normalizer with 5"),
    "a model that is a text": (tokenizer(model="a"), "got model 'a'"),
    "added tokens that are a text": (tokenizer(added_tokens="a"), "got the added token 'a'"),
    "special tokens by name": (
        tokenizer(post_processor={"type": "TemplateProcessing", "special_tokens": {"[CLS]": "a"}}),
        "got the special token 'a'",
    ),
    "unknown rule": (tokenizer(pre_tokenizer={"type": "Exec"}), "got pre_tokenizer 'Exec'"),
    "rule without a type": (tokenizer(normalizer={"pattern": 1}), "got normalizer None"),
    "padding": (
        tokenizer(
            padding={
                "strategy": {"Fixed": HUGE},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            }
        ),
        f"got padding to {HUGE}",
    ),
    "padding to a multiple": (
        tokenizer(padding={"strategy": "BatchLongest", "pad_to_multiple_of": HUGE}),
        "got padding to a multiple of",
    ),
    "words without end": (tokenizer_model(max_input_chars_per_word=HUGE), "got max_input_chars_per_word"),
    "long prefix of pieces": (tokenizer_model(continuing_subword_prefix="#" * 99), "continuing_subword_prefix"),
    "unknown model": (tokenizer_model(type="Exec"), "got model 'Exec'"),
    "no pieces": (tokenizer_model(vocab={}), "expected pieces"),
    "negative id": (tokenizer_model(vocab={"a": -1}), "got the id of a piece -1"),
    "id of another type": (tokenizer_model(vocab={"a": "1"}), "got the id of a piece '1'"),
    "id without end": (tokenizer_model(vocab={"a": HUGE}), "got the id of a piece"),
    "long piece": (tokenizer_model(vocab={"a" * 1000: 1}), "got the piece"),
    "empty added token": (tokenizer(added_tokens=[{"id": 1, "content": ""}]), "got the piece ''"),
    "id of an added token": (tokenizer(added_tokens=[{"id": -5, "content": "x"}]), "got the id of an added token -5"),
    "crowd around a text": (
        tokenizer(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] * 100_000,
                "pair": [],
                "special_tokens": {},
            }
        ),
        "expected at most 64 pieces",
    ),
}


def initializer(model: onnx.ModelProto) -> onnx.TensorProto:
    return model.graph.initializer[0]


def external(location: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = initializer(model)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return edit_onnx(change)


def in_a_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))


def claims(shape: list[int]) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del initializer(model).dims[:]
        initializer(model).dims.extend(shape)

    return edit_onnx(change)


def add_node(kind: str, domain: str = "", **attributes: Any) -> Change:
    node = helper.make_node(kind, ["logits"], ["other"], domain=domain, **attributes)
    return edit_onnx(lambda model: model.graph.node.append(node))


NETWORKS: dict[str, tuple[Change, str]] = {
    "data outside": (external("../../../../etc/passwd"), "got a tensor with data in another file"),
    "data at an absolute path": (external("/etc/passwd"), "data in another file"),
    "data beside it": (external("weights.bin"), "data in another file"),
    "operator of a library": (add_node("Steal", "evil.ops"), "the operator 'evil.ops:Steal'"),
    "operator under a known domain": (add_node("Steal", "com.microsoft"), "the operator 'com.microsoft:Steal'"),
    "a condition": (edit_onnx(in_a_branch), "a graph in an operator"),
    "a part of no model": (append("onnx/model.onnx", b"\xda\x01\x01x"), "got a part 27"),
    "a sparse tensor": (edit_onnx(lambda m: m.graph.sparse_initializer.add()), "got a sparse tensor"),
    "a sparse constant": (
        add_node("Constant", sparse_value=onnx.SparseTensorProto()),
        "got a sparse tensor in an operator",
    ),
    "random numbers": (add_node("RandomNormal", shape=[HUGE]), "the operator ':RandomNormal'"),
    "a function": (
        edit_onnx(
            lambda m: m.functions.append(
                helper.make_function("d", "F", ["x"], ["y"], [], [helper.make_opsetid("", 20)])
            )
        ),
        "functions of its own",
    ),
    "an absurd shape": (claims([HUGE, 2]), r"of shape \[1000000000000, 2\] in .* bytes"),
    "a negative shape": (claims([-1, 2]), "of shape"),
    "a shape that overflows": (claims([2**62, 4]), "of shape"),
    "many dimensions": (claims([1] * 100), "a shape of 100 dimensions"),
    "text for numbers": (
        edit_onnx(lambda m: setattr(initializer(m), "data_type", TensorProto.STRING)),
        "of data type 8",
    ),
    "a shape in a constant": (
        add_node("Constant", value=TensorProto(data_type=1, dims=[HUGE], float_data=[1.0])),
        "of shape",
    ),
    "two graphs": (append("onnx/model.onnx", b"\x3a\x00"), "graph twice"),
    "a cut file": (lambda b: (b / "onnx/model.onnx").write_bytes((b / "onnx/model.onnx").read_bytes()[:-9]), "ONNX"),
    "no graph": (write("onnx/model.onnx", b"\x08\x0a"), "no graph"),
}


def entry(**values: Any) -> Change:
    return edit_header(lambda header: header["a"].update(values))


TENSORS: dict[str, tuple[Change, str]] = {
    "an absurd shape": (entry(shape=[HUGE, HUGE]), "a dimension 1000000000000"),
    "a shape for more bytes": (entry(shape=[4, 3]), "in 24 bytes"),
    "a negative shape": (entry(shape=[-2, -3]), "a dimension -2"),
    "a shape of another type": (entry(shape=["2", 3]), "a dimension '2'"),
    "many dimensions": (entry(shape=[1] * 9), "at most 8 dimensions"),
    "an unknown dtype": (entry(dtype="OBJECT"), "of dtype 'OBJECT'"),
    "offsets beyond the file": (entry(data_offsets=[0, HUGE]), "an offset"),
    "offsets backwards": (entry(data_offsets=[24, 0]), "in -24 bytes"),
    "a gap": (edit_header(lambda h: h["a"].update(data_offsets=[8, 32]), bytes(32)), "each byte in one tensor"),
    "bytes after the last": (append("model.safetensors", b"hidden"), "each byte in one tensor"),
    "two at one place": (edit_header(lambda h: h.update(b=h["a"])), "each byte in one tensor"),
    "one offset": (entry(data_offsets=[8]), "expected two offsets"),
    "more keys": (entry(code="print()"), "expected dtype, shape and data_offsets"),
    "metadata that is no text": (edit_header(lambda h: h.update(__metadata__={"a": [1]})), "__metadata__"),
    "an endless header": (write("model.safetensors", (2**63).to_bytes(8, "little") + b"{}"), "a header of"),
    "a header longer than the file": (write("model.safetensors", (99).to_bytes(8, "little") + b"{}"), "a header of"),
    "no header": (write("model.safetensors", b"abc"), "a header of"),
    "a deep header": (write("model.safetensors", len(nested(500)).to_bytes(8, "little") + nested(500)), "deep nesting"),
}
GROUPS = {"file": FILES, "config": CONFIGS, "tokenizer": TOKENIZERS, "onnx": NETWORKS, "tensors": TENSORS}
ALL = {f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()}
