"""An entropy bonus that any algorithm can have."""

from __future__ import annotations

from dataclasses import dataclass

from red_mcore.algorithms.base import GroupAlgorithm, Groups, State
from red_mcore.config.fields import Weight
from red_mcore.samples.records import Group, Sample, samples_of


@dataclass
class EntropyBonus(GroupAlgorithm):
    """Adds component ``entropy``: - coefficient x the mean of H over all trained tokens, traces
    included.

    A subclass returns ``"entropy": -inputs.entropy`` among its token losses; the coefficient is
    applied here.
    """

    entropy_coefficient: Weight = 0.0
    """Weight of the bonus; 0 is off. Groups without variance stay where it is on: the bonus
    learns from them, too, unless ``batch.refills`` replace them."""

    def trains_on(self, group: Group) -> bool:
        return self.entropy_coefficient != 0 or super().trains_on(group)

    def bonus(self, sample: Sample) -> float:
        """The coefficient for a sample's tokens."""
        return self.entropy_coefficient

    def aggregate(self, groups: Groups, sequences: float, state: State, step: int) -> None:
        super().aggregate(groups, sequences, state, step)
        samples = samples_of(groups)
        tokens = sum(len(s.response) for s in samples)
        for sample in samples:
            bonus = self.bonus(sample)
            if bonus:
                sample.coefficient["entropy"] = bonus / tokens
