"""What every algorithm shares: group statistics, aggregation with global denominators, and the phases' interface.

An algorithm is its settings (a dataclass of the recipe) with four small methods, called by the loop in this order:

``compose(groups)``   advantages, betas and dropped groups from rewards; the same on every rank, no communication
``weigh(groups, state)``   per-sample weights from entropies and the state that lasts between steps
``aggregate(groups, sequences)``   coefficients: what multiplies each token loss, global denominators included
``token_losses(fields)``   token loss [T] of each component, from packed fields

Few need more: ``at`` to be another algorithm for some steps, ``prompts`` and ``branch`` to have a say in sampling,
``lessons`` to imitate traces in updates of their own, with an optimizer of their own (``optimizers``).

State is a small JSON-able dict, so that a checkpoint can hold it.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from red_mcore.config.fields import Bound, FractionAboveZero, PositiveWeight
from red_mcore.config.recipe import Algorithm, Optimizer, Recipe, RecipeError
from red_mcore.samples.records import Group, Problem, Sample

Aggregation = Literal["constant", "sequence", "token"]
Continue = Callable[[Sequence[Problem], Sequence[int]], list[Group]]
"""(problems, episodes given) -> graded groups whose rollouts go on after so many leading episodes of the trace; a group
without samples where the trace is not usable."""


@dataclass
class Lesson:
    """Traces to imitate in one update of the optimizer ``imitation``."""

    problems: Sequence[Problem]
    beta: float = 0.0
    lr_scale: float = 1.0
    """Multiplies the learning rate that the optimizer's schedule gives."""


@dataclass
class Library:
    """The training problems, for lessons."""

    problems: Sequence[Problem]
    usable: Callable[[Problem], bool]
    """Whether a problem has a trace that is neither empty nor too long."""
    seed: int
    """The run's."""


@dataclass
class GroupAlgorithm(Algorithm):
    """Algorithms that compare the samples of a group."""

    std_normalise: bool = True
    """Divide advantages by the group's standard deviation (GRPO); False subtracts the mean only (Dr.GRPO)."""
    aggregation: Aggregation = "constant"
    """Normaliser of summed token losses: ``constant`` x N, each sequence's length x N, or the component's tokens."""
    constant: Annotated[float, Bound(0, 1e9, above=True, unit="tokens")] | None = 3000.0
    """Tokens by which ``constant`` aggregation divides each sequence's sum. None in a recipe file stands for the most
    that a response may have, ``rollout.max_response_tokens`` (Dr.GRPO), whatever overrides make of it."""

    judges_traces: ClassVar[bool] = False
    """Whether the verdict on a trace sets advantages: a trace whose verdict is missing (timeout, crash) then stays out
    of its group for the step."""
    weighs: ClassVar[Literal["all", "traces", "none"]] = "all"
    """Whose weights depend on entropies. With one update per step the entropies are measured in it, in time for the
    weights of traces; where they also set those of rollouts (``all``), a forward pass ahead is needed."""

    optimizer: ClassVar[str] = "main"
    """Optimizer of its updates, one of ``optimizers``."""

    @property
    def uses_reference(self) -> bool:
        """Whether a loss compares with the policy at start."""
        return False

    def check(self, recipe: Recipe) -> None:
        """RecipeError where the algorithm cannot work with the recipe."""

    def optimizers(self, recipe: Recipe) -> dict[str, tuple[Optimizer, int]]:
        """Optimizers over the same weights, each with moments and schedule of its own: name -> (settings, updates)."""
        return {"main": (recipe.optimizer, recipe.steps * recipe.batch.updates_per_step)}

    def at(self, step: int) -> GroupAlgorithm:
        """The algorithm of step ``step``, counted from 0."""
        return self

    def prompts(self, step: int, wanted: int) -> int:
        """Prompts to sample in step ``step``, where the recipe wants ``wanted``."""
        return wanted

    def branch(self, groups: list[Group], sample_after: Continue) -> tuple[list[Group], dict[str, float]]:
        """The groups that go on to ``compose``, some perhaps sampled anew after a part of their trace; and metrics."""
        return groups, {}

    def compose(self, groups: Sequence[Group]) -> tuple[list[Group], dict[str, float]]:
        """Set advantage and beta of every sample; returns the groups worth training on, and metrics."""
        for group in groups:
            rewards = [s.reward for s in group.samples]
            for sample, advantage in zip(group.samples, advantages(rewards, self.std_normalise), strict=True):
                sample.advantage = advantage
        kept = [group for group in groups if self.teaches(group)]
        return kept, {"groups/kept": len(kept), "groups/dropped": len(groups) - len(kept)}

    def varies(self, group: Group) -> bool:
        """Whether a group, graded, tells good samples from bad ones; if not, ``batch.refills`` replace it."""
        return len({s.reward for s in group.samples}) > 1

    def teaches(self, group: Group) -> bool:
        """Whether a group is trained on: its samples differ, or their tokens count in the denominator all the same."""
        return self.aggregation == "token" or self.varies(group)

    def updates(self, groups: Sequence[Group], wanted: int) -> int:
        """Optimizer updates on a step's groups, where the recipe wants ``wanted``; N is that of ``wanted`` updates."""
        return wanted

    def weigh(self, groups: Sequence[Group], state: dict[str, Any]) -> dict[str, float]:
        """Set per-sample weights, update ``state`` in place, return metrics."""
        return {}

    def lessons(self, groups: Sequence[Group], state: dict[str, Any], library: Library, step: int) -> list[Lesson]:
        """Updates on traces alone after the step's own; may change ``state``.

        ``groups`` are those of all prompts that were drawn, as first sampled: what the policy can do.
        """
        return []

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        """Loss components that a sample feeds, and how each sums its tokens."""
        return {"rl": self.aggregation}

    def sequences(self, groups: Sequence[Group]) -> int:
        """N of the formulas for the groups as sampled, before dropping: here all samples."""
        return sum(len(g.samples) for g in groups)

    def aggregate(self, groups: Sequence[Group], sequences: float) -> None:
        """Set every sample's coefficients; ``sequences`` is this update's share of N, see there.

        Dropped groups have zero advantage, so counting them gives the gradient of the undropped batch. ``token``
        aggregation, which cannot count them, drops none but by a method's own filter; it divides by the tokens of the
        component itself, over all ranks and micro-batches.
        """
        samples = [s for g in groups for s in g.samples]
        tokens: Counter[str] = Counter()
        for sample in samples:
            tokens.update(dict.fromkeys(self.components(sample), len(sample.response)))
        for sample in samples:
            scales = {"constant": 1 / (self.constant * sequences), "sequence": 1 / (len(sample.response) * sequences)}
            sample.coefficient = {
                name: scales.get(aggregation, 1 / tokens[name]) for name, aggregation in self.components(sample).items()
            }

    def token_losses(self, fields: dict) -> dict:
        """Component -> token loss [T]; ``fields`` as in MicroBatch plus ``logp`` and ``entropy``."""
        raise TypeError(f"{type(self).__name__} defines no token losses")


