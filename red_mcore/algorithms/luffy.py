"""LUFFY: off-policy guidance by a teacher trace in each group (arXiv 2504.14945).

The trace joins the group's baseline, A = R - mean over all samples without division by their
deviation. Rollouts get the policy gradient without a clip; the trace gets a shaped probability of
its tokens in place of a ratio, because the teacher's own probabilities are not known:

    on-policy   l = -rho A
    offline     l = -A f(p),  f(p) = p / (p + gamma)
    L = (1/N) sum_i (1/Lmax) sum_t l_it - c mean_t H

The gradient goes through f, so that improbable tokens of a right trace count most. N is the
number of all samples; the authors' code divides by Lmax and the data-parallel size alone, so that
RL weighs more beside the bonus: ``recipes/paper/luffy.py`` has the constant that makes up for it.

All rollouts wrong: the trace has A = 1 - 1/G. All right, the trace too: no advantage, only the
bonus learns. A wrong trace among right rollouts has A < 0 and is discouraged. A group without a
trace is a plain group of rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass

from red_mcore.algorithms.base import Aggregation, ComponentLosses, RolloutLoss, State
from red_mcore.algorithms.entropy_bonus import EntropyBonus
from red_mcore.algorithms.mixins import JudgedTrace
from red_mcore.config.fields import PositiveWeight
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs
from red_mcore.samples.records import Sample


@dataclass
class LUFFY(JudgedTrace, EntropyBonus, RolloutLoss):
    """Settings of the authors' scripts, which clip nothing although they make two updates per
    step."""

    std_normalise: bool = False
    constant: float | None = 8192.0
    """Lmax: the response limit of the authors' runs, without their scale (see above)."""
    gamma: PositiveWeight | None = 0.1
    """Shaping of the trace's probabilities; None takes p itself (no shaping)."""
    entropy_coefficient: float = 0.001

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        return {"offline" if sample.is_offline else "rl": self.aggregation}

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        return {
            "rl": self.rollout_loss(inputs),
            "offline": -inputs.advantage * token.shaping(inputs.logp, self.gamma),
            "entropy": -inputs.entropy,
        }
