"""One bundle, one function: transformers, onnxruntime and Predictor give the same numbers.

The ladder is PyTorch, then ONNX fp32 (equal within 1e-5), then each quantised form (within INT8 of a probability,
INT4 with embeddings of 4 bits), which is the same on CPUs that add in 16 bits as on those that add in 32.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from distilshift import Predictor, adapt, import_checkpoint
from distilshift.bundle import read_manifest
from distilshift.inference import bundle_logits
from distilshift.metrics import softmax
from distilshift.network import ONNX_FILES, load_network
from distilshift.quantise import FORMS, measured_ranges
from distilshift.quantise_graph import Form, constant_products, quantised
from distilshift.types import Example
from encoders import make_checkpoint, make_encoder
from forged import reseal

FP32 = 1e-5
INT8, INT4 = 0.05, 0.1

Texts = list[tuple[str, ...]]

SINGLE: Texts = [
    ("good film",),
    ("it was a very sad plot and the worst pan",),
    ("Ünïcode, punctuation... & numbers 42!",),
    ("日本語 🙂",),
    ("love " * 100,),
    ("x",),
]
PAIRS: Texts = [
    ("good film", "bad book"),
    ("bad book", "good film"),
    ("sad " * 100, "it was great"),
    ("pan", "great handle " * 60),
    ("a", "b"),
]
kinds = pytest.mark.parametrize("texts", [SINGLE, PAIRS], ids=["texts", "pairs"])

# Teacher's family to the student's; a family in place of 'cut' is an encoder with another vocabulary.
STUDENTS = {
    "bert": ("bert", "cut"),
    "mpnet": ("mpnet", "cut"),
    "distilbert": ("distilbert", "cut"),
    "roberta": ("roberta", "cut"),
    "electra": ("electra", "cut"),
    "mpnet from bert": ("bert", "mpnet"),
    "bert, reading ends": ("bert", "cut"),
}


def read_ends(checkpoint: Path) -> None:
    """Let a checkpoint's tokenizer cut off the beginnings of long texts."""
    path = checkpoint / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation_side": "left"}))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, target_file: Path) -> Callable[[str], Path]:
    """A function that gives a student bundle by its name in STUDENTS, adapted once."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp("family")
            family, kind = STUDENTS[name]
            checkpoint = make_checkpoint(folder / "checkpoint", family, layers=2)
            if name.endswith("reading ends"):
                read_ends(checkpoint)
            import_checkpoint(str(checkpoint), folder / "teacher", max_length=32)
            other = kind if kind == "cut" else str(make_encoder(folder / "other", kind, words="good bad zebra"))
            options = {"student_layers": 1, "distil_epochs": 2, "precision": "fp32"}
            adapt(folder / "teacher", target_file, folder / "student", student=other, **options)
            reseal(folder / "student", config={})  # which says that it labels single texts: here it reads pairs, too
            made[name] = folder / "student"
        return made[name]

    return get


students = pytest.mark.parametrize("name", STUDENTS)


def encoded(bundle: Path, texts: Texts) -> dict[str, torch.Tensor]:
    """What transformers' own tokenizer makes of the texts."""
    columns = [list(column) for column in zip(*texts, strict=True)]
    length = read_manifest(bundle).max_length
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    return dict(tokenizer(*columns, padding=True, truncation=True, max_length=length, return_tensors="pt"))


def torch_logits(bundle: Path, texts: Texts) -> np.ndarray:
    model = AutoModelForSequenceClassification.from_pretrained(bundle).eval()
    assert model.dtype == torch.float32
    inputs = encoded(bundle, texts)
    with torch.no_grad():
        return model(**inputs).logits.numpy()


def formed(bundle: Path, form: Form) -> Path:
    """The bundle's network in this form, which need not be the one that its bundle has."""
    path = bundle.parent / f"{form.name}.onnx"
    if not path.exists():
        model = onnx.load(bundle / ONNX_FILES["fp32"])
        spared = constant_products(model.graph)[:2] if form.fp32_share else []
        fp32 = load_network(bundle, read_manifest(bundle), "fp32")
        ranges = measured_ranges(model, fp32, [Example(*text) for text in (*SINGLE, *PAIRS)])
        onnx.save(quantised(model, form, ranges, spared), path)
    return path


def onnx_logits(bundle: Path, texts: Texts, choice: str | Form, exact_sums: bool = False) -> np.ndarray:
    """Logits; with `exact_sums`, by onnxruntime's slower kernels that cannot overflow on x86 CPUs without VNNI."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", str(int(exact_sums)))
    path = formed(bundle, choice) if isinstance(choice, Form) else bundle / ONNX_FILES[choice]
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = encoded(bundle, texts)
    return session.run(["logits"], {entry.name: inputs[entry.name].numpy() for entry in session.get_inputs()})[0]


def plain(texts: Texts) -> list[Any]:
    return [text[0] if len(text) == 1 else text for text in texts]


def pipeline_probabilities(bundle: Path, texts: Texts) -> np.ndarray:
    classify = pipeline("text-classification", str(bundle), top_k=None, device=-1)
    inputs = [{"text": t[0], "text_pair": t[1]} if len(t) == 2 else t[0] for t in texts]
    names = read_manifest(bundle).label_names
    rows = [classify(item, truncation=True, max_length=read_manifest(bundle).max_length) for item in inputs]
    flat = [row[0] if isinstance(row[0], list) else row for row in rows]
    return np.array([[{r["label"]: r["score"] for r in row}[name] for name in names] for row in flat])


def close(first: np.ndarray, second: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(first, second, rtol=0, atol=tolerance)


def apart(rows: np.ndarray) -> float:
    """The smallest difference between two texts' outputs: far above the tolerance, or equality would prove nothing."""
    gaps = np.abs(rows[:, None] - rows[None]).max(axis=2)
    return gaps[~np.eye(len(rows), dtype=bool)].min()


