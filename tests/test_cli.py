import base64
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

import lmfast
from lmfast import cli

WORDS = [b"he", b"ll", b"hell", b"hello", b" w", b"or", b" wor", b"ld", b" world"]  # ids 256, 257, ...


@pytest.fixture
def ranks(tmp_path):
    """A rank file of the 256 bytes and `WORDS`, in which "hello" is 259 and " world" is 264."""
    tokens = [bytes([byte]) for byte in range(256)] + WORDS
    path = tmp_path / "tiny.tiktoken"
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % i for i, token in enumerate(tokens)))
    return str(path)


def run(*arguments, stdin=None):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], input=stdin)


def fails(*arguments, stdin=None, code=1):
    """The one line that a failing command says."""
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == code, result.output
    line, nothing = result.output.split("\n")
    assert nothing == ""
    assert line.startswith("lmfast: ")
    return line


def test_unit_encode_writes_ids_and_offsets(ranks, tmp_path):
    (tmp_path / "a").write_bytes(b"hello world<|eot|>hello")
    (tmp_path / "b").write_bytes(b"")
    ids, offsets = tmp_path / "ids.npy", tmp_path / "offsets.npy"
    result = run(
        *("encode", ranks, tmp_path / "a", tmp_path / "b", "--pattern", "gpt2"),
        *("--separator", "<|eot|>", "-o", ids, "--offsets", offsets),
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "3 tokens of 3 documents" in result.output
    assert np.load(ids).dtype == np.uint32
    assert np.load(ids).tolist() == [259, 264, 259]
    assert np.load(offsets).dtype == np.int64
    assert np.load(offsets).tolist() == [0, 2, 3, 3]
    assert np.load(ids, mmap_mode="r").tolist() == [259, 264, 259]


def test_unit_encode_prints_without_output(ranks):
    result = run("encode", ranks, "-", "--pattern", "gpt2", "--separator", "|", stdin=b"hello world||a")
    assert (result.exit_code, result.stdout) == (0, "259 264\n\n97\n")


def test_unit_encode_uint16(ranks, tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    assert run(
        "encode", ranks, tmp_path / "a", "--pattern", "gpt2", "--dtype", "uint16", "-o", tmp_path / "x.npy", "-q"
    )
    assert np.load(tmp_path / "x.npy").dtype == np.uint16
    assert np.load(tmp_path / "x.npy").tolist() == [259]


def test_unit_encode_special_tokens_only_where_allowed(ranks):
    arguments = ("encode", ranks, "-", "--pattern", "gpt2", "--special-token", "<|a=b|>=300")
    assert run(*arguments, "--allowed-special", "all", stdin=b"<|a=b|>hello").stdout == "300 259\n"
    assert run(*arguments, "--allowed-special", "<|a=b|>", stdin=b"hello<|a=b|>").stdout == "259 300\n"
    assert run(*arguments, stdin=b"<|a=b|>").stdout == " ".join(str(b) for b in b"<|a=b|>") + "\n"


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("text", [b"", b"ab", b"abab", b"xaby", b"aab", b"aabab", b"a", b"xxababyyabz", b"abxab"])
def test_unit_documents_are_what_split_gives(monkeypatch, chunk, text):
    want = text.split(b"ab")
    if len(want) > 1 and not want[-1]:
        want.pop()  # nothing follows a separator at the end
    monkeypatch.setattr(cli, "CHUNK", chunk)
    assert list(cli.documents_of(io.BytesIO(text), b"ab")) == want
    assert list(cli.documents_of(io.BytesIO(text), None)) == [text]


def test_unit_batches_change_nothing(ranks, tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"hello world|hello||" * 50)
    arguments = ("encode", ranks, tmp_path / "a", "--pattern", "gpt2", "--separator", "|", "-q", "-o")
    run(*arguments, tmp_path / "x.npy", "--offsets", tmp_path / "xo.npy")
    monkeypatch.setattr(cli, "CHUNK", 16)
    run(*arguments, tmp_path / "y.npy", "--offsets", tmp_path / "yo.npy")
    assert np.load(tmp_path / "x.npy").tolist() == [259, 264, 259] * 50
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()
    assert (tmp_path / "xo.npy").read_bytes() == (tmp_path / "yo.npy").read_bytes()
    assert run("decode", ranks, tmp_path / "y.npy", "--pattern", "gpt2").stdout_bytes == b"hello worldhello" * 50


def test_unit_decode_gives_back_the_bytes(ranks, tmp_path):
    text = b"hello\r\n w\xc3\xa9 \xff\x00 world"
    (tmp_path / "a").write_bytes(text)
    run("encode", ranks, tmp_path / "a", "--pattern", "gpt2", "-o", tmp_path / "x.npy")
    assert run("decode", ranks, tmp_path / "x.npy", "--pattern", "gpt2").stdout_bytes == text
    assert run("decode", ranks, tmp_path / "x.npy", "--pattern", "gpt2", "-o", tmp_path / "b").exit_code == 0
    assert (tmp_path / "b").read_bytes() == text
    assert run("decode", ranks, "-", "--pattern", "gpt2", stdin=b"259\n264 10\n").stdout_bytes == b"hello world\n"


def test_unit_decode_takes_any_integer_type(ranks, tmp_path):
    for dtype in (np.uint16, np.int64, ">i4"):
        np.save(tmp_path / "x.npy", np.array([259, 264], dtype))
        assert run("decode", ranks, tmp_path / "x.npy", "--pattern", "gpt2").stdout_bytes == b"hello world"


def test_safety_decode_refuses_what_is_not_ids(ranks, tmp_path):
    path = tmp_path / "x.npy"
    for array in (np.zeros(2), np.zeros((2, 2), np.uint32), np.array(["a"])):
        np.save(path, array)
        assert "one-dimensional array of integers" in fails("decode", ranks, path, "--pattern", "gpt2")
    path.write_bytes(b"hello")
    assert "x.npy: not a .npy file" in fails("decode", ranks, path, "--pattern", "gpt2")
    np.save(path, np.arange(100, dtype=np.uint32))
    path.write_bytes(path.read_bytes()[:-8])
    assert "x.npy" in fails("decode", ranks, path, "--pattern", "gpt2")
    for bad in (9999, -1, 2**33 + 259):
        np.save(path, np.array([259, bad], np.int64))
        assert str(bad) in fails("decode", ranks, path, "--pattern", "gpt2", "-o", tmp_path / "out")
    assert "'x1'" in fails("decode", ranks, "-", "--pattern", "gpt2", stdin=b"259 x1")
    assert not (tmp_path / "out").exists()


def test_unit_count(ranks, tmp_path):
    (tmp_path / "a").write_bytes(b"hello world" * 6)
    (tmp_path / "b").write_bytes(b"hello")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert run("count", ranks, a, "--pattern", "gpt2").stdout == f"12 {a}\n"
    assert run("count", ranks, a, b, "--pattern", "gpt2").stdout == f"12 {a}\n 1 {b}\n13 total\n"
    assert run("count", ranks, "--pattern", "gpt2", stdin=b"hello world").stdout == "2\n"
    assert json.loads(run("count", ranks, a, b, "--pattern", "gpt2", "--json").stdout) == {
        "files": [{"file": a, "tokens": 12, "bytes": 66}, {"file": b, "tokens": 1, "bytes": 5}],
        "total": {"tokens": 13, "bytes": 71},
    }


def test_unit_count_of_folders(ranks, tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("b", "a", "deep/c", ".hidden", ".git/d"):
        (folder / name).write_bytes(b"hello")
    lines = run("count", ranks, "-r", folder, "--pattern", "gpt2").stdout.splitlines()
    assert lines == [f"1 {folder}/a", f"1 {folder}/b", f"1 {folder}/deep/c", "3 total"]


def test_unit_count_goes_on_after_a_missing_file(ranks, tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    result = run("count", ranks, tmp_path / "missing", tmp_path / "a", "--pattern", "gpt2")
    assert result.exit_code == 1
    assert f"lmfast: error: {tmp_path}/missing: No such file or directory\n" in result.output
    assert f"1 {tmp_path}/a\n1 total\n" in result.output


def test_unit_convert_there_and_back(ranks, tmp_path):
    there, back = tmp_path / "tokenizer.json", tmp_path / "back.tiktoken"
    for arguments in ((ranks, there, "--pattern", "gpt2"), (there, back)):
        result = run("convert", *arguments)
        assert (result.exit_code, result.output) == (0, "")
    with open(ranks, "rb") as stream:
        assert back.read_bytes() == stream.read()
    assert run("encode", there, "-", stdin=b"hello world").stdout == "259 264\n"


def test_unit_info():
    result = run("info")
    assert result.exit_code == 0
    assert lmfast.__version__ in result.stdout
    assert json.loads(run("info", "--json").stdout)["version"] == lmfast.__version__


def test_unit_version_and_help():
    assert run("--version").stdout == f"lmfast {lmfast.__version__}\n"
    text = run("--help").stdout
    for name in ("encode", "decode", "count", "convert", "info", "demo"):
        assert f"\n  {name}" in text
        assert run(name, "--help").exit_code == 0


def test_unit_help_does_not_wait_for_numpy():
    code = "import sys, lmfast.cli; print([m for m in ('numpy', 'torch', 'tqdm', 'regex') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_safety_errors_are_one_line(ranks, tmp_path):
    missing = tmp_path / "missing"
    assert (
        fails("encode", ranks, missing, "--pattern", "gpt2") == f"lmfast: error: {missing}: No such file or directory"
    )
    assert "missing.json" in fails("count", tmp_path / "missing.json", ranks)
    assert fails("count", "missing.model", ranks) == "lmfast: error: missing.model: No such file or directory"
    assert "nonsense" in fails("count", "nonsense", ranks)
    assert "Is a directory" in fails("encode", ranks, tmp_path, "--pattern", "gpt2")
    (tmp_path / "bad.tiktoken").write_bytes(b"not base64\n")
    assert "bad.tiktoken" in fails("count", tmp_path / "bad.tiktoken", ranks, "--pattern", "gpt2")
    # A rank file without a pattern could be split in any way; nothing is guessed.
    assert "pattern" in fails("count", ranks, ranks)
    assert "pattern" in fails("encode", "cl100k_base", ranks, "--pattern", "gpt2")


def test_safety_wrong_usage(ranks):
    for arguments in (["count"], ["nonsense"], ["encode", ranks], ["encode", ranks, "-", "--dtype", "int8"]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "Usage: " in result.output
    for value in ("a", "=1", "a=", "a=-1", "a=x"):
        assert "NAME=ID" in run("count", ranks, "--special-token", value).output


@pytest.mark.parametrize(("failure", "code"), [(KeyboardInterrupt, 130), (MemoryError, 1)])
def test_safety_nothing_half_written(ranks, tmp_path, monkeypatch, failure, code):
    (tmp_path / "a").write_bytes(b"hello|" * 10)
    (tmp_path / "x.npy").write_bytes(b"old")
    before = sorted(os.listdir(tmp_path))
    honest = lmfast.Tokenizer.encode_batch
    calls = []

    def stopped(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise failure
        return honest(*arguments, **options)

    monkeypatch.setattr(cli, "CHUNK", 16)
    monkeypatch.setattr(lmfast.Tokenizer, "encode_batch", stopped)
    files = ("-o", tmp_path / "x.npy", "--offsets", tmp_path / "xo.npy")
    fails("encode", ranks, tmp_path / "a", "--pattern", "gpt2", "--separator", "|", *files, code=code)
    assert (tmp_path / "x.npy").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == before


def start(*arguments, **options):
    command = [sys.executable, "-m", "lmfast", *map(str, arguments)]
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_safety_interrupt_from_the_keyboard(ranks, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    process = start(
        *("encode", ranks, "-", "--pattern", "gpt2", "--separator", "|", "-o", folder / "x.npy"), stdin=subprocess.PIPE
    )
    while process.poll() is None and not os.listdir(folder):  # until it has begun to write
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert said.splitlines()[-1] == b"lmfast: interrupted"
    assert process.returncode == 130
    assert os.listdir(folder) == []


def test_safety_a_reader_that_leaves(ranks, tmp_path):
    (tmp_path / "a").write_bytes(b"hello world|" * 100_000)
    process = start("encode", ranks, tmp_path / "a", "--pattern", "gpt2", "--separator", "|")
    assert process.stdout.readline() == b"259 264\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1
