"""Cross-entropy on the CPU beside torch: forward, forward and backward, one thread and more, and what memory allows.

    python bench/bench_loss.py [--threads 1 2] [--shapes 1024x32000 ...] [--runs 7] [--save] [--plot]

Each shape, number of threads and way of allocating runs in a process of its own, in which the sides take turns; numbers
are medians in milliseconds. "default" is glibc's malloc, which gives large tensors back to the system: every new one is
paid in page faults; "warm" keeps them (`mallopt`). "stream" is the read of the logits (`x.sum()`) or their
multiplication in place (`x.mul_(c)`) by torch: what memory allows. Old gradients are freed before the clock starts.

--save adds the rows to results/<date>-<machine>-loss.json, replacing equal cases. --plot measures bandwidth over the
size of the vocabulary instead, of the fastest run of each side, and draws it beside that file.
"""

import argparse
import ctypes
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from race import RESULTS, machine, result_stem, revision

SHAPES = ("1024x32000", "512x128256", "256x151936", "2048x50257")
VOCABULARIES = (1000, 4096, 16384, 32000, 50257, 128256, 262144)
SIDES = {
    "forward": ("stream", "lmfast", "eager", "compile"),
    "in place": ("stream", "lmfast", "eager", "compile"),
    "fresh": ("lmfast", "eager", "compile"),
    "reused": ("lmfast", "eager", "compile"),
}
"""case -> sides. torch has one way of going forward and backward, which stands beside each of ours."""


def child(job: dict) -> dict:
    """Medians of one process, or the least without peers: {dtype: {side: ms}}."""
    if job["malloc"] == "warm":
        trim_threshold, mmap_max = -1, -4
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, -1)
    import torch

    torch.set_num_threads(job["threads"])
    return {name: times_of(getattr(torch, name), job) for name in job["dtypes"]}


def times_of(dtype, job: dict) -> dict:
    """Numbers of the sides for one dtype: {side: ms}."""
    import torch

    from lmfast import loss as ours

    n_rows, n_classes = job["shape"]
    eager = torch.nn.functional.cross_entropy
    logits = torch.randn(n_rows, n_classes).to(dtype)
    target = torch.randint(0, n_classes, (n_rows,))
    leaf, room = logits.clone().requires_grad_(), torch.zeros_like(logits)
    read, multiplied = (x.detach().view(-1).view(torch.float32) for x in (leaf, torch.ones_like(logits)))

    def forward(function):
        def run():
            with torch.no_grad():
                function(leaf, target)

        return run

    def both(function, **options):
        return lambda: function(leaf.view_as(leaf), target, **options).backward()

    sides = {
        "read": read.sum,
        "forward lmfast": forward(ours.cross_entropy),
        "multiply": lambda: multiplied.mul_(1.0001),
        "in place lmfast": both(ours.cross_entropy, inplace=True),
        "fresh lmfast": both(ours.cross_entropy),
        "reused lmfast": lambda: ours.cross_entropy_with_grad(leaf.detach(), target, out=room),
    }
    if job["peers"]:
        compiled = torch.compile(eager, dynamic=False)
        sides["forward eager"], sides["both eager"] = forward(eager), both(eager)
        sides["forward compile"], sides["both compile"] = forward(compiled), both(compiled)
    times = {side: [] for side in sides}
    for turn in range(job["runs"] + 1):
        for side, run in sides.items():
            began = time.perf_counter()
            run()
            if turn:  # the first turn compiles and touches memory
                times[side].append((time.perf_counter() - began) * 1e3)
            leaf.grad = None
            if side == "in place lmfast":
                leaf.data.copy_(logits)
    middle = statistics.median if job["peers"] else min
    return {side: round(middle(each), 3) for side, each in times.items()}


