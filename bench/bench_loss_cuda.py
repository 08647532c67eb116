"""Cross-entropy on a CUDA device: forward and gradient, against the copy bandwidth of the same run and against peers.

    python bench/bench_loss_cuda.py [--rows 8192] [--dtypes bfloat16,float32] [--save]

Bandwidth counts what must move: one read of the logits for a forward pass, one read and one write with the gradient.
The limit is a copy of as many bytes, measured in the same run; the sides take turns, times are medians of CUDA events.
Peers: torch eager, torch.compile, and Liger where it is installed; a peer that runs out of memory is left out. Without
a device the command says so and ends.

lmfast 2 reads, one block: the plans that older devices, or wider rows, must take. linear: hidden states to gradients.
"""

import argparse
import datetime
import json
import statistics
import sys
from pathlib import Path

VOCABULARIES = (1000, 4096, 8192, 16384, 32000, 50257, 50304, 65536, 128256, 151936, 152064, 201088, 262144, 262145)
LINEAR = ((4096, 4096, 128256), (8192, 4096, 128256), (8192, 768, 50257))


def refuse_without_device():
    try:
        import torch
    except ImportError:
        sys.exit("bench_loss_cuda: torch is not installed; nothing was measured")
    from lmfast import _cuda

    if not torch.cuda.is_available():
        sys.exit("bench_loss_cuda: torch sees no CUDA device; nothing was measured")
    if not _cuda.available():
        sys.exit(f"bench_loss_cuda: {_cuda.problem()}; nothing was measured")
    return torch


def timed(torch, function, repeats):
    """Milliseconds of each of some calls, after two that are not counted."""
    for _ in range(2):
        function()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for start, stop in events:
        start.record()
        function()
        stop.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(stop) for start, stop in events]


def race(torch, sides, rounds, repeats):
    """Medians; the sides take turns, and one that fails has a note instead."""
    times, notes = {name: [] for name in sides}, {}
    for _ in range(rounds):
        for name, function in sides.items():
            if name in notes:
                continue
            try:
                times[name] += timed(torch, function, repeats)
            except Exception as error:  # a peer's failure is its result
                notes[name] = f"{type(error).__name__}: {error}"[:120]
                torch.cuda.empty_cache()
    return {
        name: {"ms": round(statistics.median(ms), 4)} if name not in notes else {"note": notes[name]}
        for name, ms in times.items()
    }


def cross_entropy_sides(torch, logits, target):
    import torch.nn.functional as F

    from lmfast.loss import _device

    leaf = logits.detach().clone().requires_grad_()
    room = _device.empty_gradient(logits)
    source, copied = torch.empty_like(logits), torch.empty_like(logits)

    def ours(plan=0, gradient=room):
        def run():
            divisor = _device.divisor(target, logits.shape[1])
            _device.rows(logits, target, gradient=gradient, divisor=divisor, plan=plan)

        return run

    def theirs(loss_of, backward=True):
        def run():
            leaf.grad = None
            loss = loss_of(leaf, target)
            if backward:
                loss.backward()

        return run

    compiled = torch.compile(lambda x, t: F.cross_entropy(x.float(), t))
    sides = {
        "copy": lambda: copied.copy_(source),
        "lmfast": ours(),
        "lmfast one block": ours(plan=1),
        "lmfast two reads": ours(plan=2),
        "lmfast forward": ours(gradient=None),
        "torch eager": theirs(lambda x, t: F.cross_entropy(x.float(), t)),
        "torch.compile": theirs(compiled),
        "torch.compile forward": theirs(lambda x, t: compiled(x.detach(), t), backward=False),
    }
    try:
        from liger_kernel.transformers.functional import liger_cross_entropy
    except ImportError:
        return sides
    # Liger writes the gradient over the logits in its forward pass, so it is given a fresh copy, and that copy's time
    # is taken off by a side of its own.
    sides["liger with its copy"] = theirs(lambda x, t: liger_cross_entropy(x * 1, t))
    sides["liger's copy"] = lambda: leaf.detach() * 1
    return sides


