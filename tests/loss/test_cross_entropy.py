"""cross_entropy on the CPU: the kernels against float64, torch's own, and every case that a peer got wrong."""

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from lmfast import loss as L  # noqa: E402
from lmfast.loss.autograd import formula  # noqa: E402
from lmfast.loss.rows import Options, Rows  # noqa: E402
from lmfast.reference import loss as reference  # noqa: E402

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SIZES = (1, 2, 7, 31, 33, 1000, 1023, 1025, 2100, 5000)
OPTIONS: tuple[dict[str, float], ...] = (
    {},
    {"label_smoothing": 0.1},
    {"z_loss": 1e-2, "logit_scale": 0.7},
    {"z_loss": 1e-3, "softcap": 5.0, "logit_scale": 0.7, "label_smoothing": 0.2},
)


@pytest.fixture(autouse=True)
def seeded(rng: np.random.Generator) -> None:
    torch.manual_seed(int(rng.integers(2**31)))


def ulp(x: Any, dtype: Any) -> Any:
    """The distance to the next number of the dtype."""
    info = torch.finfo(dtype)
    x = np.maximum(np.abs(x), float(info.smallest_normal))
    return 2.0 ** np.floor(np.log2(x)) * float(info.eps)


def assert_losses(got: Any, want: Any) -> None:
    """The larger of 1e-6 and 2 ulp of float32."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert (np.isnan(got) == np.isnan(want)).all()
    finite = np.isfinite(want)
    assert (got[~finite & ~np.isnan(want)] == want[~finite & ~np.isnan(want)]).all()
    bound = np.maximum(1e-6, 2 * ulp(want[finite], torch.float32))
    assert (np.abs(got[finite] - want[finite]) <= bound).all(), np.abs(got[finite] - want[finite]).max()


def assert_gradient(got: Any, want: Any, dtype: Any, *, slack: float = 1e-6) -> None:
    """One rounding in 16 bits, beside what float32 arithmetic leaves: `slack` of a number of the size of its terms."""
    got = got.double().numpy() if isinstance(got, torch.Tensor) else np.asarray(got, np.float64)
    rounding = 0.5 * ulp(want, dtype) if dtype in (torch.bfloat16, torch.float16) else 0.0
    if dtype == torch.float16:
        rounding = np.maximum(rounding, 2.0**-25)
    relative = 1e-12 if dtype == torch.float64 else 4e-6
    # Terms up to 10 that cancel leave the last places of 10 in float64.
    own = 1e-14 if dtype == torch.float64 else 1e-15 + slack * np.abs(want).max(initial=0.0)
    bound = rounding + relative * np.abs(want) + own
    assert (np.abs(got - want) <= bound).all(), (np.abs(got - want) - bound).max()


def which_are_told(x: Any, y: Any, softcap: float) -> Any:
    """In which rows it does not hang on the last places of tanh whether the label is the first of the largest: capped
    logits near 1 are equal or not by one rounding, and 4 of them allow each of two libraries an error of 2.
    """
    if not softcap:
        return np.ones(len(y), bool)
    capped = np.tanh(x / softcap)
    near = capped >= capped.max(1, keepdims=True) - 4 * 2.0**-53
    return (near.sum(1) == 1) | ~near[np.arange(len(y)), y.clip(0)]


@pytest.mark.parametrize("n_classes", SIZES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_truth_rows(isa: str, dtype: Any, n_classes: int, rng: np.random.Generator) -> None:
    n = 6
    for options in OPTIONS:
        for soft in (False, True):
            x = torch.randn(n, n_classes) * 3
            if n_classes > 2000:
                x = x + torch.arange(n_classes) * 0.02  # the reference must be raised again and again
            x = x.to(dtype)
            y = torch.randint(0, n_classes, (n,))
            y[2] = -100
            target = torch.softmax(torch.randn(n, n_classes), -1).to(dtype) if soft else y
            for weight in (None, rng.random(n_classes)):
                given = {name: rng.random(n) for name in ("d_lse", "d_logprob", "d_entropy")}
                scale = rng.random(n)
                truth = (x.double().numpy(), target.double().numpy() if soft else y.numpy(), weight)
                tolerance = 4e-6 if "softcap" in options else 1e-6

                want = reference.cross_entropy_rows(*truth, **options, scale=scale, **given)
                gradient = torch.empty_like(x)
                rows = Rows(x, target, weight, Options(**options), isa=isa)
                got = rows.run(
                    ("loss", "lse", "logprob", "entropy", "correct"), gradient=gradient, row_scale=scale, **given
                )
                for name in ("loss", "lse", "logprob", "entropy"):
                    np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=2e-7, atol=tolerance)
                told = which_are_told(truth[0], y.numpy(), options.get("softcap", 0.0))
                assert (got.correct == want.correct)[told].all()
                assert_gradient(gradient, want.gradient, dtype)

                want = reference.cross_entropy_rows(*truth, **options, scale=0.3)
                own = x.clone()
                got = Rows(own, target, weight, Options(**options), isa=isa).run(gradient=own, scale=0.3)
                np.testing.assert_allclose(got.loss, want.loss, rtol=2e-7, atol=tolerance)
                assert_gradient(own, want.gradient, dtype)


VOCABULARIES = (32000, 50257, 50304, 128256, 151936, 152064, 201088, 256000, 262144, 262145)


@pytest.mark.parametrize("n_classes", VOCABULARIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_truth_vocabularies(isa: str, dtype: Any, n_classes: int) -> None:
    """|logits| up to 100: every row's loss within the larger of 1e-6 and 2 ulp, the gradient rounded once."""
    x = torch.empty(3, n_classes).uniform_(-100, 100)
    x[1] = torch.randn(n_classes)
    x[2] = torch.randn(n_classes) * 10
    x = x.clamp(-100, 100).to(dtype)
    y = torch.randint(0, n_classes, (3,))
    want = reference.cross_entropy_rows(x.double().numpy(), y.numpy(), scale=0.25)
    room = torch.full_like(x, 7.0)
    got = Rows(x, y, isa=isa).run(gradient=room, scale=0.25)
    assert_losses(got.loss.astype(np.float32), want.loss)
    assert_gradient(room, want.gradient, dtype, slack=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("direction", [0.02, 0.0, -0.02])
def test_truth_negative_rows(isa: str, dtype: Any, direction: float) -> None:
    """Not one logit above 0, as in GPT-2, rising or falling: the largest of a block is the least negative one."""
    n_classes = 3000
    y = torch.tensor([0, 63, 64, 1023, 1024, 2999, 2944])  # at the borders of groups, of blocks and of the row
    x = (torch.randn(len(y), n_classes) - 90 + direction * torch.arange(n_classes)).clamp(max=-0.5).to(dtype)
    x[1, 63], x[4, :] = -0.0, -70.0
    want = reference.cross_entropy_rows(x.double().numpy(), y.numpy(), scale=0.5)
    got = Rows(x, y, isa=isa).run(("loss", "correct"), gradient=x, scale=0.5)
    assert_losses(got.loss.astype(np.float32), want.loss)
    assert (got.correct == want.correct).all()
    assert_gradient(x, want.gradient, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("step", [7.0, 20.0, 60.0, 300.0])
def test_peer_climbing_rows(isa: str, dtype: Any, step: float) -> None:
    """The reference is raised within blocks, between -inf and the smallest numbers: in place nothing is read twice.

    Each of the rows climbs at other places, and the label is the top, or before it, or far below it.
    """
    n_classes, y = 3100, torch.tensor([3099, 1500, 70, 2048, 640])
    x = torch.randn(len(y), n_classes)
    climbs = ([3000], [200, 1000, 1023], [64, 1024, 2047], [2048, 2111, 2112], [5, 700, 1400, 3099])
    for row, places in enumerate(climbs):
        for i, place in enumerate(places):
            x[row, place:] += step
            x[row, place + 100 * i + 3 :: 97] = -math.inf
    x[:, 33] = torch.finfo(dtype).min
    x[torch.arange(len(y)), y] = torch.randn(len(y)) + torch.tensor([step, 3 * step, 0.0, step, step])
    x = x.to(dtype)
    truth = x.double().requires_grad_()
    want, lse = F.cross_entropy(truth, y, reduction="none"), torch.logsumexp(truth, -1).detach()
    (want.sum() * 0.5).backward()
    right = x.double().argmax(-1).numpy() == y.numpy()
    room = torch.empty_like(x)
    got = Rows(x, y, isa=isa).run(("loss", "lse", "correct"), gradient=room, scale=0.5)
    alone = Rows(x, y, isa=isa).run(("loss", "correct"))
    Rows(x, y, isa=isa).run(gradient=x, scale=0.5)
    for loss in got.loss, alone.loss:
        assert_losses(loss.astype(np.float32), want.detach())
    assert_losses(got.lse.astype(np.float32), lse)
    assert (got.correct == right).all()
    assert (alone.correct == right).all()
    assert torch.equal(x, room)
    assert_gradient(x, truth.grad.numpy(), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_isa_large_gradients_are_those_in_place(isa: str, dtype: Any) -> None:
    """Written past the caches, to rows that begin anywhere in a line and do not touch their neighbours."""
    n_rows, n_classes = 65, 65541
    x = (torch.randn(n_rows, n_classes) * 4).to(dtype)
    y = torch.randint(0, n_classes, (n_rows,))
    room = torch.full((n_rows, n_classes + 3), 7.0, dtype=dtype)
    Rows(x, y, isa=isa).run(gradient=room[:, 1:-2], scale=0.25)
    assert (room[:, 0] == 7).all()
    assert (room[:, -2:] == 7).all()
    Rows(x, y, isa=isa).run(gradient=x, scale=0.25)
    assert torch.equal(room[:, 1:-2], x)


def test_truth_nearly_certain_rows(isa: str) -> None:
    """As p -> 1 the loss and the label's gradient keep their digits, where torch and Liger return 0."""
    n_classes, y = 32000, torch.tensor([5, 31999, 1500, 0])
    x = torch.randn(4, n_classes)
    x[torch.arange(4), y] = torch.tensor([20.0, 30.0, 60.0, 75.0])
    want = reference.cross_entropy_rows(x.double().numpy(), y.numpy())
    got = Rows(x, y, isa=isa).run(("loss", "logprob"), gradient=x)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-6)
    np.testing.assert_allclose(got.logprob, want.logprob, rtol=1e-6)
    rows = np.arange(4)
    np.testing.assert_allclose(x.numpy()[rows, y], want.gradient[rows, y], rtol=2e-6)
    assert (x.numpy()[rows, y] < 0).all()


@pytest.mark.parametrize("offset", [72.0, -72.0, 88.0, -88.0, 16380.0, -16400.0, 2.0**24, -(2.0**24), 1e30])
def test_truth_large_offsets(isa: str, offset: float) -> None:
    """Logits far from 0: the loss is a difference of theirs, not of two huge numbers.

    Near 80 AVX-512 changes the way it measures from a row's reference.
    """
    x = (torch.randint(-4, 5, (5, 3000)).float() * 2).add_(offset)
    y = torch.randint(0, 3000, (5,))
    for smoothing in (0.0, 0.1):
        want = reference.cross_entropy_rows(x.double().numpy(), y.numpy(), label_smoothing=smoothing)
        room = torch.empty_like(x)
        got = Rows(x, y, options=Options(label_smoothing=smoothing), isa=isa).run(gradient=room)
        tolerance = 1e-6 if abs(offset) < 1e9 or not smoothing else abs(offset) * 1e-15
        np.testing.assert_allclose(got.loss, want.loss, rtol=2e-7, atol=tolerance)
        assert_gradient(room, want.gradient, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("where", [0, 1030, 2999])
def test_peer_infinities_and_nan(isa: str, dtype: Any, where: int) -> None:
    """As F.cross_entropy: NaN of a NaN, of +inf and of nothing but -inf; inf where the label's logit is -inf."""
    y = torch.full((6,), 1030)
    x = torch.randn(6, 3000).to(dtype)
    x[0, where] = -math.inf
    x[1, where] = math.inf
    x[2, where] = math.nan
    x[3] = -math.inf
    x[4] = torch.finfo(dtype).min
    x[5, :2000] = -math.inf
    want = F.cross_entropy(x.double(), y, reduction="none").numpy()
    if dtype == torch.float64:  # torch subtracts the largest number from itself; the row is uniform
        want[4] = math.log(3000)
    truth = x.double().requires_grad_()
    F.cross_entropy(truth, y, reduction="sum").backward()
    room = torch.empty_like(x)
    got = Rows(x, y, isa=isa).run(gradient=room)
    np.testing.assert_allclose(got.loss, want, rtol=1e-6, atol=1e-6)
    nan = np.isnan(truth.grad.numpy())
    assert (np.isnan(room.double().numpy()) == nan).all()
    assert_gradient(room.double().numpy()[~nan], truth.grad.numpy()[~nan], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("n_classes", [7, 33, 1037])
def test_truth_any_alignment_and_stride(isa: str, dtype: Any, n_classes: int) -> None:
    for shift in (0, 1, 3):
        storage = torch.randn(6 * (n_classes + 13) + shift).to(dtype)
        x = storage[shift:].view(6, n_classes + 13)[:, :n_classes]
        y = torch.randint(0, n_classes, (6,))
        want = reference.cross_entropy_rows(x.double().numpy(), y.numpy(), scale=0.5)
        outside = storage.clone()
        rows = Rows(x, y, isa=isa)
        got = rows.run(gradient=x, scale=0.5)
        np.testing.assert_allclose(got.loss, want.loss, rtol=1e-6, atol=1e-6)
        assert_gradient(x, want.gradient, dtype)
        padding = outside[shift:].view(6, n_classes + 13)[:, n_classes:]
        assert (storage[shift:].view(6, n_classes + 13)[:, n_classes:] == padding).all()
        assert (storage[:shift] == outside[:shift]).all()


def test_truth_rows_past_two_to_the_32(isa: str) -> None:
    """Rows may be any distance apart: the last one begins 2^32 elements after the first."""
    n_rows, n_classes = 5, 70
    stride = 2**30
    big = np.lib.stride_tricks.as_strided  # of memory that is reserved and hardly touched
    import mmap

    room = mmap.mmap(-1, stride * (n_rows - 1) * 4 + n_classes * 4)
    x = big(np.frombuffer(room, np.float32), (n_rows, n_classes), (stride * 4, 4))
    y = np.arange(n_rows) * 3
    x[:] = np.arange(n_classes) * 0.1
    want = reference.cross_entropy_rows(x, y)
    got = Rows(x, y, isa=isa).run(gradient=x)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-6)
    assert_gradient(x, want.gradient, torch.float32)


@pytest.mark.slow
def test_truth_more_than_two_to_the_31_logits() -> None:
    """N * V = 2^31 + 2^17 of one byte pair each, contiguous."""
    n_classes = 131072
    n_rows = 2**31 // n_classes + 1
    x = torch.zeros(n_rows, n_classes, dtype=torch.bfloat16)
    x[-1, 9] = 3.0
    y = torch.full((n_rows,), 9)
    loss = L.cross_entropy(x, y, reduction="none")
    assert loss[:-1].unique().tolist() == [pytest.approx(math.log(n_classes), abs=1e-6)]
    assert loss[-1].item() == pytest.approx(math.log((n_classes - 1) * math.exp(-3.0) + 1), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_truth_same_bits_for_any_number_of_threads_and_place(dtype: Any) -> None:
    x = (torch.randn(50, 3001) * 4).to(dtype)
    y = torch.randint(0, 3001, (50,))
    results = []
    for n_threads in (1, 2, 3, 7):
        room = torch.empty_like(x)
        got = Rows(x, y).run(("loss", "lse"), gradient=room, scale=0.1, n_threads=n_threads)
        results.append((got.loss.tobytes(), got.lse.tobytes(), room.view(torch.uint8).numpy().tobytes()))
    assert len(set(results)) == 1
    alone = L.cross_entropy(x[17:18].clone(), y[17:18], reduction="none")
    together = L.cross_entropy(x, y, reduction="none")
    assert alone[0] == together[17]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("shape", "labels"), [((7,), ()), ((5, 9), (5,)), ((3, 9, 4), (3, 4)), ((2, 9, 3, 2), (2, 3, 2)), ((0, 9), (0,))]
)
def test_peer_torch_shapes(shape: tuple[int, ...], labels: tuple[int, ...], reduction: str) -> None:
    n_classes = shape[1] if len(shape) > 1 else shape[0]
    for weight in (None, torch.rand(n_classes)):
        for smoothing in (0.0, 0.3):
            for soft in (False, True):
                x = torch.randn(shape, requires_grad=True)
                target = torch.rand(shape) if soft else torch.randint(0, n_classes, labels)
                truth = x.detach().double().requires_grad_()
                options = {"reduction": reduction, "label_smoothing": smoothing}
                got = L.cross_entropy(x, target, weight, **options)
                doubles = [None if t is None else t.double() for t in (weight, target if soft else None)]
                want = F.cross_entropy(truth, doubles[1] if soft else target, doubles[0], **options)
                assert got.shape == want.shape
                assert got.dtype == torch.float32
                np.testing.assert_allclose(got.detach().double(), want.detach(), rtol=1e-6, atol=1e-6)
                upstream = torch.rand_like(want)
                got.backward(upstream.float())
                want.backward(upstream)
                np.testing.assert_allclose(x.grad.double(), truth.grad, rtol=1e-5, atol=1e-6)
                array = L.cross_entropy(
                    x.detach().numpy(), target.numpy(), None if weight is None else weight.numpy(), **options
                )
                if reduction == "none":
                    np.testing.assert_array_equal(array, got.detach().numpy())
                np.testing.assert_allclose(array, got.detach().numpy(), rtol=1e-6)


def test_peer_language_model_shapes() -> None:
    x, y = torch.randn(2, 3, 11), torch.randint(0, 11, (2, 3))
    want = F.cross_entropy(x.double().view(6, 11), y.view(6))
    assert L.cross_entropy(x, y).item() == pytest.approx(want.item(), abs=1e-6)
    square = torch.randn(2, 4, 4)  # labels [2, 4] fit both readings: torch's counts, unless dim is given
    y = torch.randint(0, 4, (2, 4))
    assert L.cross_entropy(square, y).item() == pytest.approx(F.cross_entropy(square, y).item(), abs=1e-6)
    want = F.cross_entropy(square.view(8, 4), y.view(8))
    assert L.cross_entropy(square, y, dim=-1).item() == pytest.approx(want.item(), abs=1e-6)
    assert L.cross_entropy(x[:, :-1], torch.tensor([[1, 2], [3, 4]])).isfinite()
    assert L.cross_entropy(x.transpose(1, 2), torch.zeros(2, 3, dtype=torch.int64)).isfinite()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.int16], ids=str)
def test_peer_dtypes_of_labels(dtype: Any) -> None:
    x, y = torch.randn(6, 200), torch.randint(0, 200, (6,))
    y = y % 100 if dtype == torch.int16 else y
    want = F.cross_entropy(x, y).item()
    assert L.cross_entropy(x, y.to(dtype)).item() == pytest.approx(want, abs=1e-6)
    assert L.cross_entropy(x.numpy(), y.to(dtype).numpy()) == pytest.approx(want, abs=1e-6)


def test_peer_ignore_index_and_all_ignored() -> None:
    x, y = torch.randn(6, 20), torch.randint(0, 20, (6,))
    for ignore_index in (0, 3, -1, 2**40):
        y[2:4] = ignore_index
        want = F.cross_entropy(x, y, ignore_index=ignore_index).item()
        assert L.cross_entropy(x, y, ignore_index=ignore_index).item() == pytest.approx(want, abs=1e-6)
    y[:] = -100
    for empty, want in (("nan", math.nan), ("zero", 0.0)):
        for wanted in ({}, {"return_lse": True}):
            leaf = x.clone().requires_grad_()
            found = L.cross_entropy(leaf, y, empty=empty, **wanted)
            loss = found.loss if wanted else found
            loss.backward()
            assert loss.item() == pytest.approx(want, nan_ok=True)
            assert (leaf.grad == 0).all()
        assert L.cross_entropy(x.numpy(), y.numpy(), empty=empty) == pytest.approx(want, nan_ok=True)
    assert L.cross_entropy(x, y, reduction="sum") == 0
    found = L.cross_entropy(x.requires_grad_(), y, return_accuracy=True)
    assert math.isnan(found.accuracy)


@pytest.mark.parametrize("bad", [-1, 20, 2**32, 2**32 + 5, -(2**63), 2**63 - 1, 255])
def test_safety_labels_out_of_range(isa: str, bad: int) -> None:
    x, y = torch.randn(6, 20), torch.randint(0, 20, (6,))
    y[4], y[1] = bad, bad
    for call in (
        lambda: L.cross_entropy(x, y),
        lambda: L.cross_entropy(x, y, reduction="none", return_lse=True),
        lambda: L.cross_entropy(x.clone().requires_grad_(), y),
        lambda: L.cross_entropy(x.clone().requires_grad_(), y, reduction="none"),
        lambda: L.cross_entropy(x.numpy(), y.numpy()),
        lambda: Rows(x, y, isa=isa).run(n_threads=2),
        lambda: L.nll_loss(x, y),
    ):
        with pytest.raises(IndexError, match=rf"target\[1\] = {bad} is outside \[0, 20\)"):
            call()
    good = torch.tensor([0, 2, 3, 5])
    want = F.cross_entropy(x[good], y[good], reduction="sum").item() / 4
    for leaf in (x, x.clone().requires_grad_()):
        assert L.cross_entropy(leaf, y, on_bad_label="ignore").item() == pytest.approx(want, abs=1e-6)
        found = L.cross_entropy(leaf, y, on_bad_label="ignore", return_lse=True)
        assert found.loss.item() == pytest.approx(want, abs=1e-6)
    leaf = x.clone().requires_grad_()
    losses = L.cross_entropy(leaf, y, on_bad_label="nan", reduction="none")
    assert losses.isnan().tolist() == [False, True, False, False, True, False]
    losses.sum().backward()
    assert leaf.grad.isnan().any(1).tolist() == losses.isnan().tolist()


def test_unit_weight_with_zero_and_accuracy() -> None:
    x = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0], [1.0, 1.0]])
    y = torch.tensor([0, 0, 0, 1])  # right, wrong, a tie at the first, a tie behind the first
    found = L.cross_entropy(x, y, torch.tensor([0.0, 2.0]), return_accuracy=True, return_lse=True)
    assert found.loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert found.accuracy.item() == 0.5
    assert found.lse[3].item() == pytest.approx(1 + math.log(2), abs=1e-6)
    assert L.cross_entropy(x, y, return_accuracy=True, reduction="none").accuracy.tolist() == [1, 0, 1, 0]
    assert L.cross_entropy(x.requires_grad_(), y, return_accuracy=True, reduction="sum").accuracy.item() == 2


