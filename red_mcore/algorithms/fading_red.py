"""Experimental: GRPO beside trace imitation that fades out, its policy shift set by the measured
accuracy.

Not a published method. It grew out of RED's idea that an able policy should take less from the
teacher. Each step makes a GRPO update on rollouts alone; then ``k`` small updates imitate traces
with an optimizer of their own:

    s = (1 + cos(pi min(1, step / fade_steps))) / 2     k = round(first_lessons s)
    l = -p / (p + (1 - p) beta) log p                   learning rate x s
    beta = (moving average of the rollouts' accuracy)^2

the factor without gradient, the mean over tokens. Squared, because at chance level the accuracy
itself would already hold back facts that the policy does not know yet. While s > 1/2 only
``probe_prompts`` prompts are sampled: they measure the accuracy, and no tokens are spent on a
policy that moves fast.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

from red_mcore.algorithms.base import Groups, State
from red_mcore.algorithms.grpo import ImitatingGRPO
from red_mcore.algorithms.mixins import Lesson, Lessons, PromptCount, TrainingProblems
from red_mcore.config.fields import Bound, FractionBelowOne, Prompts, Traces
from red_mcore.config.recipe import Optimizer, Recipe
from red_mcore.data.cursor import Cursor
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs

if TYPE_CHECKING:  # torch stays out of planning
    from torch import Tensor


@dataclass
class FadingRED(PromptCount, Lessons, ImitatingGRPO):
    """Defaults are what was tried on the built-in arithmetic."""

    first_lessons: Annotated[int, Bound(1, 10**4, unit="updates")] = 32
    """Imitation updates of the first step."""
    fade_steps: Annotated[int, Bound(1, 10**6, unit="steps")] = 20
    """Steps in which imitation fades out."""
    lesson_traces: Traces = 24
    """Traces of one imitation update."""
    probe_prompts: Prompts = 4
    """Prompts sampled in a step while imitation is strong."""
    accuracy_ema: FractionBelowOne = 0.7
    """Share of the past in the moving average of accuracy."""
    imitation: Optimizer = field(
        default_factory=lambda: Optimizer(lr=3e-3, schedule="constant", warmup_steps=2)
    )
    """The optimizer of the imitation updates."""

    def strength(self, step: int) -> float:
        """s, from 1 to 0."""
        return _strength(step, self.fade_steps)

    def optimizers(self, recipe: Recipe) -> dict[str, tuple[Optimizer, int]]:
        lessons = _lessons(self.first_lessons, self.fade_steps, min(recipe.steps, self.fade_steps))
        return super().optimizers(recipe) | {"imitation": (self.imitation, lessons)}

    def prompts(self, step: int, wanted: int) -> int:
        if self.strength(step) > 0.5:
            return min(self.probe_prompts, wanted)
        return wanted

    def lessons(
        self,
        groups: Groups,
        state: State,
        step: int,
        training: TrainingProblems,
    ) -> list[Lesson]:
        strength = self.strength(step)
        count = round(self.first_lessons * strength)
        if not count:
            return []
        now = statistics.fmean(s.accuracy for group in groups for s in group.rollouts)
        past = state.get("accuracy", now)
        state["accuracy"] = self.accuracy_ema * past + (1 - self.accuracy_ema) * now
        cursor = Cursor(len(training.problems), training.seed + 1)  # an order of its own
        if "cursor" in state:
            cursor.restore(state["cursor"])
        lessons = []
        for _ in range(count):
            problems = [training.problems[i] for i in cursor.next(self.lesson_traces)]
            lessons.append(Lesson(problems, state["accuracy"] ** 2, strength))
        state["cursor"] = cursor.state()
        return lessons

    def imitation_loss(self, inputs: LossInputs) -> Tensor:
        factor = token.policy_shift(inputs.logp, inputs.beta, "detached").detach()
        return factor * token.imitation(inputs.logp)


def _strength(step: int, fade_steps: int) -> float:
    return (1 + math.cos(math.pi * min(1.0, step / fade_steps))) / 2


@lru_cache(maxsize=64)
def _lessons(first: int, fade_steps: int, steps: int) -> int:
    """Updates of all lessons of the first ``steps`` steps; asked for often, and there may be many
    steps."""
    return sum(round(first * _strength(step, fade_steps)) for step in range(steps))