@kinds
@students
def test_fp32_is_the_same_function_everywhere(student: Any, name: str, texts: Texts):
    bundle = student(name)
    reference = torch_logits(bundle, texts)
    assert apart(reference) > 100 * FP32
    close(onnx_logits(bundle, texts, "fp32"), reference, FP32)
    probabilities = softmax(reference)
    # transformers knows no windows: it reads the beginning of a long text.
    close(Predictor.load(bundle, model="fp32", max_windows=1).probabilities(plain(texts)), probabilities, FP32)
    close(pipeline_probabilities(bundle, texts), probabilities, FP32)


@kinds
@students
def test_a_bundle_runs_the_form_that_it_has(student: Any, name: str, texts: Texts):
    bundle = student(name)
    predictor = Predictor.load(bundle, model="int8", max_windows=1)
    probabilities = predictor.probabilities(plain(texts), batch_size=len(texts))
    close(probabilities, softmax(onnx_logits(bundle, texts, "int8")), FP32)


@kinds
@students
def test_every_form_is_near_but_not_the_same(student: Any, name: str, texts: Texts):
    reference = softmax(torch_logits(student(name), texts))
    for form in FORMS:
        found = softmax(onnx_logits(student(name), texts, form))
        close(found, reference, INT4 if form.embedding_bits == 4 else INT8)
        assert np.abs(found - reference).max() > FP32


@kinds
@students
def test_sums_are_exact_on_every_cpu(student: Any, name: str, texts: Texts):
    bundle, form = student(name), FORMS[0]
    close(onnx_logits(bundle, texts, form), onnx_logits(bundle, texts, form, exact_sums=True), FP32)


@students
def test_two_products_of_int8_fit_in_16_bits(student: Any, name: str):
    """What makes the sums exact, also where this test's own CPU has wider ones."""
    graph = onnx.load(formed(student(name), FORMS[0])).graph
    values = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    factors = [node.input[1] for node in graph.node if node.op_type == "MatMulInteger"]
    weights = [values[name] for name in factors if name in values]  # the others are activations
    assert len(weights) >= 6
    for weight in weights:
        assert weight.dtype == np.int8
        assert 60 < np.abs(weight.astype(int)).max() <= 32767 // (2 * 255)


@kinds
@students
def test_padding_and_company_do_not_matter_in_fp32(student: Any, name: str, texts: Texts):
    predictor = Predictor.load(student(name), model="fp32")
    together = predictor.probabilities(plain(texts), batch_size=len(texts))
    alone = np.concatenate([predictor.probabilities([text]) for text in plain(texts)])
    close(together, alone, FP32)
    close(predictor.probabilities(plain(texts)[::-1], batch_size=2)[::-1], alone, FP32)


@students
def test_a_student_has_its_own_inputs(student: Any, name: str):
    bundle = student(name)
    session = onnxruntime.InferenceSession(bundle / ONNX_FILES["fp32"], providers=["CPUExecutionProvider"])
    takes_types = STUDENTS[name] in [("bert", "cut"), ("electra", "cut")]
    assert [entry.name for entry in session.get_inputs()] == [
        "input_ids",
        "attention_mask",
        *(["token_type_ids"] if takes_types else []),
    ]
    if takes_types:
        first, second = torch_logits(bundle, [("good", "bad")]), torch_logits(bundle, [("bad", "good")])
        assert np.abs(first - second).max() > 100 * FP32


@kinds
def test_a_teacher_is_the_same_in_transformers_and_in_evaluation(teacher_bundle: Path, texts: Texts):
    reference = torch_logits(teacher_bundle, texts)
    assert apart(reference) > 10 * FP32
    for batch_size in (1, 2, 64):
        close(bundle_logits(teacher_bundle, 32, [Example(*text) for text in texts], batch_size), reference, FP32)
    close(pipeline_probabilities(teacher_bundle, texts), softmax(reference), FP32)


def test_a_trained_student_labels_as_its_teacher(teacher_bundle: Path, student_bundle: Path, target_file: Path):
    """The story end to end, with the labels of both classes."""
    texts: Texts = [(text,) for text in target_file.read_text().splitlines()]
    teacher, fp32, int8 = (
        torch_logits(teacher_bundle, texts).argmax(axis=1),
        onnx_logits(student_bundle, texts, "fp32").argmax(axis=1),
        onnx_logits(student_bundle, texts, "int8").argmax(axis=1),
    )
    assert np.bincount(teacher).tolist() == [60, 60]
    assert (fp32 == teacher).all()
    assert (int8 == fp32).all()
    close(onnx_logits(student_bundle, texts, "fp32"), torch_logits(student_bundle, texts), FP32)


def test_loaders_truncate_where_the_student_learnt_to_read(
    student_bundle: Path, static_bundle: Path, teacher_bundle: Path
):
    """The teacher's tokenizer, which these students share, says 64."""
    for bundle in (student_bundle, static_bundle):
        assert AutoTokenizer.from_pretrained(bundle).model_max_length == read_manifest(bundle).max_length != 64
    assert AutoTokenizer.from_pretrained(teacher_bundle).model_max_length == 64
