"""Autograd and the chunks of linear_cross_entropy over the kernels of the GPU, emulated or on a device."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lmfast.loss import _device, _device_autograd, linear_cross_entropy  # noqa: E402
from lmfast.loss.rows import Options  # noqa: E402

OPTIONS = Options(on_bad_label="nan", label_smoothing=0.1, z_loss=1e-3)
WORDS = (-100, 0.1, 1e-3, 0.0, 1.0, "nan")


def problem(rng: np.random.Generator, device: str, dtype: Any = torch.float32) -> tuple[Any, Any]:
    logits = torch.from_numpy(rng.standard_normal((6, 301)) * 3).to(device, dtype)
    target = torch.from_numpy(rng.integers(0, 301, 6)).to(device)
    target[2] = -100
    return logits, target


def truth(logits: Any, target: Any, weight: Any = None) -> Any:
    """The rows' losses in float64, by torch."""
    z = logits.double()
    lse = z.logsumexp(1)
    w = None if weight is None else weight.double()
    nll = torch.nn.functional.cross_entropy(z, target, w, label_smoothing=0.1, reduction="none")
    return nll + torch.where(target == -100, 0.0, 1e-3 * lse**2)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_peer_fused_loss(reduction: str, weighted: bool, device: str, rng: np.random.Generator) -> None:
    logits, target = problem(rng, device)
    weight = torch.from_numpy(rng.uniform(0.5, 2, 301)).float().to(device) if weighted else None
    leaf = logits.clone().requires_grad_()
    peer = truth(leaf, target, weight).sum()
    if reduction == "mean":
        valid = target[target != -100]
        peer = peer / (len(valid) if weight is None else weight.double()[valid].sum())
    for upstream in 1.0, 3.0:
        (want,) = torch.autograd.grad(peer, leaf, torch.tensor(upstream, device=device).double(), retain_graph=True)
        for inplace in False, True:
            computed = leaf * 1
            loss = _device_autograd.fused_loss(computed, target, weight, OPTIONS, reduction, "nan", inplace)
            torch.testing.assert_close(loss.double(), peer, rtol=1e-6, atol=1e-6)
            (got,) = torch.autograd.grad(loss, leaf, torch.tensor(upstream, device=device), retain_graph=True)
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)
            if inplace:
                with pytest.raises(RuntimeError, match="the logits are gone"):
                    torch.autograd.grad(loss, leaf)
            else:
                (again,) = torch.autograd.grad(loss, leaf, torch.tensor(2 * upstream, device=device))
                torch.testing.assert_close(again, 2 * want, rtol=1e-5, atol=1e-7)


def test_unit_fused_loss_of_nothing(device: str, rng: np.random.Generator) -> None:
    logits, target = problem(rng, device)
    target[:] = -100
    for empty in "nan", "zero":
        leaf = logits.clone().requires_grad_()
        loss = _device_autograd.fused_loss(leaf, target, None, OPTIONS, "mean", empty, False)
        loss.backward()
        assert bool(loss.isnan()) if empty == "nan" else loss.item() == 0.0
        assert not leaf.grad.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_peer_operators(dtype: Any, device: str, rng: np.random.Generator) -> None:
    """What `lmfast::cross_entropy_rows` and its backward do on a device; float64 goes by the formula."""
    logits, target = problem(rng, device, dtype)
    found = _device_autograd.rows(logits, target, None, *WORDS, True)
    z = logits.double()
    lse, logp = z.logsumexp(1), z.log_softmax(1)
    own = torch.where(target == -100, 0.0, logp.gather(1, target.clamp(min=0)[:, None])[:, 0])
    entropy = -(logp.exp() * logp).sum(1)
    correct = (z.argmax(1) == target).to(torch.uint8)
    for got, want in zip(found, (truth(logits, target), lse, own, entropy, correct), strict=True):
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=1e-6, atol=2e-6)
    leaf = z.clone().requires_grad_()
    upstream = [torch.from_numpy(rng.uniform(0.5, 2, 6)).to(device) for _ in range(4)]
    logp = leaf.log_softmax(1)
    each = (
        truth(leaf, target),
        leaf.logsumexp(1),
        torch.where(target == -100, 0.0, logp.gather(1, target.clamp(min=0)[:, None])[:, 0]),
        -(logp.exp() * logp).sum(1),
    )
    (want,) = torch.autograd.grad(each, leaf, upstream)
    got = _device_autograd.rows_backward(logits, target, None, *WORDS, *upstream)
    assert got.dtype == dtype
    rounding = 2.0**-8 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(got.double(), want, rtol=rounding, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_truth_linear_chunks(
    dtype: Any, device: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver with the kernels of the GPU gives what it gives with those of the CPU."""
    hidden, weight = (torch.from_numpy(rng.standard_normal(s) / 2).to(device, dtype) for s in ((50, 8), (101, 8)))
    target = torch.from_numpy(rng.integers(0, 101, 50)).to(device)
    target[::4] = -100
    found = []
    for on_gpu in True, False:
        monkeypatch.setattr(_device, "supports", lambda hidden, on_gpu=on_gpu: on_gpu)
        leaves = [x.clone().requires_grad_() for x in (hidden, weight)]
        labels = target
        if not on_gpu:
            leaves, labels = [x.detach().cpu().requires_grad_() for x in leaves], target.cpu()
        output = []
        for reduction in "mean", "none":
            loss = linear_cross_entropy(
                *leaves, labels, reduction=reduction, budget_bytes=1, on_bad_label="nan", z_loss=0.1
            )
            output += [loss, *torch.autograd.grad(loss.sum() * 2, leaves)]
            more = linear_cross_entropy(
                *leaves, labels, reduction=reduction, budget_bytes=1, return_entropy=True, return_accuracy=True
            )
            entropy, accuracy = more.entropy.sum(), more.accuracy
            output += [entropy, accuracy, *torch.autograd.grad(more.loss.sum() - entropy, leaves)]
        found.append([x.detach().cpu() for x in output])
    for a, b in zip(*found, strict=True):
        bound = 1e-5 if dtype == torch.float32 else 2.0**-7
        torch.testing.assert_close(a, b, rtol=bound, atol=bound)


def test_unit_supports() -> None:
    assert not _device.supports(torch.zeros(1, 2))
