"""The moments of a run at which something may happen beside its phases."""

from __future__ import annotations

from dataclasses import dataclass, field

from red_mcore.algorithms.base import GroupAlgorithm
from red_mcore.samples.records import Group
from red_mcore.train.clock import Clock
from red_mcore.train.run import Run


@dataclass
class Step:
    """What a step has come to; hooks read it, and add to its metrics."""

    algorithm: GroupAlgorithm
    """The method as it is in this step."""
    clock: Clock
    groups: list[Group] = field(default_factory=list)
    """What the step learnt from."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Its row, as far as it is known."""
    spends_budget: bool = False
    """Whether it is the one that used up a budget of ``until``."""


class Hook:
    """One concern beside the phases of a step; it overrides the moments it needs.

    All ranks have the same hooks in the same order (``hooks.all_hooks``), so that a hook may
    communicate: every rank gets to its collectives at the same place. What it decides by has to be
    the same on all ranks: the recipe, the state, and metrics.
    """

    def before_training(self, run: Run) -> None:
        """Steps are about to be made; the engines have the policy's weights."""

    def after_step(self, run: Run, step: Step) -> None:
        """A step is made and counted, and its weights are published."""

    def after_training(self, run: Run) -> None:
        """No more steps are made: all are done, or the run is ``stopping``, in any stage."""