def test_unit_ignored_rows_are_never_right() -> None:
    """Also where the ignored label is a class and the largest, by the kernel and by the formula."""
    x, y = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64), torch.tensor([1, 0])
    options = Options(ignore_index=1)
    assert formula(x, y, None, options)[4].tolist() == [0, 1]
    assert L.cross_entropy(x, y, ignore_index=1, reduction="none", return_accuracy=True).accuracy.tolist() == [0, 1]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("target", ["labels", "soft"])
def test_truth_gradcheck(options: dict[str, float], target: str) -> None:
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1, 5, -100, 0]) if target == "labels" else torch.rand(4, 6, dtype=torch.float64)
    weight = torch.rand(6, dtype=torch.float64)

    def scalar(x: Any) -> Any:
        return L.cross_entropy(x, y, weight, **options)

    def everything(x: Any) -> Any:
        found = L.cross_entropy(
            x, y, weight, reduction="none", return_lse=True, return_logprobs=True, return_entropy=True, **options
        )
        return found.loss, found.lse, found.logprobs, found.entropy

    for function in (scalar, everything):
        assert torch.autograd.gradcheck(function, x)
        assert torch.autograd.gradgradcheck(function, x)


def test_truth_soft_targets_and_weights_that_learn() -> None:
    x, q = (torch.rand(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, q: L.cross_entropy(x, q, label_smoothing=0.1), (x, q))
    assert torch.autograd.gradcheck(lambda x, w: L.cross_entropy(x, torch.tensor([0, 3, 4]), w), (x, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("upstream", [1.0, 65536.0, 0.3])
@pytest.mark.parametrize("inplace", [False, True])
def test_truth_upstream_gradient(dtype: Any, upstream: float, inplace: bool) -> None:
    """One rounding also after a GradScaler's factor; bfloat16 in place takes another unless that is a power of two."""
    leaf = torch.randn(8, 500).to(dtype).requires_grad_()
    y = torch.randint(0, 500, (8,))
    want = reference.cross_entropy_rows(leaf.detach().double().numpy(), y.numpy(), scale=upstream / 8).gradient
    loss = L.cross_entropy(leaf.clone() if inplace else leaf, y, inplace=inplace)
    (loss * upstream).backward()
    if inplace and dtype == torch.bfloat16 and upstream == 0.3:
        np.testing.assert_allclose(leaf.grad.double(), want, rtol=2.0**-7, atol=1e-9)
    else:
        assert_gradient(leaf.grad, want, dtype)


def test_truth_upstream_gradient_of_each_row() -> None:
    """Liger's silently wrong gradients: reduction "none" with another factor for every row."""
    x, y = torch.randn(9, 40, requires_grad=True), torch.randint(0, 40, (9,))
    factors = torch.randn(9)
    L.cross_entropy(x, y, reduction="none").backward(factors)
    want = reference.cross_entropy_rows(x.detach().double().numpy(), y.numpy(), scale=factors.double().numpy())
    assert_gradient(x.grad, want.gradient, torch.float32)


def test_truth_a_second_backward_pass_and_a_second_head() -> None:
    x, y = torch.randn(5, 30, requires_grad=True), torch.randint(0, 30, (5,))
    loss = L.cross_entropy(x, y)
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    torch.testing.assert_close(x.grad, 2 * once)
    x.grad = None
    (L.cross_entropy(x, y) + (x**2).sum()).backward()
    torch.testing.assert_close(x.grad, once + 2 * x.detach())


def test_unit_inplace_takes_the_logits_and_says_so() -> None:
    leaf, y = torch.randn(5, 30, requires_grad=True), torch.randint(0, 30, (5,))
    with pytest.raises(ValueError, match="inplace: a leaf"):
        L.cross_entropy(leaf, y, inplace=True)
    logits = leaf * 1.0
    kept = (logits**2).sum()
    loss = L.cross_entropy(logits, y, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()
    loss.backward(retain_graph=True)
    assert leaf.grad is not None
    with pytest.raises(RuntimeError, match="the logits are gone"):
        loss.backward()
    assert torch.equal(leaf.detach(), leaf)
    with torch.no_grad():  # without a gradient nothing is overwritten
        before = leaf.clone()
        L.cross_entropy(leaf, y, inplace=True)
        assert torch.equal(leaf, before)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_truth_with_grad(reduction: str) -> None:
    for dtype in (np.float32, np.float64):
        for shape, labels in (((5, 33), (5,)), ((2, 7, 3), (2, 3)), ((4,), ())):
            x = torch.randn(shape).numpy().astype(dtype)
            n_classes = x.shape[1] if x.ndim > 1 else x.shape[0]
            y = np.asarray(torch.randint(0, n_classes, labels))
            truth = torch.from_numpy(x).double().requires_grad_()
            want = F.cross_entropy(truth, torch.from_numpy(y), reduction=reduction)
            want.backward()
            kind = torch.float32 if dtype == np.float32 else torch.float64
            for own in (x.copy(), torch.from_numpy(x.copy())):
                labels_like = y if isinstance(own, np.ndarray) else torch.from_numpy(y)
                loss, gradient = L.cross_entropy_with_grad(own, labels_like, reduction=reduction)
                assert type(gradient) is type(own)
                assert float(loss) == pytest.approx(want.item(), rel=1e-6, abs=1e-6)
                assert_gradient(torch.as_tensor(gradient), truth.grad.numpy(), kind)
                loss, same = L.cross_entropy_with_grad(own, labels_like, reduction=reduction, out=own)
                assert same is own
                assert_gradient(torch.as_tensor(own), truth.grad.numpy(), kind)


@pytest.mark.parametrize("options", OPTIONS)
def test_peer_opcheck(options: dict[str, float]) -> None:
    words = [-100, *(options.get(n, d) for n, d in (("label_smoothing", 0.0), ("z_loss", 0.0), ("softcap", 0.0)))]
    common = [torch.randn(5, 7, requires_grad=True), torch.randint(0, 7, (5,)), None, *words]
    common += [options.get("logit_scale", 1.0), "raise"]
    torch.library.opcheck(torch.ops.lmfast.cross_entropy_rows.default, (*common, True))
    d_loss = torch.rand(5, dtype=torch.float64, requires_grad=True)
    rest = (d_loss, None, d_loss.detach().clone(), None)
    torch.library.opcheck(torch.ops.lmfast.cross_entropy_rows_backward.default, (*common, *rest))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_peer_compiled_fullgraph() -> None:
    def step(x: Any, y: Any) -> Any:
        return L.cross_entropy(x * 2, y, label_smoothing=0.1, z_loss=1e-3)

    def more(x: Any, y: Any) -> Any:
        return L.cross_entropy(x * 2, y, reduction="sum", return_lse=True, return_accuracy=True)[:2]

    for function in (step, lambda x, y: sum(v.sum() for v in more(x, y))):
        x, y = torch.randn(8, 50, requires_grad=True), torch.randint(0, 50, (8,))
        compiled = torch.compile(function, fullgraph=True)
        want = torch.autograd.grad(function(x, y), x)[0]
        value = compiled(x, y)
        torch.testing.assert_close(value, function(x, y))
        torch.testing.assert_close(torch.autograd.grad(value, x)[0], want)
        y = torch.randint(0, 50, (8,))
        torch.testing.assert_close(compiled(x, y), function(x, y))


def test_unit_module() -> None:
    x, y = torch.randn(5, 9), torch.randint(0, 9, (5,))
    weight = torch.rand(9)
    ours = L.CrossEntropyLoss(weight, reduction="sum", label_smoothing=0.2, ignore_index=3)
    theirs = torch.nn.CrossEntropyLoss(weight, reduction="sum", label_smoothing=0.2, ignore_index=3)
    assert ours(x, y).item() == pytest.approx(theirs(x, y).item(), abs=1e-5)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert "label_smoothing=0.2" in repr(ours)
    with pytest.warns(UserWarning, match="size_average"):
        assert L.CrossEntropyLoss(size_average=False).reduction == "sum"
    with pytest.raises(TypeError, match="no option 'zloss'"):
        L.CrossEntropyLoss(zloss=1.0)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "reduction = 'avg'", lambda x, y: L.cross_entropy(x, y, reduction="avg")),
        (ValueError, "label_smoothing = 2", lambda x, y: L.cross_entropy(x, y, label_smoothing=2)),
        (ValueError, "logit_scale = 0", lambda x, y: L.cross_entropy(x, y, logit_scale=0)),
        (ValueError, "softcap = -1", lambda x, y: L.cross_entropy(x, y, softcap=-1)),
        (ValueError, "z_loss = nan", lambda x, y: L.cross_entropy(x, y, z_loss=math.nan)),
        (ValueError, "empty = 'one'", lambda x, y: L.cross_entropy(x, y, empty="one")),
        (ValueError, "on_bad_label = 'x'", lambda x, y: L.cross_entropy(x, y, on_bad_label="x")),
        (ValueError, "weight: want shape", lambda x, y: L.cross_entropy(x, y, x[0, :3])),
        (ValueError, r"target: want shape \(4,\)", lambda x, y: L.cross_entropy(x, y[:3])),
        (ValueError, "dim = 5", lambda x, y: L.cross_entropy(x, y, dim=5)),
        (TypeError, "target: want integers", lambda x, y: L.cross_entropy(x, y * 1.0)),
        (TypeError, "want float32", lambda x, y: L.cross_entropy(x > 0, y)),
    ],
)
def test_safety_wrong_arguments(error: type[Exception], message: str, call: Any) -> None:
    x, y = torch.randn(4, 6), torch.randint(0, 6, (4,))
    for logits, labels in ((x, y), (x.numpy(), y.numpy())):
        with pytest.raises(error, match=message):
            call(logits, labels)


def test_unit_numpy_of_any_layout() -> None:
    x = np.asfortranarray(torch.randn(5, 8).numpy())
    y = np.array([1, 2, 3, 4, 5], np.uint16)
    want = reference.cross_entropy(x, y)[0]
    swapped = x.astype(">f4")
    backwards = np.ascontiguousarray(x)[::-1]
    unaligned = np.frombuffer(b"." + np.ascontiguousarray(x).tobytes(), np.uint8)[1:].view(np.float32).reshape(5, 8)
    for array, labels in ((x, y), (swapped, y), (backwards, y[::-1]), (unaligned, y), (x.astype(np.float64), y)):
        got = L.cross_entropy(array, labels)
        assert got == pytest.approx(want, abs=1e-6)
        assert isinstance(got, np.float64 if array.dtype == np.float64 else np.float32)
