"""softmax, log_softmax, their gradients, the Jacobian and nll_loss: against float64 and torch's own."""

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from lmfast import loss as L  # noqa: E402
from lmfast.loss import _loss  # noqa: E402
from lmfast.loss.rows import memory_of  # noqa: E402

DTYPES = {torch.float32: 2e-6, torch.float64: 1e-13, torch.bfloat16: 4e-3, torch.float16: 1e-3}


@pytest.fixture(autouse=True)
def seeded(rng: np.random.Generator) -> None:
    torch.manual_seed(int(rng.integers(2**31)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n_classes", [1, 15, 64, 1100, 3001])
def test_peer_rows(isa: str, dtype: Any, n_classes: int) -> None:
    tolerance = DTYPES[dtype]
    x = torch.randn(4, n_classes) * 5
    if n_classes > 2000:
        x = x + torch.arange(n_classes) * 0.02
    x, g = x.to(dtype), torch.randn(4, n_classes).to(dtype)
    for log, function in ((False, torch.softmax), (True, torch.log_softmax)):
        want = function(x.double(), -1)
        out = torch.empty_like(x)
        _loss.softmax(memory_of(x)[0], memory_of(x)[1], memory_of(out)[0], log=log, isa=isa)
        np.testing.assert_allclose(out.double(), want, rtol=tolerance, atol=1e-6 if log else 6e-8)
        inplace = x.clone()
        _loss.softmax(memory_of(inplace)[0], memory_of(x)[1], memory_of(inplace)[0], log=log, isa=isa)
        assert torch.equal(inplace, out)
        y, g64 = out.double(), g.double()
        back = g64 - y.exp() * g64.sum(-1, keepdim=True) if log else y * (g64 - (g64 * y).sum(-1, keepdim=True))
        room = torch.empty_like(x)
        _loss.softmax(memory_of(out)[0], memory_of(x)[1], memory_of(room)[0], memory_of(g)[0], log, isa=isa)
        np.testing.assert_allclose(room.double(), back, rtol=tolerance, atol=2e-6 * float(back.abs().max()) + 6e-8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_unit_nearly_certain_far_from_zero(isa: str, dtype: Any) -> None:
    """Log p = -log(1 + 1000 e^-14), which the rounding of a logarithm of the sum near 96 would drown."""
    x = torch.full((1, 1001), 82.0)
    x[0, 7] = 96.0
    x = x.to(dtype)
    out = torch.empty_like(x)
    _loss.softmax(memory_of(x)[0], memory_of(x)[1], memory_of(out)[0], log=True, isa=isa)
    assert out[0, 7].item() == pytest.approx(
        -math.log1p(1000 * math.exp(-14)), rel=DTYPES[dtype], abs=1e-12 if dtype == torch.float64 else 3e-7
    )


def test_unit_bfloat16_in_the_middle(isa: str) -> None:
    """1.5 * (1 + 3/128) is 196.5/128, and 1.5 * (1 + 1/128) is 193.5/128: both go to the even neighbour."""
    output = torch.full((1, 202), 1.5, dtype=torch.bfloat16)
    grad = torch.ones(1, 202, dtype=torch.bfloat16)  # whose sum is 0
    grad[0, ::2] = -1.0
    grad[0, [1, 70, 101, 140, 201, 200]] = torch.tensor([131, -131, 129, -129, 131, -131], dtype=torch.bfloat16) / 128
    room = torch.empty_like(grad)
    _loss.softmax(memory_of(output)[0], memory_of(output)[1], memory_of(room)[0], memory_of(grad)[0], isa=isa)
    want = grad.double() * 1.5
    want[0, [1, 70, 101, 140, 201, 200]] = torch.tensor([196, -196, 194, -194, 196, -196], dtype=torch.float64) / 128
    assert torch.equal(room.double(), want)


@pytest.mark.parametrize(("shape", "dim"), [((6,), 0), ((3, 7, 50), -1), ((3, 50, 7), 1), ((0, 5), 1), ((5, 4), 0)])
def test_peer_axes_tensors_and_arrays(shape: tuple[int, ...], dim: int) -> None:
    x = torch.randn(shape)
    for ours, theirs in ((L.softmax, torch.softmax), (L.log_softmax, torch.log_softmax)):
        leaf, truth = x.clone().requires_grad_(), x.double().requires_grad_()
        got, want = ours(leaf, dim), theirs(truth, dim)
        g = torch.randn(shape)
        got.backward(g)
        want.backward(g.double())
        np.testing.assert_allclose(got.detach().double(), want.detach(), rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(leaf.grad.double(), truth.grad, rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(ours(x.numpy(), dim), want.detach(), rtol=2e-6, atol=1e-6)


def test_truth_gradcheck() -> None:
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    for function in (L.softmax, L.log_softmax, L.softmax_jacobian, lambda x: L.softmax(x, 0)):
        assert torch.autograd.gradcheck(function, x)
        assert torch.autograd.gradgradcheck(function, x)


def test_peer_jacobian_and_backward() -> None:
    x = torch.randn(5, dtype=torch.float64)
    want = torch.autograd.functional.jacobian(lambda x: torch.softmax(x, -1), x)
    torch.testing.assert_close(L.softmax_jacobian(x), want)
    np.testing.assert_allclose(L.softmax_jacobian(x.numpy()), want, atol=1e-15)
    g, p = torch.randn(5, dtype=torch.float64), torch.softmax(x, -1)
    torch.testing.assert_close(L.softmax_backward(g, p), want @ g)
    np.testing.assert_allclose(L.softmax_backward(g.numpy(), p.numpy()), want @ g, atol=1e-15)
    logp = torch.log_softmax(x, -1)
    want = torch.autograd.functional.jacobian(lambda x: torch.log_softmax(x, -1), x).T @ g
    torch.testing.assert_close(L.log_softmax_backward(g, logp), want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_peer_infinities_and_nan(isa: str, dtype: Any) -> None:
    x = torch.randn(4, 2100).to(dtype)
    x[0, 7], x[1, 2000], x[2], x[3, :1500] = torch.nan, torch.inf, -torch.inf, -torch.inf
    for log, function in ((False, torch.softmax), (True, torch.log_softmax)):
        out = torch.empty_like(x)
        _loss.softmax(memory_of(x)[0], memory_of(x)[1], memory_of(out)[0], log=log, isa=isa)
        want = function(x.double(), -1)
        assert torch.equal(out.isnan(), want.isnan())
        np.testing.assert_allclose(out[3].double(), want[3], rtol=DTYPES[dtype], atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_peer_nll_loss(reduction: str) -> None:
    for shape in ((6,), (4, 6), (2, 6, 3)):
        logp = torch.log_softmax(torch.randn(shape), 1 if len(shape) > 1 else 0)
        y = torch.randint(0, 6, shape[:1] * (len(shape) > 1) + shape[2:])
        if y.ndim:
            y.view(-1)[0] = -100
        for weight in (None, torch.rand(6)):
            want = F.nll_loss(logp, y, weight, reduction=reduction)
            torch.testing.assert_close(L.nll_loss(logp, y, weight, reduction=reduction), want)
            array = L.nll_loss(logp.numpy(), y.numpy(), None if weight is None else weight.numpy(), reduction=reduction)
            np.testing.assert_allclose(array, want, rtol=1e-6)


def test_safety_wrong_arguments() -> None:
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match="dim = 2"):
        L.softmax(x, 2)
    with pytest.raises(TypeError, match="want float32"):
        L.softmax(np.arange(3))
    with pytest.raises(ValueError, match="grad: want shape"):
        L.softmax_backward(x, x[:2])
    with pytest.raises(ValueError, match="out: want shape"):
        _loss.softmax(x.numpy(), 0, np.empty((3, 5), np.float32))
    with pytest.raises(ValueError, match="columns side by side"):
        _loss.softmax(np.asfortranarray(x.numpy()), 0, np.empty((3, 4), np.float32))
    locked = np.empty((3, 4), np.float32)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _loss.softmax(x.numpy(), 0, locked)