def linear_sides(torch, n, h, v, dtype):
    import torch.nn.functional as F

    from lmfast.loss import linear_cross_entropy

    hidden = torch.randn(n, h, device="cuda", dtype=dtype, requires_grad=True)
    weight = (torch.randn(v, h, device="cuda") * h**-0.5).to(dtype).requires_grad_()
    target = torch.randint(0, v, (n,), device="cuda")

    def run(loss_of):
        def once():
            hidden.grad = weight.grad = None
            loss_of().backward()

        return once

    sides = {
        "lmfast": run(lambda: linear_cross_entropy(hidden, weight, target, on_bad_label="nan")),
        "torch eager": run(lambda: F.cross_entropy(F.linear(hidden, weight).float(), target)),
    }
    if hasattr(F, "linear_cross_entropy"):
        options = torch.nn.LinearCrossEntropyOptions()
        sides["torch linear_cross_entropy"] = run(lambda: F.linear_cross_entropy(hidden, weight, target))
        sides["torch linear_cross_entropy chunked"] = run(
            lambda: F.linear_cross_entropy(hidden, weight, target, options=options)
        )
    try:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        sides["liger"] = run(lambda: liger_fused_linear_cross_entropy(hidden, weight, target))
    except ImportError:
        pass
    return sides


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--vocabs", default=",".join(map(str, VOCABULARIES)))
    parser.add_argument("--dtypes", default="bfloat16,float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--no-linear", action="store_true")
    parser.add_argument("--save", action="store_true", help="write results/<date>-<device>-loss.json")
    arguments = parser.parse_args()
    torch = refuse_without_device()
    found = []
    for name in arguments.dtypes.split(","):
        for v in map(int, arguments.vocabs.split(",")):
            n, dtype = arguments.rows, getattr(torch, name)
            logits, target = torch.randn(n, v, device="cuda", dtype=dtype), torch.randint(0, v, (n,), device="cuda")
            sides = race(torch, cross_entropy_sides(torch, logits, target), arguments.rounds, arguments.repeats)
            copied = sides["copy"].get("ms")
            for side, row in sides.items():
                if "ms" in row:
                    units = 1 if "forward" in side else 2
                    row["gb_s"] = round(units * logits.numel() * logits.element_size() / row["ms"] / 1e6, 1)
                    row["of_copy"] = round(units / 2 * copied / row["ms"], 3) if copied else None
            found.append({"case": "cross_entropy", "n": n, "v": v, "dtype": name, "sides": sides})
            print(f"{n} x {v} {name}")
            for side, row in sides.items():
                print(f"  {side:24}", "  ".join(f"{k} {value}" for k, value in row.items()), flush=True)
            del logits, target, sides
            torch.cuda.empty_cache()
    for n, h, v in () if arguments.no_linear else LINEAR:
        sides = race(torch, linear_sides(torch, n, h, v, torch.bfloat16), arguments.rounds, 3)
        for row in sides.values():
            if "ms" in row:
                row["tflop_s"] = round(6 * n * h * v / row["ms"] / 1e9, 1)
        found.append({"case": "linear", "n": n, "h": h, "v": v, "dtype": "bfloat16", "sides": sides})
        print(f"linear {n} x {h} x {v} bfloat16")
        for side, row in sides.items():
            print(f"  {side:36}", "  ".join(f"{k} {value}" for k, value in row.items()), flush=True)
    if arguments.save:
        device = torch.cuda.get_device_name()
        name = "-".join("".join(c if c.isalnum() else " " for c in device.lower()).split())
        path = Path(__file__).parent / "results" / f"{datetime.date.today().isoformat()}-{name}-loss.json"
        report = {
            "date": datetime.date.today().isoformat(),
            "device": device,
            "torch": torch.__version__,
            "rows": found,
        }
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
