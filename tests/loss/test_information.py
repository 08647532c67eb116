"""Information measures, perplexities and n-gram models against plain Python, torch and each other."""

import doctest
import importlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfast import loss
from lmfast.reference.loss import information as reference

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", ["measures", "perplexities", "ngrams"])
def test_unit_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"lmfast.loss.{name}"))
    assert result.attempted
    assert not result.failed


def test_unit_known_values() -> None:
    assert loss.entropy([1.0, 0.0]) == 0.0
    assert loss.entropy([0.5, 0.5]) == 1.0
    assert loss.entropy(np.full(256, 1 / 256)) == 8.0
    assert loss.entropy([0.5, 0.5], base=math.e) == pytest.approx(math.log(2))
    assert loss.information([1.0, 0.5, 0.0]).tolist() == [0.0, 1.0, math.inf]
    assert loss.kl_div([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert loss.kl_div([1.0, 0.0], [0.5, 0.5]) == 1.0
    assert loss.cross_entropy_of([1.0, 0.0], [0.25, 0.75]) == 2.0
    assert loss.js_div([1.0, 0.0], [0.5, 0.5]) == pytest.approx(0.3112781244591328)


distributions = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        *[st.lists(st.floats(0, 1, width=32), min_size=n, max_size=n).filter(lambda x: sum(x) > 0.01)] * 2
    )
)


@given(distributions, st.sampled_from([2.0, math.e, 10.0]))
def test_property_equal_plain_python(pair: tuple[list[float], list[float]], base: float) -> None:
    p, q = (np.asarray(x) / np.sum(x) for x in pair)
    for name in "entropy", "cross_entropy_of", "kl_div", "js_div":
        arguments = (p,) if name == "entropy" else (p, q)
        want = getattr(reference, name)(*(x.tolist() for x in arguments), base)
        got = getattr(loss, name)(*arguments, base)
        assert isinstance(got, np.floating)
        assert got == pytest.approx(want, rel=1e-9, abs=1e-12)
        tensors = getattr(loss, name)(*map(torch.from_numpy, arguments), base)
        assert tensors.item() == pytest.approx(want, rel=1e-9, abs=1e-12)


def test_property_relations(rng: np.random.Generator) -> None:
    p, q = (x / x.sum(1, keepdims=True) for x in rng.random((2, 50, 7)))
    np.testing.assert_allclose(loss.kl_div(p, q), loss.cross_entropy_of(p, q) - loss.entropy(p), atol=1e-12)
    assert (loss.kl_div(p, q) >= 0).all()
    np.testing.assert_allclose(loss.js_div(p, q), loss.js_div(q, p), atol=1e-15)
    np.testing.assert_allclose(loss.entropy(p.T, dim=0), loss.entropy(p))


def test_peer_torch_distributions(rng: np.random.Generator) -> None:
    logits = torch.from_numpy(rng.standard_normal((5, 300)) * 5).requires_grad_()
    peer = torch.distributions.Categorical(logits=logits)
    ours = loss.entropy(logits=logits, base=math.e)
    torch.testing.assert_close(ours, peer.entropy())
    a, b = (torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (ours, peer.entropy()))
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(loss.entropy(peer.probs, base=math.e), peer.entropy())
    other = torch.distributions.Categorical(logits=logits.detach().flip(0))
    torch.testing.assert_close(
        loss.kl_div(peer.probs, other.probs, math.e), torch.distributions.kl_divergence(peer, other)
    )
    np.testing.assert_allclose(
        loss.entropy(logits=logits.detach().numpy(), base=math.e), ours.detach().numpy(), rtol=1e-12
    )
    np.testing.assert_allclose(
        loss.entropy(logits=logits.detach().numpy().T, dim=0, base=math.e), ours.detach().numpy()
    )


