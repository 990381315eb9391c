"""Checkpoints: at their interval, at the best validation loss, at the end, and when a signal asks
for one."""

from __future__ import annotations

from red_mcore.train.hooks.budgets import done
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.step import Step
from red_mcore.train.validation import is_best_now


class Saving(Hook):
    """Lets the ranks agree on what signals asked for, and saves; the last files are waited for."""

    def after_step(self, run: Run, step: Step) -> None:
        best = is_best_now(run.recipe, run.state)
        save_where_due(run, due=run.checkpoint_due() or done(run) or best)

    def after_training(self, run: Run) -> None:
        run.saver.finish()


def save_where_due(run: Run, *, due: bool) -> None:
    """Save now if that is ``due``, or a signal asks for it or to stop; a collective."""
    run.agree()
    run.saver.poll()
    if run.stopping or run.saving or due:
        assert run.screen is not None  # steps are made within ``progress``
        run.screen.phase("save")
        run.save()
