"""The policy measured on the way: before the first step, at intervals, and after the last one."""

from __future__ import annotations

from red_mcore.tracking.console import Watched
from red_mcore.train import health
from red_mcore.train.evaluating import benchmark, evaluate, show
from red_mcore.train.hooks.budgets import done
from red_mcore.train.hooks.hook import Hook, Step
from red_mcore.train.run import Run


class Evaluating(Hook):
    """Held-out problems and benchmarks, each at its own interval."""

    def before_training(self, run: Run) -> None:
        state = run.state
        if state.before is None:
            state.before = state.after = evaluate_alone(run) | benchmark_alone(run)
            run.log(state.before)

    def after_step(self, run: Run, step: Step) -> None:
        state, settings, last = run.state, run.recipe.evaluation, done(run)
        if last or step.spends_budget or due(settings.every, state.step):
            with step.clock("evaluate"):
                state.after = evaluate(run)
            step.metrics |= state.after
            show(run, state.after)
        if run.asker is not None and (last or due(settings.benchmarks.every, state.step)):
            with step.clock("benchmark"):
                found = benchmark(run, run.screen.part)
            state.after = state.after | found
            step.metrics |= found
            show(run, found)

    def after_training(self, run: Run) -> None:
        """A run that was stopped between evaluations, and then asked for no more steps, lacks the last."""
        state = run.state
        if run.stopping:
            return
        if state.evaluated != state.step:
            state.after = evaluate_alone(run)
        if run.asker is not None and state.benchmarked != state.step:
            state.after = state.after | benchmark_alone(run)


def due(every: int, step: int) -> bool:
    """Whether an interval, 0 for never, ends with this step."""
    return bool(every) and step % every == 0


def evaluate_alone(run: Run) -> dict[str, float]:
    """``evaluate`` outside of the steps, with progress, result and warnings on the screen."""
    with Watched("held-out responses", show=run.ranks.is_main) as watch:
        run.sampler.watch = watch
        found = evaluate(run)
    return shown_alone(run, found)


def benchmark_alone(run: Run) -> dict[str, float]:
    """The same of the benchmarks."""
    with Watched("benchmark responses", show=run.ranks.is_main) as watch:
        found = benchmark(run, watch)
    return shown_alone(run, found)


def shown_alone(run: Run, found: dict[str, float]) -> dict[str, float]:
    """``found``, with its lines and warnings on the screen."""
    show(run, found)
    for warning in health.watch(run.recipe, run.state.health, run.state.step, found):
        run.say(health.line(warning))
    return found
