"""The loss kernels of the GPU against the float64 reference: emulated, and on a device where there is one."""

import mmap
from typing import Any

import numpy as np
import pytest

from lmfast.reference import loss as reference

torch = pytest.importorskip("torch")

from lmfast.loss import _device  # noqa: E402

FORMATS = [torch.float32, torch.bfloat16, torch.float16]
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
"""Of a gradient, relative: one rounding to 16 bits; for float32 that of exp and of a row's sum."""
RESULTS = ("loss", "lse", "logprob", "entropy", "correct")
PLANS = {"best": 0, "one block": 1, "two reads": 2}


def tensor(rng: np.random.Generator, *shape: int, size: float = 4.0) -> Any:
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32) * size)


def labels(rng: np.random.Generator, n: int, v: int, **about: Any) -> Any:
    return torch.from_numpy(rng.integers(0, v, n)).to(**about)


def check(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    gradient: Any = "fresh",
    want: Any = ("loss", "lse"),
    **options: Any,
):
    """Runs the kernels and holds what they give to the reference; gives the results and the gradient."""
    truth_options = {
        k: v for k, v in options.items() if k not in ("plan", "on_bad_label", "row_scale", "upstream", "divisor")
    }
    factor = np.ones(logits.shape[0])
    for name, exponent in ("row_scale", 1), ("upstream", 1), ("divisor", -1):
        if options.get(name) is not None:
            factor = factor * options[name].double().cpu().numpy() ** exponent
    truth_options = {k: v.double().cpu().numpy() if hasattr(v, "cpu") else v for k, v in truth_options.items()}
    numbers = logits.double().cpu().numpy()
    with np.errstate(all="ignore"):
        w = None if weight is None else weight.double().cpu().numpy()
        scale = truth_options.pop("scale", 1.0) * factor
        truth = reference.cross_entropy_rows(numbers, target.cpu().numpy(), w, scale=scale, **truth_options)
    if isinstance(gradient, str):
        gradient = logits if gradient == "in place" else _device.empty_gradient(logits).fill_(7.0)
    got = _device.rows(logits, target, weight, want=want, gradient=gradient, **options)
    for name in want:
        expected = getattr(truth, name)
        bound = np.maximum(1e-6, 2.0 * np.spacing(np.abs(expected).astype(np.float32))) if name != "correct" else 0.0
        if options.get("label_smoothing"):  # a difference of weighted means of the logits and lse: the last places
            places = 3.0 if w is None else 3.0 * max(1.0, w.max())  # the class's weight multiplies lse and its error
            bound = np.maximum(bound, places * np.spacing(np.abs(truth.lse).astype(np.float32)))
        bound = bound + 2.0**-22 * options.get("softcap", 0.0) * options.get(
            "logit_scale", 1.0
        )  # the last place of a tanh
        np.testing.assert_array_less(
            np.nan_to_num(np.abs(got[name].double().cpu().numpy() - expected), posinf=0.0),
            np.nan_to_num(bound, nan=1.0, posinf=1.0) + 1e-30,
            err_msg=name,
        )
        assert (np.isnan(got[name].double().cpu().numpy()) == np.isnan(expected)).all()
    if gradient is not None:
        found, rounding = gradient.double().cpu().numpy(), ROUNDING[logits.dtype]
        smallest = 2.0**-25 if logits.dtype == torch.float16 else 0.0  # half of float16's last place
        # Where two terms of the formula nearly cancel, what is left has the float32 rounding of both.
        cancelled = 1e-4 * np.abs(truth.gradient).mean(1, keepdims=True)
        if options.get("softcap"):  # its slope 1 - t * t: two last places of 1, however little is left
            slope = 1.0 - np.tanh(numbers / options["softcap"]) ** 2
            cancelled = cancelled + 2.0**-22 * np.abs(truth.gradient) / np.maximum(slope, 1e-9)
        np.testing.assert_array_less(
            np.abs(np.nan_to_num(found - truth.gradient)),
            1.01 * rounding * np.abs(np.nan_to_num(truth.gradient)) + smallest + np.nan_to_num(cancelled) + 1e-12,
        )
        assert (np.isnan(found) == np.isnan(truth.gradient)).all()
    return got, gradient


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_truth_every_width_and_place(dtype: Any, plan: str, device: str, rng: np.random.Generator) -> None:
    """Rows that begin at every place of a line of 16 bytes, with more and fewer elements than a warp holds."""
    for v in (2, 9, 1000, 4100) if plan == "two reads" else (1, 2, 7, 8, 9, 31, 33, 257, 1000, 4100):
        for shift in (0, 1) if v > 300 or plan == "two reads" else (0, 1, 3, 6):
            logits = tensor(rng, 3 * v + shift).to(device, dtype)[shift:].view(3, v)
            target = labels(rng, 3, v, device=device)
            target[0], target[1] = 0, v - 1  # both ends
            check(logits, target, plan=PLANS[plan], gradient="fresh")
            check(logits, target, plan=PLANS[plan], gradient="in place")


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_truth_options(dtype: Any, plan: str, device: str, rng: np.random.Generator) -> None:
    n, v = 3, 1003
    numbers = {"upstream": (), "divisor": (), "row_scale": (n,), "d_lse": (n,), "d_entropy": (n,)}
    factors = {k: torch.from_numpy(rng.uniform(0.5, 2.0, shape)).float().to(device) for k, shape in numbers.items()}
    weight = torch.from_numpy(rng.uniform(0.0, 2.0, v)).float().to(device)
    cases: list[dict[str, Any]] = [
        {"label_smoothing": 0.1},
        {"z_loss": 1e-2},
        {"logit_scale": 0.3},
        {"softcap": 3.0},
        {"weight": weight},
        {"weight": weight, "label_smoothing": 0.3},
        {"scale": 0.125, **{k: factors[k] for k in ("upstream", "divisor", "row_scale")}},
        {"d_lse": factors["d_lse"]},
        {"d_entropy": factors["d_entropy"], "want": RESULTS},
        {"weight": weight, "label_smoothing": 0.2, "z_loss": 1e-3, "softcap": 5.0, "logit_scale": 1.5, "want": RESULTS}
        | {**factors},
    ]
    for options in cases:
        logits = tensor(rng, n, v).to(device, dtype)
        target = labels(rng, n, v, device=device)
        target[1] = -100
        check(logits, target, plan=PLANS[plan], **options)
        check(logits, target, plan=PLANS[plan], **options, gradient="in place")


