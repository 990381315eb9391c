import pytest
import torch
from loss_inputs import loss_inputs
from packed_step import compare

from red_mcore.algorithms.gspo import GSPO


def sequences(groups, low, high):
    """One ratio, one clip and one loss per response, the mean over all responses."""
    losses = []
    for samples in groups:
        rewards = torch.tensor([s.reward for s in samples], dtype=torch.float64)
        spread = rewards.std() + 1e-9
        for sample, reward in zip(samples, rewards, strict=True):
            advantage = (reward - rewards.mean()) / spread
            length = len(sample.logp)
            now, then = sample.logp.sum(), sample.old_logp.sum()
            ratio = torch.exp((now - float(then)) / length)
            clipped = torch.clamp(ratio, 1 - low, 1 + high)
            losses.append(-torch.min(ratio * advantage, clipped * advantage))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("token_level", [False, True])
@pytest.mark.parametrize(("low", "high"), [(3e-4, 4e-4), (0.1, 0.2), (0.9, 9.0)])
def test_loss(token_level, low, high):
    """GSPO-token has the same value and gradient,
    for all tokens of a response have one advantage."""
    algorithm = GSPO(clip_low=low, clip_high=high, token_level=token_level)
    compare(algorithm, lambda groups: sequences(groups, low, high))


def test_gspo_token_gives_tokens_their_own_advantages():
    """s_it = sg(s_i) p_it / sg(p_it): the gradient
    of a token is its own advantage times the response's ratio."""
    logp = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([-1.2, -1.7, -0.9], dtype=torch.float64)
    advantage = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    algorithm = GSPO(clip_low=None, clip_high=None, token_level=True)
    loss = algorithm.token_losses(loss_inputs(logp, old_logp=old, advantage=advantage), {}, 0)["rl"]
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    ratio = torch.exp((logp.detach() - old).mean())
    torch.testing.assert_close(gradient, -ratio * advantage)
    torch.testing.assert_close(loss.detach(), -ratio * advantage)
