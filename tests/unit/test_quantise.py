"""Fewer bits: the graph that is made, and the search for a form that keeps the labels and is faster."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from distilshift import quantise, quantise_graph
from distilshift.activation_ranges import ActivationRange, activation_ranges, best_interval, product_inputs
from distilshift.quantise import FORMS, Quantised
from distilshift.quantise_graph import WEIGHT_LIMIT, Form, constant_products
from distilshift.types import Example

ROWS, WIDTH, CLASSES = 500, 96, 3
IDS = np.arange(50, dtype=np.int64).reshape(5, 10)


def constants() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"table": (ROWS, WIDTH), "first": (WIDTH, 64), "second": (64, 64), "bias": (64,), "last": (64, CLASSES)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def network() -> onnx.ModelProto:
    """A lookup, a product, a Gemm of the mean, and the classes."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["states"]),
        helper.make_node("MatMul", ["states", "first"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["mean", "second", "bias"], ["dense"], transB=1),
        helper.make_node("MatMul", ["dense", "last"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "sequence"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])]
    stored = [numpy_helper.from_array(value, name) for name, value in constants().items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def run(model: onnx.ModelProto, ids: np.ndarray = IDS) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": ids})[0]


def quantised(model: onnx.ModelProto, form: Form, spared: Sequence[str] = ()) -> onnx.ModelProto:
    """The model in another form, with the ranges that it has on IDS."""
    return quantise_graph.quantised(model, form, ranges_of(model), spared)


def ranges_of(model: onnx.ModelProto) -> dict[str, ActivationRange]:
    names = product_inputs(model.graph, constant_products(model.graph))
    return activation_ranges(model, names, [{"ids": row[None]} for row in IDS])


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_form_runs_and_is_near_to_fp32(form: Form):
    reference = run(network())
    logits = run(quantised(network(), form))
    limit = 0.12 if form.embedding_bits == 4 else 0.05
    assert 0 < np.abs(logits - reference).max() < limit * np.abs(reference).max()


def test_sizes_go_with_the_bits():
    def size(form: Form) -> int:
        return len(quantised(network(), form).SerializeToString())

    sizes = [size(Form("", embedding_bits=bits)) for bits in (4, 8, 32)]
    assert sizes == sorted(sizes)
    assert sizes[-1] < len(network().SerializeToString())


def test_weights_have_seven_bits_and_a_scale_for_each_channel():
    made = quantised(network(), Form(""))
    values = stored(made)
    first, scale = values["first_int8"], values["first_scale"]
    assert first.dtype == np.int8
    assert np.abs(first.astype(int)).max(axis=0).tolist() == [WEIGHT_LIMIT] * 64
    np.testing.assert_allclose(first * scale, constants()["first"], atol=scale.max() / 2 + 1e-6)
    assert values["second_int8"].shape == (64, 64)
    np.testing.assert_allclose(values["second_int8"] * values["second_scale"], constants()["second"].T, atol=0.05)
    assert "first" not in values
    assert values["last"].shape == (64, CLASSES)  # too few to be worth anything
    assert kinds(made).count("MatMulInteger") == 2


def test_eight_bit_rows_have_a_scale_each():
    values = stored(quantised(network(), Form("")))
    assert np.abs(values["table_int8"].astype(int)).max(axis=1).tolist() == [127] * ROWS
    np.testing.assert_allclose(values["table_int8"] * values["table_scale"], constants()["table"], atol=0.02)


def test_four_bit_blocks_hold_what_the_table_held():
    values = stored(quantised(network(), Form("", embedding_bits=4)))
    packed, scales = values["table_int4"], values["table_scale"]
    assert (packed.shape, packed.dtype, scales.shape) == ((ROWS, WIDTH // 2), np.uint8, (ROWS, WIDTH // 32))
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    real = numbers * np.repeat(scales, 32, axis=1)
    tolerance = np.abs(scales).max()  # of the clipped positive end; half of it elsewhere
    np.testing.assert_allclose(real, constants()["table"], atol=tolerance)
    assert np.mean(np.abs(real - constants()["table"]) > tolerance / 2 + 1e-6) < 0.05


def test_the_network_reads_what_the_four_bits_hold():
    made = quantised(network(), Form("", embedding_bits=4), ["product", "dense"])
    values = stored(made)
    numbers = np.concatenate([values["table_int4"] & 15, values["table_int4"] >> 4], axis=1).astype(np.float32) - 8
    table = numbers * np.repeat(values["table_scale"], 32, axis=1)
    np.testing.assert_allclose(run(made), run(by_hand(values, table=table)), rtol=1e-5, atol=1e-4)


def by_hand(values: dict[str, np.ndarray], **others: np.ndarray) -> onnx.ModelProto:
    """The network in fp32 with the weights that a form without int8 products holds."""
    first = values["first_int8"] * values["first_scale"]
    second = (values["second_int8"] * values["second_scale"]).T
    model = network()
    for tensor in model.graph.initializer:
        real = {"first": first, "second": second, **others}.get(tensor.name)
        if real is not None:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(real, np.float32), tensor.name))
    return model


def test_a_width_that_no_block_divides_gets_eight_bits():
    model = network()
    for index, tensor in enumerate(model.graph.initializer):
        value = numpy_helper.to_array(tensor)
        cut = value[:, :95] if tensor.name == "table" else value[:95] if tensor.name == "first" else value
        model.graph.initializer[index].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(cut), tensor.name))
    made = quantised(model, Form("", embedding_bits=4))
    assert stored(made)["table_int8"].shape == (ROWS, 95)
    assert run(made).shape == (5, CLASSES)


