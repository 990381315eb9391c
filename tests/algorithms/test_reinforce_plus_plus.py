import pytest
import torch
from packed_step import compare

from red_mcore.algorithms.reinforce_plus_plus import ReinforcePlusPlus


def normalised(groups, group_baseline):
    """Rewards whitened over the batch, after the group's mean where it goes first;
    PPO's loss, mean of means."""
    rewards = torch.tensor([[s.reward for s in samples] for samples in groups], dtype=torch.float64)
    if group_baseline:
        rewards = rewards - rewards.mean(dim=1, keepdim=True)
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-9)
    losses = []
    for samples, row in zip(groups, advantages, strict=True):
        for sample, advantage in zip(samples, row, strict=True):
            ratio = torch.exp(sample.logp - torch.from_numpy(sample.old_logp))
            surrogates = torch.stack((ratio * advantage, ratio.clamp(0.8, 1.2) * advantage))
            losses.append(-surrogates.amin(dim=0).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("group_baseline", [False, True])
def test_loss(group_baseline):
    algorithm = ReinforcePlusPlus(group_baseline=group_baseline)
    compare(algorithm, lambda groups: normalised(groups, group_baseline))
