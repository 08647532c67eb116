"""The GPU library: one table of signatures, one header, one set of exported names; polite where there is no device."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lmfast import _cuda

HEADER = Path(__file__).resolve().parents[1] / "csrc" / "lf_cuda.h"
LETTERS = {"int": "i", "uint32_t": "u", "int64_t": "l", "float": "f"}

built = pytest.mark.skipif(not _cuda.LIBRARY.exists(), reason="built without the GPU library")


def letter(declaration: str) -> str:
    return "p" if "*" in declaration else LETTERS[declaration.split()[-2]]


def prototypes() -> dict[str, tuple[str, list[str]]]:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    found = re.findall(r"LF_CUDA_API ([\w ]+[ *])(lf_cuda_\w+)\(([^)]*)\);", text)
    return {name: (result.strip(), [" ".join(a.split()) for a in args.split(",")]) for result, name, args in found}


def test_unit_signatures_equal_header() -> None:
    table = {}
    for name, (result, arguments) in prototypes().items():
        returns = "s" if result == "const char *" else LETTERS[result]
        table[name] = f"{returns}({''.join(map(letter, arguments))})"
    assert table == _cuda.SIGNATURES


def test_unit_stream_is_last() -> None:
    for name, (_, arguments) in prototypes().items():
        at = [i for i, argument in enumerate(arguments) if argument.endswith("stream")]
        assert at in ([], [len(arguments) - 1]), name
        assert not at or arguments[-1] == "void *stream", name


@built
@pytest.mark.skipif(not shutil.which("nm"), reason="needs nm")
def test_unit_library_exports_only_its_entries() -> None:
    out = subprocess.run(["nm", "-D", "--defined-only", _cuda.LIBRARY], capture_output=True, text=True, check=True)
    assert {line.split()[-1] for line in out.stdout.splitlines()} == set(_cuda.SIGNATURES)


@built
def test_unit_error_text_without_device() -> None:
    library = _cuda.library()
    assert library is not None
    assert library.lf_cuda_error_text(1) == b"invalid argument"
    assert library.lf_cuda_fill_u32(None, 7, 0, None) == 0
    assert library.lf_cuda_fill_u32(None, 7, -1, None) == 1
    with pytest.raises(RuntimeError, match="CUDA error 1: invalid argument"):
        _cuda.check(1)


@built
def test_safety_device_count_is_zero_on_failure() -> None:
    library = _cuda.library()
    assert library is not None
    count = ctypes.c_int(-1)
    code = library.lf_cuda_device_count(ctypes.byref(count))
    assert (code == 0) == (count.value > 0)
    assert count.value >= 0


def test_unit_polite_without_device() -> None:
    if _cuda.available():
        assert _cuda.device_names()
        assert _cuda.require() is _cuda.library()
        return
    with pytest.raises(RuntimeError, match=r"without nvcc|CUDA error|finds no device"):
        _cuda.require()


def test_unit_missing_or_broken_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent, broken = tmp_path / "absent.so", tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    try:
        for file, word in (absent, "built without nvcc"), (broken, "cannot be used"):
            monkeypatch.setattr(_cuda, "LIBRARY", file)
            _cuda.library.cache_clear()
            with pytest.raises(RuntimeError, match=word):
                _cuda.device_names()
    finally:
        _cuda.library.cache_clear()


@pytest.mark.gpu
def test_unit_fill_on_device() -> None:
    torch = pytest.importorskip("torch")
    if not _cuda.available() or not torch.cuda.is_available():
        pytest.skip("needs a CUDA device and a torch that sees it")
    out = torch.zeros(3_000_001, dtype=torch.int32, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    _cuda.check(_cuda.require().lf_cuda_fill_u32(out.data_ptr(), 7, out.numel() - 1, stream.cuda_stream))
    stream.synchronize()
    assert bool((out[:-1] == 7).all())
    assert out[-1].item() == 0


def test_unit_job_equals_header() -> None:
    """Names, order, types: in a struct of 8-byte fields and pairs of floats nothing else can differ."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    found = re.search(r"typedef struct \{([^}]*)\} lf_cuda_cross_entropy;", text)
    assert found is not None
    fields = []
    for declaration in found[1].split(";"):
        kind, _, names = declaration.strip().removeprefix("const ").partition(" ")
        for name in filter(None, names.replace("*", " * ").split(",")):
            words = name.split()
            fields.append(f"{'p' if '*' in words else {**LETTERS, 'double': 'd'}[kind]}:{words[-1]}")
    assert fields == _cuda.CROSS_ENTROPY_FIELDS.split()
    assert ctypes.sizeof(_cuda.CrossEntropyJob) == sum(4 if field[0] == "f" else 8 for field in fields)
