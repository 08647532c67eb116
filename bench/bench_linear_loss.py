"""The loss of a language model's head on the CPU: time and memory of forward and backward, hidden states to gradients.

    python bench/bench_linear_loss.py [--threads 2] [--save]

The sides take turns and each measurement is a fresh process. Times are the shortest of all steps, since a step takes
seconds and a neighbour of the machine makes any of them slower; memory is the median. `memory` is what the peak of the
resident memory rises by over what the process held before the first step: hidden states, weight and library are not in
it, the gradients that every side must return are; `beside` is without those. A side with another loss is marked.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHAPES = {
    "2048x512x128256": (2048, 512, 128256),
    "1024x768x50257": (1024, 768, 50257),
    "2048x1024x32000": (2048, 1024, 32000),
}
SIDES = ("lmfast", "torch eager", "torch linear_cross_entropy", "torch linear_cross_entropy chunked")


def side(name: str):
    import torch
    import torch.nn.functional as F

    if name == "lmfast":
        from lmfast.loss import linear_cross_entropy

        return linear_cross_entropy
    if name == "torch eager":
        return lambda hidden, weight, target: F.cross_entropy(F.linear(hidden, weight), target)
    options = torch.nn.LinearCrossEntropyOptions() if name.endswith("chunked") else None
    return lambda hidden, weight, target: F.linear_cross_entropy(hidden, weight, target, options=options)


def resident(key: str) -> int:
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split(key + ":")[1].split()[0])


def child(job: dict) -> dict:
    import torch

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    n, h, v = job["shape"]
    dtype = getattr(torch, job["dtype"])
    hidden = torch.randn(n, h).to(dtype).requires_grad_()
    weight = (torch.randn(v, h) * h**-0.5).to(dtype).requires_grad_()
    target = torch.randint(0, v, (n,))
    if job["ignored"]:
        target[torch.rand(n) < job["ignored"]] = -100
    loss_of = side(job["side"])
    loss_of(hidden[:64].detach(), weight.detach(), target[:64])  # what a library leaves to its first call
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    seconds, loss = [], None
    for _ in range(job["steps"]):
        hidden.grad = weight.grad = None
        start = time.perf_counter()
        loss = loss_of(hidden, weight, target)
        loss.backward()
        seconds.append(time.perf_counter() - start)
    peak = resident("VmHWM") - before
    gradients = (n + v) * h * hidden.element_size()
    return {
        "ms": 1e3 * min(seconds),
        "peak_mb": peak / 1e6,
        "beside_mb": (peak - gradients) / 1e6,
        "loss": loss.item(),
    }


def measure(job: dict) -> dict:
    done = subprocess.run([sys.executable, __file__, "--child"], input=json.dumps(job), capture_output=True, text=True)
    if done.returncode:
        return {"note": done.stderr.strip().splitlines()[-1][:160]}
    return json.loads(done.stdout.splitlines()[-1])


def rows(shapes, dtypes, threads: int, runs: int, ignored: float = 0.0, sides=SIDES):
    """One dictionary a shape and dtype: the numbers of every side, and lmfast's ratios to it."""
    for name in shapes:
        for dtype in dtypes:
            found: dict[str, list[dict]] = {s: [] for s in sides}
            for _ in range(runs):
                for s in sides:
                    job = {"side": s, "shape": SHAPES[name], "dtype": dtype, "threads": threads, "ignored": ignored}
                    job["steps"] = 1 if s.endswith("chunked") else 4  # that one takes a minute a step
                    found[s].append(measure(job))
            row = {"case": "linear", "shape": name, "dtype": dtype, "threads": threads, "ignored": ignored, "sides": {}}
            for s, results in found.items():
                good = [r for r in results if "note" not in r]
                if not good:
                    row["sides"][s] = results[0]
                    continue
                row["sides"][s] = {
                    k: round((min if k == "ms" else statistics.median)(r[k] for r in good), 4) for k in good[0]
                }
            ours = row["sides"]["lmfast"]
            for theirs in row["sides"].values():
                if "note" in theirs:
                    continue
                theirs["times_faster"] = round(theirs["ms"] / ours["ms"], 2)
                theirs["our_memory_percent"] = round(100 * ours["peak_mb"] / theirs["peak_mb"], 1)
                theirs["our_memory_beside_percent"] = round(100 * ours["beside_mb"] / theirs["beside_mb"], 1)
                if abs(theirs["loss"] - ours["loss"]) > 2e-2 * abs(ours["loss"]):
                    theirs["note"] = "another loss"
            yield row


def show(row: dict) -> str:
    lines = [f"{row['shape']} (N x H x V) {row['dtype']}, {row['threads']} threads, ignored {row['ignored']:.0%}"]
    for name, r in row["sides"].items():
        if "ms" not in r:
            lines.append(f"  {name:36} {r['note']}")
            continue
        lines.append(
            f"  {name:36} {r['ms']:9.1f} ms  {r['peak_mb']:8.0f} MB  beside {r['beside_mb']:8.0f} MB   lmfast: "
            f"{r['times_faster']:.2f}x faster, {r['our_memory_percent']:.1f} % of memory, "
            f"{r['our_memory_beside_percent']:.1f} % beside gradients"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--ignored", type=float, default=0.0, help="share of the labels that are ignored")
    parser.add_argument("--save", action="store_true", help="write results/<date>-<machine>-linear-loss.json")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(json.load(sys.stdin))))
        return
    found = []
    shapes, dtypes = arguments.shapes.split(","), arguments.dtypes.split(",")
    for row in rows(shapes, dtypes, arguments.threads, arguments.runs, arguments.ignored, arguments.sides.split(",")):
        found.append(row)
        print(show(row), flush=True)
    if arguments.save:
        import datetime

        import torch
        from race import RESULTS, machine, result_stem, revision

        date = datetime.date.today().isoformat()
        about = {"date": date, "revision": revision(), "machine": machine(), "versions": {"torch": torch.__version__}}
        path = RESULTS / f"{result_stem('linear-loss')}.json"
        path.write_text(json.dumps({**about, "rows": found}, indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
