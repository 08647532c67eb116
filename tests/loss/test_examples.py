"""The examples of this room say what is so."""

import doctest
import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_unit_logits_follow_p_minus_y() -> None:
    pytest.importorskip("torch")
    result = doctest.testmod(load("logits_follow_p_minus_y"))
    assert result.attempted > 10
    assert not result.failed


@pytest.mark.slow  # the import of transformers
@pytest.mark.filterwarnings("ignore")
def test_unit_causal_lm_learns_both_ways_alike() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("transformers")
        logits, hidden = load("train_causal_lm").main(12)
    assert logits == pytest.approx(hidden, rel=1e-4)
    assert logits[-1] < logits[0] - 0.5
