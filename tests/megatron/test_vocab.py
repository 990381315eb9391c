import math

import pytest
import torch

from red_mcore.megatron import vocab
from red_mcore.megatron.vocab import logprob_and_entropy

LOGITS = torch.tensor(
    [[2, 0.5, -1, 0, 1, -2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [-3, 4, 0, 1, -1, 2]]
)
TARGETS = torch.tensor([0, 4, 5])
LOGP = torch.tensor([-0.58469723, -1.65629809, -2.19151898])
ENTROPY = torch.tensor([1.25112461, 1.77730976, 0.63192242])
LOGP_GRADIENT = torch.tensor(
    [0.44272544, -0.12434476, -0.02774507, -0.07541891, -0.20500986, -0.01020684]
)
ENTROPY_GRADIENT = torch.tensor(
    [-0.37138303, 0.10365039, 0.06474513, 0.10057659, 0.06838567, 0.03402524]
)


def near(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=tolerance)


def dense(hidden, weight, targets, vocab_size: int, temperature: torch.Tensor | None = None):
    """The same by torch's own softmax over all logits."""
    logits = (hidden @ weight.T)[:, :vocab_size].float()
    log_p = logits.log_softmax(-1)
    log_q = log_p if temperature is None else (logits / temperature[:, None]).log_softmax(-1)
    return log_q.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def both_ways(function, hidden, weight, targets, factors, **settings):
    """Log-prob, entropy and the gradients of a weighted sum of both,
    by hidden states and by the weight."""
    leaves = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    logp, entropy = function(*leaves, targets, **settings)
    (factors[0] * logp + factors[1] * entropy).sum().backward()
    return logp.detach(), entropy.detach(), *(leaf.grad for leaf in leaves)


@pytest.fixture
def large():
    """Hidden states, weight, targets, factors of both outputs;
    41 rows of which 37 are the vocabulary."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (
        torch.randn(29, 16, generator=generator),
        torch.randn(41, 16, generator=generator),
    )
    return (
        hidden,
        weight,
        torch.randint(0, 37, (29,), generator=generator),
        torch.randn(2, 29, generator=generator),
    )


def test_published_values():
    """With the identity as weight, hidden states are logits."""
    logp, entropy = logprob_and_entropy(LOGITS, torch.eye(6), TARGETS, vocab_size=6)
    near(logp, LOGP)
    near(entropy, ENTROPY)
    assert entropy.mean().item() == pytest.approx(1.22011893, abs=1e-6)
    for i, expected in enumerate((LOGP_GRADIENT, ENTROPY_GRADIENT)):
        factors = torch.eye(2)[i][:, None]
        near(
            both_ways(logprob_and_entropy, LOGITS, torch.eye(6), TARGETS, factors, vocab_size=6)[2][
                0
            ],
            expected,
        )


def test_published_values_on_two_ranks(layouts):
    logp, entropy, logp_gradient, entropy_gradient = layouts["tp2"]["vocabulary"][6]
    near(logp, LOGP)
    near(entropy, ENTROPY)
    near(logp_gradient[0], LOGP_GRADIENT)
    near(entropy_gradient[0], ENTROPY_GRADIENT)


@pytest.mark.parametrize(
    ("case", "temperature"), [(5, None), ("heated", torch.tensor([0.5, 1.0, 2.0]))]
)
def test_padded_vocabulary_on_two_ranks(layouts, case, temperature):
    logp, entropy, *gradients = layouts["tp2"]["vocabulary"][case]
    targets = torch.tensor([0, 4, 3])
    for i, gradient in enumerate(gradients):
        factors = torch.eye(2)[i][:, None]
        expected = both_ways(
            dense, LOGITS, torch.eye(6), targets, factors, vocab_size=5, temperature=temperature
        )
        near(logp, expected[0])
        near(entropy, expected[1])
        near(gradient, expected[2])
        assert not gradient[:, 5].any()


@pytest.mark.parametrize("temperatures", [None, [1.0], [0.6], [3.0], [1.0, 0.6, 3.0]], ids=str)
def test_values_and_gradients_are_the_dense_formula(large, temperatures):
    """One temperature for all tokens, or several among them;
    the entropy is at 1 whatever they are."""
    each = None if temperatures is None else torch.tensor(temperatures).repeat(29)[:29]
    settings = {"vocab_size": 37, "temperature": each}
    found, expected = (both_ways(f, *large, **settings) for f in (logprob_and_entropy, dense))
    for a, b in zip(found, expected, strict=True):
        near(a, b, 2e-5)
    assert not found[3][37:].any()


@pytest.mark.parametrize("chunk", [1, 7, 29])
def test_chunks_change_nothing(large, monkeypatch, chunk):
    whole = both_ways(logprob_and_entropy, *large, vocab_size=37)
    monkeypatch.setattr(vocab, "CHUNK_BYTES", chunk * 37 * 4)
    for a, b in zip(both_ways(logprob_and_entropy, *large, vocab_size=37), whole, strict=True):
        near(a, b, 1e-5)


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("temperature", [None, torch.full((29,), 0.7)], ids=["at 1", "at .7"])
def test_one_output_alone_may_be_used(large, output, temperature):
    hidden, weight, targets, _ = large
    found = []
    for function in (logprob_and_entropy, dense):
        leaf = hidden.clone().requires_grad_()
        function(leaf, weight, targets, vocab_size=37, temperature=temperature)[
            output
        ].sum().backward()
        found.append(leaf.grad)
    near(*found, 1e-5)


def test_bfloat16_is_reduced_in_float32(large):
    hidden, weight, *rest = large[0].bfloat16(), large[1].bfloat16(), *large[2:]
    found = both_ways(logprob_and_entropy, hidden, weight, *rest, vocab_size=37)
    expected = both_ways(dense, hidden.float(), weight.float(), *rest, vocab_size=37)
    assert found[0].dtype == found[1].dtype == torch.float32
    for a, b in zip(found, expected, strict=True):
        assert (a.float() - b).norm() < 0.01 * b.norm()
    assert found[2].dtype == found[3].dtype == torch.bfloat16


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
    logp, entropy, *gradients = both_ways(
        logprob_and_entropy,
        logits,
        torch.eye(3),
        torch.tensor([2, 0]),
        torch.ones(2, 1),
        vocab_size=3,
    )
    near(logp, torch.tensor([-2e4, -math.log(3)]))
    near(entropy, torch.tensor([0, math.log(3)]))
    assert all(gradient.isfinite().all() for gradient in gradients)
