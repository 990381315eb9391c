"""The moments of a run at which something may happen beside its phases."""

from __future__ import annotations

from red_mcore.train.run import Run
from red_mcore.train.step import Step


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
