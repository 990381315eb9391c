"""SFT: imitation of teacher traces, the mean over all target tokens of the global batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from red_mcore.algorithms.base import Aggregation, GroupAlgorithm
from red_mcore.records import Group, Sample


@dataclass
class SFT(GroupAlgorithm):
    """Cross-entropy on traces; also what trains a fresh model on the base corpus."""

    aggregation: Aggregation = "token"

    def components(self, sample: Sample) -> dict[str, Aggregation]:
        return {"sft": self.aggregation}

    def compose(self, groups: Sequence[Group]) -> tuple[list[Group], dict[str, float]]:
        return list(groups), {}

    def token_losses(self, fields: dict) -> dict:
        from red_mcore.losses import token  # torch stays out of planning

        return {"sft": token.imitation(fields["logp"])}
