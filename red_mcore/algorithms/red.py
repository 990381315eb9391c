"""RED: Recall-Extend Dynamics (arXiv 2508.16677).

Each group holds the rollouts of a prompt ("recall") and one teacher trace ("extend"). Rollouts
get the GRPO loss; the trace gets a policy-gradient loss of its own, with an importance ratio
whose teacher probability is defined through the group's accuracy (policy shift), and a weight
from the ratio of the two entropies' changes (dynamic entropy regulation):

    on-policy   l = -rho A
    offline     l = -w A p / (p + (1 - p) beta)          L = (1/N) sum_i (1/C) sum_t l_it
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from red_mcore.algorithms.base import (
    Aggregation,
    ComponentLosses,
    Groups,
    Metrics,
    RolloutLoss,
    State,
    advantages,
    set_weights,
)
from red_mcore.algorithms.mixins import JudgedTrace, OnePassWeights
from red_mcore.config.fields import Fraction, FractionBelowOne, PositiveWeight, Weight
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs
from red_mcore.samples.records import Group, Sample, samples_of


@dataclass
class RED(JudgedTrace, OnePassWeights, RolloutLoss):
    """Constants as in the authors' code; options where the paper and its code can be read in more
    than one way."""

    shift: Literal["detached", "autograd", "off", "shaping"] = "detached"
    """Whether the shift's denominator carries a gradient; only ``detached`` tends to imitation as
    beta goes to 0. For comparison: the bare p, or LUFFY's p / (p + gamma)."""
    gamma: PositiveWeight = 0.1
    """Of ``shaping``: gamma in p / (p + gamma)."""
    beta: Literal["group", "rollouts", "batch", "reverse"] | Fraction | int = "group"
    """Accuracy of the whole group, of its rollouts alone, of all samples of the step, or 1 -
    accuracy of the group (an ablation); or a number from 0 to 1, the same for all."""
    baseline: Literal["group", "rollouts"] = "group"
    """Whose mean reward is subtracted: that of the whole group, or of its rollouts alone. The
    deviation is the group's in either case: that of rollouts that are all wrong would be 0."""
    entropy_weight: bool = True
    """Weigh traces by the entropies; False keeps w = 1."""
    entropy_change: Literal["relative", "absolute"] = "relative"
    """Whether w compares the entropies' relative changes or their changes in nats."""
    entropy_average: Literal["sample", "token"] = "sample"
    """Entropy of a step: mean over samples of their means, or over tokens, which favours the long
    ones."""
    entropy_ema: FractionBelowOne = 0.0
    """Share of the past in moving averages of the two entropies, which are noisy; 0 takes each
    step's own."""
    weight_min: Weight = 1.0
    """Least weight of a trace; at most ``weight_max``."""
    weight_max: Weight = 7.0
    """Largest weight of a trace. At 7 = G - 1 it weighs at most as much as the seven rollouts of
    its group."""

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if not isinstance(self.beta, str) and not 0 <= self.beta <= 1:
            raise RecipeError(
                f"algorithm.beta={self.beta} stands for an accuracy: use 0 to 1, or group",
            )
        if self.weight_min > self.weight_max:
            raise RecipeError(
                f"algorithm.weight_min={self.weight_min} is above"
                f" algorithm.weight_max={self.weight_max}: use at most that"
            )
        updates = recipe.batch.updates_per_step
        if updates > 1 and self.clip_low is None and self.clip_high is None:
            raise RecipeError(
                f"batch.updates_per_step={updates}: RED makes one update and clips nothing; with"
                " more set a clip, algorithm.clip_low=0.2 algorithm.clip_high=0.28, or use 1 update"
            )

    def compose(self, groups: Groups, state: State, step: int) -> tuple[list[Group], Metrics]:
        of_traces = []
        for group in groups:
            beta = self._beta(group, groups)
            for sample in group.samples:
                sample.beta = beta
            if group.traces:
                of_traces.append(beta)
        kept, metrics = super().compose(groups, state, step)
        metrics["red/beta_mean"] = statistics.fmean(of_traces or [0.0])
        metrics["groups/without_trace"] = len(groups) - len(of_traces)
        return kept, metrics

    def _beta(self, group: Group, groups: Groups) -> float:
        if not isinstance(self.beta, str):
            return self.beta
        counted = group.samples
        if self.beta == "rollouts":
            counted = group.rollouts
        elif self.beta == "batch":
            counted = samples_of(groups)
        accuracy = statistics.fmean(s.accuracy for s in counted)
        if self.beta == "reverse":
            return 1 - accuracy
        return accuracy

    def advantages_of(self, group: Group) -> list[float]:
        baseline = None
        if self.baseline == "rollouts" and group.rollouts:
            baseline = statistics.fmean(s.reward for s in group.rollouts)
        rewards = [s.reward for s in group.samples]
        return advantages(rewards, self.std_normalise, baseline=baseline)

    def varies(self, group: Group) -> bool:
        """The authors' filter: accuracies differ. Rewards may also differ by length alone."""
        return len({s.accuracy for s in group.samples}) > 1

    def trains_on(self, group: Group) -> bool:
        return self.varies(group)

    def weigh(self, groups: Groups, state: State, step: int) -> Metrics:
        """w of this step's traces; ``state`` keeps mean entropies (nats) of the last trained
        batch, or their EMA."""
        traces: list[Sample] = []
        rollouts: list[Sample] = []
        for group in groups:
            traces += group.traces
            rollouts += group.rollouts
        weight = raw = 1.0
        metrics: Metrics = {}
        if traces and rollouts:
            now = {"offline": self._mean_entropy(traces), "online": self._mean_entropy(rollouts)}
            metrics["entropy/offline_nats"] = now["offline"]
            metrics["entropy/rollout_nats"] = now["online"]
            for kind, new in now.items():
                past = state.get(kind, new)
                now[kind] = self.entropy_ema * past + (1 - self.entropy_ema) * new
            if self.entropy_weight and state:
                raw = change_ratio(state, now, self.entropy_change)
                weight = min(max(abs(raw), self.weight_min), self.weight_max)
            state.update(now)
        set_weights(groups, rollouts=1.0, traces=weight)
        return metrics | {"red/weight": weight, "red/weight_raw": raw}

    def _mean_entropy(self, samples: Sequence[Sample]) -> float:
        entropies = [s.entropy for s in samples]
        if self.entropy_average == "sample":
            return statistics.fmean(entropies)
        return statistics.fmean(entropies, weights=[len(s.response) for s in samples])

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        return {"offline" if sample.is_offline else "rl": self.aggregation}

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        if self.shift == "shaping":
            ratio = token.shaping(inputs.logp, self.gamma)
        else:
            ratio = token.policy_shift(inputs.logp, inputs.beta, self.shift)
        return {
            "rl": self.rollout_loss(inputs),
            "offline": -inputs.weight * inputs.advantage * ratio,
        }


def change_ratio(
    before: dict[str, float],
    now: dict[str, float],
    change: str = "relative",
) -> float:
    """Change of the offline entropy over change of the rollouts' entropy between two steps; may
    be negative."""
    if change == "relative" and not (before["offline"] and before["online"]):
        return 1.0  # a policy without any entropy left has no relative change
    if change == "absolute":
        return (now["offline"] - before["offline"]) / (now["online"] - before["online"] + 1e-8)
    return (1 - now["offline"] / before["offline"]) / (1 - now["online"] / before["online"] + 1e-8)
