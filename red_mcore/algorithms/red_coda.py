"""RED-CoDA: a third party's reading of RED (github.com/Phonsiriwillbejommarn/CoDA); another algorithm, not RED.

    L = L_grpo(rollouts) + v alpha x mean_t (-log p_t)      the mean over the tokens of all traces
    v = clip(w G^(1 - 2 acc), 1, G^2),   w = clip(|dH_trace / dH_rollout|, 1, G)

acc is the accuracy of all rollouts of the step: imitation counts most while the policy fails. The entropies are moving
averages that start at 1, and dH are their relative changes with a delay of one step: from before the last trained step
to after it, so that a step's own entropies only tell in the next. There is no policy shift.

Groups as in ``sft_grpo``: without variance the rollouts are left out and the trace is imitated, verdict or not; without
a trace a group is a plain group of rollouts.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from red_mcore.algorithms.red import change_ratio
from red_mcore.algorithms.sft_grpo import TraceGRPO
from red_mcore.config.fields import Bound, FractionBelowOne, Weight
from red_mcore.samples.records import Group


@dataclass
class REDCoDA(TraceGRPO):
    """Constants of its authors."""

    alpha: Weight = 0.1
    """Weight of imitation beside v."""
    bound: Annotated[float, Bound(1, 1e6)] = 5.0
    """G: largest w, and base of the accuracy factor."""
    entropy_ema: FractionBelowOne = 0.99
    """Share of the past in the moving averages of the entropies."""

    weighs: ClassVar = "traces"

    def compose(self, groups: Sequence[Group]) -> tuple[list[Group], dict[str, float]]:
        """Also puts the accuracy of all rollouts, which a later phase does not see, into every ``beta``."""
        accuracy = statistics.fmean(s.accuracy for g in groups for s in g.rollouts)
        for sample in (s for g in groups for s in g.samples):
            sample.beta = accuracy
        return super().compose(groups)

    def weigh(self, groups: Sequence[Group], state: dict[str, Any]) -> dict[str, float]:
        """v alpha of the traces; ``state`` keeps the averages (nats) after the last two trained steps."""
        samples = [s for g in groups for s in g.samples]
        if not samples:
            return {}
        now = state.get("now", {"offline": 1.0, "online": 1.0})
        raw = change_ratio(state.get("before", now), now)
        weight = min(max(abs(raw), 1.0), self.bound)
        factor = self.bound ** (1 - 2 * samples[0].beta)
        product = min(max(weight * factor, 1.0), self.bound**2)
        for sample in samples:
            sample.weight = product * self.alpha if sample.is_offline else 1.0
        state |= {"before": now, "now": self._average(now, samples)}
        return {"red/weight": weight, "red/weight_raw": raw, "red/accuracy_factor": factor, "red/imitation": product}

    def _average(self, now: dict[str, float], samples: list) -> dict[str, float]:
        """``now`` with this step's sample-mean entropies; a kind that the step lacks keeps its average."""
        seen = {
            "offline": [s.entropy for s in samples if s.is_offline],
            "online": [s.entropy for s in samples if not s.is_offline],
        }
        keep = self.entropy_ema
        return {
            kind: keep * old + (1 - keep) * statistics.fmean(seen[kind]) if seen[kind] else old
            for kind, old in now.items()
        }
