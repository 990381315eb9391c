"""ReLIFT: GRPO, interleaved with imitation of the questions that were too hard (arXiv 2506.07527).

A problem none of whose rollouts is right enters a buffer, the newest first. Whenever the buffer
holds enough of them, after the step's own update, the newest ones leave it and their traces are
imitated in one update of an optimizer of its own:

    L = mean_t (-log p_t) - c mean_t H_t

at temperature 1, whatever the rollouts are sampled with. Nothing in the buffer expires, a problem
may be in it twice, and one that was solved since is imitated all the same. All rollouts wrong: no
advantage, the group learns from the entropy bonus alone. A problem without usable trace never
enters the buffer; traces are imitated without looking at their verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from red_mcore.algorithms.base import Aggregation, Groups, State
from red_mcore.algorithms.grpo import ImitatingGRPO
from red_mcore.algorithms.mixins import Lesson, Lessons, TrainingProblems
from red_mcore.config.fields import Traces, Weight
from red_mcore.config.recipe import Optimizer, Recipe
from red_mcore.samples.records import Sample


@dataclass
class ReLIFT(Lessons, ImitatingGRPO):
    """Defaults are those of the authors' code, without the scale that ``recipes/paper/luffy.py``
    derives."""

    std_normalise: bool = False
    aggregation: Aggregation = "constant"
    constant: float | None = 8192.0
    clip_low: float | None = None
    clip_high: float | None = None
    entropy_coefficient: float = 0.001
    imitation_entropy: Weight = 0.001
    """Weight of the entropy in the imitation updates (c)."""
    demonstrations: Traces = 128
    """Traces of one imitation update."""
    imitation: Optimizer = field(default_factory=lambda: Optimizer(lr=1e-6, schedule="constant"))
    """The optimizer of the imitation updates."""

    def optimizers(self, recipe: Recipe) -> dict[str, tuple[Optimizer, int]]:
        return super().optimizers(recipe) | {"imitation": (self.imitation, recipe.steps)}

    def lessons(
        self,
        groups: Groups,
        state: State,
        step: int,
        training: TrainingProblems,
    ) -> list[Lesson]:
        hard = []
        for group in groups:
            is_solved = any(s.accuracy for s in group.rollouts)
            if not is_solved and training.usable(group.problem):
                hard.append(group.problem.id)
        buffer = hard + state.get("buffer", [])
        state["buffer"] = buffer
        if len(buffer) < self.demonstrations:
            return []
        state["buffer"] = buffer[self.demonstrations :]
        problems = {problem.id: problem for problem in training.problems}
        return [Lesson([problems[number] for number in buffer[: self.demonstrations]])]

    def bonus(self, sample: Sample) -> float:
        if sample.is_offline:
            return self.imitation_entropy
        return self.entropy_coefficient
