"""The contract between an algorithm and the loop.

An algorithm is its settings, a dataclass that is a section of the recipe, with four methods. In
every step the loop calls them in this order, on every rank, with the same groups of graded
samples:

    compose       rewards -> ``advantage`` (and ``beta``) of samples; which groups are trained on
    aggregate     once for each optimizer update: ``coefficient``, what multiplies each token loss
    weigh         ``weight`` of each sample, where that depends on the policy's entropies
    token_losses  the loss of each token, once for each micro-batch

All have defaults but ``token_losses``: a plain algorithm is that one method, and perhaps an own
``advantages_of`` or ``compose``. Each method is given

    state   what the algorithm keeps between steps: a JSON-able dict that checkpoints hold.
            ``weigh`` (and ``lessons``, see ``mixins``) may change it, the others only read it.
    step    the number of the step, counted from 0

and decides by these, the groups and its own settings alone, for all ranks have to decide alike.
``compose`` may be called again on the same groups and then gives the same: it sets anew what it
sets and changes nothing else.

An own ``weigh`` makes the loop measure entropies in a forward pass ahead of the update. Where it
sets weights of traces alone (``mixins.OnePassWeights``), the update's own forward measures them on
its way: the losses of micro-batches of rollouts then come before ``weigh``, those of traces
behind it.

``token_losses`` is given advantages of tokens: where ``teacher`` is set, those of rollouts already
have the teacher's part (``teaching``), whatever the algorithm.

What a plan asks (``check``, ``optimizers``, ``uses_reference``) is in
``config.recipe.Algorithm``. What few algorithms need (traces in the groups, stages, branches,
lessons, further optimizers) is in ``mixins``, one for each.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from red_mcore.algorithms import teaching
from red_mcore.config.fields import Bound, FractionAboveZero, PositiveWeight
from red_mcore.config.recipe import Algorithm, Recipe, RecipeError
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs
from red_mcore.samples.records import Group, Sample, samples_of

if TYPE_CHECKING:  # torch stays out of planning
    from torch import Tensor

Aggregation = Literal["constant", "sequence", "token"]
Groups = Sequence[Group]
ComponentLosses = Mapping[str, "Tensor"]
"""Component -> token loss [T], to be minimised."""
Metrics = dict[str, float]
State = dict[str, Any]


@dataclass
class GroupAlgorithm(Algorithm):
    """Algorithms that compare the samples of a group."""

    std_normalise: bool = True
    """Divide advantages by the group's standard deviation (GRPO); False subtracts the mean only
    (Dr.GRPO)."""
    aggregation: Aggregation = "constant"
    """Normaliser of summed token losses: ``constant`` x N, each sequence's length x N, or the
    component's tokens."""
    constant: Annotated[float, Bound(0, 1e9, above=True, unit="tokens")] | None = 3000.0
    """Tokens by which ``constant`` aggregation divides each sequence's sum. None in a recipe file
    stands for the most that a response may have, ``rollout.max_response_tokens`` (Dr.GRPO),
    whatever overrides make of it."""

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        teaching.check(self)

    # The four moments of a step

    def compose(self, groups: Groups, state: State, step: int) -> tuple[list[Group], Metrics]:
        """Set advantage and beta of every sample; returns the groups worth training on, and
        metrics."""
        for group in groups:
            set_advantages(group.samples, self.advantages_of(group))
        return self.kept(groups)

    def aggregate(self, groups: Groups, sequences: float, state: State, step: int) -> None:
        """Set the coefficients of the samples of one update; ``sequences`` is its share of N, see
        there.

        Dropped groups have zero advantage, so counting them gives the gradient of the undropped
        batch. ``token`` aggregation, which cannot count them, drops none but by a method's own
        filter; it divides by the tokens of the component itself, over all ranks and micro-batches.
        """
        samples = samples_of(groups)
        tokens: Counter[str] = Counter()
        for sample in samples:
            for name in self.components(sample):
                tokens[name] += len(sample.response)
        for sample in samples:
            sample.coefficient = {}
            for name, aggregation in self.components(sample).items():
                if aggregation == "token":
                    count: float = tokens[name]
                elif aggregation == "sequence":
                    count = len(sample.response) * sequences
                else:
                    assert self.constant is not None  # the recipe has filled it in
                    count = self.constant * sequences
                sample.coefficient[name] = 1 / count

    def weigh(self, groups: Groups, state: State, step: int) -> Metrics:
        """Set the weights that depend on ``entropy`` of the samples, and keep in ``state`` what
        the next step needs."""
        return {}

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        """Token loss [T] of each component, to be minimised; ``inputs`` are those of one
        micro-batch."""
        raise TypeError(f"{type(self).__name__} defines no token losses")

    # What the defaults of these ask

    def advantages_of(self, group: Group) -> list[float]:
        """The advantage of each sample of a group, by the group's rewards."""
        return advantages([s.reward for s in group.samples], self.std_normalise)

    def kept(self, groups: Groups) -> tuple[list[Group], Metrics]:
        """The groups that are trained on, once they have advantages, and how many they are."""
        has_teacher = self.teacher is not None  # who says something about every token
        kept = [group for group in groups if has_teacher or self.trains_on(group)]
        return kept, {"groups/kept": len(kept), "groups/dropped": len(groups) - len(kept)}

    def varies(self, group: Group) -> bool:
        """Whether a group, graded, tells good samples from bad ones; if not, ``batch.refills``
        replace it."""
        return len({s.reward for s in group.samples}) > 1

    def trains_on(self, group: Group) -> bool:
        """Whether a group is trained on: its samples differ, or their tokens count in the
        denominator all the same."""
        return self.aggregation == "token" or self.varies(group)

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        """Loss components that a sample feeds, and how each sums its tokens."""
        return {"rl": self.aggregation}

    def sequences(self, groups: Groups) -> int:
        """N of the formulas for the groups as sampled, before dropping: here all samples."""
        return len(samples_of(groups))


