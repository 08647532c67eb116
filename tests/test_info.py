"""The facts for a bug report."""

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import lmfast
from lmfast.info import OPTIONAL, format_info, info

FACTS = {
    "version": "1.2.3",
    "python": "CPython 3.11.7",
    "platform": "Linux",
    "isa": {"chosen": "avx2", "available": ["generic", "avx2"]},
    "cuda": {"library": None, "devices": [], "problem": "no library"},
    "packages": {"torch": "2.13.0", "ray": None},
}


def test_unit_table() -> None:
    assert format_info(FACTS).splitlines() == [
        "lmfast        1.2.3",
        "python        CPython 3.11.7",
        "platform      Linux",
        "isa           avx2 (available: generic, avx2)",
        "cuda library  none",
        "cuda devices  none (no library)",
        "torch         2.13.0",
        "ray           not installed",
    ]


def test_unit_info_is_json_and_complete() -> None:
    facts = json.loads(json.dumps(info()))
    assert list(facts) == list(FACTS)
    assert facts["isa"]["chosen"] in facts["isa"]["available"]
    assert facts["isa"]["available"][0] == "generic"
    assert tuple(facts["packages"]) == OPTIONAL
    assert bool(facts["cuda"]["devices"]) == (facts["cuda"]["problem"] is None)
    assert format_info(facts).startswith("lmfast ")


def test_unit_isa_override_is_shown(tmp_path: Path) -> None:
    code = "import json; from lmfast.info import info; print(json.dumps(info()))"
    environment = {**os.environ, "LMFAST_ISA": "generic"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, check=True
    )
    assert json.loads(done.stdout)["isa"]["chosen"] == "generic"


def test_unit_version_is_the_distribution_s() -> None:
    try:
        assert lmfast.__version__ == version("lmfast-kernels")
    except PackageNotFoundError:
        pytest.skip("not installed: run from a source tree")
