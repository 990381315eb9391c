import pytest
import torch
from packed_step import compare

from red_mcore.algorithms.cispo import CISPO
from red_mcore.config.recipe import Model, Recipe, RecipeError


def weighted(groups, low, high):
    """Clipped weight x A x log p, over the tokens of groups whose accuracies differ."""
    total, tokens = 0.0, 0
    for samples in groups:
        if len({s.accuracy for s in samples}) == 1:
            continue
        rewards = torch.tensor([s.reward for s in samples], dtype=torch.float64)
        for sample, reward in zip(samples, rewards, strict=True):
            advantage = float((reward - rewards.mean()) / (rewards.std() + 1e-9))
            for t in range(len(sample.logp)):
                weight = float(torch.exp(sample.logp[t].detach() - sample.old_logp[t]))
                if low is not None:
                    weight = max(weight, 1 - low)
                weight = min(weight, 1 + high)
                total = total - weight * advantage * sample.logp[t]
                tokens += 1
    return total / tokens


@pytest.mark.parametrize(("low", "high"), [(None, 4.0), (None, 0.28), (0.2, 0.5)])
def test_loss(low, high):
    compare(CISPO(clip_low=low, clip_high=high), lambda groups: weighted(groups, low, high))


def test_a_dual_clip_is_refused():
    algorithm = CISPO(clip_dual=3.0)
    with pytest.raises(RecipeError, match=r"algorithm\.clip_dual=3\.0 stops gradients"):
        algorithm.check(Recipe(name="x", model=Model(), algorithm=algorithm))