def test_only_operators_of_the_standard_are_used():
    """Those of onnxruntime's own are missing where a browser runs the network."""
    for form in FORMS:
        assert {node.domain for node in quantised(network(), form).graph.node} == {""}


def test_queries_keys_and_values_are_quantised_once():
    model = network()
    extra = [helper.make_node("MatMul", ["states", "first"], ["again"]), helper.make_node("Neg", ["again"], ["unused"])]
    model.graph.node.extend(extra)
    assert kinds(quantised(model, Form(""))).count("QuantizeLinear") == 2


def test_spared_products_multiply_in_fp32_and_their_weights_have_eight_bits():
    """Their weights are small in the file; what cost precision were the inputs, which stay whole."""
    model = network()
    assert constant_products(model.graph) == ["product", "dense"]
    made, values = quantised(model, Form(""), ["product"]), constants()
    assert kinds(made).count("MatMulInteger") == 1
    eight = stored(made)["first_int8"]
    assert np.abs(eight.astype(int)).max(axis=0).tolist() == [127] * 64
    np.testing.assert_allclose(eight * stored(made)["first_scale"], values["first"], atol=0.02)
    assert "first" not in stored(made)
    made = quantised(model, Form("", embedding_bits=32), ["product", "dense"])
    np.testing.assert_allclose(run(made), run(by_hand(stored(made))), rtol=1e-5, atol=1e-4)


def test_the_map_to_the_classes_stays_however_many_there_are():
    model, classes = network(), np.ones((64, 400), np.float32)
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(classes, "last"))
    assert constant_products(model.graph) == ["product", "dense"]
    assert np.array_equal(stored(quantised(model, Form("")))["last"], classes)


