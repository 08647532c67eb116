"""What a race keeps: rows in a file that is whole after each of them, and children that end with it."""

import json
import signal
import subprocess
import sys
import time

import pytest
from race import HERE, Results, Row


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("race.RESULTS", tmp_path)
    monkeypatch.setattr("race.revision", lambda: "one")
    return tmp_path


def row(case, value):
    return Row(case, "cl100k", "english", {"first": {"lmfast": [value]}}, versions={"lmfast": "1"})


def firsts(path):
    return {row["case"]: row["values"]["first"]["lmfast"] for row in json.loads(path.read_text())["rows"]}


def test_unit_each_row_is_kept_and_a_later_race_adds_to_the_file(folder):
    results = Results("text", runs=3)
    results.add(row("array", 1.0))
    assert firsts(results.path) == {"array": [1.0]}
    results.add(row("new", 2.0))
    again = Results("text", runs=3)
    again.add(row("new", 3.0))
    assert again.path == results.path
    assert firsts(again.path) == {"array": [1.0], "new": [3.0]}
    assert [row.case for row in again.rows] == ["new"]


def test_unit_other_settings_or_another_revision_begin_a_file(folder, monkeypatch):
    results = [Results("text", runs=3)]
    results[-1].add(row("array", 1.0))
    results.append(Results("text", runs=5))
    results[-1].add(row("array", 2.0))
    monkeypatch.setattr("race.revision", lambda: "two")
    results.append(Results("text", runs=3))
    results[-1].add(row("array", 3.0))
    assert [firsts(r.path)["array"] for r in results] == [[1.0], [2.0], [3.0]]
    assert len(list(folder.iterdir())) == 3


def test_unit_without_a_topic_there_is_no_file(folder):
    results = Results(None)
    results.add(row("array", 1.0))
    assert not list(folder.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_unit_a_side_ends_with_its_parent():
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, {str(HERE / 'sides.py')!r}], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"  # it waits for a job that never comes
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    for _ in range(100):
        if ended(child):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {child} is still there")


def ended(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
