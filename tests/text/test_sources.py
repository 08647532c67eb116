"""Sources: the same texts give the same counts, whatever file holds them."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmfast.text import sources
from lmfast.text.train import train_bpe
from lmfast.text.words import count_words

TEXTS = ["the cat\nsat", "", "on the mat é한", "a" * 3000, "\u2028 x", "end"] * 30


def write(path: Path, column: str = "text") -> Path:
    """The texts in a file of the kind that its name tells."""
    data = "".join(json.dumps({"n": i, column: text}) + "\n" for i, text in enumerate(TEXTS)).encode()
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({column: TEXTS, "n": range(len(TEXTS))}), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
    elif path.suffix == ".zst":
        path.write_bytes(pytest.importorskip("zstandard").compress(data))
    else:
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
@pytest.mark.parametrize("chunk", [100, 1 << 20])
def test_unit_rows(name: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_CHUNK", chunk)
    want = count_words(TEXTS)
    assert count_words(write(tmp_path / name)) == want
    assert count_words(write(tmp_path / name, "body"), column="body", threads=3) == want
    assert count_words([*TEXTS[:3], write(tmp_path / name), "x y"]) == count_words([*TEXTS[:3], *TEXTS, "x y"])


def test_unit_compressed_text(tmp_path: Path) -> None:
    data = "|".join(TEXTS).encode()
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(data))
    for name in ("a.txt", "a.txt.gz"):
        assert count_words(tmp_path / name, separator="|") == count_words(TEXTS)


def test_unit_progress_of_rows(tmp_path: Path) -> None:
    seen: list[Any] = []
    count_words(write(tmp_path / "a.jsonl"), progress=seen.append)
    assert [(p.stage, p.done, p.total) for p in seen] == [("count", sum(len(text.encode()) for text in TEXTS), None)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "JSONDecodeError"),
        (b"[1]", "TypeError"),
        (b'{"body": "x"}', "KeyError"),
        (b'{"text": 5}', "5; want a string"),
        (b'{"text": null}', "None; want a string"),
        (b"\xff", "UnicodeDecodeError"),
        (b"[" * 100_000, "Error"),
    ],
)
def test_safety_rows(line: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n\n' + line + b"\n")
    with pytest.raises(ValueError, match=r"a\.jsonl:3: .*" + problem):
        count_words(tmp_path / "a.jsonl")


def test_safety_damaged(tmp_path: Path) -> None:
    for name, error in (("a.jsonl.gz", OSError), ("a.parquet", Exception), ("b.jsonl", OSError)):
        if not name.startswith("b"):
            (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(error):
            count_words(tmp_path / name)
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="no column 'body'; there are text, n"):
        count_words(write(tmp_path / "c.parquet"), column="body")


def test_unit_package_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(sources, "import_module", absent)
    for name, package in (("a.jsonl.zst", "zstandard"), ("a.parquet", "pyarrow")):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ImportError, match=f"{name} needs the package {package}, which is not installed"):
            count_words(tmp_path / name)


def test_unit_training(tmp_path: Path) -> None:
    want = train_bpe(TEXTS, 280)
    assert train_bpe(write(tmp_path / "a.jsonl"), 280) == want
    assert train_bpe(count_words(write(tmp_path / "a.jsonl.gz")), 280) == want


@pytest.mark.slow
def test_safety_bounded_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    """Random words, far more than fit in 16 MiB: counts and tokenizer are those of unbounded memory."""
    numbers = rng.integers(0, 2**31, 1_500_000)
    (tmp_path / "a.txt").write_text(" ".join(map(str, numbers.tolist())))
    got = count_words(tmp_path / "a.txt", "gpt2", max_memory=16 << 20)
    assert got == count_words(tmp_path / "a.txt", "gpt2")
    assert len(got) > 1_000_000
    assert train_bpe(tmp_path / "a.txt", 600, pattern="gpt2", max_memory=16 << 20) == train_bpe(got, 600)
