"""SFT: imitation of teacher traces, the mean over all target tokens of the global batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from red_mcore.algorithms.base import Aggregation, GroupAlgorithm
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.samples.records import Group, Sample


@dataclass
class SFT(GroupAlgorithm):
    """Cross-entropy on traces, verdict or not; a problem without trace is left out.

    Also what trains a fresh model on the base corpus.
    """

    aggregation: Aggregation = "token"

    traces: ClassVar[int] = 1
    rollouts: ClassVar[bool] = False
    weighs: ClassVar = "none"

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if not self.std_normalise:
            raise RecipeError(
                "algorithm.std_normalise=false changes nothing where no samples are compared: leave it true"
            )

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        return {"sft": self.aggregation}

    def compose(self, groups: Sequence[Group]) -> tuple[list[Group], dict[str, float]]:
        alone = [Group(g.problem, [s for s in g.samples if s.is_offline]) for g in groups]
        kept = [g for g in alone if g.samples]
        return kept, {"groups/kept": len(kept), "groups/dropped": len(groups) - len(kept)}

    def token_losses(self, fields: dict) -> dict:
        from red_mcore.losses import token  # torch stays out of planning

        return {"sft": token.imitation(fields["logp"])}