def test_unit_gradients(rng: np.random.Generator) -> None:
    p, q = (torch.from_numpy(rng.uniform(0.1, 1, (3, 4))).requires_grad_() for _ in range(2))
    for name in "cross_entropy_of", "kl_div", "js_div":
        assert torch.autograd.gradcheck(getattr(loss, name), (p, q))
    assert torch.autograd.gradcheck(loss.entropy, (p,))
    assert torch.autograd.gradcheck(loss.information, (p,))
    zero = torch.tensor([0.0, 1.0], requires_grad=True)
    other = torch.tensor([0.0, 1.0])
    for value in (
        loss.entropy(zero),
        loss.kl_div(zero, other),
        loss.cross_entropy_of(zero, other),
        loss.js_div(zero, other),
    ):
        (gradient,) = torch.autograd.grad(value, zero)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_unit_dtypes(dtype: str) -> None:
    wide = np.float64 if dtype == "float64" else np.float32
    assert loss.entropy(np.array([0.5, 0.5], dtype)).dtype == wide
    assert loss.entropy(torch.tensor([0.5, 0.5], dtype=getattr(torch, dtype))).dtype == getattr(
        torch, np.dtype(wide).name
    )
    assert loss.entropy([1, 0]).dtype == np.float64


def test_unit_perplexity(rng: np.random.Generator) -> None:
    """The exponential of the mean in nats is 2 to the mean in bits, is what the log-probabilities give, is torch's."""
    logits, target = rng.standard_normal((20, 50)).astype(np.float32), rng.integers(0, 50, 20)
    target[3] = -100
    got = loss.perplexity(logits, target)
    tensor = torch.from_numpy(logits).requires_grad_()
    peer = torch.nn.functional.cross_entropy(tensor, torch.from_numpy(target)).exp()
    assert got == pytest.approx(peer.item(), rel=1e-5)
    ours = loss.perplexity(tensor, torch.from_numpy(target))
    a, b = (torch.autograd.grad(x, tensor)[0] for x in (ours, peer))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    own = np.take_along_axis(loss.log_softmax(logits), np.maximum(target, 0)[:, None], 1)[:, 0]
    assert loss.perplexity_from_logprobs(own, target != -100) == pytest.approx(got, rel=1e-5)
    assert loss.perplexity_from_logprobs(own[target != -100] / math.log(2), base=2) == pytest.approx(got, rel=1e-5)
    assert loss.perplexity_from_logprobs(own) == pytest.approx(
        reference.perplexity_from_logprobs(own.tolist()), rel=1e-5
    )
    bits = -own[target != -100].sum() / math.log(2) / 19
    assert 2**bits == pytest.approx(got, rel=1e-5)
    assert loss.bits_per_byte(19 * bits, 76, base=2) == pytest.approx(bits / 4)
    tensors = loss.perplexity_from_logprobs(torch.from_numpy(own), torch.from_numpy(target != -100))
    assert tensors.item() == pytest.approx(got, rel=1e-5)


class Bigrams:
    """A model whose logits depend on the token and on how many tokens of context it sees; counts what it is given."""

    def __init__(self, rng: np.random.Generator, v: int) -> None:
        self.table, self.lengths = rng.standard_normal((v, v)), []

    def logits(self, ids: np.ndarray) -> np.ndarray:
        return self.table[ids] * (1 + np.arange(ids.shape[-1]))[:, None] / 10

    def __call__(self, ids: Any) -> Any:
        self.lengths.append(ids.shape[1])
        if isinstance(ids, np.ndarray):
            return self.logits(ids)
        output = type("Output", (), {})()
        output.logits = torch.from_numpy(self.logits(ids.numpy()))
        return output

    def log_probability(self, context: Any, token: int) -> float:
        return float(reference_log_softmax(self.logits(np.asarray(context))[-1])[token])


def reference_log_softmax(z: np.ndarray) -> np.ndarray:
    return z - np.log(np.exp(z).sum())


@pytest.mark.parametrize(
    ("n", "max_length", "stride"), [(40, 16, 8), (41, 16, 15), (17, 16, 1), (16, 16, 8), (5, 16, 3), (2, 2, 1)]
)
def test_truth_windows(n: int, max_length: int, stride: int, rng: np.random.Generator) -> None:
    model, ids = Bigrams(rng, 11), rng.integers(0, 11, n)
    want = reference.perplexity_of_text(model.log_probability, ids.tolist(), max_length, stride)
    for given_ids in ids, ids[None], torch.from_numpy(ids):
        got = loss.perplexity_of_text(model, given_ids, max_length=max_length, stride=stride)
        assert got.perplexity == pytest.approx(want, rel=1e-9)
        assert got.n_tokens == n - 1
        assert got.nll == pytest.approx(math.log(want) * (n - 1), rel=1e-9)
    assert max(model.lengths) <= max_length


