"""SFT: imitation of teacher traces, the mean over all target tokens of the global batch."""

from __future__ import annotations

from dataclasses import dataclass

from red_mcore.algorithms.base import (
    Aggregation,
    ComponentLosses,
    GroupAlgorithm,
    Groups,
    Metrics,
    State,
)
from red_mcore.algorithms.mixins import ImitationAlone
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.losses import token
from red_mcore.losses.inputs import LossInputs
from red_mcore.samples.records import Group, Sample


@dataclass
class SFT(ImitationAlone, GroupAlgorithm):
    """Cross-entropy on traces, verdict or not; a problem without trace is left out.

    Also what trains a fresh model on the base corpus.
    """

    aggregation: Aggregation = "token"

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if not self.std_normalise:
            raise RecipeError(
                "algorithm.std_normalise=false changes nothing where no samples are compared: leave"
                " it true"
            )

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        return {"sft": self.aggregation}

    def compose(self, groups: Groups, state: State, step: int) -> tuple[list[Group], Metrics]:
        kept = [Group(group.problem, group.traces) for group in groups if group.traces]
        return kept, {"groups/kept": len(kept), "groups/dropped": len(groups) - len(kept)}

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        return {"sft": token.imitation(inputs.logp)}
