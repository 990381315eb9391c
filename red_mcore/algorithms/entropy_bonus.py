"""An entropy bonus that any algorithm can have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from red_mcore.algorithms.base import GroupAlgorithm
from red_mcore.config.fields import Weight
from red_mcore.samples.records import Group, Sample


@dataclass
class EntropyBonus(GroupAlgorithm):
    """Adds component ``entropy``: - coefficient x the mean of H over all trained tokens, traces included.

    A subclass returns ``"entropy": -fields["entropy"]`` among its token losses; the coefficient is applied here.
    """

    entropy_coefficient: Weight = 0.0
    """Weight of the bonus; 0 is off. Groups without variance stay where it is on: the bonus learns from them, too,
    unless ``batch.refills`` replace them."""

    def teaches(self, group: Group) -> bool:
        return self.entropy_coefficient != 0 or super().teaches(group)

    def bonus(self, sample: Sample) -> float:
        """The coefficient for a sample's tokens."""
        return self.entropy_coefficient

    def aggregate(self, groups: Sequence[Group], sequences: float) -> None:
        super().aggregate(groups, sequences)
        samples = [s for g in groups for s in g.samples]
        tokens = sum(len(s.response) for s in samples)
        for sample in samples:
            if bonus := self.bonus(sample):
                sample.coefficient["entropy"] = bonus / tokens
