"""RED-CoDA: a third party's reading of RED (github.com/Phonsiriwillbejommarn/CoDA); another
algorithm, not RED.

    L = L_grpo(rollouts) + v alpha x mean_t (-log p_t)      the mean over the tokens of all traces
    v = clip(w G^(1 - 2 acc), 1, G^2),   w = clip(|dH_trace / dH_rollout|, 1, G)

acc is the accuracy of all rollouts of the step: imitation counts most while the policy fails. The
entropies are moving averages that start at 1, and dH are their relative changes with a delay of
one step: from before the last trained step to after it, so that a step's own entropies only tell
in the next. There is no policy shift.

Groups as in ``sft_grpo``: without variance the rollouts are left out and the trace is imitated,
verdict or not; without a trace a group is a plain group of rollouts.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from red_mcore.algorithms.base import Groups, Metrics, State, set_weights
from red_mcore.algorithms.mixins import OnePassWeights
from red_mcore.algorithms.red import change_ratio
from red_mcore.algorithms.sft_grpo import TraceGRPO
from red_mcore.config.fields import Bound, FractionBelowOne, Weight
from red_mcore.samples.records import Group, Sample, samples_of


@dataclass
class REDCoDA(OnePassWeights, TraceGRPO):
    """Constants of its authors."""

    alpha: Weight = 0.1
    """Weight of imitation beside v."""
    bound: Annotated[float, Bound(1, 1e6)] = 5.0
    """G: largest w, and base of the accuracy factor."""
    entropy_ema: FractionBelowOne = 0.99
    """Share of the past in the moving averages of the entropies."""

    def compose(self, groups: Groups, state: State, step: int) -> tuple[list[Group], Metrics]:
        """Also puts the accuracy of all rollouts, which ``weigh`` does not see, into every
        ``beta``."""
        samples = samples_of(groups)
        accuracy = statistics.fmean(s.accuracy for s in samples if not s.is_offline)
        for sample in samples:
            sample.beta = accuracy
        return super().compose(groups, state, step)

    def weigh(self, groups: Groups, state: State, step: int) -> Metrics:
        """v alpha of the traces; ``state`` keeps the averages (nats) after the last two trained
        steps."""
        samples = samples_of(groups)
        if not samples:
            return {}
        now: dict[str, float] = state.get("now", {"offline": 1.0, "online": 1.0})
        before: dict[str, float] = state.get("before", now)
        raw = change_ratio(before, now)
        weight = min(max(abs(raw), 1.0), self.bound)
        factor = self.bound ** (1 - 2 * samples[0].beta)
        product = min(max(weight * factor, 1.0), self.bound**2)
        set_weights(groups, rollouts=1.0, traces=product * self.alpha)
        state |= {"before": now, "now": self._average(now, samples)}
        return {
            "red/weight": weight,
            "red/weight_raw": raw,
            "red/accuracy_factor": factor,
            "red/imitation": product,
        }

    def _average(self, now: dict[str, float], samples: Sequence[Sample]) -> dict[str, float]:
        """``now`` with this step's sample-mean entropies; a kind that the step lacks keeps its
        average."""
        keep = self.entropy_ema
        found = dict(now)
        for kind, is_offline in (("offline", True), ("online", False)):
            seen = [s.entropy for s in samples if s.is_offline is is_offline]
            if seen:
                found[kind] = keep * now[kind] + (1 - keep) * statistics.fmean(seen)
        return found