def test_onnxruntime_makes_spared_weights_fp32_when_it_loads_them(tmp_path: Path):
    """Not at each text."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    made = quantised(network(), Form(""), ["product", "dense"])
    onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx")
    assert kinds(made).count("Cast") == 3
    assert kinds(optimised).count("Cast") == 1  # of the rows that are looked up


def test_a_table_that_something_else_reads_stays():
    model = network()
    model.graph.node.append(helper.make_node("Neg", ["table"], ["negated"]))
    assert np.array_equal(stored(quantised(model, Form("")))["table"], constants()["table"])


def test_the_original_is_left_alone():
    model = network()
    quantised(model, Form("", embedding_bits=4))
    assert model == network()


class Scripted:
    """An opener whose networks differ from fp32 and take time as told, by the form's place in FORMS."""

    def __init__(self, differing: dict[int, int], latency: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.differing, self.latency, self.read = differing, latency, 0
        monkeypatch.setattr(quantise, "_sensitive", lambda *args: ["product", "dense"])
        monkeypatch.setattr(quantise, "speeds", self.speeds)

    def __call__(self, path: Path, threads: int) -> Any:
        self_, place = self, -1 if path.suffix == ".onnx" else int(path.suffix[1:])

        class Network:
            index = place

            def inputs(self, texts: Sequence[Example]) -> list[dict[str, np.ndarray]]:
                return [{"ids": IDS[:1]}]

            def logits(self, texts: Sequence[Example]) -> np.ndarray:
                self_.read += len(texts)
                rows = np.tile(np.float32([1, 0]), (len(texts), 1))
                for row, text in enumerate(texts):
                    if int(text.text) < self_.differing.get(place, 0):
                        rows[row] = [0, 1]
                return rows

        return Network()

    def speeds(self, networks: Any, texts: Any, threads: int) -> list[quantise.Speed]:
        return [quantise.Speed(threads, self.latency.get(each.index, 2.0), 3.0, 4.0) for each in networks]


Search = Callable[..., Quantised]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """A function that searches over 300 texts, of which 3 may differ."""

    def run_it(
        differing: dict[int, int], latency: dict[int, float], wanted: float = 0.99, held_out: bool = True
    ) -> Quantised:
        onnx.save(network(), tmp_path / "a.onnx")
        texts = [Example(str(index)) for index in range(300)]
        opener = Scripted(differing, latency, monkeypatch)
        reference = np.tile(np.float32([1, 0]), (300, 1))
        found = quantise.quantise(
            tmp_path / "a.onnx", tmp_path / "b.onnx", texts, reference, wanted, opener, texts[:9], held_out
        )
        assert {path.name for path in tmp_path.iterdir()} == {"a.onnx", "b.onnx"}
        assert (tmp_path / "b.onnx").stat().st_size == found.chosen.size_bytes
        return found

    return run_it


def test_the_smallest_form_that_agrees_and_is_faster_wins(search: Search):
    found = search({0: 3}, {0: 1.0})
    assert (found.accepted, found.chosen.form, len(found.trials)) == (True, FORMS[0].name, 1)
    facts = found.to_dict()
    assert (facts["agreement"], facts["texts"], facts["max_difference"]) == (0.99, 300, 1.0)
    assert (facts["fp32_latency_ms_p50"], facts["int8_latency_ms_p50"]) == (2.0, 1.0)
    assert [each.threads for each in found.chosen.speeds] == [1, 0]


def test_a_form_that_keeps_just_enough_is_accepted(search: Search):
    """Of 300 texts 21 are seven in a hundred, and 1 - 21 / 300 is a rounding below 0.93."""
    assert 1 - 21 / 300 < 0.93
    assert search({0: 21}, {0: 1.0}, 0.93).accepted
    assert search({0: 22, 1: 22}, {0: 1.0, 1: 1.0}, 0.93).trials[0].verdict == "too few labels agree"


def test_a_form_that_loses_labels_is_followed_by_a_more_precise_one(search: Search):
    found = search({0: 4, 1: 300}, {2: 1.0})
    assert found.accepted
    assert [trial.form for trial in found.trials] == [form.name for form in FORMS[:3]]
    assert [trial.verdict for trial in found.trials] == ["too few labels agree"] * 2 + ["accepted"]
    assert found.trials[1].texts == quantise.CHUNK_TEXTS  # no more were needed to know
    assert found.trials[1].agreement == 0
    assert found.trials[0].speeds == ()


def test_a_form_that_is_slow_ends_the_search(search: Search, caplog: pytest.LogCaptureFixture):
    """The others are more precise, and no faster."""
    with caplog.at_level(logging.WARNING, "distilshift"):
        found = search({}, {0: 2.0, 1: 1.0})
    assert [(trial.form, trial.verdict) for trial in found.trials] == [(FORMS[0].name, "not faster")]
    assert not found.accepted
    assert "--model int8" in caplog.text


def test_without_a_good_form_the_most_faithful_is_written_with_a_warning(
    search: Search, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "distilshift"):
        found = search({0: 9, 1: 8, 2: 6, 3: 5, 4: 7}, {})
    assert not found.accepted
    assert found.chosen.form == FORMS[3].name
    assert found.chosen.speeds != ()
    assert [trial.verdict for trial in found.trials] == ["too few labels agree"] * 5
    assert "99.00% are required" in caplog.text


def test_half_as_many_labels_may_differ_on_texts_that_the_student_was_trained_on(search: Search):
    assert search({0: 1}, {0: 1.0}, held_out=False).accepted
    found = search({0: 2}, {1: 1.0}, held_out=False)
    assert (found.trials[0].verdict, found.to_dict()["required_agreement"]) == ("too few labels agree", 0.995)


@pytest.mark.parametrize("held_out", [True, False])
def test_a_near_miss_names_the_options_that_accept_it(search: Search, caplog: pytest.LogCaptureFixture, held_out: bool):
    """And the one for the next time does."""
    differing = dict.fromkeys(range(5), 4)
    with caplog.at_level(logging.WARNING, "distilshift"):
        assert not search(differing, {0: 1.0}, held_out=held_out).accepted
    (wanted,) = re.findall(r"with --min-agreement (\d\S*\d)", caplog.text)
    assert "--model int8" in caplog.text
    assert "98.67%" in caplog.text
    assert search(differing, {0: 1.0}, float(wanted), held_out).accepted


def test_the_products_that_cost_most_are_found(tmp_path: Path):
    """One whose largest weights meet inputs of next to nothing: the others are rounded coarsely for them."""
    model, values = network(), constants()
    values["first"][0] *= 100
    values["table"][:, 0] *= 1e-3
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))

    class Opened:
        def __init__(self, path: Path, threads: int) -> None:
            self.model = onnx.load(path)

        def logits(self, texts: Sequence[Example]) -> np.ndarray:
            return run(self.model)

    opened: Any = Opened
    assert quantise._sensitive(model, ranges_of(model), tmp_path / "scratch", [], run(model), opened) == [
        "product",
        "dense",
    ]


