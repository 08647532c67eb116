"""vocab_parallel_cross_entropy on 2 and 4 processes against one."""

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmfast.reference import loss as reference

torch = pytest.importorskip("torch")
dist = pytest.importorskip("torch.distributed")
pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")

CASES: list[dict[str, Any]] = [
    {},
    {"reduction": "none", "label_smoothing": 0.2},
    {"reduction": "sum", "z_loss": 1e-2, "softcap": 5.0, "logit_scale": 0.7},
    {"label_smoothing": 0.1, "z_loss": 1e-3, "ignore_index": 3},
    {"ignore_index": 0, "reduction": "none"},
    {"weight": True},
    {"weight": True, "reduction": "none", "label_smoothing": 0.2, "z_loss": 1e-3},
]


def without_negative(target: Any) -> Any:
    """Labels that are all classes; some have the number of another one of these within their rank's part."""
    target = target.abs() % 64
    target[4:] = torch.tensor([3, 35])
    return target


def rows_of(seed: int, v: int) -> tuple[Any, Any]:
    """Logits [6, v] with a row that is nearly certain, and labels on every rank, one ignored."""
    rng = np.random.default_rng(seed)
    logits, target = rng.standard_normal((6, v)) * 4, rng.integers(0, v, 6)
    target[:4] = [0, v - 1, -100, v // 2]
    logits[3, v // 2] = 45.0
    return torch.from_numpy(logits), torch.from_numpy(target)


def with_weight(options: dict[str, Any]) -> dict[str, Any]:
    """Class weights for the whole vocabulary where a case wants them; that of a class is 0."""
    if "weight" not in options:
        return options
    weight = torch.linspace(0.0, 2.0, 64, dtype=torch.float64)
    return {**options, "weight": weight}


def work(rank: int, world: int, folder: str) -> None:
    """One rank: all cases, their losses and the gradient of its shard to a file."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.set_num_threads(1)
    from lmfast.loss import vocab_parallel_cross_entropy

    results = []
    for seed, options in enumerate(map(with_weight, CASES)):
        for dtype, uneven in itertools.product((torch.float64, torch.float32, torch.bfloat16), (False, True)):
            logits, target = rows_of(seed, 64)
            if "ignore_index" in options:
                target = without_negative(target)
            edges = (
                np.linspace(0, 64, world + 1).astype(int) if not uneven else np.array([0, *range(7, 7 + world - 1), 64])
            )
            start, stop = int(edges[rank]), int(edges[rank + 1])
            shard = logits[:, start:stop].to(dtype).clone().requires_grad_()
            where = {"vocab_start": start, "vocab_size": 64} if uneven else {}
            loss = vocab_parallel_cross_entropy(shard.view(2, 3, -1), target.view(2, 3), **options, **where)
            upstream = (
                torch.arange(1.0, 7.0, dtype=loss.dtype).view(2, 3)
                if loss.ndim
                else torch.tensor(2.0, dtype=loss.dtype)
            )
            loss.backward(upstream)
            results.append((loss.detach().double(), shard.grad.double()))
    all_ignored = vocab_parallel_cross_entropy(shard, torch.full((6,), -100), empty="zero")
    nothing = torch.autograd.grad(all_ignored, shard)[0]
    with pytest.raises(ValueError, match="weight: want shape"):
        vocab_parallel_cross_entropy(shard, torch.zeros(6, dtype=torch.int64), weight=torch.ones(3))
    try:
        vocab_parallel_cross_entropy(shard.detach(), torch.full((6,), 64 * world))
        message = ""
    except IndexError as error:
        message = str(error)
    torch.save((results, all_ignored.item(), nothing.abs().max().item(), message), f"{folder}/{rank}")
    dist.barrier()  # no rank is gone while another still talks to it
    os._exit(0)  # torch ends its own threads at random during the interpreter's end, and aborts: not what is tested


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_truth_ranks_equal_one(world: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # the children find this file by its name
    sys.modules.setdefault("test_parallel", sys.modules[__name__])
    monkeypatch.setattr(work, "__module__", "test_parallel")
    torch.multiprocessing.spawn(work, (world, str(tmp_path)), nprocs=world)
    ranks = [torch.load(tmp_path / str(rank)) for rank in range(world)]
    bounds = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2.0**-8}
    setups = itertools.product(enumerate(CASES), bounds, (False, True))
    for i, ((seed, options), dtype, _uneven) in enumerate(setups):
        logits, target = rows_of(seed, 64)
        if "ignore_index" in options:
            target = without_negative(target)
        logits = logits.to(dtype).double().numpy()
        words = {k: v for k, v in options.items() if k not in ("reduction", "weight")}
        weight = with_weight(options).get("weight")
        weight = None if weight is None else weight.numpy()
        reduction = options.get("reduction", "mean")
        rows = reference.cross_entropy_rows(logits, target.numpy(), weight, **words)
        each = np.ones(6) if weight is None else weight[np.where(rows.valid, target.numpy(), 0)]
        divisor = each[rows.valid].sum() if reduction == "mean" else 1.0
        loss = rows.loss if reduction == "none" else rows.loss.sum() / divisor
        scale = np.arange(1.0, 7.0) if reduction == "none" else 2.0 / divisor
        gradient = rows.gradient * np.broadcast_to(scale, 6)[:, None]
        for rank in ranks:
            np.testing.assert_allclose(rank[0][i][0].numpy().reshape(loss.shape), loss, rtol=1e-6, atol=1e-9)
            assert torch.equal(rank[0][i][0], ranks[0][0][i][0])
        found = torch.cat([rank[0][i][1] for rank in ranks], 1).numpy()
        np.testing.assert_allclose(
            found, gradient, rtol=1.01 * bounds[dtype], atol=1e-13 if dtype == torch.float64 else 1e-8
        )
    for _, all_ignored, nothing, message in ranks:
        assert all_ignored == nothing == 0.0
        assert message.startswith(f"target[0] = {64 * world} is outside [0, ")


def test_safety_without_a_group() -> None:
    from lmfast.loss import vocab_parallel_cross_entropy

    with pytest.raises(RuntimeError, match="init_process_group"):
        vocab_parallel_cross_entropy(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
