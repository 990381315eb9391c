"""The loop: sample, score, weigh, update, teach, publish; all else is in
``red_mcore.train.hooks``."""

from __future__ import annotations

from red_mcore.algorithms.mixins import stage_of
from red_mcore.config.recipe import Recipe
from red_mcore.system.exit_codes import INTERRUPTED
from red_mcore.train import health
from red_mcore.train.base import train_base
from red_mcore.train.clock import Clock
from red_mcore.train.groups import collect
from red_mcore.train.hooks import Hook, all_hooks
from red_mcore.train.hooks.budgets import done
from red_mcore.train.publishing import publish
from red_mcore.train.run import Run
from red_mcore.train.setup import build
from red_mcore.train.step import (
    Step,
    compose,
    divide,
    score,
    speed,
    teach,
    update,
    weigh,
    weighs_in_pass,
)


def main(recipe: Recipe) -> int:
    """Train to the end, or until a signal; the exit code: 0, 4 (``UNHEALTHY``) or 130."""
    with build(recipe) as run:
        hooks = all_hooks()
        if run.state.stage == "base":
            train_base(run)
        if not run.stopping:
            train(run, hooks)
        for hook in hooks:
            hook.after_training(run)
        if run.stopping:
            return INTERRUPTED
        return health.exit_code(recipe, health.warnings(recipe, run.state.health))


def train(run: Run, hooks: list[Hook]) -> None:
    """The algorithm's steps, from where the state stands."""
    publish(run)  # the engines were made without weights
    for hook in hooks:
        hook.before_training(run)
    with run.progress(type(run.recipe.algorithm).__name__, run.recipe.steps, run.state.step):
        while not done(run) and not run.stopping:
            step = make_step(run)
            for hook in hooks:
                hook.after_step(run, step)


def make_step(run: Run) -> Step:
    """One step of the algorithm."""
    assert run.screen is not None  # steps are made within ``progress``
    step = Step(stage_of(run.recipe.algorithm, run.state.step), Clock(run.screen.phase))
    with step.clock("sample"):
        step.groups, step.drawn, step.metrics = collect(run, step.algorithm)
    learn(run, step)
    with step.clock("publish"):
        step.metrics |= publish(run)
    run.state.step += 1
    return step


def learn(run: Run, step: Step) -> None:
    """What a step learns from its groups."""
    compose(run, step)
    with step.clock("score"):
        score(run, step)
    with step.clock("update"):
        divide(run, step)
        if not weighs_in_pass(run, step):
            weigh(run, step)
        update(run, step)
    step.metrics |= speed(run, step)  # by the seconds that the clock now has
    with step.clock("teach"):
        teach(run, step)
