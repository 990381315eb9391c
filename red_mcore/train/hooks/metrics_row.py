"""The row of each step: its metrics, and the seconds of its phases."""

from __future__ import annotations

from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.step import Step


class MetricsRow(Hook):
    """Hands the row to the tracker, once a step."""

    def after_step(self, run: Run, step: Step) -> None:
        run.log(step.metrics | step.clock.seconds)