@pytest.mark.parametrize(
    ("dtype", "v", "widest", "cluster"),
    [
        (torch.bfloat16, 16384, 16, 1),
        (torch.bfloat16, 16393, 16, 2),
        (torch.bfloat16, 50257, 16, 4),
        (torch.bfloat16, 50257, 1, 1),
        (torch.float16, 128256, 16, 8),
        (torch.float32, 151936, 16, 16),
        (torch.float32, 151936, 8, 1),
        (torch.bfloat16, 262145, 8, 8),
        (torch.bfloat16, 262161, 8, 1),
    ],
)
def test_truth_clusters(dtype: Any, v: int, widest: int, cluster: int, emulated: Any, rng: np.random.Generator) -> None:
    """Rows that need several blocks, a device that has fewer, and one that has none; threads take turns both ways."""
    emulated.widest_cluster, emulated.backwards = widest, v % 2
    logits = tensor(rng, v + 3).to(dtype)[3:].view(1, v)
    check(logits, labels(rng, 1, v), label_smoothing=0.1, z_loss=1e-3, gradient="in place" if v % 2 else "fresh")
    assert emulated.last_cluster == cluster
    assert (emulated.last_threads == 1024) == (cluster == 1 and v > 20000)  # two_reads


def test_isa_order_of_threads_changes_nothing(emulated: Any, rng: np.random.Generator) -> None:
    v = 20011
    start = tensor(rng, 2, v).to(torch.bfloat16)
    target = labels(rng, 2, v)
    for plan in PLANS.values():
        outcomes = []
        for emulated.backwards in 0, 1:
            logits = start.clone()
            got = _device.rows(logits, target, want=RESULTS, gradient=logits, plan=plan, label_smoothing=0.1)
            outcomes.append([*got.values(), logits])
        assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


