"""What a run spends, and when it has done its steps and spent what it has to."""

from __future__ import annotations

import math

from red_mcore.megatron.ranks import from_main
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.step import Step


class Budgets(Hook):
    """Counts the tokens and seconds of the steps' phases; before whatever else takes time."""

    def after_step(self, run: Run, step: Step) -> None:
        state, until = run.state, run.recipe.until
        before = spent(run)
        state.generated_tokens += step.metrics.get("rollout/generated_tokens", 0.0)
        state.train_seconds += from_main(sum(step.clock.seconds.values()))  # ranks end together
        if until is not None:
            for was, wanted, now in zip(before, until.budgets, spent(run), strict=True):
                step.spends_budget |= was < wanted <= now


def spent(run: Run) -> tuple[float, float]:
    """(Generated tokens, seconds): what ``Until.budgets`` limit."""
    return run.state.generated_tokens, run.state.train_seconds


def done(run: Run) -> bool:
    """Whether the run has done its steps, and spent what it has to."""
    state, until = run.state, run.recipe.until
    if state.step < run.recipe.steps:
        return False
    if until is None or state.step >= until.most_steps:
        return True
    return all(now >= wanted for now, wanted in zip(spent(run), until.budgets, strict=True))


def expected_steps(run: Run) -> int:
    """Steps in all, as far as the pace so far tells."""
    state, until, steps = run.state, run.recipe.until, run.recipe.steps
    if until is None or state.step < steps:
        return steps
    longest = float(state.step)
    for now, wanted in zip(spent(run), until.budgets, strict=True):
        if now:
            longest = max(longest, state.step * wanted / now)
    return min(math.ceil(longest), until.most_steps)
