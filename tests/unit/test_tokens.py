"""Windows of real tokenizers: all of a text, in its order, whatever the family, the language, and the other text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from distilshift.encoder import load_classifier
from distilshift.tokens import TextTokens, Windows
from distilshift.types import Example
from encoders import make_checkpoint

LENGTH = 16
SENTENCES = {
    "English": "Not a bad book, but the plot isn't unbelievably good: 7/10! ",
    "German": "Donaudampfschifffahrtsgesellschaftskapitän übernimmt Straßenbahnhaltestellen. ",
    "Chinese": "这本书很好，我非常喜欢。",
    "Japanese": "とても面白い本でした。",
    "Thai": "หนังสือเล่มนี้ดีมาก",
    "Arabic": "هذا كتاب جيد جدا ",
    "links": "https://example.org/a/very-long/path?query=1&other=2#here ",
    "tags": "#NotABadBook @some_user_name #книга #本 ",
    "code": "for(int i=0;i<n;++i){a[i]+=b[i]*c[i];} ",
    "emoji": "😀👍🏽👩‍👩‍👧 ",
}
SPECIAL = ["<s>", "</s>", "<unk>", "<pad>"]
Model = Callable[[Tokenizer], tuple[Tokenizer, trainers.Trainer]]


@cache
def trained(family: str) -> Tokenizer:
    """A tokenizer of one family, with its usual parts, that has seen half of the sentences."""
    if family == "WordPiece":
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
        made.post_processor = processors.BertProcessing(("</s>", 1), ("<s>", 0))
    elif family == "Unigram":
        made = Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        )
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    else:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, show_progress=False)
        made.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    made.train_from_iterator(list(SENTENCES.values())[::2] * 3, trainer)
    made.enable_truncation(LENGTH)
    return made


def untruncated(tokenizer: Tokenizer, *texts: str) -> Encoding:
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    return whole.encode(*texts)


def own_ids(encoding: Encoding, side: int) -> list[int]:
    return [piece for piece, kind in zip(encoding.ids, encoding.sequence_ids, strict=True) if kind == side]


FAMILIES = pytest.mark.parametrize("family", ["WordPiece", "Unigram", "BPE"])
TEXTS = st.lists(st.sampled_from([*SENTENCES.values(), "word ", "<s>", "a"]), min_size=1, max_size=12).map("".join)


@FAMILIES
@given(text=TEXTS, most=st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_windows_are_all_of_a_text(family: str, text: str, most: int):
    tokenizer = trained(family)
    whole, found = untruncated(tokenizer, text), TextTokens(tokenizer, most).windows([Example(text)])
    assert max(map(len, found.ids)) <= LENGTH
    if len(whole.ids) <= LENGTH:
        assert (found.ids, found.type_ids) == ([whole.ids], [whole.type_ids])
    assert {(row[0], row[-1]) for row in found.ids} == {(0, 1)}
    joined = [piece for row in found.ids for piece in row[1:-1]]
    if len(whole.ids) - 2 <= most * (LENGTH - 2):
        assert joined == own_ids(whole, 0)
    else:
        assert joined == own_ids(whole, 0)[: len(joined)]
        assert len(found.ids) == most


@pytest.mark.parametrize(("family", "mark"), [("WordPiece", "##"), ("Unigram", "▁"), ("BPE", "Ġ")])
def test_windows_begin_at_words(family: str, mark: str):
    tokenizer = Tokenizer.from_str(trained(family).to_str())
    tokenizer.enable_truncation(64)
    found = TextTokens(tokenizer, 99).windows([Example("not a bad book but the plot is " * 60)])
    pieces = [tokenizer.id_to_token(row[1]) for row in found.ids]
    assert len(pieces) > 5
    assert {piece.startswith(mark) for piece in pieces[1:]} == {family != "WordPiece"}
    sizes = list(map(len, found.ids))
    assert max(sizes) - min(sizes) <= 15


@FAMILIES
@given(first=TEXTS, second=TEXTS, most=st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_windows_of_a_pair_have_all_of_the_longer_text(family: str, first: str, second: str, most: int):
    tokenizer = trained(family)
    whole, found = untruncated(tokenizer, first, second), TextTokens(tokenizer, most).windows([Example(first, second)])
    assert max(map(len, found.ids)) <= LENGTH
    if len(whole.ids) <= LENGTH:
        assert (found.ids, found.type_ids) == ([whole.ids], [whole.type_ids])
        return
    sides, room = [own_ids(whole, side) for side in (0, 1)], LENGTH - tokenizer.num_special_tokens_to_add(True)
    cut = int(len(sides[1]) >= len(sides[0]))
    short = sides[1 - cut][: room // 2]
    joined: list[int] = []
    for row, types in zip(found.ids, found.type_ids, strict=True):
        between = [0, 1] if family == "WordPiece" else [0, 1, 1]
        size = len(row) - len(between) - len(short) - 1
        run = row[1 : 1 + size] if cut == 0 else row[-1 - size : -1]
        assert row == [0, *(run if cut == 0 else short), *between[1:], *(short if cut == 0 else run), 1]
        assert types == ([0] * (len(row) - size - 1) + [1] * (size + 1) if family == "WordPiece" and cut else types)
        joined += run
    assert joined == sides[cut][: len(joined)]
    assert len(joined) == len(sides[cut]) or found.counts == [most]


@FAMILIES
@given(first=TEXTS, second=TEXTS)
@settings(max_examples=40, deadline=None)
def test_one_window_is_what_the_tokenizer_truncates_to(family: str, first: str, second: str):
    tokenizer = trained(family)
    for example in (Example(first), Example(first, second)):
        own = tokenizer.encode(*filter(None, (example.text, example.pair)))
        assert TextTokens(tokenizer).windows([example]) == Windows([own.ids], [own.type_ids], [1])


@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta"])
def test_the_teacher_reads_the_windows_of_the_device(family: str, tmp_path: Path):
    classifier = load_classifier(str(make_checkpoint(tmp_path / "c", family)), LENGTH)
    device = Tokenizer.from_file(str(tmp_path / "c" / "tokenizer.json"))
    device.no_padding()
    device.enable_truncation(LENGTH)
    texts = [Example(sentence * count) for sentence in SENTENCES.values() for count in (1, 9, 30)]
    pairs = [Example(item.text, other.text) for item, other in zip(texts, texts[1:] + texts[:1], strict=True)]
    for examples in (texts, pairs):
        found = TextTokens(device, 6).windows(examples)
        assert found == classifier.windows(examples, 6)
        assert {1, 6} <= set(found.counts)
        first = classifier.shard(examples)  # a text that fits is as transformers has it
        for index, start in enumerate(sum(found.counts[:index]) for index in range(len(examples))):
            if found.counts[index] == 1:
                assert found.ids[start] == first.ids[first.offsets[index] : first.offsets[index + 1]].tolist()


@FAMILIES
@pytest.mark.parametrize("most", [1, 2])
def test_a_tokenizer_that_truncates_on_the_left_has_the_end_of_a_text_read(family: str, most: int):
    text, tokenizer = "".join(SENTENCES.values()), Tokenizer.from_str(trained(family).to_str())
    ids = own_ids(untruncated(tokenizer, text), 0)
    tokenizer.enable_truncation(LENGTH, direction="left")

    windows = TextTokens(tokenizer, most).windows([Example(text)])

    room = LENGTH - tokenizer.num_special_tokens_to_add(False)
    assert len(ids) > 2 * room
    assert [piece for row in windows.ids for piece in row[1:-1]] == ids[-most * room :]
    if most == 1:
        assert windows.ids == [tokenizer.encode(text).ids]