def measure(job: dict) -> dict:
    """Run `child` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(job)], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(job: dict, found: dict) -> list[dict]:
    """The numbers of a process as rows of the table."""
    rows = []
    for dtype, ms in found.items():
        for case, sides in SIDES.items():
            key = {"stream": "read" if case == "forward" else "multiply", "lmfast": f"{case} lmfast"}
            for peer in ("eager", "compile"):
                key[peer] = f"{'forward' if case == 'forward' else 'both'} {peer}"
            times = {side: ms[key[side]] for side in sides if key[side] in ms}
            ratios = {side: round(value / times["lmfast"], 3) for side, value in times.items() if side != "lmfast"}
            shape = "x".join(map(str, job["shape"]))
            about = {"case": case, "shape": shape, "dtype": dtype, "threads": job["threads"], "malloc": job["malloc"]}
            rows.append({**about, "ms": times, "ratio": ratios})
    return rows


def show(rows: list[dict]) -> None:
    """Print rows: milliseconds of lmfast, and how many times longer each other side takes."""
    print(
        f"{'case':10} {'shape':12} {'dtype':9} {'thr':>3} {'malloc':8} {'ms':>8}  stream/ours  eager/ours  compile/ours"
    )
    for row in rows:
        ratio = [
            f"{row['ratio'][side]:.2f}" if side in row["ratio"] else "-" for side in ("stream", "eager", "compile")
        ]
        print(
            f"{row['case']:10} {row['shape']:12} {row['dtype']:9} {row['threads']:3} {row['malloc']:8} "
            f"{row['ms']['lmfast']:8.2f}  {ratio[0]:>11}  {ratio[1]:>10}  {ratio[2]:>12}",
            flush=True,
        )


def result_path(suffix: str) -> Path:
    """results/<date>-<machine>-loss<suffix>"""
    return RESULTS / f"{result_stem('loss')}{suffix}"


def save(rows: list[dict], key: str = "rows") -> None:
    """Add rows to the file of today."""
    import torch

    path = result_path(".json")
    report = json.loads(path.read_text()) if path.exists() else {}

    def case(row: dict) -> list:
        return [row.get(name) for name in ("case", "shape", "dtype", "threads", "malloc")]

    new = [case(row) for row in rows]
    kept = [row for row in report.get(key, []) if case(row) not in new]
    report.update(
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        revision=revision(),
        machine=machine(),
        versions={"torch": torch.__version__},
    )
    report[key] = kept + rows
    path.write_text(json.dumps(report, indent=1) + "\n")


def plot(rows: list[dict]) -> None:
    """Bandwidth over the size of the vocabulary."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for axis, dtype in zip(axes, ("float32", "bfloat16"), strict=True):
        for case, passes in (("forward", 1), ("in place", 2)):
            mine = [row for row in rows if row["dtype"] == dtype and row["case"] == case]
            sizes = [[int(n) for n in row["shape"].split("x")] for row in mine]
            moved = [passes * n * v * (4 if dtype == "float32" else 2) / 1e6 for n, v in sizes]
            for side, style in (("lmfast", "o-"), ("stream", "--"), ("eager", ":")):
                if side == "eager" and case == "in place":
                    continue
                speed = [m / row["ms"][side] for m, row in zip(moved, mine, strict=True) if side in row["ms"]]
                if len(speed) == len(mine):
                    label = {"lmfast": case, "stream": f"{case}: stream", "eager": "forward: torch eager"}[side]
                    axis.plot([v for _, v in sizes], speed, style, label=label)
        axis.set(title=f"{dtype}, 1 thread, fastest run", xlabel="V", xscale="log", ylim=(0, None))
        axis.legend(fontsize=8)
    axes[0].set_ylabel("GB/s read (and written)")
    figure.tight_layout()
    figure.savefig(result_path(".png"), dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--malloc", nargs="+", default=["default", "warm"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--plot", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    if options.plot:
        shapes, settings = [f"{(1 << 23) // v}x{v}" for v in VOCABULARIES], [(1, "warm")]
    else:
        shapes, settings = options.shapes, [(t, m) for t in options.threads for m in options.malloc]
    rows = []
    for shape in shapes:
        for threads, malloc in settings:
            sizes = [int(n) for n in shape.split("x")]
            job = {"shape": sizes, "threads": threads, "malloc": malloc, "runs": options.runs, "dtypes": options.dtypes}
            new = rows_of(job, measure({**job, "peers": not options.plot}))
            show(new)
            rows += new
    if options.save or options.plot:
        save(rows, "vocabularies" if options.plot else "rows")
    if options.plot:
        plot(rows)


if __name__ == "__main__":
    main()
