"""Races between libraries: every measurement in a fresh process, pinned to a core, the sides taking turns.

Before the clock starts each side runs once on a sample, and the hashes of the ids are compared; every timed run is
hashed too. A side whose output differs gets no time and no ratio. The numbers of a side are medians over the runs; a
ratio above 1 says that lmfast is better.
"""

import datetime
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from lmfast.files import atomic_write

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
HOME = "lmfast"
SAMPLE = 4 << 20
"""Bytes of the check before the clock starts, and of what a slow side is timed on."""


@dataclass(frozen=True)
class Entry:
    """A side of a race: its name in sides.py, the interpreter that has it, and a smaller job for a slow one."""

    side: str
    python: str = sys.executable
    limit: int | None = None


@dataclass
class Row:
    """One case in one setting: the numbers of all sides."""

    case: str
    vocab: str
    corpus: str
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """metric -> side -> one number a run"""
    notes: dict[str, str] = field(default_factory=dict)
    """side -> why it has no numbers"""
    bytes: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def median(self, metric: str, side: str) -> float | None:
        values = self.values.get(metric, {}).get(side)
        return statistics.median(values) if values else None

    def ratio(self, metric: str, side: str, higher_is_better: bool) -> float | None:
        """How many times better lmfast is, or None where one of the two has no number."""
        ours, theirs = self.median(metric, HOME), self.median(metric, side)
        if side == HOME or not ours or not theirs:
            return None
        return ours / theirs if higher_is_better else theirs / ours

    def to_json(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if value}


def child(entry: Entry, job: dict, timeout: float) -> dict:
    """What one side measured, or {"note": why not}."""
    quiet = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    if job["case"] == "threads":
        quiet = {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    environment = {**os.environ, **quiet, "PYTHONHASHSEED": "0"}
    command = [entry.python, str(HERE / "sides.py")]
    try:
        done = subprocess.run(
            command,
            input=json.dumps({**job, "side": entry.side}),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return {"note": f"more than {timeout:.0f} s"}
    if done.returncode:
        errors = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", done.stderr, re.MULTILINE)
        return {"note": errors[-1][:160] if errors else f"exit code {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def race(job: dict, entries: list[Entry], *, runs: int, timeout: float, say=lambda line: None) -> Row:
    """Run one case: check, then `runs` rounds in which the sides take turns."""
    row = Row(job["case"] + (f"-{job['kind']}" if "kind" in job else ""), job["vocab"], job["corpus"])
    job = {"cores": [max(os.sched_getaffinity(0))], "limit": None, "check_only": False, **job}

    want, alive = None, []
    for entry in entries:
        found = child(entry, {**job, "limit": SAMPLE, "check_only": True}, timeout)
        if "note" in found:
            row.notes[entry.side] = found["note"]
        elif want is not None and found["check"] != want:
            row.notes[entry.side] = f"not the ids of {HOME}"
        else:
            want = found["check"]
            alive.append(entry)

    whole: dict[int, str] = {}
    for turn in range(runs):
        for entry in list(alive):
            say(f"{row.case} {row.vocab} {row.corpus}: run {turn + 1} of {runs}, {entry.side}")
            limit = min((n for n in (job["limit"], entry.limit) if n is not None), default=None)
            hostile = min(job.get("hostile_bytes", 0), entry.limit or sys.maxsize)
            found = child(entry, {**job, "limit": limit, "hostile_bytes": hostile}, timeout)
            # Those who were given the same bytes must give the same output, in every run.
            if "note" not in found and whole.setdefault(found["bytes"], found["check"]) != found["check"]:
                found = {"note": "other ids than before"}
            if "note" in found:
                row.notes[entry.side] = found["note"]
                for sides in row.values.values():
                    sides.pop(entry.side, None)
                alive.remove(entry)
                continue
            row.bytes[entry.side] = found["bytes"]
            row.versions[entry.side] = found["version"]
            for metric, value in found["metrics"].items():
                row.values.setdefault(metric, {}).setdefault(entry.side, []).append(float(f"{value:.4g}"))
    return row


def machine() -> dict[str, object]:
    """What the numbers were measured on."""
    cpu = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", cpu)
    flags = re.search(r"flags\s*:\s*(.*)", cpu)
    telling = ("avx2", "bmi2", "avx512f", "avx512bw", "avx512vbmi", "avx512_vbmi2", "gfni", "vaes")
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "cpu": model[1].strip() if model else platform.processor(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in telling if flags and flag in flags[1].split()],
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "huge_pages": huge.read_text().strip() if huge.exists() else "unknown",
        "python": platform.python_version(),
    }


def revision() -> str:
    """The git revision of the checkout, with a + where files other than results differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", HERE, *arguments], capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", ":/", f":(exclude){RESULTS.name}")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + ("+" if changed else "")


def result_stem(topic: str) -> str:
    """<date>-<machine>-<topic>, what a file of results is called."""
    about = machine()
    cpu = re.sub(r"\(r\)|processor|cpu|@.*", "", str(about["cpu"]).lower())
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return re.sub(r"[^a-z0-9]+", "-", f"{date}-{cpu}-{about['cores']}c-{topic}")


class Results:
    """What a race has measured so far, and its file.

    With a topic that is results/<date>-<machine>-<topic>.json, written anew with each row, so a race that is stopped
    loses only what it was at. A race on the same day, machine and revision with the same settings adds to the file; a
    case that was there before is replaced. Any other begins a file with the next number.
    """

    def __init__(self, topic: str | None, **settings: object) -> None:
        date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self.report: dict = {"date": date, "revision": revision(), "machine": machine(), "versions": {}, **settings}
        self.rows: list[Row] = []
        """those of this race"""
        self._kept: list[dict] = []
        self.path = self._place(topic, settings) if topic else None

    def _place(self, topic: str, settings: dict) -> Path:
        stem = result_stem(topic)
        for n in itertools.count(1):
            path = RESULTS / (f"{stem}-{n}.json" if n > 1 else f"{stem}.json")
            if not path.exists():
                return path
            there = json.loads(path.read_text())
            if all(there.get(key) == self.report[key] for key in ("revision", "machine", *settings)):
                self.report["versions"], self._kept = there["versions"], there["rows"]
                return path
        raise AssertionError  # the numbers do not end

    def add(self, row: Row) -> None:
        """Take a row in, and write the file where there is one."""

        def case(row: dict) -> list:
            return [row[key] for key in ("case", "vocab", "corpus")]

        new = row.to_json()
        self.rows.append(row)
        self._kept = [old for old in self._kept if case(old) != case(new)] + [new]
        self.report["versions"].update(row.versions)
        if self.path:
            self.path.parent.mkdir(exist_ok=True)
            with atomic_write(self.path, "w") as file:
                file.write(json.dumps({**self.report, "rows": self._kept}, indent=1) + "\n")
