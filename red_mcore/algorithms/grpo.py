"""GRPO: group-relative policy optimisation with verifiable rewards (arXiv 2402.03300), and its
relatives.

    u = rho A,  c = clip(rho, 1 - low, 1 + high) A,  l = -min(u, c) + k KL(policy || reference)

| | A | clip | sum over tokens divided by | groups |
|---|---|---|---|---|
| GRPO | (R - mean) / std | .2 / .2 | each sequence's length, N | rewards differ |
| Dr.GRPO (arXiv 2503.20783) | R - mean | .2 / .2 | the generation budget, N | rewards differ |
| DAPO (arXiv 2503.14476) | (R - mean) / std | .2 / .28 | all trained tokens | accuracies differ |

A group whose rewards are all the same has no advantage and is dropped, but where a KL term or an
entropy bonus has something to teach by it, or its tokens count in the denominator (``token``);
DAPO drops groups of one accuracy whatever else there is. k1 is an estimate of the KL divergence
but no loss: its gradient, that of log p, is zero in expectation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from red_mcore.algorithms.base import Aggregation, ComponentLosses, RolloutLoss, State
from red_mcore.algorithms.entropy_bonus import EntropyBonus
from red_mcore.config.fields import Weight
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs
from red_mcore.samples.records import Group, Sample

if TYPE_CHECKING:  # torch stays out of planning
    from torch import Tensor


@dataclass
class GRPO(EntropyBonus, RolloutLoss):
    """Rollouts only. Defaults are GRPO's."""

    aggregation: Aggregation = "sequence"
    clip_low: float | None = 0.2
    clip_high: float | None = 0.2
    kl_coefficient: Weight = 0.0
    """Weight of the KL term to the reference (the policy at start); 0 builds no reference."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Estimate of the KL divergence; k1 is refused, for it has no gradient in expectation."""
    keep: Literal["reward", "accuracy"] = "reward"
    """Groups trained on: whose rewards differ, or (DAPO) whose accuracies do. Rewards may differ
    by length alone."""

    @property
    def uses_reference(self) -> bool:
        return self.kl_coefficient != 0

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if self.kl_coefficient and self.kl_estimator == "k1":
            raise RecipeError(
                "algorithm.kl_estimator=k1 has no gradient in expectation, so that as a loss it"
                " holds nothing back: use k2 or k3"
            )
        count = recipe.batch.samples_per_prompt
        if count < 2:
            raise RecipeError(
                f"batch.samples_per_prompt={count}: {type(self).__name__} compares the rollouts of"
                " a group, use at least 2"
            )

    def varies(self, group: Group) -> bool:
        return super().varies(group) and (self.keep == "reward" or _differ(group))

    def trains_on(self, group: Group) -> bool:
        if self.keep == "accuracy":
            return _differ(group)
        return self.kl_coefficient != 0 or super().trains_on(group)

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        loss = self.rollout_loss(inputs)
        # The traces of a lesson have no reference, but no policy-gradient loss either.
        if self.kl_coefficient and inputs.has_reference:
            kl = token.kl(inputs.logp, inputs.ref_logp, self.kl_estimator)
            loss = loss + self.kl_coefficient * kl
        return {"rl": loss, "entropy": -inputs.entropy}


@dataclass
class ImitatingGRPO(GRPO):
    """What methods share that imitate traces beside GRPO's rollouts: a component ``sft``, the mean
    over the tokens of all traces."""

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        if sample.is_offline:
            return {"sft": "token"}
        return super().components(sample)

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        losses = super().token_losses(inputs, state, step)
        return {**losses, "sft": self.imitation_loss(inputs)}

    def imitation_loss(self, inputs: LossInputs) -> Tensor:
        """The loss of each token of a trace, [T]."""
        return token.imitation(inputs.logp)


def _differ(group: Group) -> bool:
    """Whether some rollouts are right and some wrong."""
    return len({s.accuracy for s in group.rollouts}) > 1


def dr_grpo(max_response_tokens: int) -> GRPO:
    """Dr.GRPO with the generation budget (``rollout.max_response_tokens``) as constant."""
    return GRPO(std_normalise=False, aggregation="constant", constant=float(max_response_tokens))


def dapo() -> GRPO:
    """DAPO's loss and group filter, with the dual clip of its code; its rewards are
    ``reward.overlong`` and ``reward.wrong=-1``. No KL term."""
    return GRPO(aggregation="token", clip_high=0.28, clip_dual=10.0, keep="accuracy")
