"""What a valid recipe tells by itself: that nothing, or little, will be learnt. Without torch, for
a dry run."""

from __future__ import annotations

import math
from collections.abc import Iterator

from red_mcore.config.recipe import Optimizer, Recipe

GREEDY = 0.05
"""Temperature or top-p up to which the samples of a prompt are nearly always the same."""


def faults(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(Code, what is to be feared, why, and what to do)."""
    if recipe.algorithm.teacher is None:  # who has something to say about any sample
        yield from _constant_reward(recipe)
        yield from _greedy(recipe)
    yield from _warm_ups(recipe)
    yield from _warm_up_of_algorithm(recipe)
    yield from _no_lesson(recipe)


def _constant_reward(recipe: Recipe) -> Iterator[tuple[str, str]]:
    reward = recipe.reward
    terms = (reward.format, reward.overlong, reward.repetition)
    weights = (reward.accuracy, *reward.functions.values())
    if not recipe.algorithm.rollouts or any(weights) or any(term is not None for term in terms):
        return
    yield (
        "constant_reward",
        f"every reward is 0, for reward.accuracy={reward.accuracy:g} and there is no other term:"
        " nothing can be learnt from comparing samples; use reward.accuracy=1",
    )


def _greedy(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for name in ("temperature", "top_p"):
        value = getattr(recipe.rollout, name)
        if recipe.algorithm.rollouts and value <= GREEDY:
            text = (
                f"rollout.{name}={value:g} makes the samples of a prompt alike, and alike they"
                f" teach nothing: use rollout.{name}=1"
            )
            yield "greedy", text
            return


def _warm_ups(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Of each optimizer, in the algorithm's stage and in the base's."""
    most = 1.0
    if recipe.until and recipe.steps:
        most = recipe.until.most_steps / recipe.steps
    for name, (settings, updates) in recipe.algorithm.optimizers(recipe).items():
        field = section_of(name)
        if text := _warm_up(field, settings, math.floor(updates * most), f"steps={recipe.steps}"):
            yield f"warm_up_{name}", text
    if recipe.base is not None:
        steps = recipe.base.steps
        if text := _warm_up("base.optimizer", recipe.base.optimizer, steps, f"base.steps={steps}"):
            yield "warm_up_base", text


def section_of(optimizer: str) -> str:
    """The section of a recipe that has the settings of an optimizer."""
    if optimizer == "main":
        return "optimizer"
    return f"algorithm.{optimizer}"


def _warm_up(field: str, settings: Optimizer, updates: int, of: str) -> str | None:
    warmup = settings.warmup_steps
    if not updates or warmup < updates:
        return None
    # The rate begins at one (warmup + 1)-th and gets to its full height in ``warmup`` updates.
    reached = first = 1 / (warmup + 1)
    if warmup:
        reached += (1 - first) * (updates - 1) / warmup
    return (
        f"{field}.warmup_steps={warmup} is no less than the {updates} updates of {of}: the learning"
        f" rate gets no further than {reached:.0%} of {field}.lr={settings.lr:g}; use a tenth of"
        " the updates or fewer"
    )


def _warm_up_of_algorithm(recipe: Recipe) -> Iterator[tuple[str, str]]:
    warmup = getattr(recipe.algorithm, "warmup_steps", 0)
    if recipe.steps and not recipe.until and warmup >= recipe.steps:
        yield (
            "warm_up_of_algorithm",
            f"algorithm.warmup_steps={warmup} is no less than steps={recipe.steps}: use fewer, or"
            " more steps",
        )


def _no_lesson(recipe: Recipe) -> Iterator[tuple[str, str]]:
    wanted = getattr(recipe.algorithm, "demonstrations", 0)
    prompts = recipe.batch.prompts_per_step
    drawn = recipe.steps * prompts
    if drawn and not recipe.until and wanted > drawn:
        yield (
            "no_lesson",
            f"algorithm.demonstrations={wanted} is more than the {drawn} prompts of all steps, so"
            f" no trace will ever be imitated: use {prompts} or fewer",
        )