def with_outlier(model: onnx.ModelProto, channel: int = 7, factor: float = 40) -> onnx.ModelProto:
    """One channel of the looked-up states is many times as large as the others."""
    table = constants()["table"]
    table[:, channel] *= factor
    for tensor in model.graph.initializer:
        if tensor.name == "table":
            tensor.CopyFrom(numpy_helper.from_array(table, "table"))
    return model


def test_outlier_channels_are_found_and_multiplied_in_fp32():
    model = with_outlier(network())
    found = ranges_of(model)
    assert 7 in found["states"].outliers
    assert found["states"].whole.high > 5 * found["states"].rest.high
    reference = run(model)
    forms = [quantised(model, Form("", outliers=kept), ["dense"]) for kept in (False, True)]
    errors = [np.abs(run(form) - reference).max() for form in forms]
    assert errors[1] < errors[0] / 2


def test_products_that_share_a_matrix_may_have_other_outliers():
    model = with_outlier(network())
    model.graph.node.insert(1, helper.make_node("Neg", ["states"], ["negative"]))
    model.graph.node.insert(3, helper.make_node("MatMul", ["negative", "first"], ["opposite"]))
    model.graph.output.append(helper.make_tensor_value_info("opposite", TensorProto.FLOAT, None))
    model.graph.node.append(helper.make_node("Identity", ["opposite"], ["unused"]))
    del model.graph.output[1:]
    ranges = ranges_of(model)
    ranges["negative"] = ActivationRange(ranges["negative"].whole, ranges["negative"].rest, ())
    made = quantise_graph.quantised(model, Form("", outliers=True), ranges)
    made.graph.output.append(helper.make_tensor_value_info("opposite", TensorProto.FLOAT, None))
    made.graph.output.append(helper.make_tensor_value_info("product", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    _, opposite, product = session.run(None, {"ids": IDS})
    np.testing.assert_allclose(opposite, -product, atol=0.1 * np.abs(product).max())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("seed", range(3))
def test_results_do_not_depend_on_the_batch(form: Form, seed: int):
    """One row holds states many times as large as the others': with a scale of the batch, it would coarsen them."""
    random = np.random.default_rng(seed)
    model = network()
    table = constants()["table"]
    table[0] *= 50
    for tensor in model.graph.initializer:
        if tensor.name == "table":
            tensor.CopyFrom(numpy_helper.from_array(table, "table"))
    made = quantised(model, form, ["product"] if form.fp32_share else [])
    rows = random.integers(1, ROWS, (12, 10))
    rows[5] = 0
    alone = np.concatenate([run(made, row[None]) for row in rows])
    order = random.permutation(len(rows))
    np.testing.assert_allclose(run(made, rows[order]), alone[order], rtol=0, atol=1e-4)


def test_the_best_interval_cuts_a_rare_extreme_off():
    counts = np.zeros(1000, int)
    counts[100:200], counts[-1] = 100_000, 1
    found = best_interval(counts, -1.0, 9.0)
    assert 0.9 < found.high < 6
    assert -0.5 < found.low <= 0
    assert found.quantized(np.zeros(1)) == 0
    assert best_interval(np.ones(1000, int), -1.0, 9.0).high == pytest.approx(9.0, rel=0.1)
