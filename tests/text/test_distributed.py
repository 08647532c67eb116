"""Counting over Ray: what one process counts."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmfast.text import distributed
from lmfast.text.words import WordCounts, count_words

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TEXTS = [f"the cat {i % 7} in the hat sat on mat number {i}; {'x' * (i % 5)} é한 {i * i}\n" for i in range(2000)]


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Ray of this machine with three workers, which look for modules first in the folder it was started from: not in
    the checkout, whose lmfast need not be compiled.
    """
    module = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ray"))
        module.init(
            num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=10**8
        )
    yield module
    module.shutdown()


def test_peer_one_process(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = count_words(TEXTS)
    paths = [tmp_path / f"{i}.txt" for i in range(4)]
    for i, path in enumerate(paths):
        path.write_text("".join(TEXTS[500 * i : 500 * (i + 1)]))
    for reducers in (1, 5):
        assert distributed.count_words(paths, reducers=reducers) == count_words(paths)
    monkeypatch.setattr(distributed, "_BATCH", 20_000)
    assert distributed.count_words(TEXTS) == want
    assert distributed.count_words([]) == WordCounts.from_items([])


def test_peer_dataset(ray: Any) -> None:
    data = pytest.importorskip("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    dataset = data.from_items([{"body": text, "n": i} for i, text in enumerate(TEXTS)], override_num_blocks=4)
    got = distributed.count_words(dataset, column="body")
    assert dict(got) == dict(count_words(TEXTS))
    assert got.pattern == count_words([]).pattern


def test_safety_killed_worker(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies in the middle of its task: the task is run again, and nothing is counted twice."""
    died = tmp_path / "died"
    count = distributed._count

    def dying(block: Any, task: Any) -> Any:
        if task.number == 1 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return count(block, task)

    monkeypatch.setattr(distributed, "_BATCH", 20_000)
    monkeypatch.setattr(distributed, "_count", dying)
    assert distributed.count_words(TEXTS) == count_words(TEXTS)
    assert died.exists()


def test_safety_errors(ray: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reducers = 0"):
        distributed.count_words([], reducers=0)
    with pytest.raises(FileNotFoundError):
        distributed.count_words(tmp_path / "nothing")
