"""The CUDA kernels without a device: compiled for the host, a thread as a fiber (see emulated/loss/device.cuh)."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lmfast import _cuda

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"


class Emulated(ctypes.Structure):
    """`Emulated` in emulated/loss/device.cuh: what a test chooses and what it learns."""

    _fields_ = [
        ("widest_cluster", ctypes.c_int),
        ("backwards", ctypes.c_int),
        ("faults", ctypes.c_int64),
        ("launches", ctypes.c_int64),
        ("last_cluster", ctypes.c_int64),
        ("last_threads", ctypes.c_int64),
    ]


@pytest.fixture(scope="session")
def emulated_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    out = tmp_path_factory.mktemp("emulated") / "kernels.so"
    flags = ["-O2", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC"]
    flags += ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    source = HERE / "emulated" / "kernels.cpp"
    subprocess.run(["g++", *flags, f"-I{HERE / 'emulated'}", f"-I{CSRC}", source, "-o", out], check=True)
    library = ctypes.CDLL(str(out))
    for name, signature in _cuda.SIGNATURES.items():
        if "cross_entropy" in name or "rows" in name:
            entry = getattr(library, name)
            entry.restype = _cuda.TYPES[signature[0]]
            entry.argtypes = [_cuda.TYPES[letter] for letter in signature[2:-1]]
    return library


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Where the kernels of the GPU want their tensors: a test runs emulated, and on a device if there is one."""
    torch = pytest.importorskip("torch")
    if request.param == "cuda":
        if not _cuda.available() or not torch.cuda.is_available():
            pytest.skip("needs a CUDA device and a torch that sees it")
        return "cuda"
    request.getfixturevalue("emulated")
    return "cpu"


@pytest.fixture
def emulated(emulated_library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulated]:
    """The door of the GPU leads to the emulated kernels and takes tensors of the CPU. No fault may have happened."""
    pytest.importorskip("torch")
    from lmfast.loss import _device

    @contextmanager
    def on(_: object) -> Iterator[tuple[ctypes.CDLL, int]]:
        yield emulated_library, 0

    def check(code: int) -> None:
        if code:
            raise RuntimeError(f"CUDA error {code}")

    monkeypatch.setattr(_device, "_on", on)
    monkeypatch.setattr(_cuda, "check", check)
    state = Emulated.in_dll(emulated_library, "lf_emulated")
    state.widest_cluster, state.backwards, state.faults = 16, 0, 0
    yield state
    assert state.faults == 0
