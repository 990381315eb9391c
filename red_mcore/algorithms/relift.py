"""ReLIFT: GRPO, interleaved with imitation of the questions that were too hard (arXiv 2506.07527).

A problem none of whose rollouts is right enters a buffer, the newest first. Whenever the buffer holds enough of them,
after the step's own update, the newest ones leave it and their traces are imitated in one update of an optimizer of its
own:

    L = mean_t (-log p_t) - c mean_t H_t

at temperature 1, whatever the rollouts are sampled with. Nothing in the buffer expires, a problem may be in it twice,
and one that was solved since is imitated all the same. All rollouts wrong: no advantage, the group learns from the
entropy bonus alone. A problem without usable trace never enters the buffer; traces are imitated without looking at
their verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from red_mcore.algorithms.base import Aggregation, Lesson, Library
from red_mcore.algorithms.grpo import GRPO
from red_mcore.config.fields import Traces, Weight
from red_mcore.config.recipe import Optimizer, Recipe
from red_mcore.samples.records import Group, Sample


@dataclass
class ReLIFT(GRPO):
    """Defaults are those of the authors' code, without the scale that ``recipes/paper/luffy.py`` derives."""

    std_normalise: bool = False
    aggregation: Aggregation = "constant"
    constant: float = 8192.0
    clip_low: float | None = None
    clip_high: float | None = None
    entropy_coefficient: float = 0.001
    imitation_entropy: Weight = 0.001
    """Weight of the entropy in the imitation updates (c)."""
    demonstrations: Traces = 128
    """Traces of one imitation update."""
    imitation: Optimizer = field(default_factory=lambda: Optimizer(lr=1e-6, schedule="constant"))
    """The optimizer of the imitation updates."""

    needs_traces: ClassVar[bool] = True

    def optimizers(self, recipe: Recipe) -> dict[str, tuple[Optimizer, int]]:
        return super().optimizers(recipe) | {"imitation": (self.imitation, recipe.steps)}

    def lessons(self, groups: Sequence[Group], state: dict[str, Any], library: Library, step: int) -> list[Lesson]:
        hard = [g.problem for g in groups if not any(s.accuracy for s in g.rollouts) and library.usable(g.problem)]
        buffer = [p.id for p in hard] + state.get("buffer", [])
        taken = buffer[: self.demonstrations] if len(buffer) >= self.demonstrations else []
        state["buffer"] = buffer[len(taken) :]
        if not taken:
            return []
        problems = {p.id: p for p in library.problems}
        return [Lesson([problems[i] for i in taken])]

    def bonus(self, sample: Sample) -> float:
        return self.imitation_entropy if sample.is_offline else self.entropy_coefficient

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        return {"sft": "token"} if sample.is_offline else super().components(sample)

    def token_losses(self, fields: dict) -> dict:
        from red_mcore.losses import token  # torch stays out of planning

        return super().token_losses(fields) | {"sft": token.imitation(fields["logp"])}