@pytest.mark.parametrize("smoothing", ["mle", "add_k", "interpolation", "backoff"])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_truth_ngrams(n: int, smoothing: str, rng: np.random.Generator) -> None:
    v, options = 5, {"smoothing": smoothing, "k": 0.5, "weight": 0.7, "discount": 0.6}
    texts = [rng.integers(0, v, size) for size in (30, 0, 1, 12)] + [np.array([0, 0, 1, 0, 2, 0, 3, 0, 4])]
    model = loss.NGramModel(n, v, **options).fit(texts)
    lists = [text.tolist() for text in texts]
    for context in [], [0], [4, 4], [1, 2, 3], lists[0][:7]:
        want = [reference.ngram_probability(lists, context, w, n, v, **options) for w in range(v)]
        np.testing.assert_allclose(model.distribution(context), want, rtol=1e-12)
        assert sum(want) == pytest.approx(1.0) or (smoothing == "mle" and sum(want) == 0)
    new = rng.integers(0, v, 20)
    p = [reference.ngram_probability(lists, new[:i].tolist(), int(new[i]), n, v, **options) for i in range(20)]
    np.testing.assert_allclose(model.probabilities(new), p, rtol=1e-12)
    want = math.inf if 0 in p else math.exp(-sum(map(math.log, p)) / 20)
    assert model.perplexity([new]) == pytest.approx(want)


def test_unit_ngrams_of_a_large_vocabulary(rng: np.random.Generator) -> None:
    """Seven tokens of 2^31 ids do not fit into 64 bits; places in the levels do."""
    v = 2**31 - 2
    text = rng.integers(0, v, 500)
    model = loss.NGramModel(7, v, smoothing="mle").fit([text])
    assert model.perplexity([text]) == 1.0
    assert model.perplexity([text[::-1]]) == math.inf


def test_safety_wrong_arguments() -> None:
    uniform = lambda ids: np.zeros((*ids.shape, 5))  # noqa: E731
    for error, match, call in [
        (TypeError, "want either p or logits", lambda: loss.entropy()),
        (TypeError, "want either p or logits", lambda: loss.entropy([1.0], logits=[1.0])),
        (ValueError, "base = 1", lambda: loss.entropy([1.0], base=1)),
        (ValueError, r"p: want probabilities, got -0\.5", lambda: loss.entropy([1.5, -0.5])),
        (ValueError, "q: want probabilities", lambda: loss.kl_div(torch.ones(1), torch.tensor([-1.0]))),
        (ValueError, "n_bytes = 0", lambda: loss.bits_per_byte(1.0, 0)),
        (ValueError, "mask: want shape", lambda: loss.perplexity_from_logprobs([1.0], [True, False])),
        (ValueError, "at least 2, got", lambda: loss.perplexity_of_text(uniform, [1], max_length=4)),
        (ValueError, "stride = 4", lambda: loss.perplexity_of_text(uniform, [1, 2], max_length=4, stride=4)),
        (ValueError, "max_length = 1", lambda: loss.perplexity_of_text(uniform, [1, 2], max_length=1)),
        (
            ValueError,
            r"want logits of shape \(1, 2, V\)",
            lambda: loss.perplexity_of_text(lambda ids: ids, [1, 2], max_length=4),
        ),
        (ValueError, "n = 0", lambda: loss.NGramModel(0, 5)),
        (ValueError, "smoothing = 'none'", lambda: loss.NGramModel(1, 5, smoothing="none")),
        (ValueError, "want 1 or 2 numbers", lambda: loss.NGramModel(2, 5, weight=[0.5])),
        (ValueError, "call fit first", lambda: loss.NGramModel(2, 5).probabilities([1])),
        (ValueError, "at least one token", lambda: loss.NGramModel(2, 5).fit([[]])),
        (IndexError, r"text\[1\] = 5 is outside \[0, 5\)", lambda: loss.NGramModel(2, 5).fit([[0, 5]])),
        (TypeError, "want integers", lambda: loss.NGramModel(2, 5).fit([[0.5]])),
    ]:
        with pytest.raises(error, match=match):
            call()