@dataclass
class RolloutLoss(GroupAlgorithm):
    """Algorithms whose rollouts have the policy gradient, weighed by the ratio of the policy now
    to that which sampled.

    With one update per step the ratio is 1, and no clip changes anything.
    """

    clip_low: FractionAboveZero | None = None
    """A token with A < 0 has no gradient once its ratio is below 1 - ``clip_low``; None: there is
    no such bound."""
    clip_high: PositiveWeight | None = None
    """A token with A > 0 has no gradient once its ratio is above 1 + ``clip_high``; None: no such
    bound."""
    clip_dual: PositiveWeight | None = None
    """A token with A < 0 has no gradient once its ratio is above this, which is more than 1 (dual
    clip)."""

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if self.clip_dual is not None and not self.clip_dual > 1:
            raise RecipeError(
                f"algorithm.clip_dual={self.clip_dual} would cut off tokens that have not changed:"
                " use more than 1, as 3 or 10, or null"
            )

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        return {"rl": self.rollout_loss(inputs)}

    def rollout_loss(self, inputs: LossInputs) -> Tensor:
        """The policy-gradient loss of each token, [T]."""
        clips = (self.clip_low, self.clip_high, self.clip_dual)
        return token.policy_gradient(inputs.logp, inputs.old_logp, inputs.advantage, *clips)


def advantages(
    rewards: Sequence[float],
    std_normalise: bool = True,
    eps: float = 1e-9,
    baseline: float | None = None,
) -> list[float]:
    """R - baseline, over the sample standard deviation (ddof 1) plus eps; exact zeros where all
    rewards are equal.

    ``baseline`` None is the mean of the rewards.
    """
    if len(rewards) < 2 or max(rewards) == min(rewards):
        return [0.0] * len(rewards)
    if baseline is None:
        baseline = statistics.fmean(rewards)
    scale = 1.0
    if std_normalise:
        scale = statistics.stdev(rewards) + eps
    return [(reward - baseline) / scale for reward in rewards]


def set_advantages(samples: Sequence[Sample], values: Sequence[float]) -> None:
    """Give each sample its advantage."""
    for sample, value in zip(samples, values, strict=True):
        sample.advantage = value


def losses_of(
    algorithm: GroupAlgorithm,
    state: State,
    step: int,
) -> Callable[[LossInputs], ComponentLosses]:
    """The ``token_losses`` of one step, as a policy's update calls them: with the teacher's part of
    the advantages, if there is a teacher."""

    def losses(inputs: LossInputs) -> ComponentLosses:
        if algorithm.teacher is not None:
            inputs = teaching.with_teacher(inputs, algorithm.teacher.coefficient)
        return algorithm.token_losses(inputs, state, step)

    return losses


def has_weights(algorithm: GroupAlgorithm) -> bool:
    """Whether the algorithm has a ``weigh`` of its own, which wants to know entropies."""
    return type(algorithm).weigh is not GroupAlgorithm.weigh


def set_weights(groups: Groups, *, rollouts: float, traces: float) -> None:
    """Give all rollouts one ``weight``, and all traces another."""
    for sample in samples_of(groups):
        sample.weight = traces if sample.is_offline else rollouts
