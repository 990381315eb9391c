"""GSPO: group sequence policy optimisation (arXiv 2507.18071).

    s_i = exp(mean_t (log p_it - log p_old_it))           one ratio per response, without its length
    l = -min(s_i A_i, clip(s_i, 1 - low, 1 + high) A_i)   L = (1/N) sum_i (1/T_i) sum_t l

A response is clipped as a whole. GSPO-token gives each token that value with its own gradient,
s_it = sg(s_i) p_it / sg(p_it): the same, in value and gradient, as long as all tokens of a response
have one advantage, but open to a subclass that gives them their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from red_mcore.algorithms.grpo import GRPO
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs

if TYPE_CHECKING:  # torch stays out of planning
    from torch import Tensor


@dataclass
class GSPO(GRPO):
    """GRPO's groups and advantages; the clips are the paper's (section 5.1), far narrower than a
    token's."""

    clip_low: float | None = 3e-4
    clip_high: float | None = 4e-4
    token_level: bool = False
    """GSPO-token: each token has its own gradient."""

    def rollout_loss(self, inputs: LossInputs) -> Tensor:
        log_ratio = inputs.logp - inputs.old_logp
        if self.token_level:
            own = inputs.logp - inputs.logp.detach()  # 0, with the token's gradient
            ratio = (inputs.sequence_mean(log_ratio.detach()) + own).exp()
        else:
            ratio = inputs.sequence_mean(log_ratio).exp()
        clips = (self.clip_low, self.clip_high, self.clip_dual)
        return token.clipped_surrogate(ratio, inputs.advantage, *clips)
