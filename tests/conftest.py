"""What every test may ask for: the data folder, an instruction set, a random generator whose seed is printed."""

import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

CHECKOUT = Path(__file__).resolve().parents[1]
SEED = int(os.environ.get("LMFAST_TEST_SEED") or random.SystemRandom().randrange(2**32))

# A child `python -m lmfast` would find the folder it starts in first, and the checkout's lmfast is not compiled.
# Python 3.10 does not know this word: give such children a `cwd` outside the checkout as well.
os.environ.setdefault("PYTHONSAFEPATH", "1")

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=False, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_report_header() -> str:
    return f"LMFAST_TEST_SEED={SEED}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `isa` once for each instruction set of this machine."""
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "isa" in metafunc.fixturenames and not any("isa" in names for names in named):
        from lmfast.text import _text

        metafunc.parametrize("isa", _text.isas())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With LMFAST_TEST_BRIEF=1 hypothesis draws a tenth of the examples: for runs that are slow for another reason."""
    if os.environ.get("LMFAST_TEST_BRIEF") != "1":
        return
    for item in items:
        test = getattr(item, "obj", None)
        given = getattr(test, "_hypothesis_internal_use_settings", None)
        if given is not None:
            test._hypothesis_internal_use_settings = settings(given, max_examples=max(10, given.max_examples // 10))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real text and real vocabularies, which is not part of the project."""
    folder = Path(os.environ.get("LMFAST_TEST_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(
            f"no test data: {folder} is absent; set LMFAST_TEST_DATA to the folder that holds corpus/ and vocab/"
        )
    return folder


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded by LMFAST_TEST_SEED and the test's name, so that a test run alone draws the same values."""
    return np.random.default_rng([SEED, zlib.crc32(request.node.name.encode())])
