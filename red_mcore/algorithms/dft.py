"""DFT: dynamic fine-tuning (arXiv 2508.05629), cross-entropy weighted by the probability that the
policy gives.

    l = -sg(p) log p        mean over all tokens of the traces

The gradient is that of -p: the policy gradient of a trace with reward 1 whose teacher probability
is taken as 1, hence RED's at beta = 1 and LUFFY's without shaping. Tokens that the policy finds
improbable hardly move.

No rollouts are sampled, and verdicts take no part: a wrong trace is imitated, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from red_mcore.algorithms.base import ComponentLosses, State
from red_mcore.algorithms.sft import SFT
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs


@dataclass
class DFT(SFT):
    """Traces only, like SFT; the paper trains with a learning rate of 5e-5 and batches of 256."""

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        return {"sft": token.imitation(inputs.logp, "probable")}