def test_unit_same_bits_alone_and_in_a_batch(device: str, rng: np.random.Generator) -> None:
    logits, target = tensor(rng, 9, 1000).to(device), labels(rng, 9, 1000, device=device)
    together = _device.rows(logits, target, gradient=(g := torch.empty_like(logits)))["loss"]
    for i in range(9):
        alone = _device.rows(logits[i : i + 1], target[i : i + 1], gradient=(h := torch.empty_like(logits[:1])))["loss"]
        assert torch.equal(alone[0], together[i])
        assert torch.equal(h[0], g[i])


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_truth_nearly_certain(dtype: Any, device: str, rng: np.random.Generator) -> None:
    """As p -> 1: the loss and the label's gradient are the small rest, relative to itself."""
    v = 1000
    logits = tensor(rng, 4, v, size=1.0)
    target = torch.tensor([0, 17, 500, v - 1])
    logits[range(4), target] = torch.tensor([20.0, 25.0, 30.0, 40.0])
    logits = logits.to(dtype)
    truth = reference.cross_entropy_rows(logits.double().numpy(), target.numpy())
    got, gradient = check(logits.to(device), target.to(device), want=("loss", "logprob", "entropy", "correct"))
    np.testing.assert_allclose(got["loss"].double().cpu().numpy(), truth.loss, rtol=4e-6)
    at = gradient.double().cpu().numpy()[range(4), target]
    smallest = 2.0**-25 if dtype == torch.float16 else 0.0
    np.testing.assert_allclose(at, truth.gradient[range(4), target], rtol=1.01 * ROUNDING[dtype], atol=smallest)


def test_truth_large_offsets(device: str, rng: np.random.Generator) -> None:
    logits = (tensor(rng, 3, 1003).round() + 2.0**24 - 64).to(device)
    check(logits, labels(rng, 3, 1003, device=device), want=("loss", "logprob"))
    got = _device.rows(logits, labels(rng, 3, 1003, device=device), want=("loss",))
    assert bool((got["loss"] < 100).all())


