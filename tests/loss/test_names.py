"""Every name of the room is what it says, whatever was imported before."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("first", ["linear", "cross_entropy", "softmax", "autograd"])
def test_unit_functions_keep_their_names(first: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    names = "from lmfast.loss import cross_entropy, softmax; print(callable(cross_entropy), callable(softmax))"
    code = f"import lmfast.loss.{first}; {names}"
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert out.stdout == "True True\n"


def test_unit_all_names_are_there() -> None:
    pytest.importorskip("torch")
    from lmfast import loss

    assert all(callable(getattr(loss, name)) for name in loss.__all__)
