"""Input that could fill the memory or the time: quotes that never close, blank lines before JSON."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import zstandard

from distilshift.config import InputConfig
from distilshift.data.read import iter_examples
from distilshift.errors import DataError

LIMIT = 3000  # of a text; that of a row is higher


def texts(file: Any, **options: Any) -> list[str]:
    return [example.text for example in iter_examples(file, InputConfig(**options))]


@pytest.mark.parametrize("options", [{}, {"skip_bad": True}])
def test_a_record_ends_at_the_limit_however_short_its_cells_are(options: dict[str, Any]):
    file = io.BytesIO(b"text,label\n" + b'a","c\n' * 2_000_000)
    file.name = "a.csv"  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"malformed row or unclosed quote: expected at most 1,048,576 characters in a"):
        texts(file, max_chars=LIMIT, quoting="csv", **options)
    assert file.tell() < 3_000_000


@pytest.mark.parametrize("options", [{}, {"skip_bad": True}])
def test_a_quote_that_swallows_many_rows_condemns_the_file(tmp_path: Path, options: dict[str, Any]):
    (tmp_path / "b.csv").write_text('text,label\n"open,1\n' + "fine,2\n" * 5_000)
    with pytest.raises(DataError, match="malformed row or unclosed quote") as caught:
        texts(tmp_path / "b.csv", **options)
    assert "skip-bad" not in str(caught.value)


def test_a_quote_that_swallows_a_few_rows_costs_only_its_own(tmp_path: Path):
    (tmp_path / "a.csv").write_text('text,label\n"open,1\n' + "fine,2\n" * 500)
    assert texts(tmp_path / "a.csv", skip_bad=True) == ["fine"] * 500


def test_blank_lines_before_json_are_not_kept(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text(" \t\n" * 200_000 + '{"text": "good"}\n{"text": 5}\n')
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="line 200002"):
            texts(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_zstandard_file_with_a_long_window_is_named_as_such(tmp_path: Path):
    long = zstandard.ZstdCompressionParameters.from_level(3, window_log=28, enable_ldm=True)
    path = tmp_path / "my texts.txt.zst"
    packer = zstandard.ZstdCompressor(compression_params=long).compressobj()
    path.write_bytes(packer.compress(b"good\n" * 9) + packer.flush())
    with pytest.raises(DataError, match="Zstandard window is too long") as caught:
        texts(path)
    assert f"`zstd -d --long=31 '{path}'`" in str(caught.value)
