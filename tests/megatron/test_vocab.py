import math

import pytest
import torch

from red_mcore.megatron import vocab
from red_mcore.megatron.vocab import logprob_and_entropy

LOGITS = torch.tensor([[2, 0.5, -1, 0, 1, -2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [-3, 4, 0, 1, -1, 2]])
TARGETS = torch.tensor([0, 4, 5])
LOGP = torch.tensor([-0.58469723, -1.65629809, -2.19151898])
ENTROPY = torch.tensor([1.25112461, 1.77730976, 0.63192242])
LOGP_GRADIENT = torch.tensor([0.44272544, -0.12434476, -0.02774507, -0.07541891, -0.20500986, -0.01020684])
ENTROPY_GRADIENT = torch.tensor([-0.37138303, 0.10365039, 0.06474513, 0.10057659, 0.06838567, 0.03402524])


def near(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=tolerance)


def dense(logits, targets, vocab_size: int, temperature: float = 1.0):
    """The same by torch's own softmax."""
    log_p = (logits[:, :vocab_size].float() / temperature).log_softmax(-1)
    return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def both_ways(function, logits, targets, weights, **settings):
    """Log-prob, entropy and the gradient of a weighted sum of both."""
    leaf = logits.clone().requires_grad_()
    logp, entropy = function(leaf, targets, **settings)
    (weights[0] * logp + weights[1] * entropy).sum().backward()
    return logp.detach(), entropy.detach(), leaf.grad


@pytest.fixture
def large():
    """Tokens, targets, weights of both outputs; 41 columns of which 37 are the vocabulary."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(29, 41, generator=generator)
    return logits, torch.randint(0, 37, (29,), generator=generator), torch.randn(2, 29, generator=generator)


def test_published_values():
    logp, entropy = logprob_and_entropy(LOGITS, TARGETS, vocab_size=6)
    near(logp, LOGP)
    near(entropy, ENTROPY)
    assert entropy.mean().item() == pytest.approx(1.22011893, abs=1e-6)
    for i, expected in enumerate((LOGP_GRADIENT, ENTROPY_GRADIENT)):
        weights = torch.eye(2)[i][:, None]
        near(both_ways(logprob_and_entropy, LOGITS, TARGETS, weights, vocab_size=6)[2][0], expected)


def test_published_values_on_two_ranks(layouts):
    logp, entropy, logp_gradient, entropy_gradient = layouts["tp2"]["vocabulary"][6]
    near(logp, LOGP)
    near(entropy, ENTROPY)
    near(logp_gradient[0], LOGP_GRADIENT)
    near(entropy_gradient[0], ENTROPY_GRADIENT)


def test_padded_vocabulary_on_two_ranks(layouts):
    logp, entropy, *gradients = layouts["tp2"]["vocabulary"][5]
    targets = torch.tensor([0, 4, 3])
    for i, gradient in enumerate(gradients):
        expected = both_ways(dense, LOGITS, targets, torch.eye(2)[i][:, None], vocab_size=5)
        near(logp, expected[0])
        near(entropy, expected[1])
        near(gradient, expected[2])
        assert not gradient[:, 5].any()


@pytest.mark.parametrize("temperature", [1.0, 0.6, 3.0])
def test_values_and_gradients_are_the_dense_formula(large, temperature):
    settings = {"vocab_size": 37, "temperature": temperature}
    found, expected = (both_ways(f, *large, **settings) for f in (logprob_and_entropy, dense))
    for a, b in zip(found, expected, strict=True):
        near(a, b, 5e-6)
    assert not found[2][:, 37:].any()


@pytest.mark.parametrize("chunk", [1, 7, 29])
def test_chunks_change_nothing(large, monkeypatch, chunk):
    whole = both_ways(logprob_and_entropy, *large, vocab_size=37)
    monkeypatch.setattr(vocab, "CHUNK", chunk)
    for a, b in zip(both_ways(logprob_and_entropy, *large, vocab_size=37), whole, strict=True):
        assert torch.equal(a, b)


def test_bfloat16_logits_are_reduced_in_float32(large):
    logits, targets, weights = large[0].bfloat16(), *large[1:]
    found = both_ways(logprob_and_entropy, logits, targets, weights, vocab_size=37)
    expected = both_ways(dense, logits.float(), targets, weights, vocab_size=37)
    assert found[0].dtype == found[1].dtype == torch.float32
    near(found[0], expected[0], 5e-6)
    near(found[1], expected[1], 5e-6)
    assert found[2].dtype == torch.bfloat16
    torch.testing.assert_close(found[2].float(), expected[2], rtol=1 / 128, atol=1e-6)


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
    logp, entropy, gradient = both_ways(
        logprob_and_entropy, logits, torch.tensor([2, 0]), torch.ones(2, 1), vocab_size=3
    )
    near(logp, torch.tensor([-2e4, -math.log(3)]))
    near(entropy, torch.tensor([0, math.log(3)]))
    assert gradient.isfinite().all()
