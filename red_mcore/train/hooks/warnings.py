"""Warnings of a run that learns nothing, at the step that tells it."""

from __future__ import annotations

from red_mcore.train import health
from red_mcore.train.hooks.budgets import done
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.step import Step


class Warnings(Hook):
    """Says each warning of ``health`` once; its evidence stays in the state."""

    def before_training(self, run: Run) -> None:
        self._version = run.state.policy_version

    def after_step(self, run: Run, step: Step) -> None:
        state, before = run.state, self._version
        self._version = state.policy_version
        found = health.watch(
            run.recipe,
            state.health,
            state.step,
            step.metrics,
            step.algorithm,
            updated=state.policy_version > before,
            last=done(run),
        )
        for warning in found:
            run.say(health.line(warning))
