import pytest
import torch
from one_step import group, one_step, rolled
from packed_step import compare

from red_mcore.algorithms.rloo import RLOO


def leave_one_out(groups):
    """-(R_i - mean of the others) x the summed ratios of a response, mean over all responses."""
    total, count = 0.0, 0
    for samples in groups:
        for i, sample in enumerate(samples):
            others = [s.reward for j, s in enumerate(samples) if j != i]
            baseline = sum(others) / len(others)
            ratio = (sample.logp - torch.from_numpy(sample.old_logp)).exp()
            total = total - (sample.reward - baseline) * ratio.sum()
            count += 1
    return total / count


def test_loss():
    compare(RLOO(), leave_one_out)


def test_one_update_per_step_is_reinforce():
    """The gradient of -A log p of the whole response, whatever its length."""
    outcome = one_step(RLOO(), [group(*rolled(1, 0, 0, 0))])
    assert [s.advantage for s in outcome.kept[0].samples] == pytest.approx(
        [1, -1 / 3, -1 / 3, -1 / 3]
    )
    assert outcome.gradients[0] == pytest.approx([-1 / 4] * 2)
    assert outcome.gradients[1] == pytest.approx([1 / 12] * 2)
