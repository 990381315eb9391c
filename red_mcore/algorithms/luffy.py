"""LUFFY: off-policy guidance by a teacher trace in each group (arXiv 2504.14945).

The trace joins the group's baseline, A = R - mean over all samples without division by their deviation. Rollouts get
the policy gradient without a clip; the trace gets a shaped probability of its tokens in place of a ratio, because the
teacher's own probabilities are not known:

    on-policy   l = -rho A
    offline     l = -A f(p),  f(p) = p / (p + gamma)      L = (1/N) sum_i (1/Lmax) sum_t l_it - c mean_t H

The gradient goes through f, so that improbable tokens of a right trace count most. The authors' code divides by Lmax
and the data-parallel size but not by N, which the gradient clip hides; here N is the number of all samples.

All rollouts wrong: the trace has A = 1 - 1/G. All right, the trace too: no advantage, only the bonus learns. A wrong
trace among right rollouts has A < 0 and is discouraged. A group without a trace is a plain group of rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from red_mcore.algorithms.base import Aggregation
from red_mcore.algorithms.entropy_bonus import EntropyBonus
from red_mcore.records import Sample


@dataclass
class LUFFY(EntropyBonus):
    """Settings of the authors' scripts."""

    std_normalise: bool = False
    constant: float = 8192.0
    """Lmax: the response limit of the authors' runs."""
    gamma: float | None = 0.1
    """Shaping of the trace's probabilities; None takes p itself (no shaping)."""
    entropy_coefficient: float = 0.001

    traces: ClassVar[int] = 1
    weighs: ClassVar = "none"

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        return {"offline" if sample.is_offline else "rl": self.aggregation}

    def token_losses(self, fields: dict) -> dict:
        from red_mcore.losses import token  # torch stays out of planning

        return {
            "rl": token.policy_gradient(fields["logp"], fields["old_logp"], fields["advantage"]),
            "offline": -fields["advantage"] * token.shaping(fields["logp"], self.gamma),
            "entropy": -fields["entropy"],
        }