@dataclass
class RolloutLoss(GroupAlgorithm):
    """Algorithms whose rollouts have the policy gradient, weighed by the ratio of the policy now to that which sampled.

    With one update per step the ratio is 1, and no clip changes anything.
    """

    clip_low: FractionAboveZero | None = None
    """A token with A < 0 has no gradient once its ratio is below 1 - ``clip_low``; None: there is no such bound."""
    clip_high: PositiveWeight | None = None
    """A token with A > 0 has no gradient once its ratio is above 1 + ``clip_high``; None: no such bound."""
    clip_dual: PositiveWeight | None = None
    """A token with A < 0 has no gradient once its ratio is above this, which is more than 1 (dual clip)."""

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if self.clip_dual is not None and not self.clip_dual > 1:
            raise RecipeError(
                f"algorithm.clip_dual={self.clip_dual} would cut off tokens that have not changed: use more than 1,"
                " as 3 or 10, or null"
            )

    def rollout_loss(self, fields: dict) -> Any:
        """[T]."""
        from red_mcore.losses import token  # torch stays out of planning

        return token.policy_gradient(
            fields["logp"], fields["old_logp"], fields["advantage"], self.clip_low, self.clip_high, self.clip_dual
        )


def advantages(
    rewards: Sequence[float], std_normalise: bool = True, eps: float = 1e-9, baseline: float | None = None
) -> list[float]:
    """R - baseline, over the sample standard deviation (ddof 1) plus eps; exact zeros where all rewards are equal.

    ``baseline`` None is the mean of the rewards.
    """
    mean = statistics.fmean(rewards) if baseline is None else baseline
    if len(rewards) < 2 or max(rewards) == min(rewards):
        return [0.0] * len(rewards)
    scale = statistics.stdev(rewards) + eps if std_normalise else 1.0
    return [(r - mean) / scale for r in rewards]