def test_truth_infinities(device: str, rng: np.random.Generator) -> None:
    inf, v = np.inf, 37
    logits = tensor(rng, 8, v).to(device)
    target = torch.full((8,), 5, device=device)
    logits[0, ::2] = -inf  # some
    logits[1] = -inf
    logits[1, 5] = 1.0  # all but the label's
    logits[2] = -inf
    logits[2, 6] = 1.0  # all but another
    logits[3] = -inf
    logits[4, 9] = inf
    logits[5, 5] = inf
    logits[6, 0] = np.nan
    logits[7, 5] = np.nan
    for plan in PLANS.values():
        got, gradient = _device.rows(logits, target, gradient=(g := torch.empty_like(logits)), plan=plan), g
        want = logits.double().cpu().requires_grad_()
        loss = torch.nn.functional.cross_entropy(want, target.cpu(), reduction="none")
        loss.sum().backward()
        torch.testing.assert_close(got["loss"].double().cpu(), loss.detach(), equal_nan=True, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(gradient.double().cpu(), want.grad, equal_nan=True, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("ignore_index", [-100, 3, 2**40, -(2**40)])
def test_unit_ignored_rows(ignore_index: int, device: str, rng: np.random.Generator) -> None:
    """Their gradient is 0 whatever they hold, they count for nothing in the mean, and all may be ignored."""
    logits = tensor(rng, 5, 41).to(device)
    logits[2] = np.nan
    target = torch.tensor([1, 2, ignore_index, 40, ignore_index], device=device)
    for plan in PLANS.values():
        for extra in {}, {"want": ("loss", "lse")}, {"d_lse": torch.zeros(5, device=device)}:
            gradient = torch.full_like(logits, 7.0)
            got = _device.rows(logits, target, gradient=gradient, ignore_index=ignore_index, plan=plan, **extra)
            assert got["loss"][[2, 4]].tolist() == [0.0, 0.0]
            assert not gradient[[2, 4]].any()
            assert bool(gradient[[0, 1, 3]].ne(0).all())
    assert _device.divisor(target, 41, ignore_index=ignore_index).item() == 3.0
    assert _device.divisor(target[2:3], 41, ignore_index=ignore_index).item() == 0.0
    assert _device.divisor(target[:0], 41).item() == 0.0
    nothing = _device.rows(logits[:0], target[:0], gradient=logits[:0])
    assert nothing["loss"].shape == (0,)


@pytest.mark.parametrize("bad", [41, -1, 2**32, 2**32 + 5, -(2**63), 2**63 - 1])
def test_unit_bad_labels(bad: int, device: str, rng: np.random.Generator) -> None:
    """A row of NaN and a count, or an ignored row and a count, or IndexError; the other rows are as they should be."""
    logits, target = tensor(rng, 3, 41).to(device), torch.tensor([1, bad, 40], device=device)
    before = _device.bad_labels(device)
    gradient = torch.empty_like(logits)
    loss = _device.rows(logits, target, gradient=gradient)["loss"]
    assert loss.isnan().tolist() == [False, True, False]
    assert gradient.isnan().all(1).tolist() == gradient.isnan().any(1).tolist() == [False, True, False]
    assert _device.bad_labels(device) == before + 1
    loss = _device.rows(logits, target, gradient=gradient, on_bad_label="ignore")["loss"]
    assert loss[1] == 0
    assert not gradient[1].any()
    assert _device.divisor(target, 41, on_bad_label="ignore").item() == 2.0
    with pytest.raises(IndexError, match=rf"target\[1\] = {bad} is outside \[0, 41\)"):
        _device.rows(logits, target, on_bad_label="raise")


def test_unit_labels_of_every_size(device: str, rng: np.random.Generator) -> None:
    logits, target = tensor(rng, 4, 300).to(device), torch.tensor([0, 255, 7, 128], device=device)
    want = _device.rows(logits, target)["loss"]
    for dtype in torch.int32, torch.uint8:
        assert torch.equal(_device.rows(logits, target.to(dtype))["loss"], want)
        assert _device.divisor(target.to(dtype), 300, ignore_index=7).item() == 3.0


def test_unit_only_the_rows_are_written(device: str, rng: np.random.Generator) -> None:
    """Rows farther apart than they are wide, of logits and of a gradient that lies elsewhere against 16 bytes."""
    v, target = 1003, labels(rng, 3, 1003, device=device)
    for dtype in FORMATS:
        for shift in range(0, 9, 3):
            room = torch.full((3, v + 40), 7.0, dtype=dtype, device=device)
            gradient = room[:, shift : shift + v]
            check(tensor(rng, 3, v + 5).to(device, dtype)[:, :v], target, gradient=gradient, label_smoothing=0.1)
            assert bool((room[:, :shift] == 7).all())
            assert bool((room[:, shift + v :] == 7).all())


def test_unit_far_rows(emulated: Any, rng: np.random.Generator) -> None:
    """Rows 2^31 + 3 elements apart. The memory between is promised, not taken."""
    v, stride = 523, 2**31 + 3
    with mmap.mmap(-1, 2 * (stride + v), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000) as memory:
        far = torch.frombuffer(memory, dtype=torch.bfloat16).as_strided((2, v), (stride, 1))
        near = tensor(rng, 2, v).to(torch.bfloat16)
        target = labels(rng, 2, v)
        for plan in PLANS.values():
            far.copy_(near)
            want = near.clone()
            expected = _device.rows(want, target, gradient=want, plan=plan)["loss"]
            assert torch.equal(_device.rows(far, target, gradient=far, plan=plan)["loss"], expected)
            torch.testing.assert_close(far.float(), want.float(), rtol=1e-2, atol=1e-6)
            _device.scale_gradient(far, torch.tensor(2.0))
            torch.testing.assert_close(far.float(), 2 * want.float(), rtol=1e-2, atol=1e-6)
        del far


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_unit_scale_gradient(dtype: Any, device: str, rng: np.random.Generator) -> None:
    for shift in 0, 1, 5:
        room = tensor(rng, 5, 1100).to(device, dtype)
        start, values = room.clone(), room[:, shift : shift + 1003]
        _device.scale_gradient(values, torch.tensor(4.0, device=device), torch.tensor(8.0, device=device))
        expected = start.clone()
        expected[:, shift : shift + 1003] *= 0.5
        assert torch.equal(room, expected)
        _device.scale_gradient(values, torch.tensor(3.0, device=device), torch.tensor(3.0, device=device))
        _device.scale_gradient(values, torch.tensor(1.0, device=device))
        assert torch.equal(room, expected)


def test_unit_divisor_of_many(device: str, rng: np.random.Generator) -> None:
    weight = torch.from_numpy(rng.uniform(0, 2, 50)).float().to(device)
    target = labels(rng, 5000, 50, device=device)
    target[::7] = -100
    kept = target[target != -100]
    assert _device.divisor(target, 50).item() == len(kept)
    got = _device.divisor(target, 50, weight).item()
    assert got == pytest.approx(weight.double()[kept].sum().item(), rel=1e-7)


def test_safety_wrong_arguments(device: str) -> None:
    logits, target = torch.zeros(2, 5, device=device), torch.zeros(2, dtype=torch.int64, device=device)
    for error, match, call in [
        (
            TypeError,
            "want float32, bfloat16 or float16, got torch.float64",
            lambda: _device.rows(logits.double(), target),
        ),
        (ValueError, "columns side by side", lambda: _device.rows(torch.zeros(5, 2, device=device).T, target)),
        (ValueError, r"want shape \(2,\), got \(3,\)", lambda: _device.rows(logits, target.new_zeros(3))),
        (TypeError, "want int64, int32 or uint8", lambda: _device.rows(logits, target.float())),
        (ValueError, "weight: want shape", lambda: _device.rows(logits, target, torch.ones(4, device=device))),
        (ValueError, "row_scale: want 2 numbers", lambda: _device.rows(logits, target, row_scale=torch.ones(3))),
        (ValueError, "allowed are loss", lambda: _device.rows(logits, target, want=("perplexity",))),
        (ValueError, "allowed are raise", lambda: _device.rows(logits, target, on_bad_label="shrug")),
        (ValueError, "gradient: want", lambda: _device.rows(logits, target, gradient=torch.zeros(2, 4, device=device))),
        (RuntimeError, "CUDA error 1", lambda: _device.rows(logits, target, logit_scale=0.0)),
        (RuntimeError, "CUDA error 1", lambda: _device.rows(logits[:, :0], target)),
    ]:
        with pytest.raises(error, match=match):
            call()


def test_unit_polite_without_device() -> None:
    from lmfast import _cuda

    logits = torch.zeros(2, 5)
    assert not _device.supports(logits)
    if not _cuda.available():
        with pytest.raises(RuntimeError, match=r"without nvcc|CUDA error|finds no device"):
            _device.rows(logits, torch.zeros(2, dtype=torch.int64))


@pytest.mark.gpu
@pytest.mark.parametrize("v", [32000, 50257, 50304, 128256, 151936, 152064, 201088, 256000, 262144, 262145, 300001])
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
def test_truth_real_vocabularies(v: int, device: str, rng: np.random.Generator) -> None:
    for dtype in FORMATS:
        for plan in PLANS.values():
            logits = tensor(rng, 5 * v + 1).to(device, dtype)[1:].view(5, v)
            check(logits, labels(rng, 5, v, device=device), label_smoothing=0.1, plan=plan)
            check(logits, labels(rng, 5, v, device=device), plan=plan, gradient="in place")


@pytest.mark.gpu
@pytest.mark.parametrize("n_elements", [2**31, 2**32])
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
def test_truth_more_than_32_bits_of_elements(n_elements: int, device: str, rng: np.random.Generator) -> None:
    v = 128256
    n = n_elements // v + 2
    if torch.cuda.mem_get_info()[0] < 3 * n * v:
        pytest.skip("needs more memory on the device")
    logits = torch.randn(n, v, dtype=torch.bfloat16, device=device)
    target = torch.randint(0, v, (n,), device=device)
    last = logits[-3:].clone()
    loss = _device.rows(logits, target, gradient=logits)["loss"]
    alone = _device.rows(last, target[-3:], gradient=last)["loss"]
    assert torch.equal(loss[-3:], alone)
    assert torch.equal(logits[-3:], last)


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
def test_unit_graph_capture_with_new_labels(device: str, rng: np.random.Generator) -> None:
    """No call waits or copies, so a graph can hold them; replayed with other labels it gives their losses."""
    logits, target = tensor(rng, 7, 50257).to(device, torch.bfloat16), labels(rng, 7, 50257, device=device)
    gradient = _device.empty_gradient(logits)

    def step() -> Any:
        total = _device.divisor(target, 50257)
        return _device.rows(logits, target, gradient=gradient, divisor=total)["loss"]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    for _ in range(2):
        target.copy_(labels(rng, 7, 50257, device=device))
        graph.replay()
        replayed, written = loss.clone(), gradient.clone()
        assert torch.equal(step(), replayed)
        assert torch.equal(gradient, written)
