"""The line that the screen shows of each step."""

from __future__ import annotations

from red_mcore.train.hooks.budgets import expected_steps
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.step import Step

SHOWN = {
    "accuracy": "rollout/accuracy",
    "tokens": "rollout/length_tokens",
    "loss": "loss/total",
}
"""Metrics on the screen, by the name they have there."""


class Progress(Hook):
    """Tells the screen how far the run is, and a few metrics."""

    def after_step(self, run: Run, step: Step) -> None:
        assert run.screen is not None  # steps are made within ``progress``
        shown = {name: step.metrics[key] for name, key in SHOWN.items() if key in step.metrics}
        run.screen.update(run.state.step, shown, expected_steps(run))
