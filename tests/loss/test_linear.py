"""linear_cross_entropy against the float64 reference and against torch, its gradients, its memory, its manners."""

from typing import Any

import numpy as np
import pytest

from lmfast.reference import loss as reference

torch = pytest.importorskip("torch")

from lmfast.loss import CrossEntropyOutput, LinearCrossEntropyLoss, linear_cross_entropy  # noqa: E402
from lmfast.loss import linear as operators  # noqa: E402

FORMATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
BOUND = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2.0**-6, torch.float16: 2.0**-9}
"""Of loss and gradients, relative to the largest of each; of 16 bits that of rounding logits and their gradient."""
N, H, V = 53, 16, 301


def problem(
    rng: np.random.Generator, dtype: Any, n: int = N, h: int = H, v: int = V, ignored: bool = True
) -> list[Any]:
    """hidden, weight, labels, bias, class weights"""
    hidden, weight, bias = (
        torch.from_numpy(rng.standard_normal(s) * 0.5).to(dtype).requires_grad_() for s in ((n, h), (v, h), v)
    )
    target = torch.from_numpy(rng.integers(0, v, n))
    if ignored:
        target[::3] = -100
    return [hidden, weight, target, bias, torch.from_numpy(rng.uniform(0, 2, v))]


def numbers(*tensors: Any) -> list[Any]:
    return [None if x is None else x.detach().double().numpy() if x.is_floating_point() else x.numpy() for x in tensors]


