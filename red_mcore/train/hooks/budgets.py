"""What a run spends, and when it has done its steps and spent what it has to."""

from __future__ import annotations

import math
from typing import NamedTuple

from red_mcore.megatron.ranks import from_main
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.step import Step
from red_mcore.train.validation import stops


class Budget(NamedTuple):
    """How much of a budget of ``until`` a run has spent: generated tokens, or seconds."""

    spent: float
    wanted: float


class Budgets(Hook):
    """Counts the tokens and seconds of the steps' phases; before whatever else takes time."""

    def after_step(self, run: Run, step: Step) -> None:
        state = run.state
        before = unspent(run)
        state.generated_tokens += step.metrics.get("rollout/generated_tokens", 0.0)
        state.train_seconds += from_main(sum(step.clock.seconds.values()))  # ranks end together
        step.spends_budget |= unspent(run) < before


def budgets(run: Run) -> list[Budget]:
    """What the run has spent of each of ``until``'s budgets."""
    state, until = run.state, run.recipe.until
    if until is None:
        return []
    tokens, seconds = until.budgets
    return [Budget(state.generated_tokens, tokens), Budget(state.train_seconds, seconds)]


def unspent(run: Run) -> int:
    """How many budgets the run has to go on for."""
    return sum(budget.spent < budget.wanted for budget in budgets(run))


def done(run: Run) -> bool:
    """Whether the run has done its steps, and spent what it has to, or its patience is over."""
    state, until = run.state, run.recipe.until
    if stops(run.recipe, state):
        return True
    if state.step < run.recipe.steps:
        return False
    if until is None or state.step >= until.most_steps:
        return True
    return not unspent(run)


def expected_steps(run: Run) -> int:
    """Steps in all, as far as the pace so far tells."""
    state, until, steps = run.state, run.recipe.until, run.recipe.steps
    if until is None or state.step < steps:
        return steps
    longest = float(state.step)
    for budget in budgets(run):
        if budget.spent:
            longest = max(longest, state.step * budget.wanted / budget.spent)
    return min(math.ceil(longest), until.most_steps)
