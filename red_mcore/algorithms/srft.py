"""SRFT: supervised and reinforcement fine-tuning in one stage (arXiv 2506.19767).

Four terms, the weights without gradient, H the mean entropy (nats) of the sequence before the
update:

    trace, imitated       l = -w_sft log p      w_sft = .5 exp(-H)      mean over all traces' tokens
    trace, reinforced     l = -A p              A over the whole group
    right rollout         l = -w_rl log p       w_rl = .1 exp(H)
    wrong rollout         l = +log p

The last three are summed over tokens and divided by ``constant`` x N, N all samples. Signs are
the paper's (its released code weighs imitation by exp(+H)); the separate normaliser of the first
term follows the re-implementation in Unify-Post-Training, which also shapes the second term with
gamma = .1 and takes A without the deviation.

Right and wrong rollouts train whatever their group looks like, so no group is dropped. All wrong:
the trace is imitated with A > 0, the rollouts are discouraged; the last term has no lower bound,
so a policy that is wrong for long diverges. All right: A = 0, imitation of the trace and of the
rollouts. A wrong trace is imitated nonetheless (the method takes traces as verified) but
reinforced with A <= 0. A group without a trace has the last two terms only.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from red_mcore.algorithms.base import Aggregation, ComponentLosses, Groups, Metrics, State
from red_mcore.algorithms.entropy_bonus import EntropyBonus
from red_mcore.algorithms.mixins import JudgedTrace
from red_mcore.config.fields import PositiveWeight, Weight
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs
from red_mcore.samples.records import Group, Sample, samples_of


@dataclass
class SRFT(JudgedTrace, EntropyBonus):
    """The paper's form."""

    constant: float | None = 8192.0
    """The response limit of the paper's runs; the re-implementation's scale is in
    ``recipes/paper/srft.py``."""
    imitation_aggregation: Aggregation = "token"
    """Normaliser of the trace's imitation; ``constant`` is the same one for all four terms."""
    sft_weight: Weight = 0.5
    """Factor of w_sft."""
    rl_weight: Weight = 0.1
    """Factor of w_rl."""
    gamma: PositiveWeight | None = None
    """Shaping p / (p + gamma) of the trace's reinforced probability; None takes p itself, as the
    paper does."""

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if self.teacher is not None:
            raise RecipeError(
                "algorithm.teacher changes advantages, and the rollouts of SRFT have none: use"
                " null, or another algorithm"
            )

    def trains_on(self, group: Group) -> bool:
        """Every group: right and wrong rollouts train without an advantage."""
        return True

    def weigh(self, groups: Groups, state: State, step: int) -> Metrics:
        """w_sft of traces, w_rl of right rollouts, 1 of wrong ones; the state stays empty."""
        weights: dict[str, list[float]] = {"sft": [], "right": []}
        for sample in samples_of(groups):
            kind = _kind(sample)
            if kind == "sft":
                sample.weight = self.sft_weight * math.exp(-sample.entropy)
            elif kind == "right":
                sample.weight = self.rl_weight * math.exp(sample.entropy)
            else:
                sample.weight = 1.0
                continue
            weights[kind].append(sample.weight)
        metrics = {}
        for kind, found in weights.items():
            if found:
                metrics[f"srft/{kind}_weight_mean"] = statistics.fmean(found)
        return metrics

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        kind = _kind(sample)
        if kind == "sft":
            return {"sft": self.imitation_aggregation, "offline": self.aggregation}
        return {kind: self.aggregation}

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        weighted = inputs.weight * token.imitation(inputs.logp)
        return {
            "sft": weighted,
            "offline": -inputs.advantage * token.shaping(inputs.logp, self.gamma),
            "right": weighted,
            "wrong": -weighted,
            "entropy": -inputs.entropy,
        }


def _kind(sample: Sample) -> str:
    if sample.is_offline:
        return "sft"
    if sample.accuracy > 0:
        return "right"
    return "wrong"
