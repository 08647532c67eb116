"""The text domain in one process, under pytest-benchmark: `pytest bench/`. Races with other libraries: bench_text.py.

A case that takes documents has seen them once, so these are repeat passes. `MB/s` stands in the extra information.
"""

import os
from pathlib import Path

import pytest

import lmfast

DATA = Path(os.environ.get("LMFAST_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
SIZE = 4 << 20

pytest.importorskip("pytest_benchmark")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data: {DATA} is absent; set LMFAST_TEST_DATA")


@pytest.fixture(scope="module", params=["cl100k_base", "o200k_base"])
def tokenizer(request):
    return lmfast.Tokenizer.from_file(DATA / "vocab" / f"{request.param}.tiktoken", pattern=request.param)


@pytest.fixture(scope="module", params=["english", "code", "multilingual"])
def documents(request):
    data = (DATA / "corpus" / f"{request.param}.txt").read_bytes()[:SIZE]
    return data.decode(errors="ignore").encode().split(b"<|endoftext|>")


def rate(benchmark, size):
    if benchmark.stats:  # none under --benchmark-disable
        benchmark.extra_info["MB/s"] = round(size / 1e6 / benchmark.stats.stats.median)


def test_encode_array(benchmark, tokenizer, documents):
    encoded = benchmark(tokenizer.encode_batch, documents, threads=1)
    assert len(encoded) == len(documents)
    rate(benchmark, sum(map(len, documents)))


def test_encode_list(benchmark, tokenizer, documents):
    lists = benchmark(lambda: [tokenizer.encode_list(document) for document in documents])
    assert len(lists) == len(documents)
    rate(benchmark, sum(map(len, documents)))


def test_count(benchmark, tokenizer, documents):
    counts = benchmark(tokenizer.count_batch, documents, threads=1)
    assert len(counts) == len(documents)
    rate(benchmark, sum(map(len, documents)))


@pytest.mark.parametrize("kind", ["array", "list"])
def test_decode(benchmark, tokenizer, documents, kind):
    ids = tokenizer.encode_batch(documents, threads=1).ids
    text = benchmark(tokenizer.decode, ids if kind == "array" else ids.tolist())
    assert text.encode() == b"".join(documents)
    rate(benchmark, len(text.encode()))


@pytest.mark.parametrize("kind", ["array", "list"])
@pytest.mark.parametrize("length", [50, 2000])
def test_short(benchmark, tokenizer, kind, length):
    text = (DATA / "corpus" / "english.txt").read_text()[100_000 : 100_000 + length]
    encode = tokenizer.encode if kind == "array" else tokenizer.encode_list
    ids = benchmark(encode, text)
    assert tokenizer.decode(ids) == text


def test_load(benchmark, tmp_path):
    path = DATA / "vocab" / "cl100k_base.tiktoken"
    benchmark(lambda: lmfast.Tokenizer.from_file(path, pattern="cl100k_base"))