def assert_near(got: Any, want: Any, bound: float) -> None:
    want = np.asarray(want)
    np.testing.assert_allclose(
        got.detach().double().numpy(), want, rtol=bound, atol=bound * max(1e-3, np.abs(want).max())
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_truth_options(dtype: Any, reduction: str, rng: np.random.Generator) -> None:
    """One chunk and several, with and without ignored rows, bias, class weights and the options of cross_entropy."""
    hidden, weight, target, bias, class_weight = problem(rng, dtype)
    cases: list[dict[str, Any]] = [
        {},
        {"label_smoothing": 0.1, "z_loss": 1e-2},
        {"softcap": 5.0, "logit_scale": 0.5},
        {"class_weight": class_weight, "label_smoothing": 0.2},
        {"ignore_index": int(target[1])},
    ]
    for options in cases:
        for given_bias in None, bias:
            labels = target.abs() % V if "ignore_index" in options else target
            words = {k: numbers(x)[0] if hasattr(x, "numpy") else x for k, x in options.items()}
            want = reference.linear_cross_entropy(
                *numbers(hidden, weight, labels, given_bias), reduction=reduction, **words
            )
            for budget in None, 1:
                leaves = [x for x in (hidden, weight, given_bias) if x is not None]
                loss = linear_cross_entropy(
                    hidden, weight, labels, given_bias, reduction=reduction, budget_bytes=budget, **options
                )
                gradients = torch.autograd.grad(loss.sum(), leaves)
                assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
                for got, expected in zip((loss, *gradients), want, strict=False):
                    assert_near(got, expected, BOUND[dtype])


@pytest.mark.parametrize("ignore_index", [0, 12])
def test_truth_ignored_classes_in_parts(ignore_index: int, rng: np.random.Generator) -> None:
    """A class whose number within its part of the vocabulary is that of the ignored one takes part all the same."""
    hidden, weight, target, *_ = problem(rng, torch.bfloat16, ignored=False)
    target[:4] = torch.tensor([0, 12, 256, 268])
    want = reference.linear_cross_entropy(*numbers(hidden, weight, target), ignore_index=ignore_index, reduction="sum")
    loss = linear_cross_entropy(hidden, weight, target, ignore_index=ignore_index, reduction="sum", budget_bytes=1)
    for got, expected in zip((loss, *torch.autograd.grad(loss, (hidden, weight))), want, strict=False):
        assert_near(got, expected, BOUND[torch.bfloat16])


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_truth_upstream_gradient(dtype: Any, rng: np.random.Generator) -> None:
    """Another than 1, one for each row, small ones that half precision could not hold, and a second backward pass."""
    hidden, weight, target, _, _ = problem(rng, dtype)
    for reduction, size in ("mean", ()), ("none", (N,)):
        upstream = torch.from_numpy(rng.uniform(0.5, 2, size)) if size else torch.tensor(65536.0).double()
        rows = reference.cross_entropy_rows(numbers(hidden)[0] @ numbers(weight)[0].T, target.numpy())
        by = upstream.numpy() if size else upstream.item() / rows.valid.sum()
        gradient = rows.gradient * np.broadcast_to(by, N)[:, None]
        loss = linear_cross_entropy(hidden, weight, target, reduction=reduction, budget_bytes=1)
        for again in True, False:
            got = torch.autograd.grad(loss, (hidden, weight), upstream.to(loss.dtype), retain_graph=again)
            if dtype == torch.float16 and not size:
                got = tuple(torch.nan_to_num(g.double(), posinf=np.inf, neginf=-np.inf) for g in got)
            assert_near(got[0], gradient @ numbers(weight)[0], BOUND[dtype])
            assert_near(got[1], gradient.T @ numbers(hidden)[0], BOUND[dtype])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_peer_torch_eager(reduction: str, rng: np.random.Generator) -> None:
    hidden, weight, target, bias, class_weight = problem(rng, torch.float32)
    ours = linear_cross_entropy(
        hidden, weight, target, bias, class_weight.float(), reduction=reduction, label_smoothing=0.1
    )
    logits = torch.nn.functional.linear(hidden, weight, bias)
    theirs = torch.nn.functional.cross_entropy(
        logits, target, class_weight.float(), reduction=reduction, label_smoothing=0.1
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    leaves = (hidden, weight, bias)
    for a, b in zip(torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(theirs.sum(), leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_unit_gradients_are_not_shared(rng: np.random.Generator) -> None:
    """What a first backward pass gave is not changed by a second one, and gradients accumulate."""
    hidden, weight, target, _, _ = problem(rng, torch.float32)
    loss = linear_cross_entropy(hidden, weight, target)
    loss.backward(retain_graph=True)
    once = weight.grad.clone()
    weight.grad.mul_(3.0)
    loss.backward(retain_graph=True)
    (4.0 * loss).backward()
    torch.testing.assert_close(weight.grad, 8.0 * once)


@pytest.mark.parametrize("frozen", [{0}, {1}, {3}, {0, 3}, {1, 3}, {0, 1}, {0, 1, 3}])
def test_unit_frozen_inputs(frozen: set[int], rng: np.random.Generator) -> None:
    hidden, weight, target, bias, _ = inputs = problem(rng, torch.float32)
    want = torch.autograd.grad(linear_cross_entropy(hidden, weight, target, bias), (hidden, weight, bias))
    for i in frozen:
        inputs[i].requires_grad_(False)
    loss = linear_cross_entropy(hidden, weight, target, bias, reduction="sum") / (target != -100).sum()
    assert loss.requires_grad == (len(frozen) < 3)
    if loss.requires_grad:
        loss.backward()
        for x, g in zip((hidden, weight, bias), want, strict=True):
            assert (x.grad is None) != x.requires_grad
            if x.requires_grad:
                torch.testing.assert_close(x.grad, g)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("ignore_index", [-100, 3])
def test_peer_accuracy_and_entropy(rng: np.random.Generator, reduction: str, ignore_index: int) -> None:
    """Those of torch's logits, in several chunks; entropy of ignored rows too, which are never right."""
    hidden, weight, target, bias, _ = problem(rng, torch.float32, n=40)
    logits = torch.nn.functional.linear(hidden, weight, bias)
    target = torch.where(torch.arange(len(target)) % 3 == 0, logits.argmax(1), target)
    options: dict[str, Any] = {"reduction": reduction, "ignore_index": ignore_index, "on_bad_label": "ignore"}
    output = linear_cross_entropy(
        hidden, weight, target, bias, **options, return_accuracy=True, return_entropy=True, budget_bytes=1
    )
    p = logits.double().softmax(1)
    torch.testing.assert_close(output.entropy, -(p * p.log()).sum(1).float(), rtol=1e-5, atol=1e-6)
    valid = (target != ignore_index) & (target >= 0)
    right = ((logits.argmax(1) == target) & valid).float()
    want = {"none": right, "sum": right.sum(), "mean": right.sum() / valid.sum()}[reduction]
    torch.testing.assert_close(output.accuracy, want)
    assert 0 < right.sum() < valid.sum()
    assert output.lse is None
    assert output.logprobs is None
    nobody = linear_cross_entropy(
        hidden, weight, torch.full_like(target, ignore_index), bias, **options, return_accuracy=True
    )
    assert reduction != "mean" or bool(nobody.accuracy.isnan())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_truth_gradient_of_the_entropy(rng: np.random.Generator, dtype: torch.dtype) -> None:
    hidden, weight, target, bias, _ = problem(rng, dtype, n=40)
    loss, *_, entropy = linear_cross_entropy(hidden, weight, target, bias, return_entropy=True, budget_bytes=1)
    ours = torch.autograd.grad(loss - 0.1 * entropy.mean(), (hidden, weight, bias))
    wide = [x.detach().double().requires_grad_() for x in (hidden, weight, bias)]
    logits = torch.nn.functional.linear(*wide)
    logp = logits.log_softmax(1)
    want = torch.nn.functional.nll_loss(logp, target, ignore_index=-100) + 0.1 * (logp.exp() * logp).sum(1).mean()
    bound = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    for x, y in zip(ours, torch.autograd.grad(want, wide), strict=True):
        assert (x.double() - y).norm() < bound * y.norm()


def test_unit_shapes_and_more_results(rng: np.random.Generator) -> None:
    hidden, weight, target, _, _ = problem(rng, torch.float32, n=12)
    plain = linear_cross_entropy(hidden, weight, target)
    output = linear_cross_entropy(
        hidden.view(3, 4, H), weight, target.view(3, 4).int(), return_lse=True, return_logprobs=True
    )
    assert isinstance(output, CrossEntropyOutput)
    torch.testing.assert_close(output.loss, plain)
    logits = hidden @ weight.T
    torch.testing.assert_close(output.lse.flatten(), logits.logsumexp(1), rtol=1e-5, atol=1e-5)
    valid = target != -100
    own = logits.log_softmax(1).gather(1, target.clamp(min=0)[:, None])[:, 0]
    torch.testing.assert_close(output.logprobs.flatten(), torch.where(valid, own, 0.0), rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(output.loss + (output.lse**2).sum() + output.logprobs.sum(), (hidden, weight))
    theirs = torch.autograd.grad(
        torch.nn.functional.cross_entropy(logits, target)
        + (logits.logsumexp(1) ** 2).sum()
        + torch.where(valid, own, 0.0).sum(),
        (hidden, weight),
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    single = linear_cross_entropy(hidden[1], weight, target[1])
    torch.testing.assert_close(single, -own[1])


def test_unit_nothing_to_learn_from(rng: np.random.Generator) -> None:
    """All ignored, or no rows at all: NaN or 0 as asked, and a gradient of exactly 0, also where the hidden are NaN."""
    hidden, weight, target, bias, _ = problem(rng, torch.float32)
    target[:] = -100
    with torch.no_grad():
        hidden[0] = np.nan
    for rows in slice(None), slice(0):
        for empty in "nan", "zero":
            loss = linear_cross_entropy(hidden[rows], weight, target[rows], bias, empty=empty)
            assert bool(loss.isnan()) if empty == "nan" else loss.item() == 0.0
            assert not any(g.any() for g in torch.autograd.grad(loss, (hidden, weight, bias)))
        assert linear_cross_entropy(hidden[rows], weight, target[rows], reduction="sum").item() == 0.0
    target[:2] = 5
    with torch.no_grad():
        hidden[0], hidden[3] = 0.0, np.inf
    assert torch.isfinite(linear_cross_entropy(hidden, weight, target))


def test_unit_bad_labels(rng: np.random.Generator) -> None:
    hidden, weight, target, _, _ = problem(rng, torch.float32)
    for bad in V, -1, 2**32, -(2**40):
        target[7] = bad
        with pytest.raises(IndexError, match=rf"target\[7\] = {bad} is outside \[0, {V}\)"):
            linear_cross_entropy(hidden, weight, target)
        loss = linear_cross_entropy(hidden, weight, target, reduction="none", on_bad_label="nan")
        assert loss.isnan().nonzero().tolist() == [[7]]
        ignored = target.clone()
        ignored[7] = -100
        torch.testing.assert_close(
            linear_cross_entropy(hidden, weight, target, on_bad_label="ignore"),
            linear_cross_entropy(hidden, weight, ignored),
        )


def test_truth_derivatives_in_double(rng: np.random.Generator) -> None:
    hidden, weight, target, bias, class_weight = problem(rng, torch.float64, n=6, h=3, v=7)

    def loss(reduction: str, **more: Any) -> Any:
        options = {"label_smoothing": 0.1, "z_loss": 0.1, "softcap": 3.0, "budget_bytes": 1}

        def run(hidden: Any, weight: Any, bias: Any) -> Any:
            found = linear_cross_entropy(
                hidden, weight, target, bias, class_weight, reduction=reduction, **options, **more
            )
            return tuple(x for x in found if x is not None) if more else found

        return run

    more = ({"return_lse": True}, {"return_logprobs": True}, {"return_entropy": True, "return_lse": True})
    for function in loss("mean"), loss("none"), *(loss("sum", **asked) for asked in more):
        assert torch.autograd.gradcheck(function, (hidden, weight, bias))
        assert torch.autograd.gradgradcheck(function, (hidden, weight, bias))


def test_peer_opcheck(rng: np.random.Generator) -> None:
    hidden, weight, target, bias, class_weight = problem(rng, torch.float32, n=6, h=3, v=7)
    words = (-100, 0.1, 1e-2, 0.0, 1.0, "nan")
    for reduction, early in ("mean", True), ("none", False):
        given = (
            hidden,
            weight,
            target,
            bias,
            class_weight.float(),
            *words,
            reduction,
            "nan",
            0,
            False,
            not early,
            not early,
        )
        torch.library.opcheck(operators._linear_op, (*given, early, early, early))
    d_loss = torch.rand(6, dtype=torch.float64)
    given = (hidden, weight, target, bias, None, *words, 0, d_loss, None, None, None, True, True, True)
    torch.library.opcheck(operators._backward_op, given)


@pytest.mark.slow
def test_unit_compiles_to_one_graph(rng: np.random.Generator) -> None:
    hidden, weight, target, _, _ = problem(rng, torch.float32)
    compiled = torch.compile(
        lambda h, w: linear_cross_entropy(2 * h, w, target, on_bad_label="nan"), fullgraph=True, backend="aot_eager"
    )
    for function in compiled, lambda h, w: linear_cross_entropy(2 * h, w, target):
        loss = function(hidden, weight)
        (3 * loss).backward()
    assert torch.equal(loss, compiled(hidden, weight))
    want = torch.autograd.grad(linear_cross_entropy(2 * hidden, weight, target), (hidden, weight))
    for x, g in zip((hidden, weight), want, strict=True):
        torch.testing.assert_close(x.grad, 6 * g)


def test_unit_memory_keeps_to_the_budget(rng: np.random.Generator) -> None:
    """No tensor as large as the logits is made: the largest is the buffer of a chunk or a gradient."""
    sizes: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = function(*args, **(kwargs or {}))
            sizes.extend(
                x.untyped_storage().nbytes()
                for x in torch.utils._pytree.tree_leaves(out)
                if isinstance(x, torch.Tensor)
            )
            return out

    hidden, weight, target, _, _ = problem(rng, torch.float32, n=400, v=1000)
    budget = 20 * 1000 * 4
    with Watch():
        linear_cross_entropy(hidden, weight, target, budget_bytes=budget).backward()
    assert max(sizes) <= max(budget, 1000 * H * 4)


def test_unit_autocast(rng: np.random.Generator) -> None:
    hidden, weight, target, _, _ = problem(rng, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, target)
    loss.backward()
    assert weight.grad.dtype == torch.float32
    assert_near(loss, reference.linear_cross_entropy(*numbers(hidden, weight, target))[0], BOUND[torch.bfloat16])


def test_unit_module(rng: np.random.Generator) -> None:
    hidden, _, target, _, class_weight = problem(rng, torch.float32)
    module = LinearCrossEntropyLoss(H, V, bias=True, weight=class_weight.float(), label_smoothing=0.1)
    assert [name for name, _ in module.named_parameters()] == ["linear.weight", "linear.bias"]
    assert list(module.state_dict()) == ["weight", "linear.weight", "linear.bias"]
    layer = module.linear
    want = linear_cross_entropy(hidden, layer.weight, target, layer.bias, class_weight.float(), label_smoothing=0.1)
    assert torch.equal(module(hidden, target), want)
    assert "label_smoothing=0.1" in repr(module)
    shared = LinearCrossEntropyLoss(linear=layer, reduction="none")
    assert shared.linear is layer
    assert shared(hidden.view(1, N, H), target.view(1, N)).shape == (1, N)
    for wrong, match in (
        (lambda: LinearCrossEntropyLoss(), "want in_features"),
        (lambda: LinearCrossEntropyLoss(H, V, linear=layer), "got both"),
        (lambda: LinearCrossEntropyLoss(H, V, smoothing=0.1), "unknown: smoothing; allowed are ignore_index"),
    ):
        with pytest.raises(TypeError, match=match):
            wrong()


def test_safety_wrong_arguments(rng: np.random.Generator) -> None:
    hidden, weight, target, bias, class_weight = problem(rng, torch.float32)
    for error, match, arguments, options in [
        (ValueError, r"weight: want shape \(V, 16\), got \(301, 15\)", (hidden, weight[:, :15], target), {}),
        (ValueError, r"target: want shape \(53,\), got \(52,\)", (hidden, weight, target[1:]), {}),
        (TypeError, "want integer labels, got torch.float32", (hidden, weight, target.float()), {}),
        (TypeError, "weight: want the dtype of hidden", (hidden, weight.double(), target), {}),
        (TypeError, "bias: want the dtype of hidden", (hidden, weight, target, bias.double()), {}),
        (ValueError, r"bias: want shape \(301,\)", (hidden, weight, target, bias[1:]), {}),
        (ValueError, r"class_weight: want shape \(301,\)", (hidden, weight, target, None, class_weight[1:]), {}),
        (ValueError, "reduction = 'median'", (hidden, weight, target), {"reduction": "median"}),
        (ValueError, "empty = 'one'", (hidden, weight, target), {"empty": "one"}),
        (ValueError, "budget_bytes = 0", (hidden, weight, target), {"budget_bytes": 0}),
        (ValueError, "label_smoothing = 2", (hidden, weight, target), {"label_smoothing": 2}),
    ]:
        with pytest.raises(error, match=match):
            linear_cross_entropy(*arguments, **options)


def test_unit_docstring() -> None:
    import doctest

    from lmfast.loss import linear_module

    for module in operators, linear_module:
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed


@pytest.mark.parametrize(("h", "length"), [(64, 0.3), (16, 1.5)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_truth_nearly_certain_rows_in_parts(dtype: Any, h: int, length: float, rng: np.random.Generator) -> None:
    """Of more than h rows the second pass makes the logits anew; where p -> 1 the label's gradient keeps its digits."""
    n, v = 40, 900
    hidden = torch.from_numpy(rng.standard_normal((n, h))).to(dtype)
    target = torch.from_numpy(rng.permutation(v)[:n])
    weight = torch.from_numpy(rng.standard_normal((v, h)) * 0.1)
    weight[target] = length * hidden.double()
    weight = weight.to(dtype).requires_grad_()
    logits = torch.nn.functional.linear(hidden, weight).double()
    rows = reference.cross_entropy_rows(logits.detach().numpy(), target.numpy())
    assert rows.loss.min() < 1e-5
    loss = linear_cross_entropy(hidden, weight, target, reduction="sum", budget_bytes=1)
    gradient = torch.autograd.grad(loss, weight)[0].double()[target].numpy()
    want = rows.gradient.T[target.numpy()] @ hidden.double().numpy()
    size = np.abs(want).max(1, keepdims=True)
    floor = 2.0**-24 if dtype == torch.float16 else 0.0  # of what the format holds
    assert (np.abs(gradient - want) <= 0.05 * size + 4 * floor * np.abs(hidden.double().numpy()).max()).all()


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_truth_more_results_in_parts(dtype: Any, rng: np.random.Generator) -> None:
    """Gradients of the log-sum-exp, of ignored rows too, and of log-probabilities, in one chunk and in many."""
    hidden, weight, target, bias, _ = problem(rng, dtype)
    d_loss, d_lse, d_logprob = (torch.from_numpy(rng.uniform(0.5, 2, N)).float() for _ in range(3))
    numbered = numbers(hidden, weight, bias)
    logits = numbered[0] @ numbered[1].T + numbered[2]
    given = {"scale": d_loss.numpy(), "d_lse": d_lse.numpy(), "d_logprob": d_logprob.numpy()}
    rows = reference.cross_entropy_rows(logits, target.numpy(), label_smoothing=0.1, z_loss=1e-2, **given)
    for budget in None, 1:
        found = linear_cross_entropy(
            hidden, weight, target, bias, reduction="none", label_smoothing=0.1, z_loss=1e-2, return_lse=True,
            return_logprobs=True, budget_bytes=budget,
        )  # fmt: skip
        total = (found.loss * d_loss + found.lse * d_lse + found.logprobs * d_logprob).sum()
        got = torch.autograd.grad(total, (hidden, weight))
        assert_near(got[0], rows.gradient @ numbered[1], 2 * BOUND[dtype])
        assert_near(got[1], rows.gradient.T @ numbered[0], 2 * BOUND[dtype])


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_safety_a_bad_label_is_nan_in_one_chunk_and_in_many(dtype: Any, rng: np.random.Generator) -> None:
    v = 320  # torch's product of 16-bit matrices lets a NaN into the row before it unless V is a multiple of 64
    hidden, weight, target, _, _ = problem(rng, dtype, v=v)
    target[4] = v
    for budget in None, 1:
        loss = linear_cross_entropy(hidden, weight, target, reduction="none", on_bad_label="nan", budget_bytes=budget)
        assert loss.isnan().nonzero().tolist() == [[4]]
        got = torch.autograd.grad(loss.sum(), (hidden, weight))
        assert got[0].isnan().any(1).nonzero().tolist() == [[4]]
        assert got[1].isnan().all()
