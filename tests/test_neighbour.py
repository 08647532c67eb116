"""The unrelated distribution of the same import name is found, and nothing else is."""

from pathlib import Path

import pytest

from lmfast._neighbour import refuse_unrelated_lmfast


def test_unit_refuses_the_unrelated_distribution(tmp_path: Path) -> None:
    (tmp_path / "lmfast-0.3.1.dist-info").mkdir()
    with pytest.raises(ImportError, match=r"lmfast-0\.3\.1\.dist-info.*pip uninstall lmfast lmfast-kernels"):
        refuse_unrelated_lmfast(str(tmp_path))


def test_unit_accepts_other_names(tmp_path: Path) -> None:
    for name in ("lmfast", "lmfast_kernels-0.1.0.dist-info", "lmfast_kernels.egg-info", "lmfast-notes"):
        (tmp_path / name).mkdir()
    refuse_unrelated_lmfast(str(tmp_path))


def test_safety_unreadable_folder_says_nothing(tmp_path: Path) -> None:
    refuse_unrelated_lmfast(str(tmp_path / "library.zip"))


def test_unit_this_installation_is_clean() -> None:
    refuse_unrelated_lmfast()
