"""The loss on held-out traces, measured on the way: before the first step, at intervals, and after
the last one."""

from __future__ import annotations

from red_mcore.samples.records import Group
from red_mcore.train import validation
from red_mcore.train.hooks.budgets import done
from red_mcore.train.hooks.evaluating import due
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.step import Step


class Validating(Hook):
    """Measures, counts, and so decides when a run stops early (``budgets.done``) and which
    checkpoint is the best (``Saving``)."""

    def before_training(self, run: Run) -> None:
        self._groups: list[Group] = []
        settings = run.recipe.validation
        if settings is None:
            return
        self._groups = run.sampler.traces(run.held_out)[: settings.traces]
        if run.state.before is None:  # the run begins
            validation.count(run, validation.measure(run, self._groups)["validation/loss"])
            show(run)

    def after_step(self, run: Run, step: Step) -> None:
        settings, state = run.recipe.validation, run.state
        if settings is None or not (done(run) or due(settings.every, state.step)):
            return
        with step.clock("validate"):
            found = validation.measure(run, self._groups)
        validation.count(run, found["validation/loss"])
        step.metrics |= found | validation.row(state)
        show(run)


def show(run: Run) -> None:
    """Say the last measurement, and whether it ends the run."""
    recipe, state = run.recipe, run.state
    course, settings = validation.course_of(state), recipe.validation
    assert course is not None  # it was counted just now
    assert settings is not None
    if not state.step:
        run.say(f"before training: validation loss {course.loss:.4f} nats per token")
        return
    best = "the lowest so far"
    if course.best_step != state.step:
        best = f"the lowest is {course.best_loss:.4f} after step {course.best_step}"
    run.say(f"step {state.step}: validation loss {course.loss:.4f} nats per token; {best}")
    if validation.stops(recipe, state):
        run.say(
            f"step {state.step}: no gain of more than {settings.min_delta:g} nats in"
            f" {course.waited} measurements: validation.patience={settings.patience} ends the run"
        )
