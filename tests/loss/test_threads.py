"""Threads beside torch: the same OpenMP team, never after a fork, and none of it without torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmfast import threads

SCRIPT = """
import os, sys
import numpy as np
import torch
from lmfast import loss, threads

torch.set_num_threads(2)
x, y = torch.randn(64, 20000), torch.randint(0, 20000, (64,))
want = loss.cross_entropy(x, y).item()
assert (threads.openmp() != 0) == {team}, threads.openmp()
pid = os.fork()
if pid == 0:
    assert threads.openmp() == 0
    os._exit(loss.cross_entropy(x.numpy(), y.numpy()).item() != want or loss.cross_entropy(x, y).item() != want)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), loss.cross_entropy(x, y).item() == want)
"""


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_safety_a_child_after_fork_uses_its_own_threads(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with open("/proc/self/maps") as maps:
        gnu = "libgomp" in maps.read()
    assert run(SCRIPT.replace("{team}", str(gnu and torch.backends.openmp.is_available())), tmp_path) == "0 True\n"


def test_unit_no_team_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from lmfast import loss, threads\n"
        "x = np.zeros((64, 5000), np.float32); y = np.zeros(64, np.int64)\n"
        "print(round(float(loss.cross_entropy(x, y)), 4), threads.openmp(), 'torch' in sys.modules)"
    )
    assert run(code, tmp_path) == "8.5172 0 False\n"


def test_unit_the_pool_serves_as_well(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    from lmfast.loss.rows import Rows

    x, y = rng.standard_normal((40, 3000), np.float32), rng.integers(0, 3000, 40)
    rows = Rows(x, y)
    want = rows.run(n_threads=1).loss
    monkeypatch.setattr(threads, "_openmp", 0)
    for n_threads in (2, 5):
        assert (rows.run(n_threads=n_threads).loss == want).all()
    y[33] = y[12] = 3000
    with pytest.raises(IndexError, match=r"target\[12\] = 3000"):
        Rows(x, y).run(n_threads=3)
